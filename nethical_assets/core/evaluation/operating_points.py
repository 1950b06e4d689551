"""What a detector trades when its threshold moves: the points of the ROC and the precision-recall curve.

What belongs here: computing a bounded number of points. What does not: the area under them (``measures``) or drawing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nethical_assets.core.evaluation.measures import FloatArray

MAXIMUM_POINTS = 64
_DECIMALS = 6


@dataclass(frozen=True)
class OperatingPoints:
    """Three columns, as long as each other, from the highest threshold (nothing called positive) to the lowest.

    ``precision`` is None where nothing is called positive. All are in [0, 1], rounded to six decimals.
    """

    false_positive_rate: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float | None, ...]


def operating_points(labels: npt.NDArray[np.int8], scores: FloatArray) -> OperatingPoints:
    """The points of ``score >= threshold`` over the distinct scores; at most ``MAXIMUM_POINTS`` of them.

    Rows of equal score are called together, so ties never depend on row order. Where there are more distinct scores
    than points, those are kept that divide the ROC curve into pieces of equal length (|dx| + |dy|); the first and the
    last always are.

    Args:
        labels: shape (rows,), 0 or 1.
        scores: shape (rows,), finite.

    Returns:
        No points where the rows are of one class: the rates are not defined.
    """
    positive = labels == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return OperatingPoints((), (), ())
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits = np.append(0, np.cumsum(positive[order])[last_of_tie])
    alarms = np.append(0, np.cumsum(~positive[order])[last_of_tie])
    chosen = _evenly_along(hits / positives + alarms / negatives)
    hits, alarms = hits[chosen], alarms[chosen]
    precision = hits[1:] / (hits + alarms)[1:]
    return OperatingPoints(
        false_positive_rate=_rounded(alarms / negatives),
        recall=_rounded(hits / positives),
        precision=(None, *_rounded(precision)),
    )


def _evenly_along(distance: FloatArray) -> npt.NDArray[np.int64]:
    """Indices of at most ``MAXIMUM_POINTS`` values of a rising sequence, about evenly spaced in value."""
    if len(distance) <= MAXIMUM_POINTS:
        return np.arange(len(distance))
    wanted = np.linspace(distance[0], distance[-1], MAXIMUM_POINTS)
    return np.unique(np.searchsorted(distance, wanted))


def _rounded(values: FloatArray) -> tuple[float, ...]:
    return tuple(np.round(values, _DECIMALS).tolist())
