"""Delimited files: the separator line, headers, likely causes, many columns, and no value in an error."""

from __future__ import annotations

import pytest

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.columns import nested_text, unique_names
from nethical_assets.core.reading.readers import read_files
from nethical_assets.core.reading.tables import TextLayout, every_row, layout_of, read_records, reading_of, with_layout
from tests.core.conftest import entry_of


def read(folder, **file):
    entry = entry_of(files=[{"path": ["rows.csv"], "format": "csv", **file}])
    return read_files(entry, folder, maximum_rows=1000, seed=0)


@pytest.mark.parametrize("line", ["sep={}\n", "sep={}\r\n", '"sep={}"\n', "SEP={}\r\n", "\ufeffsep={}\n"])
@pytest.mark.parametrize("sign", [";", ",", "\t", "|"])
def test_the_separator_line_is_no_header(line, sign, write, folder):
    write({"rows.csv": (line.format(sign) + f"text{sign}label\n" + f"a b{sign}1\nc{sign}0\n").encode()})
    assert read(folder).table.select(["text", "label"]).to_pydict() == {"text": ["a b", "c"], "label": [1, 0]}
    assert read_records(folder / "rows.csv")["text"].tolist() == ["a b", "c"]


def test_a_declared_delimiter_comes_first_and_rows_are_counted_in_the_file(write, folder):
    write({"rows.csv": "sep=;\ntext,label\n" + "a,1\n" * 300 + "a;1;2\n"})
    report = read(folder, delimiter=",").report.files[0]
    assert (report.rows_read, report.rows_rejected, report.first_rejected_row) == (300, 1, 303)


def test_without_a_header_the_separator_line_is_no_row(write, folder):
    write({"rows.csv": "sep=;\na;1\nb;0\n"})
    assert read(folder, header=False, columns=["text", "label"]).table.column("text").to_pylist() == ["a", "b"]


def test_names_of_many_columns_are_distinct(write, folder):
    assert unique_names(["a", "a", "a_2", "", "a"]) == ["a", "a_2", "a_2_2", "unnamed_4", "a_3"]
    names = unique_names(["c"] * 40_000)
    assert len(set(names)) == 40_000 and names[:3] == ["c", "c_2", "c_3"]


@pytest.mark.parametrize(
    ("content", "option", "layout"),
    [
        (b"id;text\n1;a\n", r"separated by ';'\); say --delimiter ';'", TextLayout(delimiter=";")),
        (b"id\ttext\n1\ta\n", r"separated by a tab\); say --delimiter tab", TextLayout(delimiter="\t")),
        (b"id|text\n1|a\n", r"say --delimiter '\|'", TextLayout(delimiter="|")),
        ("id,text\n1,a\n".encode("utf-16"), "mark of utf-16; say --encoding utf-16", TextLayout(None, "utf-16")),
        ("id,text\n1,a\n".encode("utf-32"), "say --encoding utf-32", TextLayout(encoding="utf-32")),
        (b"id,text\n1,caf\xe9\n", "say the file's real encoding with --encoding", TextLayout(encoding="cp1252")),
    ],
)  # fmt: skip
def test_a_likely_cause_is_named_with_the_option_that_helps(content, option, layout, write, folder):
    path = write({"mine.csv": content}) / "mine.csv"
    with pytest.raises(DatasetError, match=option):
        list(every_row(path, layout_of(path), reading_of(path, wanted="text")))
    (batch,) = every_row(path, with_layout(layout_of(path), layout), reading_of(path, wanted="text"))
    assert batch.schema.names == ["text"] and batch.num_rows == 1
    assert read_records(path, layout=layout)["id"].tolist() == [1]


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("a.csv", TextLayout(delimiter=";;"), "--delimiter: name one ASCII character"),
        ("a.csv", TextLayout(delimiter='"'), "--delimiter: name one ASCII character"),
        ("a.csv", TextLayout(delimiter=""), "--delimiter: name one ASCII character"),
        ("a.jsonl", TextLayout(delimiter=";"), "--delimiter: a jsonl file has none"),
        ("a.csv", TextLayout(encoding="klingon"), "--encoding: unknown encoding 'klingon'"),
        ("a.csv", TextLayout(encoding="hex"), "--encoding: unknown encoding 'hex'"),
        ("a.csv", TextLayout(encoding=""), "--encoding: unknown encoding ''"),
    ],
)
def test_an_option_that_cannot_be_is_one_line(name, layout, message, write, folder):
    write({name: "text\na\n"})
    with pytest.raises(DatasetError, match=message):
        read_records(folder / name, layout=layout)


SECRET = "anna.berg@example.org"
DAMAGED = {
    "too many cells": f"text,label\n{SECRET},1,2\n",
    "too few cells": f"text,label\n{SECRET}\n",
    "no header line": f"{SECRET},1\nb,2\n",
    "open quote": f'text,label\n"{SECRET},1\n',
    "stray quote": f'text,label\n{SECRET}"x,1\n',
    "bad byte": f"text,label\n{SECRET} \xe9,1\n".encode("latin-1"),
    "zero byte": f"text,label\n{SECRET}\0,1\n",
    "control characters": f"text,label\n{SECRET}\x01\x02\x03\x04\x05,1\n",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_no_error_quotes_a_value(case, write, folder):
    content = DAMAGED[case]
    path = write({"rows.csv": content, "x.jsonl": content, "x.json": content, "x.parquet": content}) / "rows.csv"
    for wrong in (path, folder / "x.jsonl", folder / "x.json", folder / "x.parquet"):
        for wanted in (None, "prompt"):
            try:
                list(every_row(wrong, layout_of(wrong), reading_of(wrong, wanted=wanted)))
            except DatasetError as error:
                assert SECRET not in str(error) and "anna" not in str(error)
                assert "\n" not in str(error)


def test_nested_values_are_lines():
    assert nested_text([{"role": "user", "content": "a\nb"}, {"tags": ["x", 2, None]}]) == (
        "role: user\ncontent: a\nb\ntags:\nx\n2"
    )
    assert nested_text([("key", "value"), ("other", b"\xff")]) == "key: value\nother: \ufffd"
    assert nested_text({"a": {"b": [[1.5, True]]}}) == "a:\nb:\n1.5\nTrue"
    assert nested_text([]) == nested_text({}) == ""
