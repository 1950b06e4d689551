"""Rows of the inference log as columns.

What belongs here: turning the rows of a segment into arrays, and these into the table of a batch. What does not: which
rows become which batch (``sealing``), or the bytes of rows (``segment_rows``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.drift.feedback import FEEDBACK_SCHEMA
from nethical_assets.core.drift.inference_log import FINDINGS, REQUEST_SCHEMA, prediction_table
from nethical_assets.core.drift.segment_format import SegmentRead, unknown_rows
from nethical_assets.core.drift.segment_rows import (
    FeedbackRow,
    LoggedRow,
    LoggedRows,
    Numbers,
    Row,
    Stored,
    StoredRow,
    labels_in,
    numbers_in,
    sketch_columns,
)

_ROWS_AT_ONCE = 8192
_FINDINGS = REQUEST_SCHEMA.field(FINDINGS).type


@dataclass(frozen=True)
class ScoredColumns:
    """Predictions of one family and model: arrays of shape (rows,), and their columns of ``REQUEST_SCHEMA``.

    ``places`` says which rows of their segment they are.
    """

    places: npt.NDArray[np.int64]
    requests: pa.Table
    probability: Numbers
    score: Numbers
    sketch: dict[str, Numbers]


@dataclass
class RowColumns:
    """The rows of a segment in their order; few of them are objects at a time.

    Attributes:
        scored: family and model -> predictions.
        feedback: labels, columns of ``FEEDBACK_SCHEMA``.
    """

    scored: dict[tuple[str, str], list[ScoredColumns]] = field(default_factory=dict)
    feedback: list[pa.Table] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[Row | Stored]) -> RowColumns:
        """Raises ``msgspec.DecodeError``: a sketch is none."""
        columns = cls()
        single: dict[tuple[str, str], list[tuple[int, LoggedRow | StoredRow]]] = {}
        together: dict[tuple[str, str], list[tuple[int, LoggedRows]]] = {}
        labels: list[FeedbackRow] = []
        place = 0
        for row in rows:
            if isinstance(row, FeedbackRow):
                labels.append(row)
                if len(labels) == _ROWS_AT_ONCE:
                    columns.feedback.append(_labels(labels))
                    labels = []
            elif isinstance(row, LoggedRows):
                together.setdefault((row.family, row.model), []).append((place, row))
                place += len(row)
            else:
                key = row.family, row.model
                waiting = single.setdefault(key, [])
                waiting.append((place, row))
                place += 1
                if len(waiting) == _ROWS_AT_ONCE:
                    columns.scored.setdefault(key, []).append(_of_single(waiting))
                    waiting.clear()
        for key, some in single.items():
            if some:
                columns.scored.setdefault(key, []).append(_of_single(some))
        for key, many in together.items():
            columns.scored.setdefault(key, []).extend(_of_together(many))
        if labels:
            columns.feedback.append(_labels(labels))
        return columns


def columns_of(segment: SegmentRead) -> RowColumns:
    """The rows of a segment.

    Raises:
        IntegrityError: they are none that this version knows.
    """
    try:
        return RowColumns.of(segment.stored())
    except msgspec.DecodeError:
        raise unknown_rows(segment.path) from None


def scored_table(segments: Sequence[Sequence[ScoredColumns]]) -> pa.Table:
    """The table of the rows of segments in their order. The sketch has the order of its columns where it is that of
    all, else they are by name; it is NaN where a row lacks a column."""
    pieces = [piece for segment in segments for piece in segment]
    names = list(pieces[0].sketch)
    if any(list(piece.sketch) != names for piece in pieces):
        names = sorted({name for piece in pieces for name in piece.sketch})

    def sketch(name: str) -> Numbers:
        parts = [piece.sketch.get(name) for piece in pieces]
        return np.concatenate(
            [
                np.full(piece.requests.num_rows, math.nan) if part is None else part
                for piece, part in zip(pieces, parts, strict=True)
            ]
        )

    table = prediction_table(
        np.concatenate([piece.probability for piece in pieces]),
        np.concatenate([piece.score for piece in pieces]),
        {name: sketch(name) for name in names},
        pa.concat_tables([piece.requests for piece in pieces]),
    )
    orders, before = [], 0
    for segment in segments:
        places = np.concatenate([piece.places for piece in segment])
        orders.append(before + np.argsort(places))
        before += len(places)
    order = np.concatenate(orders)
    return table if (np.diff(order) == 1).all() else table.take(pa.array(order))


def _of_single(numbered: Sequence[tuple[int, LoggedRow | StoredRow]]) -> ScoredColumns:
    rows = [row for _, row in numbered]
    return ScoredColumns(
        np.array([place for place, _ in numbered], dtype=np.int64),
        _requests(
            pa.array([row.request_id for row in rows], pa.string()),
            [row.at_ns for row in rows],
            [row.label for row in rows],
            pa.array([row.route for row in rows], pa.string()),
            [row.latency_us for row in rows],
            [row.findings for row in rows],
            range(len(rows)),
        ),
        np.array([row.probability for row in rows], dtype=np.float64),
        np.array([row.score for row in rows], dtype=np.float64),
        sketch_columns([row.sketch for row in rows]),
    )


def _of_together(rows: Sequence[tuple[int, LoggedRows]]) -> list[ScoredColumns]:
    """Those of one form of sketch after another are one piece."""
    pieces: list[list[tuple[int, LoggedRows]]] = []
    for place, one in rows:
        if pieces and list(pieces[-1][0][1].sketch) == list(one.sketch):
            pieces[-1].append((place, one))
        else:
            pieces.append([(place, one)])
    return [_of_one_form(piece) for piece in pieces]


def _of_one_form(numbered: Sequence[tuple[int, LoggedRows]]) -> ScoredColumns:
    rows = [one for _, one in numbered]
    lengths = np.array([len(one) for one in rows])
    owners = np.repeat(np.arange(len(rows)), lengths)
    numbers = np.concatenate([np.arange(one.first, one.first + len(one)) for one in rows])
    names = pa.array([one.request for one in rows], pa.string()).take(pa.array(owners))

    def column(stored: Iterable[bytes]) -> Numbers:
        return numbers_in(b"".join(stored)).astype(np.float64, copy=False)

    return ScoredColumns(
        np.concatenate([np.arange(place, place + len(one)) for place, one in numbered]),
        _requests(
            pc.binary_join_element_wise(names, pa.array(numbers).cast(pa.string()), "-"),
            np.repeat(np.array([one.at_ns for one in rows], dtype=np.int64), lengths),
            labels_in(b"".join(one.label for one in rows)),
            pa.array([one.route for one in rows], pa.string()).take(pa.array(owners)),
            np.repeat(np.array([one.latency_us for one in rows], dtype=np.int64), lengths),
            [one.findings for one in rows],
            (np.cumsum(lengths) - lengths).tolist(),
        ),
        column(one.probability for one in rows),
        column(one.score for one in rows),
        {name: column(one.sketch[name] for one in rows) for name in rows[0].sketch},
    )


def _requests(
    ids: pa.Array,
    at_ns: npt.ArrayLike,
    label: npt.ArrayLike,
    route: pa.Array,
    latency_us: npt.ArrayLike,
    findings: Sequence[dict[str, int]],
    places: Sequence[int],
) -> pa.Table:
    """Columns of ``REQUEST_SCHEMA``; ``findings`` are those of the rows at ``places``, others have none."""
    found = np.zeros(len(ids) + 1, dtype=np.int64)
    found[np.asarray(places) + 1] = [len(each) for each in findings]
    kinds: pa.Array = pa.array(chain.from_iterable(findings), _FINDINGS.key_type)
    counts = pa.array(chain.from_iterable(each.values() for each in findings), _FINDINGS.item_type)
    ends = pa.array(np.cumsum(found).astype(np.int32))
    columns: list[Any] = [
        ids,
        pa.array(np.asarray(at_ns, dtype=np.int64)),
        pa.array(np.asarray(label, dtype=np.int8)),
        route,
        pa.array(np.asarray(latency_us, dtype=np.int64)),
        pa.MapArray.from_arrays(ends, kinds, counts),
    ]
    arrays = [column.cast(kind) for column, kind in zip(columns, REQUEST_SCHEMA.types, strict=True)]
    return pa.table(arrays, schema=REQUEST_SCHEMA)


def _labels(rows: Sequence[FeedbackRow]) -> pa.Table:
    columns = [
        [row.at_ns for row in rows],
        [row.request_id for row in rows],
        [row.label for row in rows],
        [row.actor for row in rows],
    ]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, FEEDBACK_SCHEMA.types, strict=True)]
    return pa.table(arrays, schema=FEEDBACK_SCHEMA)
