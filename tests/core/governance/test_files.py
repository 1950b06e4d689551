from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from nethical_assets.core.governance.files import screen_file, write_findings
from nethical_assets.core.governance.findings import Findings
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.ground.errors import DatasetError

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
    findings = screen_file(_written(tmp_path, ".csv"), "text", screener).findings
    path = tmp_path / f"findings{ending}"
    write_findings(findings, path)
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
    with pytest.raises(DatasetError, match="unknown format"):
        screen_file(tmp_path / "rows.xlsx", "text", screener)
    header = tmp_path / "header.csv"
    header.write_text("text\n")
    with pytest.raises(DatasetError, match="no rows"):
        screen_file(header, "text", screener)
    listed = tmp_path / "list.jsonl"
    listed.write_text("[1]\n")
    with pytest.raises(DatasetError, match=r"row 1.*a JSON list, not an object"):
        screen_file(listed, "text", screener)
    with pytest.raises(DatasetError, match="unknown format for findings"):
        write_findings(screener.screen([]), tmp_path / "findings.txt")


def test_a_numeric_parquet_column_is_not_text(tmp_path: Path, screener: Screener) -> None:
    path = tmp_path / "numbers.parquet"
    pd.DataFrame({"text": [4111111111111111, 1]}).to_parquet(path)
    assert pq.ParquetFile(path).metadata.num_rows == 2
    assert len(screen_file(path, "text", screener).findings) == 0


def test_a_recogniser_adds_its_findings_at_the_right_rows(tmp_path: Path, screener: Screener) -> None:
    class Everybody:
        def screen(self, texts: pd.Series) -> Findings:
            return screener.screen(pd.Series(["x@example.org"] * len(texts)))

    path = tmp_path / "texts.csv"
    path.write_text("text\nhello\nmail a@example.org\n")
    found = screen_file(path, "text", screener, recogniser=Everybody()).findings.to_records()
    assert sorted(record["row"] for record in found) == [0, 1, 1]
