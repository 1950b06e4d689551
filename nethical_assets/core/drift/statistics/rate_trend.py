"""The trend of a rate over ordered samples: training runs, or windows of traffic.

What belongs here: the test for a trend and the interval of the change. What does not: what is counted, or how much
change is too much (``core.evaluation.cohort_comparisons``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MINIMUM_SAMPLES = 3
"""Two samples differ or do not; a trend needs a third."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class RateTrend:
    """The straight line through the rates of ordered samples.

    Attributes:
        statistic: of Cochran and Armitage, standard normal where random rows have no trend; positive where the rate
            rises.
        change: of the fitted rate from the first place to the last, in [-1, 1]; ``low`` and ``high`` bound it.
        p_value: the chance of at least as steep a line without a trend.
        dispersion: how many times more the rates vary about the line than rows that are drawn at random do, at least 1.
        samples, rows: how many samples with rows there are, and their rows.
    """

    statistic: float
    change: float
    low: float
    high: float
    p_value: float
    dispersion: float
    samples: int
    rows: int


def rate_trend(
    happened: Sequence[float],
    rows: Sequence[float],
    places: Sequence[float] | None = None,
    *,
    design_effects: Sequence[float] | None = None,
    confidence: float = CONFIDENCE,
) -> RateTrend | None:
    """The trend of ``happened / rows`` over ``places``; None with fewer than three samples that have rows, or all at
    one place.

    The p-value is that of the Cochran-Armitage test (Cochran 1954, Armitage 1955). Where samples vary more about the
    line than binomial ones, its variance is multiplied by that (McCullagh and Nelder 1989, 4.5) and Student's t with
    ``samples - 2`` degrees of freedom takes the normal's place, so that a rate that goes up and down is no trend. The
    interval is that of a linear contrast of proportions with the success and failure that Price and Bonett (2004) add,
    and the same allowance: rates of 0 on few rows have a wide one.

    Args:
        places: of the samples, increasing, such as hours; 0, 1, 2 ... when they are not given.
        design_effects: how many rows of each sample are worth one independent row, at least 1.

    Raises:
        ValueError: lengths differ, or more happened than there are rows.
    """
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    given = range(len(rows)) if places is None else places
    effects = [1.0] * len(rows) if design_effects is None else design_effects
    table = np.array(list(zip(happened, rows, given, effects, strict=True)), dtype=np.float64).reshape(-1, 4)
    if (table[:, 0] > table[:, 1]).any():
        raise ValueError("more happened than there are rows")
    counts, total, place, effect = table[table[:, 1] > 0].T
    if len(total) < MINIMUM_SAMPLES or place.min() == place.max():
        return None
    rate, size = counts / total, total / np.maximum(effect, 1.0)
    centred = place - (size * place).sum() / size.sum()
    spread = float((size * centred**2).sum())
    slope = float((size * centred * rate).sum()) / spread
    pooled = float((size * rate).sum() / size.sum())
    binomial = pooled * (1.0 - pooled)
    degrees = len(total) - 2
    dispersion = 1.0
    if binomial > 0.0:
        residual = rate - pooled - slope * centred
        dispersion = max(1.0, float((size * residual**2).sum()) / binomial / degrees)
    span = float(place.max() - place.min())
    weight = size * centred / spread * span
    added = 2.0 / len(total)
    adjusted = (rate * size + added) / (size + 2.0 * added)
    variance = float((weight**2 * adjusted * (1.0 - adjusted) / (size + 2.0 * added)).sum()) * dispersion
    over = dispersion > 1.0
    level = (1.0 + confidence) / 2.0
    reach = float(stdtrit(degrees, level) if over else ndtri(level)) * math.sqrt(variance)
    statistic, p_value = 0.0, 1.0
    if binomial > 0.0:
        statistic = slope / math.sqrt(binomial / spread)
        score = abs(statistic) / math.sqrt(dispersion)
        p_value = 2.0 * float(stdtr(degrees, -score) if over else ndtr(-score))
    change = slope * span
    return RateTrend(
        statistic=statistic,
        change=change,
        low=max(-1.0, change - reach),
        high=min(1.0, change + reach),
        p_value=min(1.0, p_value),
        dispersion=dispersion,
        samples=len(total),
        rows=int(total.sum()),
    )
