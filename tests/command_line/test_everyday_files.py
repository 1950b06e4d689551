"""Everyday files as bug reports show them, at every command that takes one: read, or refused in one true line."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from nethical_assets.command_line import app as cli

Run = Callable[..., tuple[int, str, str]]
SECRET = "anna.berg@example.org"
ROWS = 40
TEXTS = [f"text number {row}" for row in range(ROWS)]
TABLE = "id,text\n" + "".join(f"{row},{text}\n" for row, text in enumerate(TEXTS))
RECORDS = [{"id": row, "text": text} for row, text in enumerate(TEXTS)]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


def _zip(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _workbook() -> bytes:
    return _zip(**{"[Content_Types].xml": "<x/>", "xl/workbook.xml": "<x/>"})


def _feather() -> bytes:
    buffer = io.BytesIO()
    feather.write_feather(pa.table({"text": TEXTS}), buffer)
    return buffer.getvalue()


def _parquet(*columns: tuple[str, list[object] | pa.Array]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table([values for _, values in columns], names=[name for name, _ in columns]), buffer)
    return buffer.getvalue()


READ: dict[str, tuple[str, bytes]] = {
    "separator line": ("a.csv", ("sep=;\r\n" + TABLE.replace(",", ";").replace("\n", "\r\n")).encode()),
    "carriage returns": ("a.csv", TABLE.replace("\n", "\r").encode()),
    "carriage returns, JSON lines": ("a.jsonl", LINES.replace("\n", "\r").encode()),
    "byte order mark": ("a.csv", b"\xef\xbb\xbf" + TABLE.encode()),
    "byte order mark, JSON": ("a.json", b"\xef\xbb\xbf" + json.dumps(RECORDS).encode()),
    "empty lines": ("a.csv", (TABLE + "\n\n\n").encode()),
    "zero-width signs in the header": ("a.csv", TABLE.replace("text\n", "\u200btext\ufeff\n", 1).encode()),
    "trailing comma in every line": ("a.csv", TABLE.replace("\n", ",\n").encode()),
    "wrapped": ("a.json", json.dumps({"data": RECORDS, "version": 1}).encode()),
    "one object a line, named .json": ("a.json", LINES.encode()),
    "glob signs and a colon in the name": ("a[1]: *?.csv", TABLE.encode()),
    "dictionary": ("a.parquet", _parquet(("text", pa.array(TEXTS).dictionary_encode()))),
}
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "gzip": ("a.csv.gz", gzip.compress(TABLE.encode()), "packed by gzip and no table; unpack it"),
    "gzip named .csv": ("a.csv", gzip.compress(TABLE.encode()), "packed by gzip and no text; unpack it"),
    "bzip2": ("a.csv.bz2", bz2.compress(TABLE.encode()), "packed by bzip2 and no table; unpack it"),
    "xz": ("a.csv.xz", lzma.compress(TABLE.encode()), "packed by xz and no table; unpack it"),
    "zip": ("a.zip", _zip(**{"a.csv": TABLE}), "a zip archive and no table; unpack it"),
    "zip named .parquet": ("a.parquet", _zip(**{"a.csv": TABLE}), "a zip archive and no Parquet file; unpack it"),
    "workbook": ("a.xlsx", _workbook(), "a workbook and no table; save it as CSV"),
    "workbook named .csv": ("a.csv", _workbook(), "a workbook and no text; save it as CSV"),
    "Feather": ("a.feather", _feather(), "an Arrow (Feather) file and no table; write it as Parquet"),
    "Parquet named .csv": ("a.csv", _parquet(("text", TEXTS)), "a Parquet file and no text; name it .parquet"),
    "pointer of Git LFS": ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs"),
    "web page": ("a.csv", b"<!DOCTYPE html><html>\n<body>404</body>\n</html>\n", "it is a web page and no table"),
    "UTF-16 without a mark": ("a.csv", TABLE.encode("utf-16-le"), "say --encoding utf-16-le"),
    "UTF-16, the other order": ("a.csv", TABLE.encode("utf-16-be"), "say --encoding utf-16-be"),
    "Latin-1": ("a.csv", TABLE.replace("number 3", "caf\xe9").encode("latin-1"), "like latin-1, which is a guess)"),
    "surrogate in bytes": ("a.csv", TABLE.replace("number 30", "\ud800").encode(errors="surrogatepass"), "in line 32"),
    "zero byte": (
        "a.csv",
        TABLE.replace("number 30", "num\0ber").encode(),
        "in line 32: the file is damaged or not text",
    ),
    "remarks above the header": ("a.csv", f"# by a tool\n{TABLE}".encode(), "its header line has another number"),
    "trailing comma in all rows": ("a.csv", TABLE.replace("\n", ",\n").replace(",\n", "\n", 1).encode(), "its header"),
    "pretty-printed, named .jsonl": ("a.jsonl", json.dumps(RECORDS, indent=1).encode(), "over several lines"),
    "a list with an item a line": ("a.jsonl", json.dumps(RECORDS).replace("}, ", "},\n").encode(), "name it .json"),
    "pretty-printed objects": ("a.jsonl", "\n".join(json.dumps(r, indent=1) for r in RECORDS).encode(), "jq -c ."),
    "objects without lines": ("a.jsonl", LINES.replace("\n", "").encode(), "Extra data at character"),
    "commas after objects": ("a.jsonl", LINES.replace("\n", ",\n").encode(), "row 1): a comma after its object"),
    "two lists": ("a.json", (json.dumps(RECORDS) * 2).encode(), "there are several; write one list of all objects"),
    "objects one after the other": ("a.json", "".join(map(json.dumps, RECORDS)).encode(), "there are several"),
    "odd member": ("a.json", json.dumps({SECRET: [1, 2], "b": 3}).encode(), "whose members (2 of them) no rows"),
    "number of 5 000 digits": (
        "a.jsonl",
        b'{"text": "a", "id": ' + b"9" * 5000 + b"}\n",
        "a number of too many digits",
    ),
    "nested too deep": ("a.jsonl", b"[" * 100_000 + b"\n", "nested too deep"),
}
REFUSED_WITHOUT_A_COLUMN: dict[str, tuple[str, bytes, str]] = {
    "semicolons": ("a.csv", TABLE.replace(",", ";").encode(), "say --delimiter ';' (or ',', if it has one only)"),
    "tabs": ("a.csv", TABLE.replace(",", "\t").encode(), "say --delimiter tab"),
    "surrogate": ("a.jsonl", LINES.replace("number 30", "\\ud800").encode(), "row 31): a text holds half a surrogate"),
    "surrogate in a document": ("a.json", json.dumps(RECORDS).replace("number 30", "\\udfff").encode(), "row 31)"),
    "surrogate in a key": ("a.jsonl", (LINES + '{"\\ud800": 1, "text": "a"}\n').encode(), "row 41)"),
    "bytes in a column": ("a.parquet", _parquet(("text", TEXTS), ("raw", [b"\xff"] * ROWS)), "in column raw"),
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "screen": ("screen", "{file}", "--text-column", "text"),
    "score": ("score", "prompt_injection", "{file}", "--output", "{folder}/scores.csv"),
    "drift": ("drift", "check", "--reference", "{good}", "--window", "{file}"),
}


@pytest.fixture
def nethical(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the program in this process, with a home of its own in which nothing was trained."""
    (tmp_path / "home" / "models" / "store").mkdir(parents=True)
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETHICAL_CONFIG", raising=False)
    (tmp_path / "good.csv").write_text(TABLE)

    def run(command: str, file: Path, *options: str) -> tuple[int, str, str]:
        parts = {"file": file, "folder": tmp_path, "good": tmp_path / "good.csv"}
        asked = [part.format(**parts) for part in COMMANDS[command]]
        monkeypatch.setattr(sys, "argv", ["nethical", *asked, *options])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "anna" not in said.out + said.err
        return int(ended.value.code or 0), said.out, said.err

    return run


def _written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("case", READ)
def test_what_can_be_read_is_read(case: str, nethical: Run, tmp_path: Path) -> None:
    path = _written(tmp_path, *READ[case])
    code, out, said = nethical("screen", path, "--json")
    assert (code, said, json.loads(out)["rows"], json.loads(out)["notes"]) == (0, "", ROWS, [])
    code, out, said = nethical("drift", path, "--json")
    assert (code, said, json.loads(out)["window_rows"]) == (0, "", ROWS)
    code, _, said = nethical("score", path)
    assert (code, said.split(" has no promoted")[0]) == (1, "nethical: family prompt_injection"), "the file is good"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_one_true_line(case: str, command: str, nethical: Run, tmp_path: Path) -> None:
    name, content, line = REFUSED[case]
    path = _written(tmp_path, name, content)
    code, out, said = nethical(command, path)
    assert (code, out, len(said.splitlines())) == (2, "", 1), said
    wrong_header = command == "screen" and case == "remarks above the header"
    assert str(path) in said and ("no column 'text'" if wrong_header else line) in said


@pytest.mark.parametrize("command", ["score", "drift"])
@pytest.mark.parametrize("case", REFUSED_WITHOUT_A_COLUMN)
def test_so_is_what_only_one_column_hides(case: str, command: str, nethical: Run, tmp_path: Path) -> None:
    name, content, line = REFUSED_WITHOUT_A_COLUMN[case]
    code, _, said = nethical(command, _written(tmp_path, name, content))
    assert (code, len(said.splitlines())) == (2, 1) and line in said


def test_half_a_surrogate_pair_is_a_finding_of_its_row(nethical: Run, tmp_path: Path) -> None:
    for name, content, _ in list(REFUSED_WITHOUT_A_COLUMN.values())[2:4]:
        code, out, _ = nethical("screen", _written(tmp_path, name, content), "--json")
        found = json.loads(out)
        assert (code, found["rows_with_findings"]) == (0, 1)
        assert [(record["row"], record["kind"]) for record in found["records"]] == [(30, "MALFORMED_TEXT")]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_said_to_be_what_it_is(command: str, nethical: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "folder.csv").mkdir()
    cases = {"pipe.csv": "pipe or socket", "loop.csv": "a link that leads nowhere", "folder.csv": "it is a folder"}
    for name, line in {**cases, "none.csv": "no such file"}.items():
        code, _, said = nethical(command, tmp_path / name)
        assert code == 2 and line in said
    assert "a device, pipe" in nethical(command, Path(os.devnull))[2]


@pytest.mark.parametrize("command", ["screen", "score"])
def test_what_cannot_be_replaced_by_a_file_is_no_output(command: str, nethical: Run, tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", TABLE.encode())
    os.mkfifo(tmp_path / "pipe.csv")
    for output in (os.devnull, str(tmp_path / "pipe.csv"), str(tmp_path)):
        code, _, said = nethical(command, path, "--output", output)
        assert (code, len(said.splitlines())) == (2, 1)
        assert f"{output}: the output is a " in said.replace("\n", "")


NOTES: dict[str, tuple[str, bytes, str]] = {
    "repeated column": (
        "a.csv",
        TABLE.replace("id,text", "text,text").encode(),
        "column 'text' is there more than once",
    ),
    "repeated column, Parquet": (
        "a.parquet",
        _parquet(("text", TEXTS), ("text", TEXTS)),
        "column 'text' is there more",
    ),
    "repeated key": ("a.jsonl", b'{"text": "a", "text": "b"}\n' * ROWS, "'text' is there more than once in an object"),
    "repeated key, document": ("a.json", b'[{"text": "a", "text": "b"}]', "'text' is there more than once"),
    "a forgotten quote": (
        "a.csv",
        TABLE.replace(",text number 9\n", ',"text number 9\n').replace("number 20", 'number" 20').encode(),
        "row 11 holds 10 lines that look like rows",
    ),
}


@pytest.mark.parametrize("case", NOTES)
def test_what_a_reader_has_to_know_is_said(case: str, nethical: Run, tmp_path: Path) -> None:
    name, content, note = NOTES[case]
    path = _written(tmp_path, name, content)
    (said,) = json.loads(nethical("screen", path, "--json")[1])["notes"]
    assert note in said
    assert note in nethical("screen", path)[1]
    assert any(note in said for said in json.loads(nethical("drift", path, "--json")[1])["notes"])
    if "repeated" in case:
        second = nethical("screen", path, "--text-column", "text_2", "--json")
        assert (second[0], json.loads(second[1])["column"]) == (0, "text_2")


@pytest.mark.parametrize("delimiter", ["\\t", "tab", "TAB", "\t"])
def test_a_tab_is_said_in_any_way(delimiter: str, nethical: Run, tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", TABLE.replace(",", "\t").encode())
    assert json.loads(nethical("screen", path, "--delimiter", delimiter, "--json")[1])["rows"] == ROWS
    drift = nethical("drift", path, "--delimiter", ",", "--delimiter", delimiter, "--json")
    assert {column["name"] for column in json.loads(drift[1])["columns"]} == {"id", "text"}


def test_drift_takes_delimiter_and_encoding_once_for_both_or_of_each(nethical: Run, tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", TABLE.replace("number", "caf\xe9").encode("cp1252"))
    assert nethical("drift", path, "--encoding", "cp1252")[0] == 0
    assert nethical("drift", path, "--encoding", "utf-8", "--encoding", "cp1252")[0] == 0
    assert nethical("drift", path, "--encoding", "cp1252", "--encoding", "utf-8")[0] == 2
    code, _, said = nethical("drift", path, *("--encoding", "cp1252") * 3)
    assert code == 2 and "--encoding: say it once for both files, or twice" in said
    parquet = _written(tmp_path, "a.parquet", _parquet(("id", list(range(ROWS))), ("text", TEXTS)))
    assert nethical("drift", parquet, "--delimiter", ",", "--encoding", "utf-8")[0] == 0, "said of the other file"


def test_drift_names_no_column_that_is_personal_data(nethical: Run, tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", "".join(f"{row},{SECRET}\n" for row in range(ROWS)).encode())
    code, out, _ = nethical("drift", path)
    assert code == 0 and "Column column 2: not in the reference" in out
