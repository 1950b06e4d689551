"""Rows that are stored together, and rows read as columns, are what each row by itself would be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical_assets.core.drift.row_columns import columns_of
from nethical_assets.core.drift.sealing import gather, gather_columns
from nethical_assets.core.drift.segment_format import ROWS_PER_FRAME
from nethical_assets.core.drift.segment_rows import label_bytes, number_bytes
from nethical_assets.core.drift.segments import (
    FeedbackRow,
    LoggedRow,
    LoggedRows,
    SegmentRead,
    SegmentWriter,
    ended_segments,
    read_segment,
)
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from tests.core.drift.logged import MODEL, NOON_NS, OTHER, SECOND, scored, told

SKETCHES = {
    "numbers": lambda n: {"length": float(n), "known": 0.5, "ä" * 40: -0.0},
    "missing": lambda n: {"length": float("nan") if n % 3 else 1e300, "share": float("inf")},
    "none": lambda n: {},
}


def rows_of(count: int, sketch: str = "numbers", **same: Any) -> list[LoggedRow]:
    """Rows of one batch, one by one."""
    fixed = {"at_ns": NOON_NS, "route": "v1", "latency_us": 1234, "model": MODEL, **same}
    name, findings = fixed.pop("request", "request"), fixed.pop("findings", {})
    return [
        scored(n, **fixed, request_id=f"{name}-{n}", sketch=SKETCHES[sketch](n), findings={} if n else findings)
        for n in range(count)
    ]


def together(rows: list[LoggedRow], request: str = "request") -> LoggedRows:
    """The same rows as columns."""
    first = rows[0]
    return LoggedRows(
        first.at_ns,
        request,
        0,
        first.family,
        first.model,
        first.route,
        first.latency_us,
        first.findings,
        label_bytes(np.array([row.label for row in rows], dtype=np.int8)),
        number_bytes([row.probability for row in rows]),
        number_bytes([row.score for row in rows]),
        {name: number_bytes([row.sketch[name] for row in rows]) for name in first.sketch},
    )


def stored(folder: Path, *appends: Any) -> SegmentRead:
    writer = SegmentWriter(folder, sync_seconds=1000.0)
    for rows in appends:
        writer.append(rows)
    writer.close()
    (path,) = ended_segments(folder)
    return read_segment(path)


def known_to_nobody(family, ids, first, last):
    return pa.array(np.zeros(len(ids), dtype=bool))


def sealed(*reads: SegmentRead) -> list[tuple[str, bytes]]:
    """The bytes of the batches that segments become."""
    gathered = gather_columns([columns_of(read) for read in reads], known_to_nobody)
    tables = [(f"{one.family} {one.model} {one.moment}", one.table) for one in gathered.predictions]
    if gathered.feedback is not None:
        tables.append(("feedback", gathered.feedback))
    return [(name, in_parquet(table)) for name, table in tables]


def in_parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()


def as_bytes(rows: Any) -> bytes:
    """Rows as they are, NaN too, which is equal to nothing."""
    return msgspec.msgpack.encode(list(rows))


SHAPES = {
    "one": [(1, {})],
    "few": [(15, {"findings": {"EMAIL": 2}})],
    "many": [(16, {"findings": {"EMAIL": 2, "PHONE": 1}}), (300, {"sketch": "missing"})],
    "no sketch": [(40, {"sketch": "none"}), (40, {"sketch": "numbers"})],
    "a long id": [(120, {"request": "a-ü" * 80})],
    "several frames": [(2 * ROWS_PER_FRAME + 7, {"findings": {"EMAIL": 3}})],
    "one full frame": [(ROWS_PER_FRAME, {}), (ROWS_PER_FRAME + 1, {"at_ns": NOON_NS + 4000 * SECOND})],
    "two models": [(30, {}), (30, {"model": OTHER, "request": "other"}), (30, {"request": "third", "family": "shape"})],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_stored_together_are_the_same_rows_and_the_same_batches(tmp_path, shape):
    batches = [(rows_of(count, **same), same.get("request", "request")) for count, same in SHAPES[shape]]
    beside = [scored(n, request_id=f"single-{n}") for n in range(3)]
    labels = [told(n, n % 2) for n in range(5)]
    single = [part for rows, _ in batches for part in (rows, beside, labels)]
    columns = [part for rows, name in batches for part in (together(rows, name), beside, labels)]
    by_row, by_column = stored(tmp_path / "row", *single), stored(tmp_path / "column", *columns)
    assert by_column.rows == by_row.rows == sum(map(len, single))
    assert as_bytes(by_column) == as_bytes(by_row) == as_bytes(row for rows in single for row in rows)
    assert sealed(by_column) == sealed(by_row)
    assert sealed(by_row, by_column) == sealed(by_column, by_row) == sealed(by_row, by_row)


ODD = {
    "of one form": [{"length": 1.0, "known": 2.0}, {"length": -1.5, "known": float("inf")}],
    "whole numbers": [{"length": 1.0, "known": 2.0}, {"length": 3, "known": 2**40}],
    "whole numbers first": [{"length": 1}, {"length": 0.5}],
    "another order": [{"length": 1.0, "known": 2.0}, {"known": 3.0, "length": 4.0}],
    "other names": [{"length": 1.0}, {"height": 2.0}],
    "names in place of numbers": [{"aaaaaaaa": 1.0}, {"aaaaaaab": 2.0}],
    "one has none": [{"length": 1.0}, {}],
    "none": [{}, {}],
    "many": [{f"column {n}": float(n) for n in range(40)}, {f"column {n}": float(-n) for n in range(40)}],
    "longer than its bytes say": [{"a" * 300: 1.0, "": 2.0}, {"a" * 300: 3.0, "": 4.0}],
}


@pytest.mark.parametrize("kind", ODD)
def test_sketches_are_read_as_columns_as_one_by_one(tmp_path, kind):
    rows = [scored(n, sketch=sketch) for n, sketch in enumerate(ODD[kind] * 3)]
    read = stored(tmp_path, rows[:2], *([row] for row in rows[2:]))
    (one_by_one,) = gather([list(read)], known_to_nobody).predictions
    (as_columns,) = gather_columns([columns_of(read)], known_to_nobody).predictions
    assert in_parquet(one_by_one.table) == in_parquet(as_columns.table)
    names = [name for name in one_by_one.table.column_names if name.startswith("sketch.")]
    assert [name.removeprefix("sketch.") for name in names] == (
        list(rows[0].sketch)
        if all(list(row.sketch) == list(rows[0].sketch) for row in rows)
        else sorted({name for row in rows for name in row.sketch})
    )
    for name in names:
        found = as_columns.table[name].to_numpy()
        assert np.array_equal(
            found, [row.sketch.get(name.removeprefix("sketch."), np.nan) for row in rows], equal_nan=True
        )


def test_of_rows_stored_together_those_of_whole_frames_outlast_a_tear(tmp_path):
    rows = rows_of(ROWS_PER_FRAME + 50)
    read = stored(tmp_path, together(rows))
    cut = tmp_path / read.path.with_suffix(".open").name
    cut.write_bytes(read.path.read_bytes()[:-60])
    torn = read_segment(cut)
    assert torn.torn and not torn.damage and list(torn) == rows[:ROWS_PER_FRAME]


WRONG = {
    "probability": number_bytes([0.5] * 39 + [1.5]),
    "score": number_bytes([0.5] * 39),
    "sketch": {"length": number_bytes([1.0] * 41)},
    "label": b"\x01" * 39,
    "request": "a" * 254,
}


@pytest.mark.parametrize("name", WRONG)
def test_columns_that_are_no_rows_are_refused(tmp_path, name):
    right = together(rows_of(40))
    with pytest.raises(ValueError, match=r"unequal|probability|256"):
        msgspec.structs.replace(right, **{name: WRONG[name]})
    payload = msgspec.msgpack.encode(right)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(payload.replace(right.probability, number_bytes([2.0] * 40)), type=LoggedRows)


@pytest.mark.parametrize(
    "change", [{"family": "../escape"}, {"model": "latest"}, {"sketch": {"score": b"0" * 320}}, {"findings": {"A": -1}}]
)
def test_rows_together_that_no_reader_would_take_are_refused_and_stop_nobody(tmp_path, change):
    wrong = msgspec.structs.replace(together(rows_of(40)), **change)
    writer = SegmentWriter(tmp_path, sync_seconds=1000.0)
    with pytest.raises(DatasetError):
        writer.append(wrong)
    writer.append([scored(3)])
    writer.close()
    assert list(read_segment(ended_segments(tmp_path)[0])) == [scored(3)]


def test_a_sketch_that_is_none_is_told_of_its_segment(tmp_path, monkeypatch):
    class Unknown(msgspec.Struct, frozen=True, array_like=True, tag="scored"):
        at_ns: int
        request_id: str
        family: str
        model: str
        route: str
        label: int
        probability: float
        score: float
        sketch: list[int]
        latency_us: int
        findings: dict[str, int]

    fields = {name: getattr(scored(1), name) for name in LoggedRow.__struct_fields__}
    wrong = Unknown(**{**fields, "sketch": [1]})
    monkeypatch.setattr("nethical_assets.core.drift.segments.encode_rows", msgspec.msgpack.encode)
    read = stored(tmp_path, [wrong, FeedbackRow(1, "a", 1, "b")])
    for each in (lambda: list(read), lambda: columns_of(read)):
        with pytest.raises(IntegrityError, match="update"):
            each()
