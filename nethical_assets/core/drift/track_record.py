"""Estimated accuracy held against the truth: what labels that came later say of estimates that were made without them.

What belongs here: which rows are compared, and when estimates may not be trusted. What does not: the estimate
(``statistics.estimated_accuracy``), or a fall of accuracy (``monitors``), of which labels say more than any estimate.

The estimate of a window is of all its rows; labels come for some, often those that the model is least sure of
(``label_queue``). So the rows that got labels are estimated from their probabilities, as if the labels were not known,
and the labels say how many of them are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.statistics.estimated_accuracy import Confidence, estimated_accuracy

Trust = Literal["untested", "held", "contradicted"]
MISSES_BY_CHANCE = 0.05
"""So many of the 95 % intervals miss the truth where the estimates are right."""
_CERTAIN = 0.01
"""Estimates are contradicted when so many misses, or more, have a smaller chance."""


@dataclass(frozen=True)
class HeldEstimate:
    """Consecutive windows, from ``start`` to before ``end``: ``accuracy`` of their ``labelled_rows`` as the labels say,
    and ``estimate`` with its 95 % interval as the probabilities do; all in [0, 1]."""

    start: datetime
    end: datetime
    labelled_rows: int
    estimate: float
    low: float
    high: float
    accuracy: float

    @property
    def held(self) -> bool:
        """Whether the interval holds the accuracy."""
        return self.low <= self.accuracy <= self.high


@dataclass(frozen=True)
class TrackRecord:
    """The comparisons of one model, oldest first."""

    comparisons: tuple[HeldEstimate, ...]

    @property
    def misses(self) -> int:
        """How many intervals did not hold the truth."""
        return sum(not one.held for one in self.comparisons)

    @property
    def trust(self) -> Trust:
        """``contradicted`` when more intervals missed than chance explains, else ``held``; ``untested`` without any."""
        if not self.comparisons:
            return "untested"
        return "contradicted" if self.chance < _CERTAIN else "held"

    @property
    def chance(self) -> float:
        """The chance of so many misses or more, were every interval right: a binomial tail, in [0, 1]."""
        from scipy.special import bdtrc

        return float(bdtrc(self.misses - 1, len(self.comparisons), MISSES_BY_CHANCE)) if self.misses else 1.0

    @property
    def reason(self) -> str:
        """What the record says, in one line."""
        number = len(self.comparisons)
        if not number:
            return "No estimate was held against labels yet: too few rows got some."
        said = (
            f"what labels say was inside the estimate's 95 % interval in {number - self.misses} of {number} comparisons"
        )
        if self.trust == "held":
            return f"Estimates agree with the labels: {said}."
        return (
            f"Estimates may not be trusted: {said} (chance {self.chance:.2g}). The same inputs have other labels than "
            "in the reference: only labels tell the accuracy."
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "trust": self.trust,
            "reason": self.reason,
            "comparisons": [
                {
                    "start": one.start.isoformat(),
                    "end": one.end.isoformat(),
                    "labelled_rows": one.labelled_rows,
                    "estimate": one.estimate,
                    "low": one.low,
                    "high": one.high,
                    "accuracy": one.accuracy,
                    "held": one.held,
                }
                for one in self.comparisons
            ],
        }


def track_record(
    reference: Reference, labelled: Mapping[tuple[datetime, datetime], Reliability], minimum_labelled_rows: int
) -> TrackRecord:
    """The record of a model over consecutive windows (start, end) with their labelled rows.

    Windows with few labels are taken together until ``minimum_labelled_rows`` are there. Rows count as independent
    given their probabilities. A reference without labelled rows has no estimates, and no record.
    """
    if reference.reliability is None:
        return TrackRecord(())
    confidence = Confidence.of(reference.reliability, reference.decision_threshold)
    found: list[HeldEstimate] = []
    together, begun = Reliability.none(reference.decision_threshold), datetime.min
    for (start, end), rows in sorted(labelled.items()):
        begun = begun if together.total else start
        together = together + rows
        if together.total and together.total >= minimum_labelled_rows:
            found += _compared(confidence, reference.decision_threshold, begun, end, together)
            together = Reliability.none(reference.decision_threshold)
    return TrackRecord(tuple(found))


def _compared(
    confidence: Confidence, decision_threshold: float, start: datetime, end: datetime, labelled: Reliability
) -> Sequence[HeldEstimate]:
    rows = np.array(labelled.rows, dtype=np.int64)
    measured = estimated_accuracy(confidence, rows, np.array(labelled.probability_sums, dtype=np.int64))
    if measured.statistic is None or measured.low is None or measured.high is None:
        return ()
    accuracy = labelled.correct(decision_threshold) / labelled.total
    return (HeldEstimate(start, end, labelled.total, measured.statistic, measured.low, measured.high, accuracy),)
