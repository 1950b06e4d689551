"""The interval of a ROC AUC that also covers near 1, in small samples and for rows in groups.

What belongs here: the interval, from structural components. What does not: the components and the point value
(``measures``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from nethical_assets.core.evaluation.clusters import FloatArray, IntArray, design_effect
from nethical_assets.core.evaluation.estimate import CONFIDENCE, normal_quantile

_TOLERANCE = 1e-12
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
    observed AUC is larger (tied scores, unequal spreads), and by the design effect of the clusters (Obuchowski 1997).

    Args:
        components: each row's centred share of correct pairs (``measures``), shape (rows,); both classes occur.
    """
    m, n = int(positive.sum()), int((~positive).sum())
    influences = np.where(positive, components / m, components / n)
    supposed = _newcombe_variance(m, n)
    observed = float((influences[positive] ** 2).sum() * m / max(m - 1, 1))
    observed += float((influences[~positive] ** 2).sum() * n / max(n - 1, 1))
    at_point = supposed(auc)
    scale = max(1.0, observed / at_point) if at_point > _TOLERANCE else 1.0
    scale *= design_effect(influences, clusters)
    reach = normal_quantile(confidence) ** 2 * scale

    def contradicted(value: float) -> bool:
        return (auc - value) ** 2 > reach * supposed(value)

    return _edge(contradicted, auc, 0.0), _edge(contradicted, auc, 1.0)


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
