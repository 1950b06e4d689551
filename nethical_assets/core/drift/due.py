"""Which windows are to be judged now.

What belongs here: from what was judged and what came since to the runs that are due, and which windows are given up.
What does not: finding that out (``home.watched_windows``, ``assets.watch_runs``), or judging (``monitors``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import digest_json

ATTEMPTS = 3
"""So often is a family's window asked for, for one reason, whose runs fail."""
RUNS_AT_ONCE = 8
"""So many windows are asked for again in one tick, besides the one that ended: of a week each at every fourth."""
MISSED = "missed"
"""The evidence of a window that is asked for because it has no report since it ended."""


@dataclass(frozen=True)
class Asked:
    """What was asked for: a family's window, and because of which evidence (``MISSED``, or which labels)."""

    family: str
    window: Window
    evidence: str


@dataclass(frozen=True)
class Failures:
    """How many runs failed that one thing was asked of; when the last of them was made, and when it ended."""

    runs: int
    begun: datetime
    ended: datetime


@dataclass(frozen=True)
class DueRun:
    """One window to judge: for which families and by which evidence, why, and the key by which it is asked for once."""

    window: Window
    evidence: Mapping[str, str]
    reason: str
    key: str

    @property
    def families(self) -> tuple[str, ...]:
        """The families whose reports are due."""
        return tuple(self.evidence)


def trailing_windows(ended: Window, first: Window, hours: int) -> Iterator[Window]:
    """The windows before ``ended`` of the ``hours`` that end with it, newest first, none before ``first``."""
    window = ended.before()
    while window.start >= max(first.start, ended.end - timedelta(hours=hours)):
        yield window
        window = window.before()


def due_runs(
    ended: Window,
    before: Sequence[Window],
    families: Sequence[str],
    *,
    hours: int,
    judged: Mapping[str, Mapping[Window, datetime]],
    labelled: Mapping[str, Mapping[Window, str]],
    failures: Mapping[Asked, Failures],
    waiting: Collection[tuple[str, Window]],
) -> list[DueRun]:
    """The window that just ended, for all families; then, of those ``before`` it, what was missed and what got labels,
    at most ``RUNS_AT_ONCE`` windows.

    What is not asked for now is at a later tick: first come windows that the next tick asks for no more, then those
    whose families wait longest since they were judged or a run failed, those without either before all, and of these
    the newest. The oldest first would leave new windows alone as long as labels for old ones come, the newest first
    would lose old ones.

    After a failed run the next tick asks again, then the second after that. New labels are new evidence.

    Args:
        hours: the trailing period, as ``before`` was made with.
        judged: family -> window -> when its newest report began to be made, of those that were made when it had ended.
        labelled: family -> window -> digest of the labels that came since its report, or since it was given up.
        failures: of runs that failed.
        waiting: family and window that a run is asked for and has not ended: it may still judge them.
    """
    due: list[tuple[tuple[bool, float, float], DueRun]] = []
    for window in before:
        asked = {
            family: evidence
            for family in families
            if (family, window) not in waiting and (evidence := _evidence(family, window, judged, labelled))
        }
        attempts = {
            family: [evidence, found.runs if found else 0]
            for family, evidence in asked.items()
            if _may_be_asked(found := failures.get(Asked(family, window, evidence)), ended)
        }
        if not attempts:
            continue
        wanted = {family: asked[family] for family in attempts}
        leaves = window.start < ended.end + (ended.end - ended.start) - timedelta(hours=hours)
        since = min(_asked_last(family, window, judged, failures) for family in wanted)
        run = DueRun(window, wanted, _reason(window, wanted), f"watch:{window.key}:{_short(digest_json(attempts))}")
        due.append(((not leaves, since, -window.start.timestamp()), run))
    due.sort(key=lambda one: one[0])
    every = dict.fromkeys(families, MISSED)
    now = DueRun(ended, every, f"the window from {ended.key} UTC ended", f"watch:{ended.key}")
    return [now, *(run for _, run in due[:RUNS_AT_ONCE])]


def is_given_up(failures: Failures, judged: datetime | None) -> bool:
    """Whether nobody asks any more for what so many runs failed about, and no report was made since (``judged``: when
    the newest one began to be made)."""
    return failures.runs >= ATTEMPTS and (judged is None or judged < failures.begun)


def _evidence(
    family: str,
    window: Window,
    judged: Mapping[str, Mapping[Window, datetime]],
    labelled: Mapping[str, Mapping[Window, str]],
) -> str:
    """Why a family's window is to be judged; empty where it is not."""
    labels = labelled.get(family, {}).get(window)
    if labels is not None:
        return _short(labels)
    return "" if window in judged.get(family, {}) else MISSED


def _may_be_asked(failures: Failures | None, ended: Window) -> bool:
    if failures is None:
        return True
    length = ended.end - ended.start
    ticks = (ended.end - Window.at(failures.begun, length // timedelta(hours=1)).start) // length
    return failures.runs < ATTEMPTS and ticks >= 2 ** (failures.runs - 1)


def _reason(window: Window, evidence: Mapping[str, str]) -> str:
    missed = f"the window from {window.key} UTC was missed"
    labels = f"labels came for the window from {window.key} UTC"
    told = [
        *([missed] if MISSED in evidence.values() else []),
        *([labels] if set(evidence.values()) - {MISSED} else []),
    ]
    return "; ".join(told)


def _asked_last(
    family: str,
    window: Window,
    judged: Mapping[str, Mapping[Window, datetime]],
    failures: Mapping[Asked, Failures],
) -> float:
    """When a family's window was judged last, or a run of it failed, whatever it was asked for; 0 for never. A family
    whose runs fail would else be the first in every tick."""
    failed = [one.ended for asked, one in failures.items() if (asked.family, asked.window) == (family, window)]
    report = judged.get(family, {}).get(window)
    return max((one.timestamp() for one in (*failed, *([report] if report else []))), default=0.0)


def _short(digest: str) -> str:
    return digest.rpartition(":")[2][:16]
