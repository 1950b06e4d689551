"""A training run as a cohort: the whole numbers behind its evaluation.

What belongs here: from a stored evaluation to counts. What does not: finding evaluations (the stages).
"""

from __future__ import annotations

import numpy as np

from nethical_assets.core.drift.reliability import FIXED_POINT
from nethical_assets.core.evaluation.cohorts import TIERS, CohortCounts, risk_tiers
from nethical_assets.core.evaluation.metrics import Evaluation


def run_counts(evaluation: Evaluation) -> CohortCounts | None:
    """The counts of the test rows; None where predictions were not numbers.

    An evaluation keeps probabilities by bins: all rows of a bin are in the tier of its mean.
    """
    confusion = evaluation.confusion
    if confusion is None:
        return None
    occupied = [one for one in evaluation.reliability if one.rows and one.mean_probability is not None]
    means = np.array([one.mean_probability for one in occupied], dtype=np.float64)
    rows = np.array([one.rows for one in occupied], dtype=np.int64)
    low, normal, high, elevated = (
        np.bincount(risk_tiers(means), weights=rows, minlength=len(TIERS)).astype(int).tolist()
    )
    return CohortCounts(
        rows=evaluation.rows,
        called_positive=confusion.true_positives + confusion.false_positives,
        labelled=evaluation.rows,
        labelled_positives=evaluation.positives,
        missed=confusion.false_negatives,
        false_alarms=confusion.false_positives,
        tiers=(low, normal, high, elevated),
        risk_sum=sum(round((one.mean_probability or 0.0) * one.rows * FIXED_POINT) for one in occupied),
    )


def effects_of_run(evaluation: Evaluation) -> dict[str, float]:
    """How many rows are worth one independent row, by measure; nothing where each row stands for itself.

    Of missed positives and false alarms those of the sources, each by its rows; of the rest as if rows of one group
    were copies of each other, which they are at most.
    """
    if evaluation.groups is None or not evaluation.rows:
        return {}
    copies = max(1.0, evaluation.rows / max(evaluation.groups, 1))
    sources = evaluation.sources
    positives = [(one.positives, one.missed_effect or 1.0) for one in sources]
    negatives = [(one.rows - one.positives, one.false_alarm_effect or 1.0) for one in sources]
    missed, alarms = (_together(rows) or copies for rows in (positives, negatives))
    return {"missed": missed, "false_alarms": alarms, "wrong": max(missed, alarms, 1.0), "risk": copies}


def _together(parts: list[tuple[int, float]]) -> float:
    """The effect of rows of several parts, each with its own."""
    worth = sum(rows / max(effect, 1.0) for rows, effect in parts)
    return sum(rows for rows, _ in parts) / worth if worth else 0.0
