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

_ROWS, _POSITIVES, _TRUE_POSITIVES, _FALSE_POSITIVES, _SQUARED_ERROR = range(5)
_BINS = 5


def bin_of(probabilities: FloatArray, bins: int) -> IntArray:
    """The equal-width bin over [0, 1] of each probability: ``[i/bins, (i+1)/bins)``, the last one closed."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


@dataclass(frozen=True)
class Contributions:
    """Per-row contributions of one model: ``values`` has shape (rows, 5 + bins).

    ``roc_auc`` is the point value or NaN; ``auc_components``, shape (rows,), each row's centred share of correct pairs
    (the structural components of DeLong et al. 1988).
    """

    values: FloatArray
    roc_auc: float
    auc_components: FloatArray
    has_probabilities: bool

    @property
    def positive(self) -> npt.NDArray[np.bool_]:
        """Which rows are positive."""
        return np.asarray(self.values[:, _POSITIVES] == 1.0, dtype=np.bool_)

    @property
    def called(self) -> npt.NDArray[np.bool_]:
        """Which rows were called positive."""
        return np.asarray(self.values[:, _TRUE_POSITIVES] + self.values[:, _FALSE_POSITIVES] == 1.0, dtype=np.bool_)


def columns_of(
    labels: npt.NDArray[np.int8],
    probabilities: FloatArray | None,
    scores: FloatArray,
    decision_threshold: float,
    bins: int,
) -> Contributions:
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
    return Contributions(values, roc_auc, components, probabilities is not None)


def metrics_of(sums: FloatArray, columns: Contributions) -> dict[str, FloatArray]:
    """The metrics of column sums of shape (samples, 5 + bins), each of shape (samples,); undefined ones are NaN.

    All but ROC AUC, which does not follow from sums over rows.
    """
    rows, positives = sums[:, _ROWS], sums[:, _POSITIVES]
    hits, alarms = sums[:, _TRUE_POSITIVES], sums[:, _FALSE_POSITIVES]
    negatives = rows - positives
    nothing = np.full(len(sums), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "accuracy": (hits + negatives - alarms) / rows,
            "precision": hits / (hits + alarms),
            "recall": hits / positives,
            "f1": 2 * hits / (positives + hits + alarms),
            "brier": sums[:, _SQUARED_ERROR] / rows if columns.has_probabilities else nothing,
            "ece": np.abs(sums[:, _BINS:]).sum(axis=1) / rows if columns.has_probabilities else nothing,
        }


def ece_noise(sums: FloatArray, columns: Contributions) -> FloatArray:
    """How far off ECE may be in each of some resamples, shape (samples,), from their column sums (samples, 5 + bins).

    It is the ECE of what the resample's bins deviate from the sample's. A measured ECE differs from the true one by at
    most this deviation of the sample from what it was drawn from (triangle inequality, bin by bin).
    """
    share = sums[:, _ROWS] / columns.values[:, _ROWS].sum()
    deviation = sums[:, _BINS:] - share[:, None] * columns.values[:, _BINS:].sum(axis=0)
    return np.asarray(np.abs(deviation).sum(axis=1) / sums[:, _ROWS])


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
