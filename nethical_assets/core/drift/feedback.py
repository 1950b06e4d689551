"""Labels that came after a request was answered, and which request they are of.

What belongs here: keeping batches of labels, and joining them with logged requests. What does not: rows as they come
(``segments``), or what labels say about a model (``statistics``).

Labels come later and in any order: the last one by its time counts, of two at the same time the larger one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from nethical_assets.core.drift.batch_files import (
    Announce,
    BatchFile,
    Counts,
    batch_files,
    batch_problems,
    counted_files,
    counted_moment,
    drop_uncounted,
    write_batch,
)
from nethical_assets.core.drift.inference_log import AT, LABEL, REQUEST_ID, InferenceLog
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.parquet import read_table

ACTOR, TRUE_LABEL = "actor", "true_label"
FEEDBACK_SCHEMA = pa.schema(
    [(AT, pa.timestamp("ns", tz="UTC")), (REQUEST_ID, pa.string()), (LABEL, pa.int8()), (ACTOR, pa.string())]
)
_ROWS_JOINED = 1 << 20
"""How many request ids are held at once."""
_LABELS_JOINED = 1 << 18
"""How many labels, at least, are looked for among them at once."""
CLOCKS_DIFFER = timedelta(hours=1)
_LOOKED_BACK = timedelta(days=90)
_ROWS_LOOKED_AT = 5_000_000
"""So many requests are looked at for labels that may be of none: seconds of a report that has minutes."""
_UNREADABLE = "cannot be read; nethical audit verify names it"
_SHORTEST = timedelta(microseconds=1)
"""Names of files have no shorter times than this."""
EVER = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER = datetime(2262, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LabelledRequests:
    """Rows of a window with what became known of them.

    ``rows`` has the columns that were asked for and ``true_label`` (int8, null where none came); ``conflicting`` counts
    those that were given different labels.
    """

    rows: pa.Table
    conflicting: int

    @property
    def labelled(self) -> int:
        """How many rows have a label."""
        return int(self.rows.num_rows - self.rows[TRUE_LABEL].null_count)


class FeedbackLog:
    """Batches of labels under ``folder`` (a folder or a URL), written atomically and never changed.

    Args:
        counts: whether a file (its name, the digest of its bytes) counts.
    """

    def __init__(self, folder: UPath | Path | str, *, counts: Counts = lambda name, digest: True):
        self.folder = UPath(folder)
        self._counts = counts

    def append_table(self, table: pa.Table, *, occasion: str, when: datetime, record: Announce) -> UPath | None:
        """Write one batch of labels (``FEEDBACK_SCHEMA``), once for each ``occasion``; None for an empty one.

        Raises:
            OSError: the batch could not be written; nothing of it is left.
        """
        if table.num_rows == 0:
            return None

        target, data = write_batch(self.folder, table, moment=when, occasion=occasion, counts=self._counts_file)
        record(target.name, digest_bytes(data))
        return target

    def given(self, occasion: str) -> datetime | None:
        """When a batch of this occasion that counts was given; None where there is none."""
        return counted_moment(self.folder, occasion, counts=self._counts_file)

    def drop_uncounted(self, occasion: str) -> None:
        """Remove what a killed writer left of a batch before anybody recorded it."""
        drop_uncounted(self.folder, occasion, counts=self._counts_file)

    def _counts_file(self, batch: BatchFile, data: bytes) -> bool:
        return self._counts(batch.path.name, digest_bytes(data))

    def batches(self, since: datetime) -> Iterator[pa.Table]:
        """The batches that count and can hold labels given at or after ``since``, oldest first.

        Raises:
            IntegrityError: a batch was changed or damaged on disk; the message names the file.
        """
        # A batch has the time of its newest label.
        earliest = since - _SHORTEST
        for _, data in counted_files(self.folder, "", self._counts, since=earliest):
            yield read_table(data)

    def has_any(self, since: datetime) -> bool:
        """Whether there is a batch, counting or not, that can hold labels of requests logged at or after ``since``."""
        earliest = since - CLOCKS_DIFFER - _SHORTEST
        return any(True for _ in batch_files(self.folder, since=earliest))

    def problems(self) -> list[str]:
        """The batches that are not what their names say, one line each."""
        return list(batch_problems(self.folder))

    def batch_digests(self) -> dict[str, str]:
        """Every batch (by file name) with the digest of its bytes."""
        return {batch.path.name: digest_bytes(batch.path.read_bytes()) for batch in batch_files(self.folder)}

    def labels_of(self, ids: pa.Array, since: datetime) -> tuple[pa.Array, int]:
        """The label of each request id (int8, null where none came) by feedback from ``since`` on, and how many ids
        were given different labels."""
        encoded = ids.dictionary_encode()
        asked = len(encoded.dictionary)
        positions, times, labels = [], [], []
        for table in _in_groups(self.batches(since), _LABELS_JOINED):
            at = pc.index_in(table[REQUEST_ID].combine_chunks(), value_set=encoded.dictionary)
            matched = at.is_valid()
            positions.append(at.filter(matched).to_numpy().astype(np.int64))
            times.append(table[AT].filter(matched).cast(pa.int64()).to_numpy())
            labels.append(table[LABEL].filter(matched).to_numpy())
        if not positions:
            return pa.nulls(len(ids), pa.int8()), 0
        position, label = np.concatenate(positions), np.concatenate(labels)
        order = np.lexsort((label, np.concatenate(times), position))
        newest, has_one = np.zeros(asked, dtype=np.int8), np.zeros(asked, dtype=bool)
        newest[position[order]], has_one[position] = label[order], True
        return pa.array(newest, mask=~has_one).take(encoded.indices), _differing(position, label, asked)


def labelled_rows(
    log: InferenceLog,
    feedback: FeedbackLog,
    family: str,
    since: datetime,
    model_digest: str | None = None,
    until: datetime | None = None,
    *,
    columns: Sequence[str] | None = None,
) -> Iterator[LabelledRequests]:
    """The rows of a window (``InferenceLog.parts``) that have a request id, with their labels, a million at a time: a
    window of any size takes the memory of that.

    Raises:
        DatasetError, IntegrityError: as ``InferenceLog.parts``.
    """
    for rows in _in_groups(_with_ids(log, family, since, model_digest, until, columns), _ROWS_JOINED):
        yield _joined(rows, feedback, since)


def answered_rows(
    log: InferenceLog,
    feedback: FeedbackLog,
    family: str,
    since: datetime,
    model_digest: str | None = None,
    until: datetime | None = None,
    *,
    columns: Sequence[str],
) -> Iterator[LabelledRequests]:
    """The rows of ``labelled_rows`` that have a label, and no others: where few have one, in a fraction of its time
    and memory.

    Raises:
        DatasetError, IntegrityError: as ``InferenceLog.parts``.
    """
    told = [table[REQUEST_ID].combine_chunks().unique() for table in feedback.batches(since - CLOCKS_DIFFER)]
    if not told:
        return
    known = pa.concat_arrays(told).unique()
    asked = _in_groups(_with_ids(log, family, since, model_digest, until, columns), _LABELS_JOINED)
    answered = (rows.filter(pc.is_in(rows[REQUEST_ID], value_set=known)) for rows in asked)
    for rows in _in_groups((rows for rows in answered if rows.num_rows), _LABELS_JOINED):
        yield _joined(rows, feedback, since)


def _with_ids(
    log: InferenceLog,
    family: str,
    since: datetime,
    model_digest: str | None,
    until: datetime | None,
    columns: Sequence[str] | None,
) -> Iterator[pa.Table]:
    asked = None if columns is None else [*columns, REQUEST_ID]
    for part in log.parts(family, since, model_digest, until, columns=asked):
        if REQUEST_ID in part.rows.column_names:
            yield part.rows


@dataclass(frozen=True)
class LabelsGiven:
    """How many requests of a family were given a label in a period, and how many of these nobody knows; each is None
    where that cannot be said, and ``reason`` says why."""

    labels: int | None
    unknown: int | None
    reason: str = ""


def labels_given(
    log: InferenceLog, feedback: FeedbackLog, family: str, since: datetime, until: datetime
) -> LabelsGiven:
    """The labels that were given from ``since`` to before ``until`` for requests of a family, whose ids begin with its
    name, and those of them that are of no request of the 90 days before ``until``. Requests are looked through from the
    newest on, until every label's is found, or so many were looked at that a report would wait for it.

    What cannot be read is not raised: it is a number that nothing is decided by, and the check of the log tells damage.

    Raises:
        DatasetError: the family's name is malformed.
    """
    try:
        found = [_given(table, family, since, until) for table in feedback.batches(since)]
    except (IntegrityError, OSError):
        return LabelsGiven(None, None, f"a batch of labels {_UNREADABLE}")
    left = pa.concat_arrays([pa.array([], pa.string()), *found]).unique()
    labels, looked_at, is_whole = len(left), 0, True
    for rows in _newest_first(log, family, until) if labels else ():
        if looked_at >= _ROWS_LOOKED_AT:
            return LabelsGiven(labels, None, f"more than {_ROWS_LOOKED_AT} requests would have to be looked at")
        if rows is None:
            is_whole = False
            continue
        looked_at += rows.num_rows
        if REQUEST_ID in rows.column_names:
            left = left.filter(pc.invert(pc.is_in(left, value_set=rows[REQUEST_ID].combine_chunks())))
            if len(left) == 0:
                break
    if len(left) and not is_whole:
        return LabelsGiven(labels, None, f"a batch of requests {_UNREADABLE}")
    return LabelsGiven(labels, len(left))


def _newest_first(log: InferenceLog, family: str, until: datetime) -> Iterator[pa.Table | None]:
    """The requests that a label of before ``until`` can be of, the newest batch first; None for one that cannot be
    read."""
    for batch in reversed(log.files(family, until - _LOOKED_BACK, until=until + CLOCKS_DIFFER)):
        try:
            data = batch.read()
            if log.counts(family, batch, digest_bytes(data)):
                yield from (part.rows for part in log.parts_of(family, batch, data, columns=[REQUEST_ID]))
        except FileNotFoundError:
            # Retention removed it since the folder was listed.
            continue
        except (IntegrityError, OSError):
            yield None


def _given(table: pa.Table, family: str, since: datetime, until: datetime) -> pa.Array:
    kind = FEEDBACK_SCHEMA.field(AT).type
    in_time = pc.and_(pc.greater_equal(table[AT], pa.scalar(since, kind)), pc.less(table[AT], pa.scalar(until, kind)))
    of_family = pc.starts_with(table[REQUEST_ID], f"{family}-")
    return table[REQUEST_ID].filter(pc.and_(in_time, of_family)).combine_chunks()


def unknown_feedback(log: InferenceLog, feedback: FeedbackLog, since: datetime = EVER) -> int:
    """How many labels, of the batches from ``since`` on, are of no request that was logged. They are kept: the request
    may yet be sealed."""
    groups = _in_groups(feedback.batches(since), _LABELS_JOINED)
    return sum(unknown_requests(log, table[REQUEST_ID].combine_chunks()) for table in groups)


def unknown_requests(log: InferenceLog, ids: pa.Array) -> int:
    """How many of the request ``ids`` (strings) are of no request that was logged, of whatever family and time."""
    known = np.zeros(len(ids), dtype=bool)
    for family in log.families():
        known |= log.known(family, ids, EVER, _FOREVER).to_numpy(zero_copy_only=False)
    return int((~known).sum())


def _in_groups(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Small tables put together to such of at least so many rows."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= rows:
            yield pa.concat_tables(waiting, promote_options="default")
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting, promote_options="default")


def _joined(rows: pa.Table, feedback: FeedbackLog, since: datetime) -> LabelledRequests:
    labels, conflicting = feedback.labels_of(rows[REQUEST_ID].combine_chunks(), since - CLOCKS_DIFFER)
    return LabelledRequests(rows.append_column(TRUE_LABEL, labels), conflicting)


def _differing(positions: npt.NDArray[np.int64], labels: npt.NDArray[np.int8], size: int) -> int:
    lowest, highest = np.full(size, 1000, dtype=np.int16), np.full(size, -1000, dtype=np.int16)
    np.minimum.at(lowest, positions, labels)
    np.maximum.at(highest, positions, labels)
    return int((lowest < highest).sum())
