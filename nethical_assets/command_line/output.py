"""How every command answers: one JSON document on stdout, or text for people; errors as one line.

What belongs here: printing, and the one way in which tables and lines fit a terminal. What does not: any command.

On a terminal nothing is cut, and no word is broken: a table that is too wide leaves out columns, those first that its
command can do without, and says so; where even that is not enough, each row becomes a list. Elsewhere, as in a file or
a pipe, everything is written as wide as it is.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nethical_assets.core.detectors.registry import check_family, family_names
from nethical_assets.home.options import SourceChoice

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; logs go to stderr.")]
DelimiterOption = Annotated[
    str | None, typer.Option(help="What separates the columns of a csv or tsv file: one character, or tab.")
]
EncodingOption = Annotated[
    str | None, typer.Option(help="The encoding of a text file: utf-8 by default, cp1252, utf-16, gb18030, ...")
]
# The choices stand in the text: as the name of the value they are broken within a word on a terminal of 80 columns.
SourceOption = Annotated[
    SourceChoice,
    typer.Option(metavar="<source>", help="Where data may come from: auto, kaggle, mirror or synthetic."),
]

errors = Console(stderr=True)
_UNLIMITED = 100_000
_GAP = 3
"""Columns between two columns of a table."""
_READABLE = 24
"""Text that is broken into lines shorter than this is not read: columns that can be done without go first."""
_INDENT = "  "
_TO_THE_MINUTE = len("2026-01-01T00:00")
_DIGITS = 12


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def stdout_console() -> Console:
    """Standard output; as wide as need be where it is no terminal, unless COLUMNS says how wide it is."""
    narrow = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console() if narrow else Console(width=_UNLIMITED)


def tell(line: str, style: str = "") -> None:
    """A line of text on stdout."""
    say(stdout_console(), line, style=style)


def say(console: Console, line: str, *, indent: str = "", style: str = "") -> None:
    """A line of text, or several, as they are in a file or a pipe, broken between words on a terminal. A word that is
    longer than the terminal is wide, such as a path, stays one that can be copied."""
    for one in line.split("\n"):
        text = _printable(one)
        lines = broken(text, console.width, indent) if console.is_terminal else [f"{indent}{text}"]
        for part in lines:
            console.print(Text(part, style), soft_wrap=True)


def broken(line: str, columns: int, indent: str = "") -> list[str]:
    """A line as several of at most ``columns``, broken between words; longer words stay whole."""
    if cell_len(indent) + cell_len(line) <= columns:
        return [f"{indent}{line}"]
    return textwrap.wrap(
        line,
        columns,
        initial_indent=indent,
        subsequent_indent=f"{' ' * len(indent)}{_INDENT}",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _printable(text: str) -> str:
    """``text`` without what would steer the terminal, such as an escape sequence in the name of a file; bytes of a name
    that are no text are shown as such."""
    shown = "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def print_table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    least: Sequence[str] = (),
    prose: Sequence[str] = (),
    short: Mapping[str, Callable[[str], str]] = MappingProxyType({}),
) -> None:
    """Rows as a table on stdout; says so when there are none.

    Args:
        columns: the keys of the rows that are shown, in this order; they are the headings too.
        least: those that a narrow terminal can do without, the least important first.
        prose: those whose text may be broken between words.
        short: what is said of a value in these columns where a terminal is too narrow for the whole of it, before any
            column is left out.
    """
    show_table(stdout_console(), title, rows, columns, least=least, prose=prose, short=short)


def show_table(
    console: Console,
    title: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    least: Sequence[str] = (),
    prose: Sequence[str] = (),
    short: Mapping[str, Callable[[str], str]] = MappingProxyType({}),
) -> None:
    """As ``print_table``, on a console; a value may be ``Text`` with a style of its own."""
    if not rows:
        say(console, f"{title}: none")
        return
    cells = {column: [_cell(row.get(column)) for row in rows] for column in columns}
    for column, shorten in short.items():
        if _total(_width(one, cells[one], broken=one in prose) for one in columns) > console.width:
            cells[column] = [Text(shorten(cell.plain), cell.style) for cell in cells[column]]
    narrowest = {column: _width(column, cells[column], broken=column in prose) for column in columns}
    wanted = {column: _width(column, cells[column], broken=False) for column in columns}
    readable = {one: max(width, min(wanted[one], _READABLE)) for one, width in narrowest.items()}
    shown, left_out = list(columns), []
    for column in least:
        if _total(readable[one] for one in shown) <= console.width:
            break
        shown.remove(column)
        left_out.append(column)
    if title:
        say(console, title, style="bold")
    if _total(narrowest[one] for one in shown) > console.width:
        _show_lists(console, columns, cells)
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    room = console.width - _total(narrowest[one] for one in shown)
    for column in shown:
        width = min(max(wanted[column], cell_len(column)), narrowest[column] + room)
        room -= width - narrowest[column]
        table.add_column(column.replace("_", " "), width=width, overflow="fold")
    for number in range(len(rows)):
        table.add_row(*(cells[column][number] for column in shown))
    console.print(table)
    if left_out:
        names = ", ".join(column.replace("_", " ") for column in left_out)
        say(console, f"Not shown in {console.width} columns: {names}", style="dim")


def minute(moment: str) -> str:
    """A moment (ISO 8601) without seconds."""
    return moment[:_TO_THE_MINUTE]


def first_digits(digest: str) -> str:
    """As much of a digest as tells it from others, and as commands take it."""
    return digest.rpartition(":")[2][:_DIGITS]


def _show_lists(console: Console, columns: Sequence[str], cells: Mapping[str, Sequence[Text]]) -> None:
    """Each row as a list of what it holds: for terminals that no table fits."""
    for number in range(len(cells[columns[0]])):
        for place, column in enumerate(columns):
            say(console, f"{column.replace('_', ' ')}: {cells[column][number].plain}", indent=_INDENT if place else "")


def _cell(value: Any) -> Text:
    if isinstance(value, Text):
        return value
    return Text("-" if value in (None, "") else " ".join(_printable(str(value)).split()))


def _width(column: str, cells: Sequence[Text], *, broken: bool) -> int:
    """The columns that a column of a table takes; ``broken``: where its text is broken between words. Its heading may
    be in any case."""
    texts = [cell.plain for cell in cells]
    parts = [word for text in texts for word in text.split()] if broken else texts
    return max(cell_len(part) for part in (*parts, *column.replace("_", " ").split()))


def _total(widths: Iterable[int]) -> int:
    found = list(widths)
    return sum(found) + _GAP * (len(found) - 1)


def parse_families(value: str | None) -> tuple[str, ...]:
    """A comma-separated list of families; all of them when it is not given.

    Raises:
        UnknownFamilyError: one is not registered.
    """
    if value is None:
        return family_names()
    return tuple(dict.fromkeys(check_family(name.strip()) for name in value.split(",")))
