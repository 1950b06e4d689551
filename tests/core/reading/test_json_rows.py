"""JSON: rows in their usual wrappings, rows that cannot be read, and never a file in one cell."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.json_rows import is_one_document
from nethical_assets.core.reading.readers import read_files
from nethical_assets.core.reading.tables import read_records
from tests.core.conftest import entry_of

ROWS = 40
FRAME = pd.DataFrame({"text": [f"text number {i}" for i in range(ROWS)], "label": [i % 2 for i in range(ROWS)]})
RECORDS = FRAME.to_dict("records")
WRAPPED = {
    "a list": RECORDS,
    "data": {"data": RECORDS},
    "data beside other members": {"version": "1.1", "licence": None, "tags": ["a", "b"], "rows": RECORDS},
    "by columns": json.loads(FRAME.to_json()),
    "by columns, named rows": json.loads(FRAME.set_index(FRAME["text"].str.replace(" ", "")).to_json()),
    "by index": json.loads(FRAME.to_json(orient="index")),
    "by index, named rows": json.loads(FRAME.set_index(FRAME["text"].str.replace(" ", "")).to_json(orient="index")),
    "split": json.loads(FRAME.to_json(orient="split")),
    "split without index": {"columns": ["text", "label"], "data": FRAME.to_numpy().tolist()},
    "table": json.loads(FRAME.to_json(orient="table")),
    "lists by column": FRAME.to_dict("list"),
}
NO_ROWS = {
    "one record": {"text": "a", "label": 1},
    "two lists of objects": {"train": RECORDS, "test": RECORDS},
    "wrapped twice": {"result": {"rows": RECORDS}},
    "lists of other lengths": {"text": ["a", "b"], "label": [1]},
    "split of another width": {"columns": ["text"], "data": [["a", 1], ["b", 2]]},
    "numbers on both sides": {"0": {"0": 1, "1": 2}, "1": {"0": 3, "1": 4}},
    "nothing": {},
    "a text": "text",
    "a number": 7,
}
LINES = "\n".join(map(json.dumps, RECORDS))


def read(folder, **file):
    return read_files(
        entry_of(files=[{"path": ["rows.json"], "format": "json", **file}]), folder, maximum_rows=99, seed=0
    )


@pytest.mark.parametrize("shape", WRAPPED)
@pytest.mark.parametrize("indent", [None, 2])
def test_every_usual_wrapping_gives_the_rows(shape, indent, write, folder):
    write({"rows.json": json.dumps(WRAPPED[shape], indent=indent)})
    table = read(folder).table
    assert table.num_rows == ROWS
    assert sorted(table.column("text").to_pylist()) == sorted(FRAME["text"])
    assert sum(table.column("label").to_pylist()) == ROWS // 2
    assert read_records(folder / "rows.json")["text"].tolist() == FRAME["text"].tolist()


@pytest.mark.parametrize("shape", NO_ROWS)
def test_what_holds_no_rows_is_refused_in_words(shape, write, folder):
    write({"rows.json": json.dumps(NO_ROWS[shape])})
    with pytest.raises(DatasetError, match=r"expected a JSON list of objects, and it is (?:one JSON|an empty object)"):
        read(folder)
    with pytest.raises(
        DatasetError,
        match=r"it is (?:one JSON .*|an empty object); write a list of objects, or one object a line \(\.jsonl",
    ):
        read_records(folder / "rows.json")


@pytest.mark.parametrize("shape", [name for name in WRAPPED if name != "a list"])
def test_a_wrapping_on_one_line_is_no_row_of_a_file_of_lines(shape, write, folder):
    write({"rows.json": json.dumps(WRAPPED[shape]), "rows.jsonl": json.dumps(WRAPPED[shape])})
    with pytest.raises(DatasetError, match="one JSON object around 40 rows, not one object a line; its 'format' is"):
        read(folder, format="jsonl")
    with pytest.raises(DatasetError, match=r"around 40 rows, not one object a line; name it \.json"):
        read_records(folder / "rows.jsonl")


def test_one_conversation_is_one_row_where_its_member_is_the_text(write, folder):
    chat = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    write({"rows.json": json.dumps(chat)})
    raw = read(folder, format="jsonl", text_column="messages")
    assert raw.table.column("messages").to_pylist() == ["role: user\ncontent: hi\nrole: assistant\ncontent: hello"]


def test_a_named_json_file_may_hold_one_object_a_line(write, folder):
    write({"rows.json": "\n\n" + LINES + "\n"})
    assert not is_one_document(folder / "rows.json", "utf-8")
    assert len(read_records(folder / "rows.json")) == ROWS
    with pytest.raises(DatasetError, match="its 'format' is \"jsonl\""):
        read(folder)


@pytest.mark.parametrize(("content", "one"), [("[1]", True), ('{"a": 1}\n', True), ('{"a":\n1}', True), (LINES, False)])
def test_one_document_is_told_from_lines(content, one, write, folder):
    write({"rows.json": content})
    assert is_one_document(folder / "rows.json", "utf-8") is one


HALVES = ['{"text": "a\\ud800b", "label": 1}', '{"te\\udfffxt": "a", "label": 1}', '{"text": ["\\ud83d"], "label": 1}']


@pytest.mark.parametrize("line", HALVES)
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_half_a_surrogate_pair_rejects_its_row(line, form, write, folder):
    lines = [json.dumps({"text": f"t{i}", "label": i % 2}) for i in range(300)]
    lines[150] = line
    content = "\n".join(lines) if form == "jsonl" else f"[{','.join(lines)}]"
    write({"rows.json": content, f"mine.{form}": content})
    raw = read(folder, format=form)
    report = raw.report.files[0]
    assert (report.rows_read, report.rows_rejected, report.first_rejected_row) == (299, 1, 151)
    assert "half a surrogate pair" in (report.first_rejection or "")
    with pytest.raises(DatasetError, match="1 malformed rows, the first is row 151"):
        read_records(folder / f"mine.{form}")


def test_a_whole_pair_is_a_character(write, folder):
    write({"rows.json": '[{"text": "\\ud83d\\ude00"}]'})
    assert read(folder).table.column("text").to_pylist() == ["😀"]


def test_nested_values_are_json_as_written(write, folder):
    write({"rows.json": json.dumps([{"spans": [{"kind": "é", "at": 1}]}])})
    assert json.loads(read(folder).table.column("spans")[0].as_py()) == [{"kind": "é", "at": 1}]
    assert "é" in read(folder).table.column("spans")[0].as_py()


def test_objects_of_other_keys_are_one_table(write, folder):
    lines = [json.dumps({"a": 1} if i < 5000 else {"b": "x" * 300}) for i in range(10_000)]
    write({"mine.jsonl": "\n".join(lines)})
    frame = read_records(folder / "mine.jsonl")
    assert frame["a"].notna().sum() == frame["b"].notna().sum() == 5000


def test_keys_that_are_data_are_refused(write, folder):
    write({"mine.jsonl": "\n".join(json.dumps({f"user{i}_{j}": 1 for j in range(10)}) for i in range(400))})
    with pytest.raises(DatasetError, match="different keys, so that these are data and no names of columns"):
        read_records(folder / "mine.jsonl")
