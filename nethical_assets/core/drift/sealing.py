"""From segments to batches: which rows become which batch, each request once.

What belongs here: gathering the rows of segments into tables, the same tables from the same segments. What does not:
reading a damaged file (``segment_format``), rows as columns (``row_columns``), or writing, recording and removing
anything (``home.inference``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from nethical_assets.core.drift.inference_log import AT, REQUEST_ID, SPAN
from nethical_assets.core.drift.row_columns import RowColumns, ScoredColumns, scored_table
from nethical_assets.core.drift.segment_rows import Row, Stored

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


def gather(segments: Iterable[Iterable[Row | Stored]], known: Known) -> Gathered:
    """The batches of segments, in the order of which the rows are given.

    A request id stands for one request of its family: of rows with the same one the first by time stays, and none where
    the log has it already.
    """
    return gather_columns([RowColumns.of(segment) for segment in segments], known)


def gather_columns(segments: Sequence[RowColumns], known: Known) -> Gathered:
    """As ``gather``, of segments that were read before."""
    predictions, again = [], 0
    for family, tables in sorted(_tables(segments).items()):
        kept = _first_of_each(family, tables, known)
        again += sum(table.num_rows for table in tables.values()) - sum(table.num_rows for table in kept.values())
        for model, table in kept.items():
            predictions += [PredictionBatch(family, model, *one) for one in _by_hour(table)]
    labels = [table for segment in segments for table in segment.feedback]
    feedback = pa.concat_tables(labels).sort_by(AT) if labels else None
    return Gathered(tuple(predictions), feedback, again)


def _tables(segments: Sequence[RowColumns]) -> dict[str, dict[str, pa.Table]]:
    """Family -> model -> rows as they came."""
    pieces: dict[tuple[str, str], list[list[ScoredColumns]]] = {}
    for segment in segments:
        for key, some in segment.scored.items():
            pieces.setdefault(key, []).append(some)
    found: dict[str, dict[str, pa.Table]] = {}
    for (family, model), by_segment in sorted(pieces.items()):
        found.setdefault(family, {})[model] = scored_table(by_segment)
    return found


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
