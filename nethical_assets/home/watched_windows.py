"""The windows that a home is watched in: with which they begin.

What belongs here: what the state of a home says about windows. What does not: windows themselves
(``core.drift.windows``), judging one (``watch``), or when one is judged (``orchestration.schedules``).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.errors import AuditError


def began_at(home: Path) -> datetime | None:
    """The time of the first leaf of the home's audit log; None where there is none that can be read."""
    try:
        first = next(LogReader(home / "audit").entries(), None)
    except (AuditError, OSError):
        # Whoever reads the log says what is wrong with it; windows are there all the same.
        return None
    return None if first is None else datetime.fromisoformat(first.event.time)


def first_window(home: Path, hours: int, now: datetime) -> Window:
    """The first window of ``hours`` that a home may have a report of: the one before its log began, because the first
    tick of the schedule judges the window that just ended. Before there is a log, it follows ``now``."""
    return Window.at(began_at(home) or now, hours).before()
