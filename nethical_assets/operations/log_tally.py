"""What the leaves of the audit log add up to: events by type, decisions of the gate, judgements of drift.

What belongs here: counting leaves, each once, and remembering how far. What does not: the log (``core.audit``), or what
the figures are shown as (``collecting``).

The log only grows, so what was counted is kept in ``cache/log_tally.json`` with the size and the root that it was
counted up to: where the log has another root at that size, or the file is not what was written, everything is counted
anew.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.drift.budget import YEAR, Spending, spent
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore, read_json, write_json
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.watching import DRIFT_REPORTS

NEWEST_DECISIONS = 20
"""Of how many decisions of a family the share that promoted is told."""
UNKNOWN = "unknown"
_PROMOTED = "promoted"


@dataclass
class FamilyTally:
    """What the log says of one family.

    Attributes:
        decisions: verdict of the gate -> how many; ``unknown`` where retention deleted what was said.
        newest: the verdicts of the newest decisions, oldest first.
        report: digest of the drift report about the newest window; empty where there is none.
        window_end: when that window ended, or was judged where the report names no window; ISO 8601.
        judged_at: when a window was judged last; ISO 8601.
        spending: beginning of a window, period and level, with spaces between -> that level: what a look at it was
            given of the budget of false alerts.
    """

    decisions: dict[str, int] = field(default_factory=dict)
    newest: list[str] = field(default_factory=list)
    report: str = ""
    window_end: str = ""
    judged_at: str = ""
    spending: dict[str, float] = field(default_factory=dict)

    @property
    def promoted_share(self) -> float | None:
        """The share of the newest decisions that promoted, in [0, 1]; None without one."""
        return self.newest.count(_PROMOTED) / len(self.newest) if self.newest else None


@dataclass
class LogTally:
    """What the first ``size`` leaves, whose root is ``root`` (hexadecimal), add up to.

    Attributes:
        events: type -> how many.
        times: type -> the time of the newest, ISO 8601.
        families: what is said of each.
    """

    size: int = 0
    root: str = ""
    events: dict[str, int] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)
    families: dict[str, FamilyTally] = field(default_factory=dict)

    def spent(self, until: datetime) -> float:
        """What windows of the year before ``until`` spent of the budget of false alerts, all families together."""
        return spent(
            (
                Spending(family, key.partition(" ")[0], "", 1, level)
                for family, tally in self.families.items()
                for key, level in tally.spending.items()
            ),
            until,
        )


def read_tally(log: LogReader, objects: ObjectStore, cache: Path) -> LogTally:
    """What all signed leaves of the log add up to; only those are read that ``cache`` does not count yet.

    Raises:
        AuditError: the log is not what was signed.
    """
    if log.checkpoint_bytes() is None:
        return LogTally()
    view = log.view()
    tally = _remembered(cache)
    if tally.size > view.size or (tally.size and view.root(tally.size).hex() != tally.root):
        tally = LogTally()
    if tally.size == view.size:
        return tally
    for entry in log.tiles.all_entries(view.size, tally.size):
        _take(tally, Event.parse(entry), log, objects)
    tally.size, tally.root = view.size, view.head.root
    document = to_document(tally)
    # Where it cannot be written, the next reader counts anew.
    with contextlib.suppress(OSError):
        write_json(cache, {"digest": _digest(document), "tally": document})
    return tally


def _remembered(cache: Path) -> LogTally:
    """What was counted before; nothing where the file is missing or is not what was written."""
    with contextlib.suppress(OSError, IntegrityError, KeyError, TypeError, ValueError):
        document = read_json(cache)
        if document["digest"] == _digest(document["tally"]):
            return from_document(LogTally, document["tally"], str(cache))
    return LogTally()


def _digest(document: Any) -> str:
    return digest_bytes(pretty_json(document))


def _take(tally: LogTally, event: Event, log: LogReader, objects: ObjectStore) -> None:
    kind = event.type.value
    tally.events[kind] = tally.events.get(kind, 0) + 1
    tally.times[kind] = max(tally.times.get(kind, ""), event.time)
    stage = {EventType.GATE_DECIDED: RELEASES, EventType.DRIFT_JUDGED: DRIFT_REPORTS}.get(event.type)
    if stage is None:
        return
    prefix = stage.record_name("")
    for subject in event.subjects:
        if subject.name.startswith(prefix):
            family = tally.families.setdefault(subject.name.removeprefix(prefix), FamilyTally())
            if stage is RELEASES:
                _take_decision(family, event, log)
            else:
                _take_report(family, event, subject.digest, objects)


def _take_decision(family: FamilyTally, event: Event, log: LogReader) -> None:
    payload: Any = None
    with contextlib.suppress(IntegrityError):
        payload = log.payload(event)
    verdict = str(payload.get("verdict", UNKNOWN)) if isinstance(payload, Mapping) else UNKNOWN
    family.decisions[verdict] = family.decisions.get(verdict, 0) + 1
    family.newest = [*family.newest, verdict][-NEWEST_DECISIONS:]


def _take_report(family: FamilyTally, event: Event, digest: str, objects: ObjectStore) -> None:
    """A window that was judged, whose report is an object. One that cannot be read counts as the newest, so that
    whoever reads that one is told."""
    facts: Any = None
    with contextlib.suppress(IntegrityError, ValueError):
        facts = json.loads(objects.get(digest))
    start, end = _window(facts, event.time)
    family.judged_at = max(family.judged_at, event.time)
    if not family.window_end or datetime.fromisoformat(end) >= datetime.fromisoformat(family.window_end):
        family.report, family.window_end = digest, end
    levels = _levels(facts)
    if levels:
        family.spending |= {f"{start} {judged}": level for judged, level in levels.items()}
        since = datetime.fromisoformat(event.time) - YEAR
        family.spending = {
            key: value
            for key, value in family.spending.items()
            if datetime.fromisoformat(key.partition(" ")[0]) > since
        }


def _levels(facts: Any) -> dict[str, float]:
    """What each judgement of a report was given of the budget: of the window and of the time before it."""
    if not isinstance(facts, Mapping):
        return {}
    periods = facts.get("periods") or [{"name": "window", "report": {"level": facts.get("level")}}]
    # Where both periods have the same rows there is one judgement, which both show.
    judgements = periods[:1] if all(one["report"] == periods[0]["report"] for one in periods) else periods
    levels = {str(one["name"]): one["report"].get("level") for one in judgements}
    # Each look at a window is given another level, so the level tells which look it was.
    return {f"{name} {level}": float(level) for name, level in levels.items() if level}


def _window(facts: Any, judged_at: str) -> tuple[str, str]:
    """Beginning and end of the window that a report is about; those of older versions are known by when they were
    made."""
    window = facts.get("window") if isinstance(facts, Mapping) else None
    found = tuple(str(window.get(name, "")) for name in ("start", "end")) if isinstance(window, Mapping) else ()
    with contextlib.suppress(ValueError):
        if found and all(datetime.fromisoformat(text).tzinfo is not None for text in found):
            return found[0], found[1]
    return judged_at, judged_at
