"""Files on the command line: one that is missing or no table is one line and exit 2, wherever one is taken."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from tests.command_line.programs import Run, in_this_process

SECRET = "anna.berg@example.org"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", f"text\n{SECRET}\n" * 99)
    return buffer.getvalue()


WRONG: dict[str, tuple[str, bytes | None]] = {
    "missing": ("none.csv", None),
    "a folder": ("folder.csv", None),
    "a pipe": ("pipe.csv", None),
    "unknown ending": ("a.xlsx", b"PK"),
    "no ending": ("table", b"text\na\n"),
    "lone surrogate in a key": ("a.jsonl", b'{"\\ud800": 1}'),
    "wrapped lines": ("b.jsonl", json.dumps({"data": [{"text": SECRET}] * 4}).encode()),
    "no rows": ("a.json", json.dumps({"a": {"b": SECRET}}).encode()),
    "header only": ("h.csv", b"text\n"),
    "open quote": ("q.csv", f'text\n"{SECRET}\n'.encode()),
    "ragged": ("r.csv", f"text\n{SECRET},1\n".encode()),
    "utf-16": ("u.csv", f"text\n{SECRET}\n".encode("utf-16")),
    "half a Parquet": ("p.parquet", b"PAR1" + SECRET.encode() * 9),
    **{f"a picture named {end}": (f"x{end}", PNG) for end in (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")},
    **{f"an archive named {end}": (f"z{end}", _zip()) for end in (".csv", ".json", ".jsonl", ".parquet", ".txt")},
    **{f"empty {end}": (f"e{end}", b"") for end in (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")},
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "screen": ("screen", "{file}", "--text-column", "text"),
    "score": ("score", "prompt_injection", "{file}", "--output", "{folder}/scores.csv"),
    "feedback": ("feedback", "{file}"),
    "drift, reference": ("drift", "check", "--reference", "{file}", "--window", "{good}"),
    "drift, window": ("drift", "check", "--reference", "{good}", "--window", "{file}"),
}


@pytest.fixture
def nethical(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the program in this process, with a home of its own in which nothing was trained."""
    (tmp_path / "home" / "models" / "store").mkdir(parents=True)
    monkeypatch.setenv("NETHICAL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETHICAL_CONFIG", raising=False)
    return in_this_process(monkeypatch, capsys)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_table_is_one_line_without_a_value(command: str, case: str, nethical: Run, tmp_path: Path) -> None:
    name, content = WRONG[case]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    elif case == "a folder":
        path.mkdir()
    elif case == "a pipe":
        os.mkfifo(path)
    good = tmp_path / "good.csv"
    good.write_text("text,n\n" + "".join(f"t{i},{i}\n" for i in range(40)))
    parts = {"file": path, "folder": tmp_path, "good": good}
    code, out, said = nethical(*(part.format(**parts) for part in COMMANDS[command]))
    assert (code, out) == (2, "")
    assert len(said.splitlines()) == 1 and str(path) in said and "Traceback" not in said
    assert "anna" not in said
    assert not (tmp_path / "scores.csv").exists()


@pytest.mark.parametrize("command", ["screen", "score"])
@pytest.mark.parametrize("options", [("--delimiter", ";;"), ("--encoding", "klingon")])
def test_an_option_that_cannot_be_is_one_line(
    command: str, options: tuple[str, str], nethical: Run, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\na\n")
    parts = {"file": path, "folder": tmp_path}
    code, _, said = nethical(*(part.format(**parts) for part in COMMANDS[command]), *options)
    assert code == 2 and len(said.splitlines()) == 1 and options[0] in said


def test_the_delimiter_and_encoding_are_those_that_were_said(nethical: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("id;text\n1;caf\u00e9 a@example.com\n".encode("cp1252"))
    screened = ("screen", str(path), "--text-column", "text", "--json")
    assert "say --delimiter ';'" in nethical(*screened, "--encoding", "cp1252")[2]
    code, out, _ = nethical(*screened, "--encoding", "cp1252", "--delimiter", ";")
    assert code == 0
    assert [(found["kind"], found["start"]) for found in json.loads(out)["records"]] == [("EMAIL", 5)]


@pytest.mark.parametrize("command", ["screen", "score"])
def test_the_file_that_is_read_is_never_replaced(command: str, nethical: Run, tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text\nhello there\n", encoding="utf-8")
    other = tmp_path / "folder" / ".." / "texts.csv"
    (tmp_path / "folder").mkdir()
    asked = {
        "screen": ("screen", str(path), "--text-column", "text"),
        "score": ("score", "prompt_injection", str(path)),
    }
    code, _, said = nethical(*asked[command], "--output", str(other))
    assert (code, len(said.strip().splitlines())) == (2, 1), said
    assert "would replace the file that is read" in said
    assert path.read_text(encoding="utf-8") == "text\nhello there\n"


def test_tables_of_predictions_are_compared_and_odd_options_are_one_line(nethical: Run, tmp_path: Path) -> None:
    before, after = tmp_path / "before.csv", tmp_path / "after.jsonl"
    rows = [((number * 37 % 101) / 100, number % 3) for number in range(600)]
    before.write_text("p,y,size\n" + "".join(f"{p},{int(p > 0.5)},{size}\n" for p, size in rows))
    after.write_text("".join(json.dumps({"p": p, "y": int(p <= 0.5), "size": size}) + "\n" for p, size in rows))
    files = ("drift", "check", "--reference", str(before), "--window", str(after))
    code, out, _ = nethical(*files, "--score", "p", "--label", "y", "--json")
    document = json.loads(out)
    found = {one["monitor"]["kind"]: one["outcome"] for one in document["predictions"]["outcomes"]}
    assert (code, document["verdict"], document["columns"]["verdict"]) == (1, "drift", "stable")
    assert found["accuracy"] == found["calibration"] == "drifted" and found["positive_rate"] == "calm"
    code, out, _ = nethical(*files, "--score", "p", "--label", "y")
    assert code == 1 and "Accuracy changed by -0.980" in " ".join(out.split())
    # What is a label is compared like any column where nobody says so.
    compared = json.loads(nethical(*files, "--score", "p", "--json")[1])["columns"]["columns"]
    assert {column["name"] for column in compared} == {"size", "y"}
    for options, said in (
        (("--label", "y"), "name their column with --score too"),
        (("--score", "q"), "--score: the reference table has no column 'q'"),
        (("--score", "size"), "--score: row 3 of the reference table is no probability"),
        (("--score", "p", "--label", "size"), "--label: row 3 of the reference table is neither 0 nor 1"),
    ):
        code, out, err = nethical(*files, *options)
        assert (code, out, len(err.splitlines())) == (2, "", 1) and said in err
