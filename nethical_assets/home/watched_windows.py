"""The windows that a home is watched in: with which they begin, and which got labels since they were judged.

What belongs here: what the state of a home says about windows. What does not: windows themselves
(``core.drift.windows``), judging one (``core.drift.monitors``), or when one is judged (``core.drift.due``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import digest_bytes, digest_json
from nethical_assets.core.ground.errors import AuditError

if TYPE_CHECKING:
    import pyarrow as pa

    from nethical_assets.home.workspace import Workspace

_ROWS_LOOKED_AT = 5_000_000
"""So many requests of a family are looked at in one tick of the schedule, which has a minute."""
_CLOCKS_DIFFER = timedelta(hours=1)


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


@dataclass(frozen=True)
class _Labels:
    """A batch of labels: its file, when that was written, and the requests that they are of."""

    name: str
    written: float
    requests: pa.Array


def windows_with_new_labels(workspace: Workspace, family: str, judged: Mapping[Window, datetime]) -> dict[Window, str]:
    """The windows of a family of whose requests labels were sealed since they were ``judged``, each with a digest of
    the batches with those labels.

    Labels count by when they were sealed, not by the times that they state. Where more requests would have to be looked
    at than one look has time for, the rest of the windows count as labelled: judging the same again spends nothing.

    Args:
        judged: window -> when its newest report began to be made.

    Raises:
        IntegrityError: a batch was changed on disk.
    """
    if not judged:
        return {}
    batches = list(_labels_since(workspace, min(judged), min(judged.values())))
    found, left = {}, _ROWS_LOOKED_AT
    for window, since in sorted(judged.items()):
        newer = [batch for batch in batches if batch.written >= since.timestamp()]
        if not newer:
            continue
        looked_at, names = _look(workspace, family, window, newer, left)
        left -= looked_at
        if names:
            found[window] = digest_json([family, window.key, names])
    return found


def _labels_since(workspace: Workspace, window: Window, since: datetime) -> Iterator[_Labels]:
    """The batches of labels that were sealed since then and count, and can be of requests of the window or later."""
    from nethical_assets.core.drift.batch_files import batch_files
    from nethical_assets.core.drift.inference_log import REQUEST_ID
    from nethical_assets.core.ground.parquet import read_table

    for batch in batch_files(workspace.feedback_log.folder, since=window.start - _CLOCKS_DIFFER):
        written = batch.path.stat().st_mtime
        if written >= since.timestamp():
            data = batch.read()
            if workspace.evidence.is_logged_feedback(batch.path.name, digest_bytes(data)):
                yield _Labels(batch.path.name, written, read_table(data)[REQUEST_ID].combine_chunks())


def _look(
    workspace: Workspace, family: str, window: Window, batches: list[_Labels], rows: int
) -> tuple[int, list[str]]:
    """How many requests of the window were looked at, at most about ``rows``, and the batches with labels of them: all
    where more would have to be looked at."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from nethical_assets.core.drift.inference_log import REQUEST_ID

    known, looked_at = pa.concat_arrays([batch.requests for batch in batches]), 0
    ends, named = np.cumsum([len(batch.requests) for batch in batches]), set[int]()
    for part in workspace.inference_log.parts(family, window.start, until=window.end, columns=[REQUEST_ID]):
        if looked_at >= rows:
            named = set(range(len(batches)))
        if len(named) == len(batches):
            break
        looked_at += part.rows.num_rows
        if REQUEST_ID in part.rows.column_names:
            there = pc.is_in(known, value_set=part.rows[REQUEST_ID]).to_numpy(zero_copy_only=False)
            named |= set(np.searchsorted(ends, np.flatnonzero(there), side="right").tolist())
    return looked_at, sorted(batches[number].name for number in named)
