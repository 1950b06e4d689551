"""The evaluation of one model on labelled rows: metrics with intervals, reliability table, metrics per source.

What belongs here: ``evaluate`` and the documents it returns. What does not: thresholds and decisions (``gate``,
``regression``), formulas (``measures``) or pictures (``plots``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nethical_assets.core.evaluation.bootstrap import percentile_interval, resampled_sums
from nethical_assets.core.evaluation.clusters import IntArray, cluster_codes, design_effect
from nethical_assets.core.evaluation.estimate import Estimate, proportion, undefined
from nethical_assets.core.evaluation.measures import (
    METRICS,
    Contributions,
    FloatArray,
    bin_of,
    columns_of,
    ece_noise,
    metrics_of,
)
from nethical_assets.core.evaluation.operating_points import OperatingPoints, operating_points
from nethical_assets.core.evaluation.ranking import auc_interval
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import DatasetError

SOURCE_BOOTSTRAP_SAMPLES = 200
"""Resamples behind the intervals of per-source metrics, at most."""

LabelArray = npt.NDArray[np.int8]


@dataclass(frozen=True)
class ConfusionMatrix:
    """Row counts at the decision threshold."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows whose probability lies in ``[low, high)`` (the last bin includes 1).

    ``mean_probability``, ``observed_rate`` (share of positives) and its exact 95 % interval are None without rows.
    ``independent_rows``: how many independent rows the rows are worth that come in groups; None where each stands for
    itself.
    """

    low: float
    high: float
    rows: int
    mean_probability: float | None
    observed_rate: float | None
    observed_low: float | None
    observed_high: float | None
    independent_rows: float | None = None


@dataclass(frozen=True)
class SourceEvaluation:
    """The metrics (named as in ``measures.METRICS``) on the rows of one source.

    ``missed_effect`` and ``false_alarm_effect``: how many times fewer independent rows its positives and its negatives
    are worth, where they come in groups; None where each stands for itself.
    """

    source: str
    rows: int
    positives: int
    metrics: Mapping[str, Estimate]
    missed_effect: float | None = None
    false_alarm_effect: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """What one model scored on labelled rows.

    ``metrics`` maps each name in ``measures.METRICS`` to its estimate. Accuracy, precision, recall and F1 carry exact
    Clopper-Pearson intervals, ROC AUC a score interval, Brier and ECE bootstrap intervals. ``confusion`` is None, and
    metrics are undefined with a reason, when predictions are not finite numbers. ``operating_points`` are the points of
    the ROC and the precision-recall curve; None then, and in evaluations that were stored before there were any.
    ``groups``: how many groups the rows are in, a row without one counting as one; None where each row stands for
    itself.
    """

    rows: int
    positives: int
    decision_threshold: float
    ece_bins: int
    bootstrap_samples: int
    seed: int
    has_probabilities: bool
    confusion: ConfusionMatrix | None
    metrics: Mapping[str, Estimate]
    reliability: tuple[ReliabilityBin, ...]
    sources: tuple[SourceEvaluation, ...]
    operating_points: OperatingPoints | None = None
    groups: int | None = None

    @property
    def units(self) -> int:
        """How many units the sample has that tell something of their own: groups, or rows where there are none."""
        return self.rows if self.groups is None else self.groups

    def value(self, name: str) -> float | None:
        """The point value of the metric ``name``, None where it is undefined."""
        return self.metrics[name].value

    def values(self) -> dict[str, float | None]:
        """Every metric's point value."""
        return {name: estimate.value for name, estimate in self.metrics.items()}

    def to_json(self) -> dict[str, Any]:
        """A JSON object (no NaN, no infinity)."""
        return to_document(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any], where: str = "evaluation") -> Evaluation:
        """The inverse of ``to_json``.

        Raises:
            IntegrityError: it is no such document; the line starts with ``where``.
        """
        return from_document(cls, document, where)


def evaluate(
    labels: LabelArray,
    probabilities: FloatArray | None,
    scores: FloatArray,
    *,
    decision_threshold: float = 0.5,
    ece_bins: int,
    bootstrap_samples: int,
    seed: int,
    sources: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> Evaluation:
    """Every metric of one model on labelled rows.

    Args:
        labels: shape (rows,), 0 or 1.
        probabilities: calibrated probability of the positive class, shape (rows,), in [0, 1]; None when the model has
            none: decisions then compare the score with the threshold, and Brier and ECE are undefined.
        scores: shape (rows,); ROC AUC ranks by it.
        decision_threshold: a row is called positive at or above it.
        ece_bins: number of equal-width bins over [0, 1]. ECE is the mean over rows of the distance between a bin's mean
            probability and its share of positives (Naeini et al. 2015; positive-class form): 0 for p=0 and label 0.
        bootstrap_samples: resamples behind the bootstrap intervals.
        seed: of the bootstrap.
        sources: name of each row's source, shape (rows,).
        groups: name of each row's group within its source, shape (rows,), empty for a row without one. Rows of one
            group are not independent; intervals say so.

    Raises:
        DatasetError: a label is neither 0 nor 1.
        ValueError: lengths differ, or ``ece_bins`` or ``bootstrap_samples`` is below 1.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    probabilities = None if probabilities is None else np.asarray(probabilities, dtype=np.float64)
    check_lengths(labels, scores, *([] if probabilities is None else [probabilities]))
    if ece_bins < 1 or bootstrap_samples < 1:
        raise ValueError("ece_bins and bootstrap_samples must be at least 1")
    source_names: npt.NDArray[Any] | None = None if sources is None else np.asarray(sources)
    if source_names is not None and source_names.shape != labels.shape:
        raise ValueError(f"{source_names.shape} sources for {labels.shape} labels")

    clusters = cluster_codes(groups, source_names, len(labels))

    def measure(rows: npt.NDArray[Any] | slice, samples: int) -> tuple[Contributions | None, dict[str, Estimate]]:
        chosen = None if probabilities is None else probabilities[rows]
        fault = prediction_fault(chosen, scores[rows])
        columns = None if fault else columns_of(labels[rows], chosen, scores[rows], decision_threshold, ece_bins)
        return columns, _estimates(columns, fault, samples, seed, None if clusters is None else clusters[rows])

    columns, metrics = measure(slice(None), bootstrap_samples)
    by_source = []
    for name in [] if source_names is None else sorted(set(source_names.tolist())):
        rows = source_names == name
        own, estimates = measure(rows, min(bootstrap_samples, SOURCE_BOOTSTRAP_SAMPLES))
        effects = (None, None) if own is None or clusters is None else _error_effects(own, clusters[rows])
        counts = int(rows.sum()), int((labels[rows] == 1).sum())
        by_source.append(SourceEvaluation(str(name), *counts, estimates, *effects))
    return Evaluation(
        rows=len(labels),
        positives=int((labels == 1).sum()),
        decision_threshold=decision_threshold,
        ece_bins=ece_bins,
        bootstrap_samples=bootstrap_samples,
        seed=seed,
        has_probabilities=probabilities is not None,
        confusion=None if columns is None else _confusion(columns),
        metrics=metrics,
        reliability=()
        if columns is None or probabilities is None
        else _reliability(labels, probabilities, ece_bins, clusters),
        sources=tuple(by_source),
        operating_points=None if columns is None else operating_points(labels, scores),
        groups=None if clusters is None else len(np.unique(clusters)),
    )


def accuracy_of(
    labels: LabelArray,
    probabilities: FloatArray,
    *,
    decision_threshold: float = 0.5,
    sources: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> Estimate:
    """The accuracy that ``evaluate`` gives, alone; undefined where a probability is not a number in [0, 1].

    Raises:
        DatasetError: a label is neither 0 nor 1.
        ValueError: lengths differ.
    """
    check_lengths(labels, probabilities)
    fault = prediction_fault(probabilities, probabilities)
    if fault:
        return undefined(fault)
    right = (labels == 1) == (probabilities >= decision_threshold)
    return _share(right, np.ones_like(right), cluster_codes(groups, sources, len(labels)), "no rows")


def check_lengths(labels: LabelArray, *others: FloatArray) -> None:
    """Refuse arrays that do not belong together, and labels that are not 0 or 1."""
    shapes = [labels.shape, *(array.shape for array in others)]
    if any(shape != (len(labels),) for shape in shapes):
        raise ValueError(f"arrays of different shapes: {shapes}")
    if not np.isin(labels, (0, 1)).all():
        strange = labels[~np.isin(labels, (0, 1))][0]
        raise DatasetError(f"label {strange!s} in the test rows: labels must be 0 or 1")


def prediction_fault(probabilities: FloatArray | None, scores: FloatArray) -> str:
    """Why predictions cannot be measured, or an empty string."""
    if probabilities is not None:
        bad = int((~((probabilities >= 0.0) & (probabilities <= 1.0))).sum())
        if bad:
            return f"{bad} of {len(probabilities)} probabilities are not numbers in [0, 1]"
    bad = int((~np.isfinite(scores)).sum())
    return f"{bad} of {len(scores)} scores are not finite numbers" if bad else ""


def _confusion(columns: Contributions) -> ConfusionMatrix:
    rows, positives, hits, alarms = (round(total) for total in columns.values[:, :4].sum(axis=0))
    return ConfusionMatrix(hits, alarms, rows - positives - alarms, positives - hits)


def _estimates(
    columns: Contributions | None, fault: str, samples: int, seed: int, clusters: IntArray | None
) -> dict[str, Estimate]:
    if columns is None:
        return {name: undefined(fault) for name in METRICS}
    positive, called = columns.positive, columns.called
    rows, everything = len(positive), np.ones(len(positive), dtype=bool)
    overlap = _share(positive & called, positive | called, clusters, "no positive rows and none called positive")
    estimates = {
        "accuracy": _share(positive == called, everything, clusters, "no rows"),
        "precision": _share(positive & called, called, clusters, "no row was called positive"),
        "recall": _share(positive & called, positive, clusters, "no positive rows"),
        # Of the rows that are positive or called so, the share that is both, p, is binomial, and F1 is 2p / (1 + p).
        "f1": _f1_of_overlap(overlap),
        "roc_auc": undefined("rows of one class only"),
    }
    if positive.any() and not positive.all():
        interval = auc_interval(columns.roc_auc, columns.auc_components, positive, clusters)
        estimates["roc_auc"] = Estimate(columns.roc_auc, *_around(columns.roc_auc, interval))
    reason = _probability_reason(columns, rows)
    if reason:
        return estimates | {name: undefined(reason) for name in ("brier", "ece")}
    point = metrics_of(columns.values.sum(axis=0, keepdims=True), columns)
    sums = resampled_sums(columns.values, samples, seed, clusters)
    replicates = metrics_of(sums, columns)
    for name in ("brier", "ece"):
        value = float(point[name][0])
        low, high = percentile_interval(replicates[name], clusters=clusters)
        if name == "ece":
            # Noise makes every ECE too large, and a resampled one twice as much: the low end is as far away as noise
            # may reach, the high end as far as resamples spread.
            high = value + high - round(float(np.median(replicates[name])), 6)
            low = value - percentile_interval(ece_noise(sums, columns), clusters=clusters)[1]
        low, high = _around(value, (low, high)) if _several(clusters) else (0.0, 1.0)
        estimates[name] = Estimate(value, max(0.0, low), min(1.0, high))
    return estimates


def _share(
    hits: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], clusters: IntArray | None, reason: str
) -> Estimate:
    """The share of the rows ``among`` that are ``hits``."""
    return proportion(int(hits[among].sum()), int(among.sum()), reason, _effect(hits, among, clusters))


def _effect(hits: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_], clusters: IntArray | None) -> float:
    """How many times fewer independent rows the rows ``among`` are worth for the share that are ``hits``."""
    chosen = hits[among]
    centred = chosen - chosen.mean() if len(chosen) else np.zeros(0)
    return design_effect(centred, None if clusters is None else clusters[among])


def _error_effects(columns: Contributions, clusters: IntArray) -> tuple[float, float]:
    """The design effects of the positives that are missed and of the negatives that are called positive."""
    missed, alarms = columns.positive & ~columns.called, ~columns.positive & columns.called
    return _effect(missed, columns.positive, clusters), _effect(alarms, ~columns.positive, clusters)


def _f1_of_overlap(overlap: Estimate) -> Estimate:
    if overlap.value is None or overlap.low is None or overlap.high is None:
        return overlap
    value, low, high = (2.0 * share / (1.0 + share) for share in (overlap.value, overlap.low, overlap.high))
    return Estimate(value, low, high)


def _several(clusters: IntArray | None) -> bool:
    """Whether there is more than one independent unit to learn the variation from."""
    return clusters is None or len(np.unique(clusters)) > 1


def _probability_reason(columns: Contributions, rows: int) -> str:
    if not columns.has_probabilities:
        return "the model gives no probabilities"
    return "" if rows else "no rows"


def _around(value: float, interval: tuple[float, float]) -> tuple[float, float]:
    return min(value, interval[0]), max(value, interval[1])


def _reliability(
    labels: LabelArray, probabilities: FloatArray, bins: int, clusters: IntArray | None
) -> tuple[ReliabilityBin, ...]:
    which, positive = bin_of(probabilities, bins), labels == 1
    totals = np.bincount(which, weights=probabilities, minlength=bins)
    table = []
    for index in range(bins):
        inside, edges = which == index, (index / bins, (index + 1) / bins)
        count = int(inside.sum())
        rate = _share(positive & inside, inside, clusters, "")
        mean = float(totals[index] / count) if count else None
        worth = None if clusters is None else count / _effect(positive, inside, clusters)
        table.append(ReliabilityBin(*edges, count, mean, rate.value, rate.low, rate.high, worth))
    return tuple(table)
