"""Whether the rates of several samples are one rate.

What belongs here: the test. What does not: how far apart rates may be (``core.evaluation.rates``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rate_homogeneity(
    happened: Sequence[float], rows: Sequence[float], design_effects: Sequence[float] | None = None
) -> float | None:
    """The p-value of Pearson's chi-square test (1900) that all samples have one rate; None with fewer than two samples
    that have rows. Without variation, all or nothing happened, it is 1.

    Args:
        design_effects: how many rows of each sample are worth one independent row, at least 1 (Rao and Scott 1981: rows
            count as so many fewer).

    Raises:
        ValueError: lengths differ.
    """
    from scipy.special import chdtrc

    effects = [1.0] * len(rows) if design_effects is None else design_effects
    table = np.array(list(zip(happened, rows, effects, strict=True)), dtype=np.float64).reshape(-1, 3)
    counts, total, effect = table[table[:, 1] > 0].T
    if len(total) < 2:
        return None
    size, rate = total / np.maximum(effect, 1.0), counts / total
    pooled = float((size * rate).sum() / size.sum())
    if pooled in (0.0, 1.0):
        return 1.0
    return float(chdtrc(len(total) - 1, float((size * (rate - pooled) ** 2).sum()) / (pooled * (1.0 - pooled))))
