"""Files of records: in and out again, in order, and one line for what cannot be read."""

from __future__ import annotations

import errno
import json
import os
import string
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.reading.tables import (
    OUTPUT_SUFFIXES,
    every_row,
    layout_of,
    read_records,
    reading_of,
    write_records,
)
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import tallied
from tests.core.conftest import entry_of

# Words that a reader takes for a missing value, and blanks around a value, are not told apart from the real thing.
WORDS = st.text(string.ascii_letters + "0 ,;|\"'\\/\n\r\té€😀<>{}[]", min_size=1, max_size=30).map(
    lambda text: f"t{text}t"
)
RECORDS = st.lists(
    st.tuples(WORDS, st.floats(0, 1), st.integers(-(10**9), 10**9), st.booleans()), min_size=1, max_size=20
)


def frame_of(records: list[tuple[str, float, int, bool]]) -> pd.DataFrame:
    frame = pd.DataFrame(records, columns=["text", "probability", "count", "gap"])
    frame["text"] = frame["text"].astype("str").mask(frame.pop("gap"))
    return frame.assign(count=frame["count"].astype("int64"))


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS)
def test_what_is_written_is_read_again_in_order(tmp_path: Path, suffix: str, records: list) -> None:
    frame = frame_of(records)
    path = tmp_path / f"records{suffix}"
    write_records(frame, path)
    read = read_records(path)
    assert list(read.columns) == [*frame.columns, "_file"]
    assert set(read["_file"]) == {path.name}
    assert read["text"].astype("object").where(read["text"].notna(), None).tolist() == (
        frame["text"].astype("object").where(frame["text"].notna(), None).tolist()
    )
    assert read["count"].tolist() == frame["count"].tolist()
    np.testing.assert_allclose(read["probability"].astype("float64"), frame["probability"], rtol=0, atol=1e-15)


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_many_rows_keep_their_order(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"key": np.random.default_rng(1).permutation(20_000), "value": "x"})
    write_records(frame, tmp_path / f"many{suffix}")
    assert read_records(tmp_path / f"many{suffix}")["key"].tolist() == frame["key"].tolist()


@pytest.mark.parametrize("suffix", OUTPUT_SUFFIXES)
def test_times_are_written_as_iso_8601(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"when": pd.to_datetime(["2026-11-22T10:00:00.123456Z"], utc=True)})
    write_records(frame, tmp_path / f"times{suffix}")
    read = pd.to_datetime(read_records(tmp_path / f"times{suffix}")["when"], utc=True, format="ISO8601")
    assert abs(read[0] - frame["when"][0]) < pd.Timedelta("1ms")


def test_an_existing_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    advised = r"out\.csv: cannot be written \(No space left on device\); free space, or name another file"
    with pytest.raises(DatasetError, match=advised):
        write_records(pd.DataFrame({"a": [1]}), path)
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["out.csv"]


def test_an_unknown_output_format_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"unknown output format; name a file that ends in \.csv, \.jsonl, \.parq"):
        write_records(pd.DataFrame({"a": [1]}), tmp_path / "out.xlsx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="cannot be written"):
        write_records(pd.DataFrame({"a": [1]}), tmp_path / "file" / "out.csv")


WRONG: dict[str, tuple[str, bytes | None, str]] = {
    "absent": ("none.csv", None, "no such file"),
    "unknown suffix": ("rows.xlsx", b"a,b\n1,2\n", r"unknown format; name a file that ends in \.csv, \.tsv"),
    "no suffix": ("rows", b"a,b\n1,2\n", "unknown format"),
    "empty": ("rows.csv", b"", "the file is empty"),
    "header only": ("rows.csv", b"a,b\n", "no rows of data"),
    "ragged": ("rows.csv", b"a,b\n" + b"1,2\n" * 500 + b"1,2,3\n", r"1 malformed rows, the first is row 502"),
    "all ragged": ("rows.csv", b"a,b\n" + b"1,2,3\n" * 10, "rows cannot be read"),
    "mis-encoded": ("rows.csv", b"a,b\ncaf\xe9,2\n", "utf-8"),
    "binary": ("rows.csv", bytes(range(256)) * 20, "rows.csv"),
    "cut quote": ("rows.csv", b'a,b\n1,"never closed\n', "rows.csv"),
    "not JSON": ("rows.jsonl", b"{}x\n", "rows.jsonl"),
    "JSON of numbers": ("rows.jsonl", b"1\n2\n", "rows.jsonl"),
    "not Parquet": ("rows.parquet", b"PAR1 no", "rows.parquet"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_that_names_the_file(tmp_path: Path, case: str) -> None:
    name, content, message = WRONG[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        read_records(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="it is a folder; name a file of records"):
        read_records(tmp_path)


def test_a_file_named_like_a_catalog_file_is_read_by_its_layout(tmp_path: Path) -> None:
    entry = DatasetEntry.model_validate(
        {
            "name": "toy", "slug": "owner/toy", "title": "Toy", "licence": "CC0-1.0", "kind": "text",
            "files": [{"path": ["spam.csv", "*.csv"], "format": "csv", "header": False, "encoding": "latin-1",
                       "columns": ["kind", "text"], "text_column": "text"}],
        }
    )  # fmt: skip
    content = "ham,caf\xe9\nspam,12\n".encode("latin-1")
    (tmp_path / "spam.csv").write_bytes(content)
    read = read_records(tmp_path / "spam.csv", [entry])
    assert read["text"].tolist() == ["caf\xe9", "12"]
    (tmp_path / "mine.csv").write_bytes(b"text\nhello\nyou\n")
    assert list(read_records(tmp_path / "mine.csv", [entry]).columns) == ["text", "_file"]


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_cells_of_a_text_column_that_are_no_texts_are_counted(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    cells = ["a", ["b", "c"], True, {"d": 1}, None, "  ", 12, "[e]"]
    if ending == ".parquet":
        pq.write_table(pa.table({"text": [["b"], ["c"], None]}), path)
        told = {"a list": 2, "missing": 1}
    else:
        records = [{"text": cell, "id": row} for row, cell in enumerate(cells)]
        path.write_text(json.dumps(records) if ending == ".json" else "\n".join(map(json.dumps, records)))
        told = {"missing": 2, "a list": 1, "a truth value": 1, "an object": 1}
    records = read_records(path, reading=reading_of(path, objects=frozenset({"text"})))
    with tallied() as cells_of:
        inputs = load_family("prompt_injection").inputs_of(records, ())
    (column,) = cells_of.to_json()
    assert (column["column"], column["reasons"], column["first"]) == ("text", told, 1 if ending == ".parquet" else 2)
    assert (inputs["text"] == "").sum() == column["count"]


def test_a_column_that_a_layout_declares_as_text_may_be_nested(tmp_path: Path, entry_of_chats: DatasetEntry) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text('{"messages": [{"content": "hello"}]}\n' * 3)
    records = read_records(path, [entry_of_chats], reading=reading_of(path, objects=frozenset({"messages"})))
    assert records["messages"].tolist() == ["content: hello"] * 3


@pytest.fixture
def entry_of_chats() -> DatasetEntry:
    file = {"path": ["chats.jsonl"], "format": "jsonl", "text_column": "messages"}
    return entry_of(kind="text", families=["prompt_injection"], files=[file])


def test_errors_of_writing_name_the_file_that_was_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError) as refused:
        write_atomically(tmp_path / "scores.csv", b"x")
    assert refused.value.filename == str(tmp_path / "scores.csv")
    assert ".partial" not in str(refused.value)


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"1,2\n")


def _replace(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("change", [_append, _replace, _cut, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_neither_of_both(tmp_path: Path, suffix: str, change: Any) -> None:
    path = tmp_path / f"records{suffix}"
    frame = pd.DataFrame({"a": range(40_000), "b": "x"})
    if suffix == ".json":
        path.write_text(frame.to_json(orient="records"))
    else:
        write_records(frame, path)
    batches = every_row(path, layout_of(path), reading_of(path))
    next(batches)
    change(path)
    with pytest.raises(DatasetError, match="it was changed while it was read; wait until it is written"):
        list(batches)


def test_what_is_wrong_with_a_file_at_rest_is_said_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "records.csv"
    path.write_text('a,b\n"1,2\n')
    with pytest.raises(DatasetError) as refused:
        read_records(path)
    assert "changed" not in str(refused.value)
