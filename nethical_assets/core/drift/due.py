"""Which windows are to be judged now.

What belongs here: from what was judged and what came since to the runs that are due. What does not: finding that out
(``home.watched_windows``, ``orchestration.watching``), or judging (``monitors``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import digest_json

ATTEMPTS = 3
"""So often is a window asked for whose runs fail."""


@dataclass(frozen=True)
class DueRun:
    """One window to judge: for which families, why, and the key by which the same run is asked for once."""

    window: Window
    families: tuple[str, ...]
    reason: str
    key: str


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
    judged: Mapping[str, Collection[Window]],
    labelled: Mapping[str, Mapping[Window, str]],
    failed: Mapping[Window, int],
    waiting: Collection[Window],
) -> list[DueRun]:
    """The window that just ended, for all families; then of those ``before`` it what was missed, and what got labels.

    Args:
        judged: family -> the windows that it has a report of, made when they had ended.
        labelled: family -> window -> digest of the labels that came since its report.
        failed: how many runs about a window failed.
        waiting: windows that a run is asked for and has not ended: it may still judge them.
    """
    due = [DueRun(ended, tuple(families), f"the window from {ended.key} UTC ended", f"watch:{ended.key}")]
    for window in before:
        if window in waiting:
            continue
        missed = tuple(family for family in families if window not in judged.get(family, ()))
        if missed:
            attempt = failed.get(window, 0) + 1
            if attempt <= ATTEMPTS:
                said = f"the window from {window.key} UTC was missed"
                due.append(DueRun(window, missed, said, f"watch:{window.key}:{attempt}"))
        others = [family for family in families if family not in missed]
        found = {family: labelled[family][window] for family in others if window in labelled.get(family, {})}
        if found:
            said = f"labels came for the window from {window.key} UTC"
            due.append(DueRun(window, tuple(found), said, f"watch:{window.key}:{_short(found)}"))
    return due


def _short(evidence: Mapping[str, str]) -> str:
    return digest_json(dict(evidence)).partition(":")[2][:16]
