"""Reading files: formats, encodings, damage, types and labels, with known answers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading import tally
from nethical_assets.core.reading.readers import infer_types, labels_of, read_dataset, read_files, written_numbers
from nethical_assets.core.reading.text_streams import Utf8Stream
from nethical_assets.core.rows.catalog import load_catalog
from nethical_assets.core.rows.labels import canonical_text
from tests.core.conftest import CHECKOUT, csv_of, entry_of

SHARED = CHECKOUT.parent / "shared" / "data"
LABEL = {"column": "label", "positive": ["1"]}


def file_of(**changes):
    return {"path": ["rows.csv"], "format": "csv", "label": LABEL, **changes}


def read(folder, entry=None, **options):
    return read_dataset(entry or entry_of(), folder, **{"maximum_rows": 1000, "seed": 1, **options})


FORMATS = {
    "csv": (b'label,text\n1,"a, ""b""\nc"\n0,d\n', {}),
    "csv with a byte order mark": (b'\xef\xbb\xbflabel,text\n1,"a, ""b""\nc"\n0,d\n', {}),
    "csv, utf-8-sig": (b'\xef\xbb\xbflabel,text\n1,"a, ""b""\nc"\n0,d\n', {"encoding": "utf-8-sig"}),
    "csv, utf-16": ('label,text\n1,"a, ""b""\nc"\n0,d\n'.encode("utf-16"), {"encoding": "utf-16"}),
    "csv, crlf, no last newline": (b'label,text\r\n1,"a, ""b""\nc"\r\n0,d', {}),
    "csv, semicolons": (b'label;text\n1;"a, ""b""\nc"\n0;d\n', {"delimiter": ";"}),
    "csv without header": (b'1,"a, ""b""\nc"\n0,d\n', {"header": False, "columns": ["label", "text"]}),
    "tsv": (b'label\ttext\n1\t"a, ""b""\nc"\n0\td\n', {"format": "tsv"}),
    "jsonl": (b'{"label": 1, "text": "a, \\"b\\"\\nc"}\n\n{"text": "d", "label": 0}\n', {"format": "jsonl"}),
    "json": (b'[{"label": 1, "text": "a, \\"b\\"\\nc"},\n {"text": "d", "label": 0}]', {"format": "json"}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_table(name, write):
    content, changes = FORMATS[name]
    raw = read(write({"rows.csv": content}), entry_of(files=[file_of(**changes)]))
    columns = raw.table.select(["label", "text", "_file"])
    assert columns.to_pydict() == {"label": [1, 0], "text": ['a, "b"\nc', "d"], "_file": ["rows.csv", "rows.csv"]}
    assert (raw.report.rows_read, raw.report.rows_kept, raw.report.rows_rejected) == (2, 2, 0)


def test_parquet_gives_the_same_table_as_csv(folder):
    table = pa.table(
        {
            "label": pa.array([1, 0, 1], pa.int8()),
            "value": pa.array([0.1, float("nan"), 3.0]),
            "kind": pa.array(["a", None, "b"]).dictionary_encode(),
            "tags": pa.array([["x"], [], None]),
        }
    )
    pq.write_table(table, folder / "rows.csv")
    raw = read(folder, entry_of(files=[file_of(format="parquet")]))
    assert raw.table.drop_columns(["_file"]).to_pydict() == {
        "label": [1, 0, 1],
        "value": [0.1, None, 3.0],
        "kind": ["a", None, "b"],
        "tags": ['["x"]', "[]", None],
    }


def test_latin_1_is_decoded(write):
    content = "label,text\n1,caf\xe9\n0,\xa35\n".encode("latin-1")
    raw = read(write({"rows.csv": content}), entry_of(files=[file_of(encoding="latin-1")]))
    assert raw.table.column("text").to_pylist() == ["café", "£5"]


def test_lines_keep_everything_but_empty_lines(write):
    entry = entry_of(
        kind="sequence",
        files=[
            {"path": ["no.txt"], "format": "lines", "sequence_column": "line", "label": {"constant": 0}},
            {"path": ["yes.txt"], "format": "lines", "sequence_column": "line", "label": {"constant": 1}},
        ],
    )
    raw = read(write({"no.txt": "5 6 \r\n\n7,8\n", "yes.txt": "5"}), entry)
    assert raw.table.to_pydict() == {"line": ["5 6 ", "7,8", "5"], "_file": ["no.txt", "no.txt", "yes.txt"]}
    assert labels_of(entry, raw.table).tolist() == [0, 0, 1]


def test_nested_spans_stay_as_json(write):
    spans = [{"entity_type": "PERSON", "start_position": 0, "end_position": 3}]
    items = [{"full_text": "Ann", "spans": spans}, {"full_text": "x" * 3_000_000, "spans": []}]
    entry = entry_of(kind="spans", files=[{"path": ["rows.csv"], "format": "json"}])
    raw = read(write({"rows.csv": json.dumps(items)}), entry)
    assert json.loads(raw.table.column("spans")[0].as_py()) == spans
    assert len(raw.table.column("full_text")[1].as_py()) == 3_000_000


def test_json_values_of_mixed_types_become_text(write):
    content = '{"label": "1", "v": 1}\n{"label": 0, "v": "x"}\n{"label": true, "v": {"a": [1]}}\n'
    entry = entry_of(files=[file_of(format="jsonl", label={"column": "label", "positive": ["1", "true"]})])
    raw = read(write({"rows.csv": content}), entry)
    assert raw.table.column("v").to_pylist() == ["1", "x", '{"a": [1]}']
    assert labels_of(entry, raw.table).tolist() == [1, 0, 1]


def test_odd_headers_become_distinct_names(write):
    raw = read(write({"rows.csv": "label, a ,,a,\n1,2,3,4,5\n0,2,3,4,5\n"}))
    assert raw.table.column_names == ["label", "a", "unnamed_3", "a_2", "unnamed_5", "_file"]


DAMAGE = {
    "empty": (b"", {}, "the file is empty"),
    "header only": (b"id,label\n", {}, "no rows of data"),
    "blank": (b"\n\n\n", {}, "no header line"),
    "zero bytes": (b"id,label\n\0\0\0\n", {}, "binary data"),
    "zero byte far behind": (b"id,label\n" + b"1,0\n" * 400_000 + b"\0", {}, "byte 1600009"),
    "random": (np.random.default_rng(0).bytes(100_000), {}, "binary data"),
    "no line end": (b"a" * (3 << 20), {}, "header"),
    "no line end, latin-1": (b"\xe9," * (3 << 20), {"encoding": "latin-1"}, "header"),
    "mis-encoded": (b"id,label\n1,0\n\xe9,1\n", {}, "byte 13 (0xe9), in line 3, is not valid utf-8"),
    "mis-encoded far behind": (b"id,label\n" + "é,0\n".encode() * 500_000 + b"\xff", {}, "byte 2500009 (0xff)"),
    "cut inside a character": (b"id,label\n1,0\n\xe2\x82", {}, "byte 13 (0xe2)"),
    "unknown encoding": (b"id,label\n1,0\n", {"encoding": "klingon"}, "unknown encoding 'klingon'"),
    "open quote": (b'id,label\n1,0\n2,1\n3,"0\n', {}, "truncated: a quoted value in its last row of data (the 3.)"),
    "open quote, large": (b'id,label\n1,0\n2,"1\n' + b"3,1\n" * 2_500_000, {}, "a quote is never closed"),
    "last row cut": (csv_of(500) + b"7,", {}, "truncated: its last row breaks off"),
    "last JSON line cut": (b'{"label": 1}\n{"label": 0}\n' * 200 + b'{"la', {"format": "jsonl"}, "truncated"),
    "JSON list cut": (b'[{"label": 1}, {"label": 0}, {"lab', {"format": "json"}, "after item 2"),
    "not a JSON list": (b'{"label": 1}', {"format": "json"}, "expected a JSON list"),
    "endless nesting": (b"[" * (5 << 20), {"format": "json"}, "not JSON"),
    "nested JSON line": (b"[" * 100_000 + b"\n", {"format": "jsonl"}, "1 of 1 rows cannot be read"),
    "JSON numbers": (b"1\n2\n", {"format": "jsonl"}, "a JSON int, not an object"),
    "endless line": (b'{"a": "' + b"x" * (6 << 20), {"format": "jsonl"}, "longer than 4 MiB"),
    "not Parquet": (b"PAR1 and so on PAR1", {"format": "parquet"}, "not readable as Parquet"),
    "too many bad rows": (csv_of(98) + b"1\n2\n", {}, "2 of 100 rows cannot be read (first: row 100): 1 columns"),
    "wrong columns": (b"1,0\n2,1\n", {"header": False, "columns": ["a", "b", "label"]}, "2 columns instead of 3"),
    "header of other width": (b"a,label\n1,0\n", {"columns": ["a", "b", "label"]}, "its header has 2 columns"),
    "label absent": (b"id,lable\n1,0\n", {}, "no column 'label' ('label' in datasets.toml); the columns are id, lable"),
    "label missing": (b"id,label\n1,\n2,\n", {}, "every value of the label column 'label' is missing"),
    "one class": (b"id,label\n1,0\n2,0\n", {}, "every usable row has label 0 ('label' holds '0')"),
    "no usable label": (
        b"id,label\n1,a\n2,b\n",
        {"label": {"column": "label", "positive": ["1"], "negative": ["0"]}},
        "no row has a usable label ('label' holds 2 values)",
    ),
    "text column absent": (b"id,label\n1,0\n2,1\n", {"text_column": "prompt"}, "no column 'prompt' ('text_column'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_clear_line(name, write):
    content, changes, expected = DAMAGE[name]
    with pytest.raises(DatasetError) as caught:
        read(write({"rows.csv": content}), entry_of(files=[file_of(**changes)]))
    message = str(caught.value)
    assert expected in message
    assert message.startswith("dataset toy: ")
    assert "\n" not in message


def test_a_missing_file_lists_what_is_there(write):
    with pytest.raises(DatasetError, match=r"no file rows\.csv; there are deep/other\.csv, readme\.md"):
        read(write({"deep/other.csv": "a", "readme.md": "b"}))


def test_declared_columns_of_the_entry_are_looked_for(write):
    write({"rows.csv": csv_of(10)})
    for key, value in {"group_column": "org", "time_column": "when", "numeric_columns": ["x"]}.items():
        with pytest.raises(DatasetError, match=f"'{key}' in datasets.toml"):
            read(folder=write({}), entry=entry_of(**{key: value}))


def test_a_few_bad_rows_are_counted_and_left_out(write):
    content = csv_of(300) + b"broken\n" + csv_of(300).split(b"\n", 1)[1] + b"a,b,c,d\n"
    raw = read(write({"rows.csv": content}))
    file = raw.report.files[0]
    assert (file.rows_read, file.rows_rejected, file.first_rejected_row) == (600, 2, 302)
    assert file.first_rejection == "1 columns instead of 3"
    assert "broken" not in raw.table.column("id").cast(pa.string()).to_pylist()


def test_junk_of_the_right_shape_is_given_up_early(write, monkeypatch):
    monkeypatch.setattr(tally, "_HOPELESS_REJECTIONS", 100)
    with pytest.raises(DatasetError, match="101 of 101 rows cannot be read"):
        read(write({"rows.csv": b"id,label\n" + b"x\n" * 100_000}))


def test_files_are_found_by_pattern_in_order(write):
    entry = entry_of(files=[file_of(path=["first.csv", "*.csv"])])
    raw = read(write({"b/z.csv": csv_of(4), "a.csv": csv_of(2)}), entry)
    assert [file.path for file in raw.report.files] == ["a.csv"]
    assert raw.report.unused == ("b/z.csv",)
    raw = read(write({"deep/first.csv": csv_of(6)}), entry)
    assert [file.path for file in raw.report.files] == ["deep/first.csv"]


def test_files_share_one_maximum_and_the_union_of_columns(write):
    entry = entry_of(
        files=[file_of(path=["a.csv"]), {"path": ["b.jsonl"], "format": "jsonl", "label": {"constant": 1}}]
    )
    other = "".join(json.dumps({"text": f"t{index}"}) + "\n" for index in range(300))
    raw = read(write({"a.csv": csv_of(300), "b.jsonl": other}), entry, maximum_rows=200)
    assert raw.table.column_names == ["id", "value", "label", "text", "_file"]
    assert (raw.report.rows_read, raw.report.rows_kept, raw.report.sampled) == (600, 200, True)
    labels = labels_of(entry, raw.table)
    files = raw.table.column("_file").to_pylist()
    assert 60 < files.count("a.csv") < 140
    assert set(labels[[name == "b.jsonl" for name in files]].tolist()) == {1}


def test_the_rows_kept_are_known_so_that_a_change_raises_the_reading_version(write):
    raw = read(write({"rows.csv": csv_of(100)}), maximum_rows=5, seed=7)
    assert raw.table.column("id").to_pylist() == [31, 65, 79, 94, 99]


def test_a_refresh_that_appends_rows_keeps_most_of_the_sample(write):
    before = set(read(write({"rows.csv": csv_of(2000)})).table.column("id").to_pylist())
    after = set(read(write({"rows.csv": csv_of(2200)})).table.column("id").to_pylist())
    assert len(before & after) > 850


def test_another_seed_keeps_other_rows(write):
    write({"rows.csv": csv_of(2000)})
    samples = [set(read(write({}), seed=seed).table.column("id").to_pylist()) for seed in (1, 2)]
    assert 400 < len(samples[0] & samples[1]) < 600


@pytest.mark.parametrize(
    ("values", "expected", "kind"),
    [
        (["1", "-2", None], [1, -2, None], "int64"),
        ([" 1", "2 "], [1, 2], "int64"),
        (["1", "2.5", "1e-3", ".5", "-0"], [1.0, 2.5, 0.001, 0.5, -0.0], "double"),
        (["007", "1"], ["007", "1"], "string"),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"], "string"),
        (["1234567890123456", "0.5"], ["1234567890123456", "0.5"], "string"),
        (["true", "false"], ["true", "false"], "string"),
        (["1", "x"], ["1", "x"], "string"),
        (["2024-01-01", "2024-01-02"], ["2024-01-01", "2024-01-02"], "string"),
        ([None, None], [None, None], "string"),
        (["inf", "1"], ["inf", "1"], "string"),
    ],
)
def test_types_follow_from_all_values(values, expected, kind):
    column = infer_types(pa.table({"x": pa.array(values, pa.string())})).column("x")
    assert column.to_pylist() == expected
    assert str(column.type) == kind


def test_texts_and_categories_stay_text_even_when_they_look_like_numbers(write):
    entry = entry_of(kind="text", files=[file_of(text_column="id")], categorical_columns=["value"])
    table = read(write({"rows.csv": csv_of(10)}), entry).table
    assert [str(table.column(name).type) for name in ("id", "value", "label")] == ["string", "string", "int64"]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ({"positive": ["1"]}, [1, 1, 1, 0, 0, -1, 0]),
        ({"negative": ["0.0"]}, [1, 1, 1, 0, 0, -1, 1]),
        ({"positive": ["1"], "negative": ["0"]}, [1, 1, 1, 0, 0, -1, -1]),
        ({"positive": [" high"], "negative": ["0"]}, [-1, -1, -1, 0, 0, -1, 1]),
    ],
)
def test_labels_compare_by_canonical_text(label, expected, write):
    content = "id,label\n1,1\n2,1.0\n3, 1\n4,0\n5,0.00\n6,\n7,high \n"
    entry = entry_of(files=[file_of(label={"column": "label", **label})])
    assert labels_of(entry, read(write({"rows.csv": content}), entry).table).tolist() == expected


def test_numeric_label_columns_give_the_same_labels_as_text(write):
    entry = entry_of()
    for spelling in ("1,0", "1.0,0.0", "1.0,0"):
        high, low = spelling.split(",")
        raw = read(write({"rows.csv": f"id,label\n1,{high}\n2,{low}\n"}), entry)
        assert labels_of(entry, raw.table).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, "1"), ("1.0", "1"), ("-0", "0"), ("1e2", "100"), (0.5, "0.5"), (" a b ", "a b"), ("", None)],
)
def test_canonical_text(value, expected):
    assert canonical_text(value) == expected


MIRRORED = {
    "nslkdd": (25_192, 44, {0: 13_449, 1: 11_743}),
    "guide": (10_000, 46, {0: 6_402, 1: 3_598}),
    "cyber_attacks": (300, 26, {0: 200, 1: 100}),
    "prompt_injection_collection": (11_541, 21, {0: 4_466, 1: 7_075}),
    "hdfs": (12_303, 2, {0: 3_884, 1: 8_419}),
    "adfa_ld": (4_616, 7, {0: 4_112, 1: 504}),
    "phishing_websites": (11_055, 48, {0: 4_898, 1: 6_157}),
    "sms_spam": (5_574, 6, {0: 4_827, 1: 747}),
    "hate_speech": (24_783, 8, {0: 4_163, 1: 20_620}),
    "elec2": (45_312, 8, {0: 26_075, 1: 19_237}),
    "pii_spans": (1_500, 6, {-1: 1_500}),
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the mirror of real data (../shared/data) is not there")
@pytest.mark.parametrize("name", MIRRORED)
def test_every_mirrored_dataset_is_read_as_documented(name):
    families = ("heuristic", "logistic", "prompt_injection", "anomaly", "correlation")
    entry = load_catalog(CHECKOUT / "config" / "datasets.toml", families).entry(name)
    raw = read_dataset(entry, SHARED / entry.slug, maximum_rows=100_000, seed=0)
    values, counts = np.unique(labels_of(entry, raw.table), return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert (raw.report.rows_kept, raw.table.num_columns, found) == MIRRORED[name]
    assert raw.report.rows_rejected == 0


def test_reading_without_label_checks_serves_discovery(write):
    raw = read_files(entry_of(files=[file_of(label=None)]), write({"rows.csv": csv_of(3)}), maximum_rows=9, seed=0)
    assert raw.table.num_rows == 3


def test_a_stream_that_could_not_be_opened_can_be_closed(tmp_path):
    """Python closes it when it is collected, and since 3.13 tells of an error then."""
    for path, encoding in ((tmp_path / "rows.csv", "klingon"), (tmp_path / "missing.csv", "utf-8")):
        stream = Utf8Stream.__new__(Utf8Stream)
        with pytest.raises((DatasetError, FileNotFoundError)):
            stream.__init__(path, encoding, "rows.csv")
        stream.close()
        assert stream.closed


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "1E999"])
def test_a_number_that_no_float_holds_is_no_number(number):
    column = pa.chunked_array([["1", "2.5", number]])
    table = infer_types(pa.table({"v": column, "w": pa.chunked_array([["1", "2.5", "1e300"]])}))
    assert [str(kind) for kind in table.schema.types] == ["string", "double"]
    assert written_numbers(table["v"].to_pandas()).tolist() == [True, True, False]
    assert written_numbers(pd.Series(["1e300", "1e-400", None])).all()
