"""Estimated accuracy held against the truth: what labels that came later say of estimates that were made without them.

What belongs here: which rows are compared, and when estimates may not be trusted. What does not: the estimate
(``statistics.estimated_accuracy``), or a fall of accuracy (``monitors``), of which labels say more than any estimate.

The estimate of a window is of all its rows; labels come for some, often those that the model is least sure of
(``label_queue``). So the rows that got labels are estimated from their probabilities, as if the labels were not known,
and the labels say how many of them are right.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.reliability import FIXED_POINT, Reliability
from nethical_assets.core.drift.statistics.estimated_accuracy import Confidence, estimated_accuracy

Trust = Literal["untested", "held", "contradicted"]
_TIMES_THE_INTERVAL = 2.0
"""Estimates are contradicted when the truth of all rows is so many half-widths of the 95 % interval away. One would be
crossed by chance in time: windows that overlap are looked at again and again."""


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

    @property
    def is_contradicted(self) -> bool:
        """Whether the accuracy is far outside of the interval."""
        below, above = self.estimate - self.low, self.high - self.estimate
        far = _TIMES_THE_INTERVAL
        return not self.estimate - far * below <= self.accuracy <= self.estimate + far * above


@dataclass(frozen=True)
class TrackRecord:
    """The comparisons of one model, oldest first, and of all of their rows ``together``; None without any."""

    comparisons: tuple[HeldEstimate, ...] = ()
    together: HeldEstimate | None = None

    @property
    def trust(self) -> Trust:
        """What all rows say; ``untested`` without any."""
        if self.together is None:
            return "untested"
        return "contradicted" if self.together.is_contradicted else "held"

    @property
    def reason(self) -> str:
        """What the record says, in one line."""
        if self.together is None:
            return "No estimate was held against labels yet: too few rows got some."
        said = (
            f"of {self.together.labelled_rows} labelled rows {self.together.accuracy:.3f} are right, and "
            f"{self.together.estimate:.3f} were estimated to be (95 % interval {self.together.low:.3f} to "
            f"{self.together.high:.3f})"
        )
        if self.trust == "held":
            return f"Estimates agree with the labels: {said}."
        return (
            f"Estimates may not be trusted: {said}. Probabilities do not mean what they meant in the reference: only "
            "labels tell the accuracy."
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


Labelled = Mapping[tuple[datetime, datetime], Sequence[Reliability]]
"""Windows (start, end), and the labelled rows of the sub-windows of each."""


def track_record(reference: Reference, labelled: Labelled, minimum_labelled_rows: int) -> TrackRecord:
    """The record of a model over consecutive windows.

    Windows with few labels are taken together until ``minimum_labelled_rows`` are there. Rows of one sub-window may
    repeat each other: intervals are as much wider as the sub-windows of a comparison differ more than independent rows
    would (Liang and Zeger 1986). A reference without labelled rows has no estimates, and no record.
    """
    if reference.reliability is None:
        return TrackRecord()
    taken = list(_taken_together(labelled, minimum_labelled_rows))
    if not taken:
        return TrackRecord()
    confidence = Confidence.of(reference.reliability, reference.decision_threshold)
    inflation = _inflation(confidence, reference.decision_threshold, [parts for _, _, parts in taken])

    def compared(start: datetime, end: datetime, parts: Sequence[Reliability]) -> HeldEstimate:
        together = functools.reduce(operator.add, parts)
        rows, sums = (np.array(counts, dtype=np.int64) for counts in (together.rows, together.probability_sums))
        measured = estimated_accuracy(confidence, rows, sums, design_effect=inflation)
        estimate, low, high = (value or 0.0 for value in (measured.statistic, measured.low, measured.high))
        right = together.correct(reference.decision_threshold)
        return HeldEstimate(start, end, together.total, estimate, low, high, right / together.total)

    every = [one for _, _, parts in taken for one in parts]
    return TrackRecord(tuple(compared(*one) for one in taken), compared(taken[0][0], taken[-1][1], every))


def _taken_together(labelled: Labelled, rows: int) -> Iterator[tuple[datetime, datetime, list[Reliability]]]:
    """Consecutive windows with at least so many labelled rows, and one."""
    begun, parts = datetime.min, list[Reliability]()
    for (start, end), sub_windows in sorted(labelled.items()):
        begun = begun if parts else start
        parts += [one for one in sub_windows if one.total]
        if parts and sum(one.total for one in parts) >= rows:
            yield begun, end, parts
            parts = []


def _inflation(confidence: Confidence, decision_threshold: float, taken: Sequence[Sequence[Reliability]]) -> float:
    """How much more sub-windows of one comparison differ, in what is right beyond the estimate, than independent rows
    would; at least 1."""
    seen = expected = 0.0
    for parts in taken:
        rows = np.array([one.rows for one in parts], dtype=np.float64)
        sums = np.array([one.probability_sums for one in parts], dtype=np.float64) / FIXED_POINT
        right = confidence.right(rows, sums)
        surplus = np.array([one.correct(decision_threshold) for one in parts]) - right.sum(axis=1)
        sizes = rows.sum(axis=1)
        around = surplus - sizes * surplus.sum() / sizes.sum()
        if len(parts) > 1:
            seen += float((around**2).sum()) * len(parts) / (len(parts) - 1)
            share = right / np.maximum(rows, 1.0)
            expected += float((rows * share * (1.0 - share)).sum())
    return max(1.0, seen / expected) if expected > 0.0 else 1.0
