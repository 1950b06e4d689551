"""The interval of a ROC AUC that also covers near 1, in small samples and for rows in groups.

What belongs here: the interval, from structural components. What does not: the components and the point value
(``measures``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from nethical_assets.core.evaluation.clusters import FloatArray, IntArray, design_effect
from nethical_assets.core.evaluation.estimate import CONFIDENCE, few_degrees_factor, normal_quantile

_UNSEEN = 0.5
"""How much of a row of each class counts as ranked at random without having been seen."""

_HALVINGS = 60


def auc_interval(
    auc: float,
    components: FloatArray,
    positive: npt.NDArray[np.bool_],
    clusters: IntArray | None = None,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """The values that the observed AUC does not contradict: a score interval, so never empty and inside [0, 1].

    The variance at a supposed AUC is that of Newcombe (2006, method 5), which needs no observed errors, so that a
    perfect sample says no more than its size allows. It is scaled up where the variance of DeLong et al. (1988) at the
    observed AUC is larger (tied scores, unequal spreads), with Student's t for the few rows that variance is known from
    (degrees of freedom of Brunner and Munzel 2000), and by the design effect of the clusters (Obuchowski 1997).

    DeLong's variance is zero where no row is misplaced, which is what rare rows that nothing tells apart look like in a
    small sample. So half a row more of each class counts as seen, and ranked at random.

    Args:
        components: each row's centred share of correct pairs (``measures``), shape (rows,); both classes occur.
    """
    sizes = m, n = int(positive.sum()), int((~positive).sum())
    squares = [float((components[rows] ** 2).sum()) for rows in (positive, ~positive)]
    random_row = _UNSEEN * (auc - 0.5) ** 2
    parts = [(square + random_row) / (size - 1 + _UNSEEN) / size for square, size in zip(squares, sizes, strict=True)]
    supposed = _newcombe_variance(m, n)
    drawn_in = 0.5 + (auc - 0.5) * m / (m + _UNSEEN) * n / (n + _UNSEEN)
    scale = sum(parts) / supposed(drawn_in)
    if clusters is None and sum(parts) > 0.0:
        # Whole clusters have a Student's t of their own, in their design effect.
        scale *= few_degrees_factor(_degrees_of_freedom(parts, sizes), confidence) ** 2
    influences = np.where(positive, components / m, components / n)
    scale = max(1.0, scale) * design_effect(influences, clusters)
    reach = normal_quantile(confidence) ** 2 * scale

    def contradicted(value: float) -> bool:
        return (auc - value) ** 2 > reach * supposed(value)

    return _edge(contradicted, auc, 0.0), _edge(contradicted, auc, 1.0)


def _degrees_of_freedom(parts: Sequence[float], sizes: Sequence[int]) -> float:
    """Of the sum of two variances of means (Satterthwaite); at least 1."""
    spread = sum(part**2 / max(size - 1, 1) for part, size in zip(parts, sizes, strict=True))
    return max(1.0, sum(parts) ** 2 / spread)


def _newcombe_variance(m: int, n: int) -> Callable[[float], float]:
    half = (m + n) / 2.0 - 1.0

    def variance(auc: float) -> float:
        spread = 1.0 + half * (1.0 - auc) / (2.0 - auc) + half * auc / (1.0 + auc)
        return auc * (1.0 - auc) * spread / (m * n)

    return variance


def _edge(contradicted: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where a value between ``inside`` and the end of the scale begins to be contradicted, by bisection."""
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2.0
        inside, outside = (inside, middle) if contradicted(middle) else (middle, outside)
    return round(inside, 6)
