"""From segments to batches: which rows become which batch, each request once.

What belongs here: gathering the rows of segments into tables, the same tables from the same segments. What does not:
reading a damaged file (``segment_format``), or writing, recording and removing anything (``home.inference``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from nethical_assets.core.drift.feedback import FEEDBACK_SCHEMA
from nethical_assets.core.drift.inference_log import AT, REQUEST_ID, REQUEST_SCHEMA, SPAN, prediction_table
from nethical_assets.core.drift.segment_format import FeedbackRow, LoggedRow, Row

_ROWS_AT_ONCE = 8192
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN_NS = int(SPAN.total_seconds()) * 1_000_000_000

Known = Callable[[str, pa.Array, datetime, datetime], pa.Array]
"""Family, request ids, time of the first and of the last -> flags of those that are in the log already."""


@dataclass(frozen=True)
class PredictionBatch:
    """One batch to be written: rows of one family, one model and one hour, in order of their times."""

    family: str
    model: str
    moment: datetime
    table: pa.Table

    def occasion(self, source: str) -> str:
        """What the batch is known by beside its family and model, where it was gathered from ``source``."""
        return f"{source} {self.moment:%Y-%m-%dT%H}"


@dataclass(frozen=True)
class Gathered:
    """What segments come to. ``feedback`` is None without labels; ``again`` counts the rows of requests that were in
    the log already."""

    predictions: tuple[PredictionBatch, ...]
    feedback: pa.Table | None
    again: int

    @property
    def rows(self) -> int:
        """How many predictions there are."""
        return sum(one.table.num_rows for one in self.predictions)


def gather(segments: Iterable[Iterable[Row]], known: Known) -> Gathered:
    """The batches of segments, in the order of which the rows are given.

    A request id stands for one request of its family: of rows with the same one the first by time stays, and none where
    the log has it already.
    """
    rows = _Rows()
    for segment in segments:
        for row in segment:
            rows.add(row)
    predictions, again = [], 0
    for family, tables in sorted(rows.predictions().items()):
        kept = _first_of_each(family, tables, known)
        again += sum(table.num_rows for table in tables.values()) - sum(table.num_rows for table in kept.values())
        for model, table in kept.items():
            predictions += [PredictionBatch(family, model, *one) for one in _by_hour(table)]
    return Gathered(tuple(predictions), rows.feedback(), again)


@dataclass
class _Rows:
    """Rows as columns; few rows are objects at a time."""

    _waiting: dict[tuple[str, str], list[LoggedRow]] = field(default_factory=dict)
    _tables: dict[tuple[str, str], list[pa.Table]] = field(default_factory=dict)
    _labels: list[FeedbackRow] = field(default_factory=list)
    _feedback: list[pa.Table] = field(default_factory=list)

    def add(self, row: Row) -> None:
        if isinstance(row, FeedbackRow):
            self._labels.append(row)
            if len(self._labels) == _ROWS_AT_ONCE:
                self._flush_labels()
            return
        waiting = self._waiting.setdefault((row.family, row.model), [])
        waiting.append(row)
        if len(waiting) == _ROWS_AT_ONCE:
            self._flush(row.family, row.model)

    def predictions(self) -> dict[str, dict[str, pa.Table]]:
        """Family -> model -> rows as they came."""
        for key in sorted(self._waiting):
            self._flush(*key)
        found: dict[str, dict[str, pa.Table]] = {}
        for (family, model), tables in sorted(self._tables.items()):
            found.setdefault(family, {})[model] = pa.concat_tables(tables, promote_options="default")
        return found

    def feedback(self) -> pa.Table | None:
        """All labels, in order of their times."""
        self._flush_labels()
        return pa.concat_tables(self._feedback).sort_by(AT) if self._feedback else None

    def _flush(self, family: str, model: str) -> None:
        if rows := self._waiting.pop((family, model), []):
            self._tables.setdefault((family, model), []).append(_table(rows))

    def _flush_labels(self) -> None:
        rows, self._labels = self._labels, []
        if rows:
            columns = [
                [row.at_ns for row in rows],
                [row.request_id for row in rows],
                [row.label for row in rows],
                [row.actor for row in rows],
            ]
            kinds = FEEDBACK_SCHEMA.types
            arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
            self._feedback.append(pa.table(arrays, schema=FEEDBACK_SCHEMA))


def _table(rows: Sequence[LoggedRow]) -> pa.Table:
    names = list(rows[0].sketch)
    if any(list(row.sketch) != names for row in rows):
        names = sorted({name for row in rows for name in row.sketch})
    probability = np.array([row.probability for row in rows], dtype=np.float64)
    score = np.array([row.score for row in rows], dtype=np.float64)
    sketch = {name: np.array([row.sketch.get(name, math.nan) for row in rows], dtype=np.float64) for name in names}
    requests = [
        [row.request_id for row in rows],
        [row.at_ns for row in rows],
        [row.label for row in rows],
        [row.route for row in rows],
        [row.latency_us for row in rows],
        [list(row.findings.items()) for row in rows],
    ]
    arrays = [pa.array(values, kind) for values, kind in zip(requests, REQUEST_SCHEMA.types, strict=True)]
    return prediction_table(probability, score, sketch, pa.table(arrays, schema=REQUEST_SCHEMA))


def _first_of_each(family: str, tables: dict[str, pa.Table], known: Known) -> dict[str, pa.Table]:
    """Of each request the first row, in order of time."""
    models = list(tables)
    owners = np.repeat(np.arange(len(models)), [tables[model].num_rows for model in models])
    rows = np.concatenate([np.arange(tables[model].num_rows) for model in models])
    times = np.concatenate([tables[model][AT].cast(pa.int64()).to_numpy() for model in models])
    ids = pa.chunked_array([chunk for model in models for chunk in tables[model][REQUEST_ID].chunks]).combine_chunks()
    order = np.argsort(times, kind="stable")
    codes = ids.take(pa.array(order)).dictionary_encode().indices.to_numpy()
    order = order[np.sort(np.unique(codes, return_index=True)[1])]
    first, last = (_moment(int(times[order[end]])) for end in (0, -1))
    seen = known(family, ids.take(pa.array(order)), first, last + timedelta(microseconds=1))
    order = order[~np.asarray(seen.to_numpy(zero_copy_only=False), dtype=bool)]
    return {
        model: tables[model].take(pa.array(rows[order[owners[order] == owner]])) for owner, model in enumerate(models)
    }


def _by_hour(table: pa.Table) -> list[tuple[datetime, pa.Table]]:
    """The rows of each full hour with the time of the first."""
    if table.num_rows == 0:
        return []
    times = table[AT].cast(pa.int64()).to_numpy()
    starts = np.unique(times // _SPAN_NS, return_index=True)[1]
    ends = [*starts[1:].tolist(), len(times)]
    return [
        (_moment(int(times[start])), table.slice(start, end - start).combine_chunks())
        for start, end in zip(starts.tolist(), ends, strict=True)
    ]


def _moment(at_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at_ns // 1000)
