"""Discovery: which file, which label and which inputs are found in an unknown layout, and what is said otherwise."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical_assets.core.datasets.discovery import discover, guessed_encodings
from nethical_assets.core.reading.readers import labels_of, read_dataset
from nethical_assets.core.rows.catalog import DatasetEntry
from tests.core.conftest import entry_of


def none_private(names: Sequence[str]) -> frozenset[str]:
    return frozenset()


def unknown(kind: str = "records") -> DatasetEntry:
    return entry_of(kind=kind, files=[], discover=True)


def rows(header: str, line: str, count: int = 60) -> str:
    """``line`` may use {i} and {label}; labels alternate."""
    return (
        header + "\n" + "".join(line.format(i=i, label=i % 2, word=("yes", "no")[i % 2]) + "\n" for i in range(count))
    )


def roles(report, path="data.csv"):
    return {column.name: column.role for file in report.files if file.path == path for column in file.columns}


def test_a_table_with_a_plain_label_is_fully_described(write):
    content = rows(
        "id,when,size,proto,is_breach,attack_type,note",
        "{i},2024-01-01,{i}.5,tcp{label},{label},type{label},note number {i}",
        80,
    )
    entry, report = discover(
        unknown(), write({"data.csv": content, "readme.md": "x"}), seed=0, private_names=none_private
    )
    assert entry is not None and report.usable_label and not entry.discover
    label = entry.files[0].label
    assert label is not None and (label.column, label.positive, label.negative) == ("is_breach", ("1",), ("0",))
    assert roles(report) == {
        "id": "identifier",
        "when": "ignored",
        "size": "numeric",
        "proto": "categorical",
        "is_breach": "label",
        "attack_type": "ignored",
        "note": "ignored",
    }
    assert (entry.numeric_columns, entry.categorical_columns) == (("size",), ("proto",))
    assert entry.families == ("logistic",)
    assert "label 'is_breach', positive 1" in report.summary
    raw = read_dataset(entry, write({}), maximum_rows=100, seed=0)
    assert labels_of(entry, raw.table).tolist() == [0, 1] * 40


@pytest.mark.parametrize(
    ("header", "line", "positive", "negative"),
    [
        ("v,Label", "{i},{word}", ("yes",), ("no",)),
        ("v,isMalicious", "{i},{label}", ("1",), ("0",)),
        ("v,target", "{i},{label}.0", ("1",), ("0",)),
        ("v,attack_label", "{i},{word}", ("yes",), ("no",)),
    ],
)
def test_labels_of_many_spellings_are_found(header, line, positive, negative, write):
    entry, _ = discover(unknown(), write({"data.csv": rows(header, line)}), seed=0, private_names=none_private)
    assert entry is not None
    label = entry.files[0].label
    assert label is not None and (label.positive, label.negative) == (positive, negative)


def test_several_kinds_of_attack_against_one_normal_value(write):
    content = "v,attack_type\n" + "".join(f"{i},{('Normal', 'dos', 'probe')[i % 3]}\n" for i in range(60))
    entry, report = discover(unknown(), write({"data.csv": content}), seed=0, private_names=none_private)
    assert entry is not None
    label = entry.files[0].label
    assert label is not None and (label.positive, label.negative) == ((), ("Normal",))
    assert "positive the rest" in report.summary


@pytest.mark.parametrize(
    ("header", "line", "why"),
    [
        ("v,active", "{i},{label}", "no column has the name of a label"),
        ("v,is_guest", "{i},{label}", "no column has the name of a label"),
        ("v,class", "{i},group{label}", "'class' has 2 values, which do not say what is positive"),
        ("v,class", "{i},{i}", "'class' has 60 values"),
        ("v,label", "{i},1", "'label' has '1'"),
        ("v,label", "{i},", "'label' has no values"),
    ],
)
def test_without_a_usable_label_the_set_takes_no_part_and_says_why(header, line, why, write):
    entry, report = discover(unknown(), write({"data.csv": rows(header, line)}), seed=0, private_names=none_private)
    assert entry is not None
    assert entry.families == () and entry.files[0].label is None
    assert not report.usable_label
    assert "no usable label" in report.summary and why in report.summary


def test_texts_are_found_and_preferred_by_name(write):
    long = "words and words and words and words"
    content = rows("title,abstract,url", "T{i}," + long + " {i},http://example.org/a/very/long/address/{i}/" + "x" * 30)
    entry, report = discover(unknown("text"), write({"data.csv": content}), seed=0, private_names=none_private)
    assert entry is not None and entry.files[0].text_column == "abstract"
    assert roles(report)["abstract"] == "text"
    assert entry.numeric_columns == entry.categorical_columns == ()


def test_without_any_usable_file_every_file_is_explained(write):
    write({"a.csv": "", "b.png": b"\x89PNG", "c.csv": b"\0" * 100, "d.json": "{", "e.csv": rows("x,y", "{i},{i}")})
    entry, report = discover(unknown("text"), write({}), seed=0, private_names=none_private)
    assert entry is None and not report.usable_label
    for part in (
        "a.csv: dataset toy: a.csv: the file is empty",
        "b.png: not a table",
        "binary",
        "e.csv: no column holds",
    ):
        assert part in report.summary
    empty, nothing = discover(unknown(), write({}) / "nowhere", seed=0, private_names=none_private)
    assert empty is None and "there are no files" in nothing.summary


def test_files_of_the_same_columns_are_used_together_and_others_are_not(write):
    same = rows("v,label", "{i},{label}")
    files = {
        "train.csv": same,
        "test.csv": same,
        "big.csv": rows("v,w", "{i},{i}", 900),
        "x.csv": rows("u,label", "{i},{label}", 9),
    }
    entry, report = discover(unknown(), write(files), seed=0, private_names=none_private)
    assert entry is not None
    assert sorted(file.path[0] for file in entry.files) == ["test.csv", "train.csv"]
    assert {file.path: file.used for file in report.files} == {
        "train.csv": True,
        "test.csv": True,
        "big.csv": False,
        "x.csv": False,
    }


def test_formats_encodings_and_delimiters_are_recognised(write, folder):
    objects = [{"prompt": f"a prompt of some length {i}", "label": i % 2} for i in range(50)]
    cases = {
        "semicolons.csv": rows("v;label", "{i};{label}"),
        "latin.csv": rows("v,word,label", "{i},caf\xe9{i},{label}").encode("latin-1"),
        "wide.csv": rows("v,label", "{i},{label}").encode("utf-16"),
        "list.json": json.dumps(objects),
        "lines.json": "\n".join(map(json.dumps, objects)),
        "lines.jsonl": "\n".join(map(json.dumps, objects)),
    }
    for name, content in cases.items():
        write({name: content})
        entry, report = discover(unknown(), folder, seed=0, private_names=none_private)
        assert entry is not None and report.usable_label, name
        assert read_dataset(entry, folder, maximum_rows=99, seed=0).table.num_rows >= 50, name
        (folder / name).unlink()
    pq.write_table(pa.table({"v": list(range(40)), "label": [True, False] * 20}), folder / "t.parquet")
    entry, report = discover(unknown(), folder, seed=0, private_names=none_private)
    assert entry is not None and entry.files[0].label is not None
    assert entry.files[0].label.positive == ("true",)


def test_the_report_is_a_json_document(write):
    _, report = discover(
        unknown(), write({"data.csv": rows("v,label", "{i},{label}")}), seed=0, private_names=none_private
    )
    document = json.loads(json.dumps(report.to_json()))
    assert document["usable_label"] is True
    assert document["files"][0]["columns"][1] == {
        "name": "label",
        "kind": "int64",
        "role": "label",
        "why": "its name and its values say so",
    }


SECRETS = ("anna.berg@example.org", "call 212-555-0134 bert", "Bert", "4111111111111111")


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("v,target", "{i},{secret}"),
        ("v,label", "{i},{secret}"),
        ("v,attack_type", "{i},{secret}"),
        ("{secret} label,v", "{secret},{i}"),
        ("label {secret},v", "{label},{i}"),
        ("{secret},is_spam", "{secret},{label}"),
    ],
)
@pytest.mark.parametrize("several", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["text", "records"])
def test_a_report_holds_no_value_of_the_data(header, line, several, kind, write):
    values = (*SECRETS, "normal")[-several:] if "attack" in header else SECRETS[:several]
    lines = [line.format(i=i, label=i % 2, secret=values[i % len(values)]) for i in range(60)]
    content = header.format(secret=SECRETS[0]) + "\n" + "\n".join(lines) + "\n"
    entry, report = discover(unknown(kind), write({"data.csv": content}), seed=0, private_names=none_private)
    said = json.dumps(report.to_json()) + report.summary
    said += "" if entry is None else entry.model_dump_json()
    assert not [secret for secret in SECRETS if secret in said]


@pytest.mark.parametrize("encoding", ["gbk", "shift_jis", "koi8_r", "cp1251", "euc_kr"])
def test_a_guessed_encoding_takes_no_part_until_it_is_declared(encoding, write):
    words = {"gbk": "我们今天去公园", "shift_jis": "これはテストです", "euc_kr": "안녕하세요 오늘"}.get(
        encoding, "Привет как дела"
    )
    content = rows("text,label", words + " {i},{label}").encode(encoding)
    found, report = discover(unknown("text"), write({"data.csv": content}), seed=0, private_names=none_private)
    assert found is None and not report.usable_label
    assert "its encoding cannot be told" in report.summary and "declares the dataset's 'encoding'" in report.summary
    declared = entry_of(kind="text", files=[], discover=True, encoding=encoding)
    found, report = discover(declared, write({}), seed=0, private_names=none_private)
    assert found is not None and report.usable_label and found.files[0].encoding == encoding
    texts = read_dataset(found, write({}), maximum_rows=99, seed=0).table.column("text").to_pylist()
    assert f"{words} 7" in texts


def test_quotes_of_windows_are_quotes(write):
    content = rows("text,label", "that\u2019s number {i} of these,{label}").encode("cp1252")
    entry, _ = discover(unknown("text"), write({"data.csv": content}), seed=0, private_names=none_private)
    assert entry is not None and entry.files[0].encoding == "cp1252"
    assert "\u2019" in read_dataset(entry, write({}), maximum_rows=9, seed=0).table.column("text")[0].as_py()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda rows: {"data": rows},
        lambda rows: {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]},
    ],
)
def test_wrapped_json_is_found_to_be_its_rows(wrap, write):
    objects = [{"text": f"a text of some length {i}", "label": i % 2} for i in range(50)]
    entry, report = discover(
        unknown("text"), write({"data.json": json.dumps(wrap(objects))}), seed=0, private_names=none_private
    )
    assert entry is not None and report.usable_label
    assert read_dataset(entry, write({}), maximum_rows=99, seed=0).table.num_rows == 50


def test_a_separator_line_and_litter_are_no_data(write):
    write({"__MACOSX/._data.csv": b"\0\5\26\7", "._data.csv": b"\0", "Thumbs.db": b"x"})
    content = "sep=;\r\n" + rows("text;label", "some longer words {i};{label}")
    entry, report = discover(unknown("text"), write({"data.csv": content}), seed=0, private_names=none_private)
    assert entry is not None and [file.path for file in report.files] == ["data.csv"]
    assert entry.files[0].label is not None and entry.files[0].delimiter == ";"


def test_names_with_brackets_are_used_together(write):
    same = rows("v,label", "{i},{label}")
    entry, _ = discover(
        unknown(),
        write({"part[1].csv": same, "part1.csv": same, "part[2].csv": same}),
        seed=0,
        private_names=none_private,
    )
    assert entry is not None
    report = read_dataset(entry, write({}), maximum_rows=999, seed=0).report
    assert sorted(file.path for file in report.files) == ["part1.csv", "part[1].csv", "part[2].csv"]


def test_an_encoding_that_is_guessed_is_said_and_one_that_is_certain_is_not(write):
    content = rows("v,text,Label", "{i},d\u00e9j\u00e0 vu {i},{word}")
    for codec, guessed in (("cp1252", ["latin-1"]), ("utf-8", []), ("utf-16", [])):
        _, report = discover(unknown(), write({"data.csv": content.encode(codec)}), seed=0, private_names=none_private)
        assert guessed_encodings(report.to_json()) == guessed
        assert ("read as latin-1, which is a guess: declare" in report.summary) == bool(guessed)
    declared = unknown().model_copy(update={"encoding": "cp1252"})
    _, report = discover(declared, write({"data.csv": content.encode("cp1252")}), seed=0, private_names=none_private)
    assert guessed_encodings(report.to_json()) == [] and "guess" not in report.summary


def test_lines_that_end_in_carriage_returns_are_lines(write):
    content = rows("v;Label", "{i};{word}").replace("\n", "\r")
    entry, report = discover(unknown(), write({"data.csv": content}), seed=0, private_names=none_private)
    assert entry is not None and report.usable_label and entry.files[0].delimiter == ";"


def test_what_a_file_is_that_is_no_table_is_said(write):
    files = {
        "a.csv": gzip.compress(b"v,Label\n1,yes\n"),
        "b.csv": b"PAR1" + bytes(99),
        "c.parquet": b"ARROW1" + bytes(99),
    }
    found, report = discover(unknown(), write(files), seed=0, private_names=none_private)
    assert found is None
    for line in ("packed by gzip and no csv file", "a Parquet file and no csv file", "(Feather) file and no parquet"):
        assert line in report.summary
