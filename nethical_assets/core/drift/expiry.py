"""Which batches of the inference log are of a time.

What belongs here: telling it by their names. What does not: how long they are kept (the settings), or removing them
(``operations.retention``).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from upath import UPath

from nethical_assets.core.drift.batch_files import batch_file, in_utc, name_bounds
from nethical_assets.core.drift.inference_log import SPAN


def batches_between(names: Iterable[str], start: datetime | None, end: datetime, *, whole: bool = False) -> list[str]:
    """The batches (file names, with or without a folder) that can have rows at or after ``start`` and before ``end``;
    with ``whole`` those that can have no others. What is no name of a batch is left out.

    Raises:
        DatasetError: a time has no zone.
    """
    first, last = None if start is None else in_utc(start), in_utc(end)
    # By the names alone most are told: there may be years of them.
    lower, upper = name_bounds(None if first is None else first.replace(minute=0, second=0, microsecond=0), last)
    found = []
    for name in names:
        if not lower <= name.rpartition("/")[2] < upper or (batch := batch_file(UPath(name))) is None:
            continue
        # A batch of predictions begins at its name's time and ends with the hour; one of labels ends at it.
        ends = batch.moment.replace(minute=0, second=0, microsecond=0) + SPAN
        if (ends <= last if whole else batch.moment < last) and (first is None or ends > first):
            found.append(name)
    return found
