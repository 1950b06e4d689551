from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical_assets.core.governance.files import FileScreening, screen_file, write_findings
from nethical_assets.core.governance.findings import Findings
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading, find_in
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.columns import nested_text

TEXTS = ["fine", 'mail "a@example.com"\non two lines', "4111 1111 1111 1111", None]


def _written(folder: Path, ending: str) -> Path:
    path = folder / f"rows{ending}"
    frame = pd.DataFrame({"number": range(4), "text": TEXTS})
    if ending == ".parquet":
        frame.to_parquet(path)
    elif ending == ".jsonl":
        path.write_text("".join(json.dumps({"number": n, "text": text}) + "\n" for n, text in enumerate(TEXTS)))
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_every_format_gives_the_same_findings(tmp_path: Path, screener: Screener, ending: str) -> None:
    result = screen_file(_written(tmp_path, ending), "text", screener)
    assert result.rows == 4
    found = [(r["row"], r["kind"], r["start"], r["end"]) for r in result.findings.to_records()]
    assert found == [(1, "EMAIL", 6, 19), (2, "CREDIT_CARD", 0, 19)]
    assert result.summary()["rows_with_findings"] == 2


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_findings_are_written_without_text(tmp_path: Path, screener: Screener, ending: str) -> None:
    result = screen_file(_written(tmp_path, ".csv"), "text", screener)
    path = tmp_path / f"findings{ending}"
    write_findings(result, path)
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda p: pd.read_json(p, lines=True)}
    table = readers[ending](path)
    assert table["kind"].tolist() == ["EMAIL", "CREDIT_CARD"]
    assert {"row", "kind", "rule", "start", "end", "severity", "decision"} <= set(table.columns)
    assert b"example.com" not in path.read_bytes()


def test_rows_are_counted_through_pieces(tmp_path: Path, screener: Screener) -> None:
    path = tmp_path / "many.jsonl"
    rows = 70_000
    lines = [json.dumps({"text": "a@example.com" if number == rows - 1 else "fine"}) for number in range(rows)]
    path.write_text("\n".join(lines) + "\n")
    result = screen_file(path, "text", screener)
    assert (result.rows, result.findings.rows.tolist()) == (rows, [rows - 1])


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path, screener: Screener, ending: str) -> None:
    with pytest.raises(DatasetError, match=r"no column 'body'; the columns are number, text"):
        screen_file(_written(tmp_path, ending), "body", screener)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_empty_files_are_refused(tmp_path: Path, screener: Screener, ending: str) -> None:
    path = tmp_path / f"empty{ending}"
    path.write_bytes(b"")
    with pytest.raises(DatasetError, match="empty"):
        screen_file(path, "text", screener)


def test_truncated_and_mis_encoded_files_are_refused_in_one_line(tmp_path: Path, screener: Screener) -> None:
    parquet = _written(tmp_path, ".parquet")
    parquet.write_bytes(parquet.read_bytes()[:-20])
    jsonl = _written(tmp_path, ".jsonl")
    jsonl.write_bytes(jsonl.read_bytes()[:-10])
    latin = tmp_path / "latin.csv"
    latin.write_bytes("text\ncaf\u00e9\n".encode("latin-1"))
    short = tmp_path / "short.csv"
    short.write_text("number,text\n1,a\n2\n")
    latin_lines = tmp_path / "latin.jsonl"
    latin_lines.write_bytes('{"text": "caf\u00e9"}\n'.encode("latin-1"))
    for path in (parquet, jsonl, latin, short, latin_lines):
        with pytest.raises(DatasetError) as caught:
            screen_file(path, "text", screener)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert screen_file(latin, "text", screener, encoding="latin-1").rows == 1


def test_other_wrong_files(tmp_path: Path, screener: Screener) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        screen_file(tmp_path / "none.csv", "text", screener)
    (tmp_path / "rows.odd").write_bytes(b"text")
    with pytest.raises(DatasetError, match="unknown format"):
        screen_file(tmp_path / "rows.odd", "text", screener)
    header = tmp_path / "header.csv"
    header.write_text("text\n")
    with pytest.raises(DatasetError, match="no rows"):
        screen_file(header, "text", screener)
    listed = tmp_path / "list.jsonl"
    listed.write_text("[1]\n")
    with pytest.raises(DatasetError, match=r"row 1.*a JSON list, not an object"):
        screen_file(listed, "text", screener)
    with pytest.raises(DatasetError, match="unknown format for findings"):
        write_findings(FileScreening("text", 0, screener.screen([]), ""), tmp_path / "findings.txt")


CARDS = [4111111111111111, 5500000000000004, 4012888888881881]
NUMBERS: dict[str, tuple[str, list[int], str]] = {
    "cards": ("n", [*CARDS, 3], "CREDIT_CARD"),
    "social security numbers": ("ssn", [536228145, 78051234, 219099234], "SSN"),
    "phones": ("mobile", [2125550143, 4155550134, 2125550199], "PHONE"),
    "phones, joined words": ("phonenumber1", [2125550143, 4155550134, 2125550199], "PHONE"),
    "measurements": ("src_bytes", [536228145, 536229145, 10**15 + 7, 10**15 + 14], ""),
}
TYPES = ["int64", "uint64", "float64", "Int64", "decimal", "categories", "text", "text of floats", "dictionary of text"]


def _number_column(values: list[int], kind: str) -> pa.Array:
    match kind:
        case "decimal":
            return pa.array([Decimal(value) for value in values], pa.decimal128(20, 2))
        case "categories":
            return pa.array(values).dictionary_encode()
        case "text":
            return pa.array(map(str, values))
        case "text of floats":
            return pa.array([f"{value}.0" for value in values])
        case "dictionary of text":
            return pa.array(map(str, values)).dictionary_encode()
        case _:
            return pa.array(pd.Series(values, dtype=kind))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("case", NUMBERS)
def test_numbers_of_any_type_are_found_as_in_datasets(tmp_path: Path, screener: Screener, case: str, kind: str) -> None:
    name, values, found = NUMBERS[case]
    path = tmp_path / "numbers.parquet"
    column = _number_column(values, kind)
    pq.write_table(pa.table({name: column}), path)
    result = screen_file(path, name, screener)
    told = [(record["column"], record["row"], record["kind"]) for record in result.to_records()]
    assert told == [(name, row, found) for row, value in enumerate(values) if found and value > 9]
    as_table = find_in(column.to_pandas().rename(name), Reading.PROSE, screener).on_rows()
    assert as_table.table.select(["row", "kind"]) == result.findings.table.select(["row", "kind"]).cast(
        as_table.table.select(["row", "kind"]).schema
    )


def test_numbers_are_judged_by_the_whole_file_and_not_by_its_pieces(tmp_path: Path, screener: Screener) -> None:
    path = tmp_path / "numbers.parquet"
    ids = [10**15 + 7 * row for row in range(40_000)]
    pq.write_table(pa.table({"n": [*CARDS * 4000, *ids]}), path)
    assert len(screen_file(path, "n", screener).findings) == 0, "most numbers of this length are no cards"
    pq.write_table(pa.table({"n": [*ids[:3], *CARDS * 9000]}), path)
    assert len(screen_file(path, "n", screener).findings) == 27_000


def test_numbers_with_a_plus_are_telephone_numbers_whatever_their_column_is_called(
    tmp_path: Path, screener: Screener
) -> None:
    path = tmp_path / "contacts.csv"
    path.write_text("contact\n+14155550134\n+4915112345679\n5\n")
    found = [(record["row"], record["kind"]) for record in screen_file(path, "contact", screener).to_records()]
    assert found == [(0, "PHONE"), (1, "PHONE")]
    column = pd.Series(["+14155550134", "+4915112345679", "5"], name="contact")
    assert find_in(column, Reading.VALUES, screener).on_rows().rows.tolist() == [0, 1]
    signed = pd.Series([f"+{10**9 + row}" for row in range(30)], name="delta")
    assert len(find_in(signed, Reading.VALUES, screener).findings) == 0, "changes of a measurement"


def test_numbers_among_texts_are_read_as_texts_and_by_the_name_of_the_column(
    tmp_path: Path, screener: Screener
) -> None:
    path = tmp_path / "ssn.csv"
    path.write_text("ssn\nunknown\n536228145\n4111111111111111\n219099234\nmail a@example.org\n")
    found = [(record["row"], record["kind"]) for record in screen_file(path, "ssn", screener).to_records()]
    assert found == [(1, "SSN"), (2, "CREDIT_CARD"), (3, "SSN"), (4, "EMAIL")]


def test_a_recogniser_adds_its_findings_at_the_right_rows(tmp_path: Path, screener: Screener) -> None:
    class Everybody:
        def screen(self, texts: pd.Series) -> Findings:
            return screener.screen(pd.Series(["x@example.org"] * len(texts)))

    path = tmp_path / "texts.csv"
    path.write_text("text\nhello\nmail a@example.org\n")
    found = screen_file(path, "text", screener, recogniser=Everybody()).findings.to_records()
    assert sorted(record["row"] for record in found) == [0, 1, 1]


CHAT = [
    {"messages": [{"role": "user", "content": 'say "hi"\nto a@example.com'}], "n": 1},
    {"messages": ["fine", ["deeper", "card 4111 1111 1111 1111"]], "n": 2},
    {"messages": {"ssn": "078-05-1120"}, "n": 3},
    {"messages": None, "n": 4},
]


def _nested_columns(folder: Path) -> dict[str, Path]:
    lists = [{"messages": [{"content": "a@example.com"}]}, {"messages": []}, {"messages": None}]
    paths = {
        "list of structures": lists,
        "list": [{"messages": ["fine", "a@example.com"]}, {"messages": None}],
        "structure": [{"messages": {"to": "a@example.com"}}, {"messages": {"to": None}}],
        "list of lists": [{"messages": [["fine"], ["a@example.com"]]}],
    }
    written = {}
    for name, rows in paths.items():
        written[name] = folder / f"{name}.parquet"
        pq.write_table(pa.Table.from_pylist(rows), written[name])
    pairs = pa.array([[("to", "a@example.com")], []], pa.map_(pa.string(), pa.string()))
    written["map"] = folder / "map.parquet"
    pq.write_table(pa.table({"messages": pairs}), written["map"])
    return written


@pytest.mark.parametrize("shape", ["list of structures", "list", "structure", "list of lists", "map"])
def test_nested_columns_are_screened(tmp_path: Path, screener: Screener, shape: str) -> None:
    found = screen_file(_nested_columns(tmp_path)[shape], "messages", screener).findings.to_records()
    assert [(record["row"], record["kind"]) for record in found] == [(0, "EMAIL")]


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_positions_in_nested_values_count_in_their_lines(tmp_path: Path, screener: Screener, ending: str) -> None:
    path = tmp_path / f"chat{ending}"
    path.write_text("\n".join(map(json.dumps, CHAT)) if ending == ".jsonl" else json.dumps(CHAT))
    result = screen_file(path, "messages", screener)
    texts = [nested_text(row["messages"]) if row["messages"] else "" for row in CHAT]
    found = [(r["row"], r["kind"], texts[r["row"]][r["start"] : r["end"]]) for r in result.findings.to_records()]
    assert found == [
        (0, "EMAIL", "a@example.com"), (1, "CREDIT_CARD", "4111 1111 1111 1111"), (2, "SSN", "078-05-1120"),
    ]  # fmt: skip
    assert result.rows == 4


def test_an_arrow_column_that_is_nested_is_never_silent(screener: Screener) -> None:
    column = pa.array([["a@example.com"], None, ["b"]])
    found = screener.screen(column).to_records()
    assert [(record["row"], record["kind"]) for record in found] == [(0, "NOT_TEXT"), (2, "NOT_TEXT")]


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_quote_that_is_never_closed_is_refused(tmp_path: Path, screener: Screener, ending: str) -> None:
    path = tmp_path / f"rows{ending}"
    path.write_text('text\nfine\n"never closed a@example.com\n')
    with pytest.raises(DatasetError, match="truncated: a quoted value in its last row"):
        screen_file(path, "text", screener)


def test_half_a_surrogate_pair_is_a_finding_and_positions_stay(tmp_path: Path, screener: Screener) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine"}\n{"text": "\\ud800 a@example.com"}\n{"\\udfff": 1, "text": "fine"}\n')
    found = [(r["row"], r["kind"], r["start"]) for r in screen_file(path, "text", screener).findings.to_records()]
    assert found == [(1, "MALFORMED_TEXT", 0), (1, "EMAIL", 2)]


def test_parquet_texts_that_are_no_utf_8_are_screened_and_found(tmp_path: Path, screener: Screener) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": pa.array([b"\xff a@example.com", b"fine"]).view(pa.string())}), path)
    found = [(r["row"], r["kind"]) for r in screen_file(path, "text", screener).findings.to_records()]
    assert found == [(0, "MALFORMED_TEXT"), (0, "EMAIL")]


def test_headers_are_read_as_everywhere(tmp_path: Path, screener: Screener) -> None:
    path = tmp_path / "rows.csv"
    for content in (" text ,id\na@example.com,1\n", "sep=;\ntext;id\na@example.com;1\n", "\ufefftext\na@example.com\n"):
        path.write_text(content)
        assert len(screen_file(path, "text", screener).findings) == 1
    path.write_text("id;text\n1;a@example.com\n")
    with pytest.raises(
        DatasetError, match=r"no column 'text' \(its columns seem to be separated by ';'\); say --delim"
    ):
        screen_file(path, "text", screener)
    assert len(screen_file(path, "text", screener, delimiter=";").findings) == 1
    path.write_bytes("text\na@example.com\n".encode("utf-16"))
    with pytest.raises(DatasetError, match="say --encoding utf-16"):
        screen_file(path, "text", screener)
    assert len(screen_file(path, "text", screener, encoding="utf-16").findings) == 1


def test_a_row_without_the_column_is_named(tmp_path: Path, screener: Screener) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine"}\n{"txt": "a@example.com"}\n')
    with pytest.raises(DatasetError, match=r"row 2: no column 'text'; the columns are txt"):
        screen_file(path, "text", screener)


def test_a_document_around_the_rows_is_no_line(tmp_path: Path, screener: Screener) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"data": [{"text": "a@example.com"}] * 3}))
    with pytest.raises(
        DatasetError, match=r"it is one JSON object around 3 rows, not one object a line; name it \.json"
    ):
        screen_file(path, "text", screener)
    assert len(screen_file(path, "text", screener, file_format="json").findings) == 3
