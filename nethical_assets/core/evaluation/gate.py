"""The promotion gate: accuracy and calibration against their thresholds, three-valued.

What belongs here: the rule by which an evaluation passes, fails, or is too small to tell. What does not: measuring
(``metrics``), the champion (``regression``), or what follows from the verdict (``core.delivery``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nethical_assets.core.evaluation.metrics import Evaluation, ReliabilityBin
from nethical_assets.core.ground.documents import to_document

Verdict = Literal["pass", "fail", "needs_more_data"]
Policy = Literal["strict", "probs_only", "disable"]

MINIMUM_ROWS = 500
"""From this many test rows on the point estimate decides: a model of true accuracy 0.82 then passes 0.85 in 4 % of
test samples, and a perfectly calibrated one exceeds an ECE of 0.08 (10 bins) in less than 0.5 %."""

_NULL_DRAWS = 2000


@dataclass(frozen=True)
class GateDecision:
    """The verdict, one sentence with numbers per reason, and everything the decision looked at.

    Attributes:
        minimum_rows: how many rows, or groups of rows where they come in groups, settle a criterion by its point value.
        groups: how many groups the rows are in; None where each row stands for itself.
        ece_noise: the ECE that a perfectly calibrated model would exceed in 5 % of samples of this size.
        ece_at_limit: the central 90 % of the ECE that a model exactly at the limit would show at this size.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    policy: Policy
    rows: int
    positives: int
    minimum_rows: int
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    accuracy_min: float
    ece: float | None
    ece_max: float
    ece_noise: float | None
    ece_at_limit: tuple[float, float] | None
    groups: int | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return to_document(self)


def decide(
    evaluation: Evaluation,
    *,
    accuracy_min: float,
    ece_max: float,
    policy: Policy = "strict",
    minimum_rows: int = MINIMUM_ROWS,
) -> GateDecision:
    """Judge an evaluation: ``accuracy >= accuracy_min`` and ``ECE <= ece_max``.

    Rule. A criterion is settled by its point estimate when the test sample is large enough, and by evidence when it is
    not:

    Rows that come in groups count as many as there are groups.

    - accuracy: settled from ``minimum_rows`` rows on; below, only if its exact 95 % interval lies wholly on one side of
      the threshold.
    - ECE: settled from ``minimum_rows`` rows on, provided that a perfectly calibrated model with these bin counts would
      exceed ``ece_max`` in at most 5 % of samples; otherwise only if it lies outside the central 90 % of what a model
      whose every occupied bin is off by exactly ``ece_max`` would show.

    One settled failure fails. Otherwise one unsettled criterion, or a test sample of one class, needs more data. An
    undefined metric fails. ``strict`` asks for both criteria, ``probs_only`` for ECE only where the model gives
    probabilities, ``disable`` for accuracy only.
    """
    accuracy, ece = evaluation.metrics["accuracy"], evaluation.metrics["ece"]
    outcomes: list[tuple[Verdict, str]] = []
    noise: float | None = None
    band: tuple[float, float] | None = None
    if evaluation.rows == 0:
        outcomes.append(("needs_more_data", "The test sample has 0 rows."))
    else:
        outcomes.append(_judge_accuracy(evaluation, accuracy_min, minimum_rows))
        if evaluation.reliability:
            noise, band = _ece_nulls(evaluation.reliability, ece_max, evaluation.seed)
        if policy == "disable":
            outcomes.append(("pass", "ECE was not asked for (policy disable)."))
        elif policy == "probs_only" and not evaluation.has_probabilities:
            outcomes.append(("pass", "ECE was not asked for: the model gives no probabilities (policy probs_only)."))
        else:
            outcomes.append(_judge_ece(evaluation, ece_max, minimum_rows, noise, band))
        if evaluation.positives in (0, evaluation.rows):
            kind = "negative" if evaluation.positives == 0 else "positive"
            outcomes.append(
                (
                    "needs_more_data",
                    f"All {evaluation.rows} test rows are {kind}: the other class is untested.",
                )
            )
    verdicts = {verdict for verdict, _ in outcomes}
    verdict: Verdict = "fail" if "fail" in verdicts else "needs_more_data" if "needs_more_data" in verdicts else "pass"
    return GateDecision(
        verdict=verdict,
        reasons=tuple(reason for _, reason in outcomes),
        policy=policy,
        rows=evaluation.rows,
        positives=evaluation.positives,
        minimum_rows=minimum_rows,
        accuracy=accuracy.value,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        accuracy_min=accuracy_min,
        ece=ece.value,
        ece_max=ece_max,
        ece_noise=noise,
        ece_at_limit=band,
        groups=evaluation.groups,
    )


def _judge_accuracy(evaluation: Evaluation, accuracy_min: float, minimum_rows: int) -> tuple[Verdict, str]:
    accuracy = evaluation.metrics["accuracy"]
    if accuracy.value is None or math.isnan(accuracy.value):
        return "fail", f"Accuracy is undefined: {accuracy.reason or 'not a number'}."
    low, high = accuracy.low or 0.0, 1.0 if accuracy.high is None else accuracy.high
    measured = f"Accuracy {accuracy.value:.4f} (95 % interval {low:.4f} to {high:.4f}, {_size(evaluation)})"
    if evaluation.units < minimum_rows and low < accuracy_min <= high:
        return "needs_more_data", (
            f"{measured} cannot be told from the minimum {accuracy_min:g}: the interval spans it and "
            f"{minimum_rows} {_units(evaluation)} are needed to decide by the point estimate."
        )
    if accuracy.value >= accuracy_min:
        return "pass", f"{measured} reaches the minimum {accuracy_min:g}."
    return "fail", f"{measured} is below the minimum {accuracy_min:g}."


def _judge_ece(
    evaluation: Evaluation, ece_max: float, minimum_rows: int, noise: float | None, band: tuple[float, float] | None
) -> tuple[Verdict, str]:
    ece = evaluation.metrics["ece"]
    if ece.value is None or math.isnan(ece.value) or noise is None or band is None:
        return "fail", f"ECE is undefined: {ece.reason or 'not a number'}."
    measured = f"ECE {ece.value:.4f} ({evaluation.ece_bins} bins, {_size(evaluation)})"
    settled = evaluation.units >= minimum_rows and noise <= ece_max
    if not settled and band[0] <= ece.value <= band[1]:
        return "needs_more_data", (
            f"{measured} cannot be told from the maximum {ece_max:g}: here a model exactly at the maximum shows "
            f"{band[0]:.4f} to {band[1]:.4f}, and a perfectly calibrated one up to {noise:.4f}."
        )
    at_most = ece.value <= ece_max if settled else ece.value < band[0]
    if at_most:
        return "pass", f"{measured} is within the maximum {ece_max:g}."
    return "fail", f"{measured} is above the maximum {ece_max:g}; noise alone explains up to {noise:.4f}."


def _units(evaluation: Evaluation) -> str:
    return "rows" if evaluation.groups is None else "groups"


def _size(evaluation: Evaluation) -> str:
    """How large the test sample is, for people."""
    return f"{evaluation.rows} test rows" + ("" if evaluation.groups is None else f" in {evaluation.groups} groups")


def _ece_nulls(reliability: tuple[ReliabilityBin, ...], ece_max: float, seed: int) -> tuple[float, tuple[float, float]]:
    """The 95 % quantile of the ECE of a perfectly calibrated model, and the central 90 % of one exactly at the limit.

    Each occupied bin's positives are binomial with its mean probability, or with that moved by ``ece_max`` towards the
    rate that was observed (to the other side where [0, 1] leaves no room). A bin of rows in groups spreads as the
    independent rows that it is worth.
    """
    occupied = [row for row in reliability if row.rows]
    rows = np.array([row.rows for row in occupied])
    means = np.array([row.mean_probability for row in occupied], dtype=np.float64)
    rates = np.array([row.observed_rate for row in occupied], dtype=np.float64)
    up = np.where(rates >= means, means + ece_max <= 1.0, means - ece_max < 0.0)
    limits = np.clip(np.where(up, means + ece_max, means - ece_max), 0.0, 1.0)
    worth = [row.rows if row.independent_rows is None else max(1, round(row.independent_rows)) for row in occupied]
    generator = np.random.default_rng(seed)

    def draws(truth: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
        observed = generator.binomial(worth, truth, size=(_NULL_DRAWS, len(rows))) / worth
        return np.asarray((np.abs(observed - means) * rows).sum(axis=1) / rows.sum())

    # A bin's mean carries rounding of its last bits, which would take the binomial outside [0, 1].
    noise = float(np.quantile(draws(np.clip(means, 0.0, 1.0)), 0.95))
    low, high = np.quantile(draws(limits), (0.05, 0.95))
    return noise, (float(low), float(high))
