"""Parquet: what is unpacked at once is bounded, whatever the file's own size."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading import parquet_batches as module
from nethical_assets.core.reading.parquet_batches import MAXIMUM_BYTES, MAXIMUM_ROWS, parquet_batches, unpacked_bytes
from nethical_assets.core.reading.readers import read_files
from nethical_assets.core.reading.tables import read_records
from tests.core.conftest import entry_of

LARGE = "x" * 1_000_000


def write_parquet(path, columns, **options):
    pq.write_table(pa.table(columns), path, compression="zstd", **options)
    return path


def values_of(kind: str, rows: int) -> pa.Array:
    match kind:
        case "text":
            return pa.array([LARGE] * rows)
        case "large text":
            return pa.array([LARGE] * rows, pa.large_string())
        case "bytes":
            return pa.array([LARGE.encode()] * rows)
        case "list":
            return pa.array([[LARGE]] * rows)
        case "structure":
            return pa.array([{"role": "user", "content": LARGE}] * rows)
        case "conversation":
            return pa.array([[{"role": "user", "content": LARGE}]] * rows)
        case _:
            return pa.array([[("k", LARGE)]] * rows, pa.map_(pa.string(), pa.string()))


@pytest.mark.parametrize("kind", ["text", "large text", "bytes", "list", "structure", "conversation", "map"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_no_batch_is_larger_than_its_bound(kind, dictionary, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"text": values_of(kind, 60)}, use_dictionary=dictionary)
    rows = 0
    for batch in parquet_batches(path, "a", "text"):
        rows += batch.num_rows
        assert batch.num_rows == 1 or sum(map(unpacked_bytes, batch.columns)) <= MAXIMUM_BYTES
    assert rows == 60


def test_batches_are_bounded_in_rows_and_hold_every_row_in_order(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"n": list(range(50_000)), "t": [str(i % 7) for i in range(50_000)]})
    batches = list(parquet_batches(path, "a"))
    assert max(batch.num_rows for batch in batches) <= MAXIMUM_ROWS
    assert [value for batch in batches for value in batch.column(0).to_pylist()] == list(range(50_000))
    assert [value for batch in batches for value in batch.column(1).to_pylist()] == [str(i % 7) for i in range(50_000)]


def test_columns_of_all_types_are_the_same_with_and_without_dictionaries(tmp_path):
    columns = {
        "a.b": ["x", None, "é"], "n": [1, 2, 3], "l": [["p", None], [], None], "s": [{"k": "v"}, None, {"k": None}],
        "d": pa.array(["u", "v", "u"]).dictionary_encode(), "b": [b"1", b"\xff", None],
    }  # fmt: skip
    for dictionary in (True, False):
        path = write_parquet(tmp_path / "a.parquet", columns, use_dictionary=dictionary)
        (batch,) = parquet_batches(path, "a")
        assert batch.to_pydict() == pq.read_table(path).to_pydict()
        (one,) = parquet_batches(path, "a", "a.b")
        assert one.to_pydict() == {"a.b": ["x", None, "é"]}


def test_a_row_that_is_too_large_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAXIMUM_BYTES", 1_000)
    monkeypatch.setattr(module, "MAXIMUM_ROW_BYTES", 100_000)
    path = write_parquet(tmp_path / "a.parquet", {"text": ["small"] * 5 + [LARGE] + ["small"]})
    with pytest.raises(DatasetError, match="row 6 unpacks to over"):
        list(parquet_batches(path, "a"))


def test_a_few_bytes_that_unpack_at_once_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LARGE_CHUNK", 1 << 20)
    path = write_parquet(tmp_path / "a.parquet", {"text": ["a"] * 1000 + [LARGE] * 5}, use_dictionary=False)
    with pytest.raises(DatasetError, match="bytes of a column unpack to 4 MiB at once"):
        list(parquet_batches(path, "a"))


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_bomb_is_refused_where_all_rows_are_kept(dictionary, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_UNPACKED_FROM_BYTES", 1 << 23)
    text = values_of("text", 20)
    path = write_parquet(tmp_path / "a.parquet", {"text": text}, use_dictionary=dictionary, row_group_size=5)
    with pytest.raises(DatasetError, match=r"its \d+ bytes unpack to over \d+ MiB \(a decompression bomb\)"):
        read_records(path)
    with pytest.raises(DatasetError, match="decompression bomb"):
        entry = entry_of(files=[{"path": ["a.parquet"], "format": "parquet"}])
        read_files(entry, tmp_path, maximum_rows=1000, seed=0)


def test_a_sample_of_a_file_that_unpacks_far_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_UNPACKED_FROM_BYTES", 1 << 23)
    write_parquet(tmp_path / "a.parquet", {"text": values_of("text", 20)})
    entry = entry_of(files=[{"path": ["a.parquet"], "format": "parquet"}])
    assert read_files(entry, tmp_path, maximum_rows=2, seed=0).table.num_rows == 2


def test_texts_that_are_no_utf_8_are_one_line(tmp_path):
    broken = pa.array([b"good", b"\xed\xa0\x80"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match="in column text after row 0 there is a text that is not valid UTF-8"):
        read_records(tmp_path / "a.parquet")
