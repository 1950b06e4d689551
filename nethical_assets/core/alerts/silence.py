"""Whether the monitors themselves work: a family whose reports stay away, or say for long that nothing is scored.

What belongs here: the memory of reports, and the decision. What does not: where reports are read (a sensor), or that
the process which decides this is gone: nobody in it can say so.

Three problems, each with an issue of its own: ``reports`` (the newest window that was judged ended too long ago),
``traffic`` (every report of a long time says that the champion scored nothing) and ``windows`` (a window whose runs
failed so often that nobody asks for it any more: later windows that are judged do not mend that). The moments and ids
of what is decided follow from the reports and runs alone, so deciding twice files once, and one cause is one occurrence
however often it is seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from nethical_assets.core.alerts.kinds import Alert, Resolution
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError

LOOKED = "monitor watch"
"""The reader whose position in the tracker is when it was looked last (ISO 8601 in UTC)."""
CATCHING_UP = timedelta(hours=1)
"""After the daemon was away, reports have so long to arrive before they are missed: the schedule catches up."""
_KIND = "monitor_silent"
_REPORTS, _TRAFFIC, _WINDOWS = "reports", "traffic", "windows"
_ACTOR = "monitor watch"
_PAUSE = timedelta(minutes=10)
"""Looks that are further apart have a pause between them, in which the daemon was away."""
_KEPT = 60
_INTERVALS_MISSED = 2


@dataclass(frozen=True)
class JudgedWindow:
    """What is remembered of the newest report of one window.

    Attributes:
        start, end: of the window; ``judged_at`` is when the report was made. All with a time zone.
        verdict: of the report; ``rows`` are those that the champion scored in the window.
    """

    start: datetime
    end: datetime
    judged_at: datetime
    verdict: str
    rows: int

    @property
    def known_until(self) -> datetime:
        """Until when the report can say something: a window may be judged before its end."""
        return min(self.end, self.judged_at)

    @property
    def is_silent(self) -> bool:
        """Whether the champion scored nothing."""
        return self.rows == 0 or self.verdict == "hold"


@dataclass(frozen=True)
class WatchedFamily:
    """A family with a champion.

    Attributes:
        reports: the asset of its drift reports, which the issues are about.
        championed_since: when the family first had a champion: a new one resets nothing.
        windows: what is remembered of its reports (:func:`remember`).
    """

    family: str
    reports: str
    championed_since: datetime
    windows: Sequence[JudgedWindow] = ()


@dataclass(frozen=True)
class AbandonedWindow:
    """A window that is not asked for any more.

    Attributes:
        start: of the window; ``ended`` is when the last of ``runs`` runs about it failed. Both with a time zone.
        evidence: what was asked for: the same again is the same occurrence.
    """

    start: datetime
    runs: int
    ended: datetime
    evidence: str


@dataclass(frozen=True)
class Patience:
    """How long may pass: between windows that are judged, and without traffic."""

    interval: timedelta
    no_traffic: timedelta


def remember(windows: Iterable[JudgedWindow], new: JudgedWindow) -> tuple[JudgedWindow, ...]:
    """The windows with a new report, oldest first: what is older than the newest window with traffic is forgotten, and
    of a long time without any only its beginning and its end are kept."""
    known = {one.start: one for one in windows}
    before = known.get(new.start)
    if before is None or before.judged_at <= new.judged_at:
        known[new.start] = new
    ordered = [known[start] for start in sorted(known)]
    busy = [number for number, one in enumerate(ordered) if not one.is_silent]
    ordered = ordered[busy[-1] if busy else 0 :]
    return tuple(ordered if len(ordered) <= _KEPT else [*ordered[:2], *ordered[2 - _KEPT :]])


@dataclass(frozen=True)
class Memory:
    """What is remembered between looks.

    Attributes:
        looked_at: when was looked last; None before the first look.
        watching_since: since when was looked without a pause.
        read: family -> the number of the newest event that was read.
        windows: family -> its reports (:func:`remember`).
    """

    looked_at: datetime | None = None
    watching_since: datetime | None = None
    read: Mapping[str, int] = field(default_factory=dict)
    windows: Mapping[str, tuple[JudgedWindow, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None) -> Memory:
        """The inverse of ``str``; what cannot be read is forgotten, and read again from the reports."""
        try:
            return from_document(cls, json.loads(text or "{}"), "memory of the monitor watch")
        except (ValueError, IntegrityError):
            return cls()

    def __str__(self) -> str:
        return json.dumps(to_document(self), sort_keys=True)

    def looking(self, now: datetime) -> Memory:
        """The memory with a look at ``now``. Looks that are far apart, or a clock that was set back, begin anew."""
        goes_on = self.looked_at is not None and timedelta(0) <= now - self.looked_at <= _PAUSE
        return replace(self, looked_at=now, watching_since=self.watching_since if goes_on else now)

    def told(self, family: str, number: int, report: JudgedWindow) -> Memory:
        """The memory with the report that event ``number`` tells of."""
        windows = {**self.windows, family: remember(self.windows.get(family, ()), report)}
        return replace(self, read={**self.read, family: number}, windows=windows)


def judge(
    watched: Iterable[WatchedFamily], *, now: datetime, watching_since: datetime, has_served: bool, limits: Patience
) -> list[Alert | Resolution]:
    """What is wrong with the watch of each family, and what proves that nothing is.

    Args:
        watching_since: since when is looked without a pause.
        has_served: whether this home ever answered a request, of any family. Without, nothing is missed: a newcomer who
            has trained and not served yet is told nothing.
    """
    if not has_served:
        return []
    found: list[Alert | Resolution] = []
    for one in watched:
        found += [_reports(one, now, watching_since, limits), *_traffic(one, now, limits)]
    return [result for result in found if not isinstance(result, Alert) or result.when <= now]


def judge_abandoned(
    one: WatchedFamily, windows: Sequence[AbandonedWindow], *, now: datetime, trailing: timedelta
) -> list[Alert | Resolution]:
    """What is said of a family's windows that were given up, or that there are none any more.

    Args:
        windows: of the trailing period, that no report was made of since.
        trailing: how long that period is.
    """
    if not windows:
        said = f"no window of the last {_hours(trailing)} hours is given up"
        return [_over(one, _WINDOWS, said, now)]
    return [
        Alert(
            kind=_KIND,
            subject=one.reports,
            check=_WINDOWS,
            summary=f"{one.family}: the window from {_minute(window.start)} is given up, {window.runs} runs about it "
            "failed. Mend what they name, then materialize that partition; new labels have it tried again too.",
            when=window.ended,
            occurrence=f"window from {window.start.isoformat()}, {window.evidence}",
            details={"family": one.family, "window": _minute(window.start), "failed runs": window.runs},
        )
        for window in windows
    ]


def _reports(one: WatchedFamily, now: datetime, watching_since: datetime, limits: Patience) -> Alert | Resolution:
    newest = one.windows[-1] if one.windows else None
    since = max(newest.known_until, one.championed_since) if newest else one.championed_since
    due = since + _INTERVALS_MISSED * limits.interval
    if newest is not None and now < due:
        said = f"the window that ended at {_minute(newest.end)} was judged at {_minute(newest.judged_at)}"
        return _over(one, _REPORTS, f"{said}: {_verdict(newest)}", newest.judged_at)
    hours = _hours(limits.interval)
    what = f"the newest one is of the window that ended at {_minute(newest.end)}" if newest else "there is none"
    return Alert(
        kind=_KIND,
        subject=one.reports,
        check=_REPORTS,
        summary=f"{one.family}: no drift report for more than {_INTERVALS_MISSED} intervals of {hours} hours; {what}.",
        # Who was away themselves give those they watch the time to catch up; the moment stays what it is.
        when=due if now >= watching_since + CATCHING_UP else max(due, watching_since + CATCHING_UP),
        occurrence=f"no report since {since.isoformat()}",
        details={"family": one.family, "interval hours": hours, "due": _minute(due)},
    )


def _traffic(one: WatchedFamily, now: datetime, limits: Patience) -> list[Alert | Resolution]:
    if not one.windows or (newest := one.windows[-1]).end <= one.championed_since:
        return []
    silent = [window for window in one.windows if window.is_silent]
    since = max(silent[0].start, one.championed_since) if silent and newest.is_silent else newest.end
    due = since + limits.no_traffic
    if newest.known_until < due:
        said = f"the window that ended at {_minute(newest.end)}: {_verdict(newest)}"
        if newest.is_silent:
            said = f"windows were judged again: there was traffic until {_minute(since)}"
        return [_over(one, _TRAFFIC, said, newest.known_until)]
    hours = _hours(limits.no_traffic)
    return [
        Alert(
            kind=_KIND,
            subject=one.reports,
            check=_TRAFFIC,
            summary=f"{one.family}: the champion scored nothing since {_minute(since)}, for {hours} hours or more; "
            "nothing is watched without traffic.",
            when=due,
            occurrence=f"no traffic since {since.isoformat()}",
            details={"family": one.family, "limit hours": hours, "since": _minute(since)},
        )
    ]


def _over(one: WatchedFamily, check: str, reason: str, when: datetime) -> Resolution:
    # Of one moment, what is over comes after what was wrong.
    return Resolution(_KIND, one.reports, check, reason, when, _ACTOR, event=1)


def _verdict(window: JudgedWindow) -> str:
    return f"{window.verdict.replace('_', ' ')}, {window.rows} rows"


def _minute(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _hours(time: timedelta) -> str:
    return f"{time / timedelta(hours=1):g}"
