"""The append-only log of what champions scored: the windows that drift is judged on.

What belongs here: writing and reading immutable batches of predictions and numeric sketches. What does not: judging
them (``verdict``), rows as they come (``segments``), or labels that came later (``feedback``). Inputs themselves, texts
above all, are never written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from upath import UPath

from nethical_assets.core.drift.batch_files import (
    Announce,
    BatchFile,
    Counts,
    batch_file,
    batch_files,
    batch_problems,
    counted_files,
    drop_uncounted,
    in_utc,
    write_batch,
)
from nethical_assets.core.drift.reference import PROBABILITY, SCORE, FloatArray, prediction_columns
from nethical_assets.core.drift.segment_rows import FAMILY_NAME
from nethical_assets.core.ground.digests import check_digest, digest_bytes
from nethical_assets.core.ground.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

AT, REQUEST_ID, LABEL, ROUTE, LATENCY, FINDINGS = "at", "request_id", "label", "route", "latency_us", "findings"
REQUEST_SCHEMA = pa.schema(
    [
        (REQUEST_ID, pa.string()),
        (AT, pa.timestamp("ns", tz="UTC")),
        (LABEL, pa.int8()),
        (ROUTE, pa.string()),
        (LATENCY, pa.int64()),
        (FINDINGS, pa.map_(pa.string(), pa.int64())),
    ]
)
"""What is known of a request beside its prediction and sketch. A batch may lack any of it: one of an older version
lacks all, and where ``at`` is missing every row is of the batch's own time."""
SKETCH_PREFIX = "sketch."
_LAYOUT = {b"nethical.layout": b"2"}
"""In the metadata of batches whose sketch columns have the prefix; in those without, all but two columns are sketch."""
_FAMILY = re.compile(FAMILY_NAME)
_ROWS_AT_ONCE = 1 << 16
SPAN = timedelta(hours=1)
"""All rows of a batch are of one full hour of UTC, so that a window of whole hours has whole batches."""


@dataclass(frozen=True)
class LoggedWindow:
    """The batches of one family in a period, oldest first; arrays of shape (rows,), ``sketch`` with as many rows.

    ``request_ids`` is None unless it was asked for; it is null where a batch has none.
    """

    batches: int
    first: datetime | None
    last: datetime | None
    probabilities: FloatArray
    scores: FloatArray
    sketch: pd.DataFrame
    request_ids: pa.ChunkedArray | None = None

    @property
    def rows(self) -> int:
        """Scored rows in the window."""
        return len(self.probabilities)


@dataclass(frozen=True)
class LoggedPart:
    """Some rows of one batch, at most 65 536.

    ``name`` is the batch's (``family/file name``), ``model`` the digest of its model. ``rows`` has ``probability``,
    ``score``, the columns of ``REQUEST_SCHEMA`` that the batch has and always ``at``, and the sketch, its columns with
    the prefix ``sketch.``.
    """

    name: str
    model: str
    rows: pa.Table

    def sketch(self) -> pa.Table:
        """The sketch alone, its columns by their own names."""
        names = [name for name in self.rows.column_names if name.startswith(SKETCH_PREFIX)]
        return self.rows.select(names).rename_columns([name.removeprefix(SKETCH_PREFIX) for name in names])


class InferenceLog:
    """Scored batches under ``folder`` (a folder or a URL): one Parquet file each, in a folder per family.

    A batch is known by its model, its content and the occasion its caller names, never by the clock: appending it
    again, as a retry does minutes later, leaves the first one and its time. A batch of requests with ids is known by
    model and occasion alone. Files are written atomically and never changed.

    Args:
        counts: whether a file below the folder (``family/name``) with bytes of this digest counts. One that was put
            there by somebody else, or whose writer was killed before it recorded it, does not.
    """

    def __init__(self, folder: UPath | Path | str, *, counts: Counts = lambda name, digest: True):
        self.folder = UPath(folder)
        self._counts = counts

    def append(
        self,
        family: str,
        model_digest: str,
        probabilities: FloatArray,
        scores: FloatArray,
        sketch: pd.DataFrame,
        *,
        occasion: str,
        when: datetime,
        record: Announce = lambda name, digest: None,
        requests: pa.Table | None = None,
    ) -> UPath | None:
        """Write one batch and return its file, or the file of the same batch that is there already; None for an empty
        batch, which leaves no trace.

        Args:
            model_digest: of the model that scored it.
            probabilities, scores: shape (rows,).
            sketch: numeric columns, one row a prediction (``Detector.sketch``).
            occasion: what the caller knows this act of scoring by, such as a request id or the digest of a scored file:
                the same for a retry, another one for equal predictions that were made anew. Only its digest is kept.
                Where requests have ids, a batch of this occasion that counts stays, whatever came out this time.
            when: moment of scoring, with a time zone.
            record: told the batch, as ``counts`` is, when it is on the disk, and also when it was there already: its
                first writer may have been killed before it recorded it.
            requests: columns of ``REQUEST_SCHEMA``, one row a prediction.

        Raises:
            DatasetError: lengths differ, a sketch column is not numeric, the family's name is malformed or ``when`` has
                no time zone.
            IntegrityError: the model digest is malformed.
            OSError: the batch could not be written; nothing of it is left.
        """
        columns = prediction_columns(scores, probabilities, sketch)
        probability, score = columns.pop(PROBABILITY), columns.pop(SCORE)
        table = prediction_table(probability, score, columns, requests)
        return self.append_table(family, model_digest, table, occasion=occasion, when=when, record=record)

    def append_table(
        self, family: str, model_digest: str, table: pa.Table, *, occasion: str, when: datetime, record: Announce
    ) -> UPath | None:
        """Write one batch as :meth:`append` does, from a ``prediction_table``."""
        model, moment, folder = check_digest(model_digest).partition(":")[2], in_utc(when), self._folder(family)
        if table.num_rows == 0:
            return None

        named = REQUEST_ID in table.column_names
        counts = self._counts_of(family) if named else lambda batch, data: False
        target, data = write_batch(folder, table, moment=moment, occasion=occasion, model=model, counts=counts)
        record(f"{family}/{target.name}", digest_bytes(data))
        return target

    def drop_uncounted(self, family: str, model_digest: str, occasion: str) -> None:
        """Remove what a killed writer left of a batch before anybody recorded it."""
        model = check_digest(model_digest).partition(":")[2]
        drop_uncounted(self._folder(family), occasion, model, counts=self._counts_of(family))

    def parts(
        self,
        family: str,
        since: datetime,
        model_digest: str | None = None,
        until: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> Iterator[LoggedPart]:
        """The rows of a family that count, scored at or after ``since`` and before ``until``, of one model or all, in
        parts, so that a window of any size takes the memory of one file.

        Args:
            columns: which are read, of ``probability``, ``score`` and ``REQUEST_SCHEMA``; all and the sketch unless
                some are named.

        Raises:
            DatasetError: a time has no zone or the family's name is malformed.
            IntegrityError: a batch was changed or damaged on disk; the message names the file.
        """
        wanted, folder, (first, end) = _of_model(model_digest), self._folder(family), _moments(since, until)
        for batch, data in counted_files(folder, f"{family}/", self._counts, wanted, since=first, until=end):
            yield from self.parts_of(family, batch, data, since, until, columns=columns)

    def parts_of(
        self,
        family: str,
        batch: BatchFile,
        data: bytes,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        columns: Sequence[str] | None = None,
    ) -> Iterator[LoggedPart]:
        """The rows of one batch with these bytes, as ``parts`` has them."""
        start, end = (None if time is None else in_utc(time) for time in (since, until))
        for part in _parts_of(batch, data, columns):
            rows = _between(part, start, end)
            if rows.num_rows:
                yield LoggedPart(f"{family}/{batch.path.name}", f"sha256:{batch.model}", rows)

    def files(
        self, family: str, since: datetime, model_digest: str | None = None, until: datetime | None = None
    ) -> list[BatchFile]:
        """The batches that can have rows of a period, oldest first, whether they count or not.

        Raises:
            DatasetError: a time has no zone or the family's name is malformed.
        """
        wanted, (first, end) = _of_model(model_digest), _moments(since, until)
        return [batch for batch in batch_files(self._folder(family), since=first, until=end) if wanted(batch)]

    def stored(self, name: str) -> tuple[BatchFile, bytes]:
        """A batch (``family/file name``), whether it counts or not, and its bytes.

        Raises:
            DatasetError: it is no name of a batch.
            IntegrityError: the bytes are not those that the name says.
        """
        family, _, file_name = name.partition("/")
        batch = batch_file(self._folder(family) / file_name)
        if batch is None:
            raise DatasetError(f"{name!r} is no name of a batch")
        return batch, batch.read()

    def counts(self, family: str, batch: BatchFile, digest: str) -> bool:
        """Whether a batch whose bytes have this digest counts."""
        return self._counts(f"{family}/{batch.path.name}", digest)

    def window(
        self,
        family: str,
        since: datetime,
        model_digest: str | None = None,
        until: datetime | None = None,
        *,
        ids: bool = False,
    ) -> LoggedWindow:
        """The rows of a family that count, scored at or after ``since`` and before ``until``, of one model or all, at
        once: for windows that fit into memory. ``ids`` asks for their request ids too.

        Raises:
            DatasetError: a time has no zone or the family's name is malformed.
            IntegrityError: a batch was changed or damaged on disk; the message names the file.
        """
        import pandas as pd

        found = list(self.parts(family, since, model_digest, until))
        if not found:
            nothing = np.empty(0)
            return LoggedWindow(0, None, None, nothing, nothing, pd.DataFrame())
        rows = pa.concat_tables([part.rows for part in found], promote_options="default")
        times = pc.min_max(rows[AT].cast(pa.timestamp("us", tz="UTC"), safe=False)).as_py()
        whole = replace(found[0], rows=rows)
        window = LoggedWindow(
            batches=len({part.name for part in found}),
            first=times["min"],
            last=times["max"],
            probabilities=rows[PROBABILITY].to_numpy().astype(np.float64, copy=False),
            scores=rows[SCORE].to_numpy().astype(np.float64, copy=False),
            sketch=whole.sketch().to_pandas(use_threads=False),
        )
        if not ids:
            return window
        there = REQUEST_ID in rows.column_names
        return replace(
            window, request_ids=rows[REQUEST_ID] if there else pa.chunked_array([pa.nulls(len(rows), pa.string())])
        )

    def known(self, family: str, ids: pa.Array, since: datetime, until: datetime) -> pa.Array:
        """Which of the request ``ids`` (strings) were logged at or after ``since`` and before ``until``: flags."""
        flags = np.zeros(len(ids), dtype=bool)
        for part in self.parts(family, since, until=until, columns=[REQUEST_ID]):
            if REQUEST_ID in part.rows.column_names:
                flags |= pc.is_in(ids, value_set=part.rows[REQUEST_ID].combine_chunks()).to_numpy(zero_copy_only=False)
        return pa.array(flags)

    def families(self) -> list[str]:
        """The families that a batch is of."""
        folders = sorted(self.folder.iterdir(), key=lambda path: path.name) if self.folder.exists() else []
        return [folder.name for folder in folders if folder.is_dir() and _FAMILY.fullmatch(folder.name)]

    def problems(self) -> list[str]:
        """The batches that are not what their names say, one line each."""
        return [problem for family in self.families() for problem in batch_problems(self.folder / family)]

    def batch_digests(self) -> dict[str, str]:
        """Every batch (``family/name``) with the digest of its bytes."""
        return {
            f"{family}/{batch.path.name}": digest_bytes(batch.path.read_bytes())
            for family in self.families()
            for batch in batch_files(self.folder / family)
        }

    def _counts_of(self, family: str) -> Callable[[BatchFile, bytes], bool]:
        return lambda batch, data: self._counts(f"{family}/{batch.path.name}", digest_bytes(data))

    def _folder(self, family: str) -> UPath:
        if not _FAMILY.fullmatch(family):
            raise DatasetError(f"family {family!r}: a name is up to 64 of a-z, 0-9, _ and -")
        return self.folder / family


def prediction_table(
    probability: FloatArray, score: FloatArray, sketch: Mapping[str, FloatArray], requests: pa.Table | None = None
) -> pa.Table:
    """The table of a batch, from arrays of shape (rows,) and columns of ``REQUEST_SCHEMA``.

    Raises:
        DatasetError: the numbers of rows differ.
    """
    described = {SKETCH_PREFIX + name: values for name, values in sketch.items()}
    table = pa.table({PROBABILITY: probability, SCORE: score, **described})
    if requests is not None:
        if requests.num_rows != table.num_rows:
            raise DatasetError(f"{table.num_rows} predictions with {requests.num_rows} requests: they must be as many")
        for column in REQUEST_SCHEMA:
            if column.name in requests.column_names:
                table = table.append_column(column, requests[column.name].cast(column.type))
    return table.replace_schema_metadata(_LAYOUT)


def _parts_of(batch: BatchFile, data: bytes, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    """The rows of a batch in today's layout, in parts."""
    file = pq.ParquetFile(pa.BufferReader(data))
    there = file.schema_arrow.names
    is_older = (file.schema_arrow.metadata or {}).get(b"nethical.layout") != _LAYOUT[b"nethical.layout"]
    needed = None
    if columns is not None:
        own = {PROBABILITY, SCORE} if is_older else {PROBABILITY, SCORE, *REQUEST_SCHEMA.names}
        # A file is never read without a column: how many rows there are would not be known.
        wanted = {*columns, AT} & own & set(there) or {PROBABILITY}
        needed = [name for name in there if name in wanted]
    for one in file.iter_batches(_ROWS_AT_ONCE, columns=needed, use_threads=False):
        rows = pa.Table.from_batches([one]).replace_schema_metadata(None)
        if is_older:
            names = rows.column_names
            rows = rows.rename_columns(
                [name if name in (PROBABILITY, SCORE) else SKETCH_PREFIX + name for name in names]
            )
        if AT not in rows.column_names:
            moment = pa.scalar(batch.moment, REQUEST_SCHEMA.field(AT).type)
            rows = rows.append_column(REQUEST_SCHEMA.field(AT), pa.repeat(moment, len(rows)))
        yield rows


def _of_model(model_digest: str | None) -> Callable[[BatchFile], bool]:
    model = None if model_digest is None else check_digest(model_digest).partition(":")[2]
    return lambda batch: model in (None, batch.model)


def _moments(since: datetime, until: datetime | None) -> tuple[datetime, datetime | None]:
    """Between which moments batches lie that can have rows of a period."""
    earliest = in_utc(since).replace(minute=0, second=0, microsecond=0)
    return earliest, None if until is None else in_utc(until)


def _between(rows: pa.Table, start: datetime | None, end: datetime | None) -> pa.Table:
    kind = REQUEST_SCHEMA.field(AT).type
    if start is not None:
        rows = _filtered(rows, pc.greater_equal(rows[AT], pa.scalar(start, kind)))
    return rows if end is None else _filtered(rows, pc.less(rows[AT], pa.scalar(end, kind)))


def _filtered(rows: pa.Table, flags: pa.ChunkedArray) -> pa.Table:
    return rows if pc.all(flags).as_py() else rows.filter(flags)
