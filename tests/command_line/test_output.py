"""Tables and lines fit the terminal they are shown on: no word is broken, no verdict, name or number is cut."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from nethical_assets.command_line import documents, output
from nethical_assets.command_line.app import app
from nethical_assets.command_line.documents import print_document
from nethical_assets.command_line.output import first_digits, minute, print_table, say, show_table, stdout_console
from nethical_assets.core.detectors.registry import family_names
from tests.terminal import Screen

FAMILIES = [
    {
        "Family": family,
        "Data": "mirror, synthetic",
        "Rows": 1_316_271,
        "Accuracy": "0.992 (0.985-0.996)",
        "ECE": "0.0142",
        "Verdict": Text(verdict, "green"),
    }
    for family, verdict in zip(family_names(), ("promoted", "candidate", "unchanged", "error", "promoted"), strict=True)
]
COLUMNS = list(FAMILIES[0])
LEAST = ("Data", "Rows", "ECE")


def terminal(width: int) -> tuple[Console, Screen]:
    screen = Screen(width)

    class Sent(io.StringIO):
        def write(self, text: str) -> int:
            screen.feed(text.replace("\n", "\r\n"))
            return len(text)

    return Console(file=Sent(), force_terminal=True, color_system=None, width=width), screen


@pytest.mark.parametrize("width", [40, 60, 72, 80, 100, 120, 200])
def test_a_table_keeps_names_and_verdicts_whole_at_any_width(width: int) -> None:
    console, screen = terminal(width)
    show_table(console, "Training cycle", FAMILIES, COLUMNS, least=LEAST)
    assert screen.wrapped == set()
    for row in FAMILIES:
        for column in ("Family", "Accuracy", "Verdict"):
            assert re.search(rf"(^|\s){re.escape(str(row[column]))}(\s|$)", screen.text, re.MULTILINE), screen.text


def test_what_a_table_leaves_out_is_said_and_nothing_is_left_out_where_there_is_room() -> None:
    console, screen = terminal(72)
    show_table(console, "Training cycle", FAMILIES, COLUMNS, least=LEAST)
    assert "1316271" in screen.text and "mirror" not in screen.text
    assert screen.text.rstrip().endswith("Not shown in 72 columns: Data")
    console, screen = terminal(120)
    show_table(console, "Training cycle", [{**FAMILIES[0], "Accuracy (95 %)": "-"}], ["Family", "Accuracy (95 %)"])
    assert "Accuracy (95 %)" in screen.text
    console, screen = terminal(120)
    show_table(console, "Training cycle", FAMILIES, COLUMNS, least=LEAST)
    assert "mirror, synthetic" in screen.text and "Not shown" not in screen.text


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_what_the_next_command_needs_is_shortened_before_anything_is_left_out(width: int) -> None:
    models = [
        {
            "family": family,
            "verdict": "promoted",
            "model": f"sha256:{number:064x}",
            "decided_at": "2026-11-29T20:54:37Z",
        }
        for number, family in enumerate(family_names(), 0xABCDEF0123456 << 204)
    ]
    console, screen = terminal(width)
    short = {"model": first_digits, "decided_at": minute}
    show_table(console, "Models", models, list(models[0]), least=("decided_at",), short=short)
    for model in models:
        assert (model["model"] if width == 200 else model["model"][7:19]) in screen.text.split()
        assert ("2026-11-29T20:54" in screen.text) == (width > 60 or "Not shown" not in screen.text)
    assert screen.wrapped == set()


def test_where_no_table_fits_each_row_is_a_list() -> None:
    console, screen = terminal(30)
    show_table(console, "Training cycle", FAMILIES, COLUMNS, least=LEAST)
    assert "Family: prompt_injection\n" in screen.text and "  Verdict: promoted" in screen.text
    assert screen.wrapped == set()


words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=25)


@given(
    st.lists(
        st.fixed_dictionaries({"a": words, "b": words, "c": st.lists(words, max_size=8).map(" ".join)}), min_size=1
    ),
    st.integers(min_value=30, max_value=150),
)
def test_every_cell_is_there_whole_or_its_column_is_said_to_be_missing(rows: list[dict[str, Any]], width: int) -> None:
    console, screen = terminal(width)
    show_table(console, "T", rows, ("a", "b", "c"), least=("b",), prose=("c",))
    assert screen.wrapped == set()
    seen = screen.text.split()
    for row in rows:
        missing = [] if "Not shown" not in screen.text else [row["b"]]
        for word in [row["a"], row["b"], *row["c"].split()]:
            assert word in seen or word in missing


def test_a_line_is_broken_between_words_and_a_path_is_not_broken() -> None:
    console, screen = terminal(40)
    path = "/srv/somebody/" + "x" * 60 + "/card.json"
    say(console, f"Card: {path}", indent="  ")
    assert path in screen.text.replace("\n", "")
    assert path in "".join(screen.lines)
    console, screen = terminal(40)
    reason = "a reason that is longer than forty columns are, by some words"
    say(console, reason, indent="  ")
    assert screen.text.split() == reason.split()
    assert all(line.startswith("  ") for line in screen.text.splitlines()[:-1])


def test_a_file_gets_lines_and_tables_as_wide_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    wide = [{**FAMILIES[0], "Data": "x" * 300}]
    print_table("T", wide, COLUMNS, least=LEAST)
    say(stdout_console(), "word " * 100)
    out = capsys.readouterr().out
    assert "x" * 300 in out and "word " * 99 in out
    monkeypatch.setenv("COLUMNS", "80")
    print_table("T", wide, COLUMNS, least=LEAST)
    assert "Not shown in 80 columns: Data" in capsys.readouterr().out


def test_a_value_cannot_steer_the_terminal() -> None:
    console, screen = terminal(80)
    say(console, "a file named \x1b[2Jx.csv\r\n[red]:key:")
    show_table(console, "T", [{"a": "\x1b]0;title\x07 [bold]b"}], ["a"])
    assert "a file named" in screen.text and "[red]:key:" in screen.text and "[bold]b" in screen.text
    assert screen.styles == set()


REPORT = """# A report

**drift** (drift score 0.412), for `prompt_injection` &amp; others

- a reason that goes on for longer than a narrow terminal is wide
  - column `duration`: 7\\_000 rows

| Column | Effect | Adjusted p | Missing before | Missing now | Drifted |
|---|---:|---:|---:|---:|---|
| destination\\|bytes | 0.412 | 0.001 | 0.0% | 12.5% | yes |

```text
  ████░░░░░░  40 %
```
<!-- nethical-fingerprint: 1 -->
"""


def shown(width: int, monkeypatch: pytest.MonkeyPatch) -> Screen:
    console, screen = terminal(width)
    monkeypatch.setattr(documents, "stdout_console", lambda: console)
    print_document(REPORT)
    return screen


def test_a_report_is_read_on_a_terminal_as_people_read(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = shown(80, monkeypatch)
    for part in ("A report", "drift (drift score 0.412), for prompt_injection & others", "destination|bytes", "12.5%"):
        assert part in screen.text
    assert not re.search(r"[`*#<\\]|---", screen.text)
    assert screen.wrapped == set()
    narrow = shown(40, monkeypatch)
    assert "destination|bytes" in narrow.text and " yes" in narrow.text and "Not shown in 40 columns" in narrow.text
    assert narrow.wrapped == set()


def test_a_report_goes_into_a_file_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert not sys.stdout.isatty()
    print_document(REPORT)
    assert capsys.readouterr().out == REPORT


def test_output_is_as_wide_as_the_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "93")
    monkeypatch.setattr(output.sys.stdout, "isatty", lambda: True, raising=False)
    assert stdout_console().width == 93


def values_of(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Every command, each of its options that take one of several values, and each of these."""
    for name, node in getattr(group, "commands", {}).items():
        yield from values_of(node, (*path, name))
        for option in node.params:
            for value in literals_of(getattr(option, "type_descriptor", None)):
                yield (*path, name), option.opts[0], value


def literals_of(descriptor: Any) -> list[str]:
    parts, found = [getattr(descriptor, "annotation", None)], []
    while parts:
        part = parts.pop()
        if isinstance(part, str):
            found.append(part)
        parts += get_args(part)
    return found


def test_help_breaks_no_value_on_a_terminal_of_80_columns() -> None:
    values = list(values_of(typer.main.get_command(app)))
    assert {(("run",), "--source", "synthetic"), (("screen",), "--format", "lines")} <= set(values)
    pages = {
        path: CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).output
        for path, _, _ in values
    }
    broken = [
        f"{' '.join(path)} {option}: {value}"
        for path, option, value in values
        if not re.search(rf"\b{value}\b", pages[path])
    ]
    assert broken == []


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_what_a_terminal_is_sent_may_be_cut_anywhere(size: int) -> None:
    sent = "\x1b[1m\x1b[38;5;39mverdict\x1b[0m: promoted\r\n 0:31  14/51\r\x1b[Kthe end"
    screen = Screen(40)
    for start in range(0, len(sent), size):
        screen.feed(sent[start : start + size])
    assert screen.text == "verdict: promoted\nthe end"
    assert screen.styles == {"1", "38;5;39", "0"}
