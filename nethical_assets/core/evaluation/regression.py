"""The comparison of a candidate with the champion re-scored on the same test rows.

What belongs here: paired differences, their intervals and the verdict. What does not: absolute thresholds (``gate``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nethical_assets.core.evaluation.bootstrap import percentile_interval, resampled_sums
from nethical_assets.core.evaluation.clusters import IntArray, cluster_codes
from nethical_assets.core.evaluation.estimate import clopper_pearson
from nethical_assets.core.evaluation.gate import MINIMUM_ROWS
from nethical_assets.core.evaluation.measures import FloatArray, columns_of, metrics_of
from nethical_assets.core.evaluation.metrics import LabelArray, check_lengths, prediction_fault
from nethical_assets.core.ground.documents import to_document

Verdict = Literal["pass", "fail", "needs_more_data", "no_champion"]

_LOSS_SIGN = {"accuracy": -1.0, "f1": -1.0, "ece": 1.0}
_TITLES = {"accuracy": "Accuracy", "f1": "F1", "ece": "ECE"}


@dataclass(frozen=True)
class Comparison:
    """One metric of both models on the same rows; ``loss`` is how much worse the candidate is (negative: better)."""

    metric: str
    candidate: float | None
    champion: float | None
    loss: float | None
    loss_low: float | None
    loss_high: float | None


@dataclass(frozen=True)
class RegressionReport:
    """``fail`` is a regression; ``reasons`` has one sentence per metric. ``groups``: how many groups the rows are in,
    which then count against ``minimum_rows``; None where each row stands for itself."""

    verdict: Verdict
    reasons: tuple[str, ...]
    rows: int
    tolerance: float
    minimum_rows: int
    comparisons: tuple[Comparison, ...]
    groups: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return to_document(self)


def compare_with_champion(
    labels: LabelArray,
    candidate_probabilities: FloatArray,
    champion_probabilities: FloatArray | None,
    *,
    tolerance: float,
    decision_threshold: float = 0.5,
    ece_bins: int,
    bootstrap_samples: int,
    seed: int,
    minimum_rows: int = MINIMUM_ROWS,
    sources: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> RegressionReport:
    """Whether accuracy or F1 is lower, or ECE higher, than the champion's by more than ``tolerance``.

    All arrays have shape (rows,); both models scored the same rows. The point difference decides from ``minimum_rows``
    rows on; below, only if the paired bootstrap's 95 % interval lies wholly on one side of the tolerance. One settled
    regression fails; otherwise one unsettled metric needs more data. Without a champion there is nothing to compare.
    With ``groups`` (and ``sources``) of the rows, as in ``evaluate``, the bootstrap draws whole groups, and rows count
    as many as there are groups.

    Raises:
        DatasetError: a label is neither 0 nor 1.
        ValueError: lengths differ.
    """

    clusters = cluster_codes(groups, sources, len(labels))
    units = None if clusters is None else len(np.unique(clusters))

    def report(verdict: Verdict, reasons: list[str], comparisons: tuple[Comparison, ...] = ()) -> RegressionReport:
        return RegressionReport(verdict, tuple(reasons), len(labels), tolerance, minimum_rows, comparisons, units)

    if champion_probabilities is None:
        return report("no_champion", ["There is no champion to compare with."])
    check_lengths(labels, candidate_probabilities, champion_probabilities)
    if len(labels) == 0:
        return report("needs_more_data", ["The test sample has 0 rows."])
    models = {"candidate": candidate_probabilities, "champion": champion_probabilities}
    faults = {name: prediction_fault(values, values) for name, values in models.items()}
    if faults["candidate"]:
        return report("fail", [f"The candidate cannot be compared: {faults['candidate']}."])
    if faults["champion"]:
        return report("no_champion", [f"The champion cannot be compared: {faults['champion']}."])
    columns = {
        name: columns_of(labels, values, values, decision_threshold, ece_bins) for name, values in models.items()
    }
    both = np.hstack([columns["candidate"].values, columns["champion"].values])
    width = columns["candidate"].values.shape[1]

    def measured(sums: FloatArray) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        return metrics_of(sums[:, :width], columns["candidate"]), metrics_of(sums[:, width:], columns["champion"])

    point = measured(both.sum(axis=0, keepdims=True))
    replicates = measured(resampled_sums(both, bootstrap_samples, seed, clusters))
    same = np.array_equal(candidate_probabilities, champion_probabilities)
    comparisons, verdicts, reasons = [], set(), []
    for metric, sign in _LOSS_SIGN.items():
        candidate, champion = (float(side[metric][0]) for side in point)
        losses = sign * (replicates[0][metric] - replicates[1][metric])
        interval = (0.0, 0.0) if same else _loss_interval(losses, len(labels), clusters)
        comparison = _compare(metric, candidate, champion, sign, interval)
        verdict, reason = _judge(comparison, tolerance, len(labels), units, minimum_rows)
        comparisons.append(comparison)
        verdicts.add(verdict)
        reasons.append(reason)
    worst: Verdict = "fail" if "fail" in verdicts else "needs_more_data" if "needs_more_data" in verdicts else "pass"
    return report(worst, reasons, tuple(comparisons))


def _loss_interval(losses: FloatArray, rows: int, clusters: IntArray | None) -> tuple[float, float]:
    """The interval of a loss: models that are equally good on a few rows, or on one group, may differ on others."""
    if not np.isfinite(losses).any():
        return -1.0, 1.0
    low, high = percentile_interval(losses, clusters=clusters)
    if low == high:
        unseen = clopper_pearson(0, rows if clusters is None else len(np.unique(clusters)))[1]
        low, high = low - unseen, high + unseen
    return max(-1.0, low), min(1.0, high)


def _compare(metric: str, candidate: float, champion: float, sign: float, interval: tuple[float, float]) -> Comparison:
    if not (np.isfinite(candidate) and np.isfinite(champion)):
        return Comparison(metric, None, None, None, None, None)
    return Comparison(metric, candidate, champion, sign * (candidate - champion), *interval)


def _judge(
    comparison: Comparison, tolerance: float, rows: int, groups: int | None, minimum_rows: int
) -> tuple[Verdict, str]:
    title = _TITLES[comparison.metric]
    loss, low, high = comparison.loss, comparison.loss_low, comparison.loss_high
    if loss is None or low is None or high is None:
        return "needs_more_data", f"{title} is undefined on these {rows} rows."
    size = f"{rows} rows" + ("" if groups is None else f" in {groups} groups")
    measured = (
        f"{title} {comparison.candidate:.4f} against the champion's {comparison.champion:.4f} "
        f"(worse by {loss:+z.4f}, 95 % interval {low:+z.4f} to {high:+z.4f}, {size})"
    )
    if (rows if groups is None else groups) < minimum_rows and low <= tolerance < high:
        return "needs_more_data", f"{measured} cannot be told from the tolerance {tolerance:g}."
    if loss > tolerance:
        return "fail", f"{measured} is a regression: the tolerance is {tolerance:g}."
    return "pass", f"{measured} is within the tolerance {tolerance:g}."
