"""Every metric as a function of column sums, so that point values and resampled values come from one formula.

What belongs here: the columns of one model's predictions on labelled rows, and metrics of their sums. What does not:
intervals, reports and decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "brier", "ece")

_ROWS, _POSITIVES, _TRUE_POSITIVES, _FALSE_POSITIVES, _SQUARED_ERROR, _AUC_POSITIVE, _AUC_NEGATIVE = range(7)
_BINS = 7


def bin_of(probabilities: FloatArray, bins: int) -> IntArray:
    """The equal-width bin over [0, 1] of each probability: ``[i/bins, (i+1)/bins)``, the last one closed."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


@dataclass(frozen=True)
class Columns:
    """Per-row contributions of one model: shape (rows, 7 + bins); ``roc_auc`` is the point value or NaN."""

    values: FloatArray
    roc_auc: float
    has_probabilities: bool


def columns_of(
    labels: npt.NDArray[np.int8],
    probabilities: FloatArray | None,
    scores: FloatArray,
    decision_threshold: float,
    bins: int,
) -> Columns:
    """The columns of finite predictions; without probabilities the decision is ``score >= decision_threshold``."""
    positive = labels == 1
    predicted = (scores if probabilities is None else probabilities) >= decision_threshold
    values = np.zeros((len(labels), _BINS + bins))
    values[:, _ROWS] = 1.0
    values[:, _POSITIVES] = positive
    values[:, _TRUE_POSITIVES] = positive & predicted
    values[:, _FALSE_POSITIVES] = ~positive & predicted
    if probabilities is not None:
        difference = probabilities - positive
        values[:, _SQUARED_ERROR] = difference**2
        values[np.arange(len(labels)), _BINS + bin_of(probabilities, bins)] = difference
    roc_auc, components = _placements(positive, scores)
    values[positive, _AUC_POSITIVE] = components[positive]
    values[~positive, _AUC_NEGATIVE] = components[~positive]
    return Columns(values, roc_auc, probabilities is not None)


def metrics_of(sums: FloatArray, columns: Columns) -> dict[str, FloatArray]:
    """The metrics of column sums of shape (samples, 7 + bins), each of shape (samples,); undefined ones are NaN.

    ROC AUC of a resample is its first-order expansion around the point value in the structural components of
    DeLong et al. (1988), clipped to [0, 1]: the neglected terms are of order 1/rows, the interval's width is of order
    1/sqrt(rows).
    """
    rows, positives = sums[:, _ROWS], sums[:, _POSITIVES]
    hits, alarms = sums[:, _TRUE_POSITIVES], sums[:, _FALSE_POSITIVES]
    negatives = rows - positives
    nothing = np.full(len(sums), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = sums[:, _AUC_POSITIVE] / positives + sums[:, _AUC_NEGATIVE] / negatives
        return {
            "accuracy": (hits + negatives - alarms) / rows,
            "precision": hits / (hits + alarms),
            "recall": hits / positives,
            "f1": 2 * hits / (positives + hits + alarms),
            "roc_auc": np.clip(columns.roc_auc + shift, 0.0, 1.0),
            "brier": sums[:, _SQUARED_ERROR] / rows if columns.has_probabilities else nothing,
            "ece": np.abs(sums[:, _BINS:]).sum(axis=1) / rows if columns.has_probabilities else nothing,
        }


def _placements(positive: npt.NDArray[np.bool_], scores: FloatArray) -> tuple[float, FloatArray]:
    """ROC AUC (Mann-Whitney, ties count half) and each row's centred share of correct pairs."""
    of_positives, of_negatives = np.sort(scores[positive]), np.sort(scores[~positive])
    components = np.zeros(len(scores))
    if not len(of_positives) or not len(of_negatives):
        return float("nan"), components
    below = _midrank(of_negatives, scores[positive]) / len(of_negatives)
    above = 1.0 - _midrank(of_positives, scores[~positive]) / len(of_positives)
    roc_auc = float(below.mean())
    components[positive] = below - roc_auc
    components[~positive] = above - roc_auc
    return roc_auc, components


def _midrank(ordered: FloatArray, values: FloatArray) -> FloatArray:
    left = np.searchsorted(ordered, values, side="left")
    right = np.searchsorted(ordered, values, side="right")
    return np.asarray((left + right) / 2.0)
