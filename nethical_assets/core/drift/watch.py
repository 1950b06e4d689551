"""The judgement of one watch window: which sub-windows are judged, against what, and which of two verdicts counts.

What belongs here: the periods of a window, what is calm before them, measuring and judging both under one budget, and
the verdict on the whole. What does not: the statistics and the rule of one period (``window``, ``monitors``), the
report about it (``watch_report``), or where sketches and the ledger are (``home.watch``).

A window is judged twice: by itself, which sees large changes within hours, and together with the time before it (the
trailing period), which sees small ones that last. Both begin not before the champion was promoted. Where both have the
same rows there is one judgement.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from nethical_assets.core.drift.budget import Period, Spending
from nethical_assets.core.drift.monitors import (
    MonitorReport,
    MonitorVerdict,
    Priority,
    WindowMeasurements,
    judge_window,
)
from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.window import measure_window
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import digest_json

CALM_PERIOD = timedelta(days=7)
"""From how long before a period the noise of calm traffic is learnt, at most."""
_WORST_FIRST: tuple[MonitorVerdict, ...] = ("drift", "changed", "needs_more_data", "hold", "stable")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Spend = Callable[[Period, WindowMeasurements], tuple[Spending, WindowMeasurements]]
"""The entry of the ledger for a judgement, and what is judged: what was measured of the same evidence first."""


@dataclass(frozen=True)
class WatchLimits:
    """What a window is judged by.

    Attributes:
        threshold: of effects, in (0, 1]; accuracy_drop: how far accuracy may fall, in (0, 1].
        minimum_rows, minimum_labelled_rows: with fewer, statistics need more data.
        trailing_hours: how long the trailing period is.
        minutes: the length of a sub-window, a divisor of 60.
    """

    threshold: float
    accuracy_drop: float
    minimum_rows: int
    minimum_labelled_rows: int
    trailing_hours: int
    minutes: int


@dataclass(frozen=True)
class Span:
    """The time of a period: from ``start`` to before ``end``; ``hours`` as the settings have it."""

    name: Period
    start: datetime
    end: datetime
    hours: int


def spans(window: Window, since: datetime, trailing_hours: int) -> tuple[Span, Span]:
    """The window and the trailing period that ends with it, of a champion promoted at ``since``. A trailing period is
    at least as long as the window."""
    hours = int((window.end - window.start) / timedelta(hours=1))
    longer = max(hours, trailing_hours)
    return (
        Span("window", max(window.start, since), window.end, hours),
        Span("trailing", max(window.end - timedelta(hours=longer), since), window.end, longer),
    )


def earliest(window: Window, since: datetime, trailing_hours: int) -> datetime:
    """From when on sub-windows are needed: those of the trailing period, and the calm ones before it."""
    return max(since, spans(window, since, trailing_hours)[1].start - CALM_PERIOD)


@dataclass(frozen=True, eq=False)
class Timeline:
    """What the champion scored.

    Attributes:
        sketches: beginning of a sub-window of ``minutes`` -> its sketch, labels included, of those that have rows.
    """

    reference: Reference
    minutes: int
    sketches: Mapping[datetime, Sketch]

    @cached_property
    def _moments(self) -> list[datetime]:
        return sorted(self.sketches)

    def between(self, start: datetime, end: datetime, without: Sequence[Window] = ()) -> list[Sketch]:
        """The consecutive sub-windows from ``start`` to before ``end``, from the first that has rows to the last;
        those that begin in windows of ``without`` are left out."""
        step = timedelta(minutes=self.minutes)
        first = _EPOCH + (start - _EPOCH) // step * step
        moments = self._moments[bisect_left(self._moments, first) : bisect_left(self._moments, end)]
        if not moments:
            return []
        nothing = Sketch.empty(self.reference)
        number = (moments[-1] - moments[0]) // step + 1
        every = (moments[0] + index * step for index in range(number))
        return [
            self.sketches.get(moment, nothing)
            for moment in every
            if not any(window.start <= moment < window.end for window in without)
        ]


@dataclass(frozen=True)
class Judgement:
    """One period and the verdict on it. ``look`` is 0 where nothing was spent."""

    span: Span
    report: MonitorReport
    look: int


@dataclass(frozen=True)
class Watched:
    """The judgements of a window and its trailing period; one where both have the same rows."""

    model: str
    judgements: tuple[Judgement, ...]

    @property
    def worst(self) -> Judgement:
        """The judgement whose verdict is that of the whole: drift before changed, needs more data, hold, and stable. So
        a window without traffic is never stable, whatever was before it. Of two with one verdict, that with the
        higher priority, or else the first."""
        return min(
            self.judgements,
            key=lambda one: (_WORST_FIRST.index(one.report.verdict), one.report.priority != "high"),
        )

    @property
    def verdict(self) -> MonitorVerdict:
        """The verdict on the whole."""
        return self.worst.report.verdict

    @property
    def priority(self) -> Priority:
        """That of the whole."""
        return self.worst.report.priority

    @property
    def drift_score(self) -> float | None:
        """The larger score of both; None where neither has an answer."""
        scores = [one.report.drift_score for one in self.judgements if one.report.measured.has_answers]
        return max(scores, default=None)

    @property
    def cause(self) -> str:
        """A digest of the model and of what drifted of it, the same for every report about the same change; empty
        unless the verdict is drift."""
        drifted = {
            outcome.monitor.name
            for one in self.judgements
            for outcome in one.report.outcomes
            if outcome.outcome == "drifted"
        }
        return digest_json([self.model, sorted(drifted)]) if drifted else ""


def watch(
    timeline: Timeline,
    window: Window,
    *,
    model: str,
    since: datetime,
    without: Sequence[Window],
    limits: WatchLimits,
    spend: Spend,
) -> Watched:
    """Judge a window of a champion.

    Args:
        timeline: from ``earliest`` to the end of the window.
        since: when the champion was promoted.
        without: windows before whose newest report said drift or changed: nothing is learnt from them.
        spend: asked for each judgement that has an answer, in this order: window, trailing period.
    """
    judgements: list[Judgement] = []
    for span in spans(window, since, limits.trailing_hours):
        before = timeline.between(max(since, span.start - CALM_PERIOD), span.start, without)
        measured = measure_window(
            timeline.reference,
            timeline.between(span.start, span.end),
            before=before,
            minimum_rows=limits.minimum_rows,
            minimum_labelled_rows=limits.minimum_labelled_rows,
            is_traffic=True,
        )
        if any(one.report.measured.evidence == measured.evidence for one in judgements):
            continue
        level, look = 0.0, 0
        if measured.has_answers:
            entry, measured = spend(span.name, measured)
            level, look = entry.level, entry.look
        report = judge_window(measured, level=level, threshold=limits.threshold, accuracy_drop=limits.accuracy_drop)
        judgements.append(Judgement(span, report, look))
    return Watched(model, tuple(judgements))
