"""Reports that are written as Markdown, for people at a terminal.

What belongs here: reading the little Markdown that reports of this platform use, and showing it with the tables and
lines of ``output``. What does not: writing reports. Where there is no terminal, a report is written as it is, so that
it can be kept as a file.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console

from nethical_assets.command_line.output import say, show_table, stdout_console

_CELLS = re.compile(r"(?<!\\)\|")
_RULER = re.compile(r"[|:\- ]+")
_FENCE = "```"
_BULLET = re.compile(r"( *)- ")
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_EMPHASIS = re.compile(r"(?<!\\)(?:\*\*|`)")
_ESCAPED = re.compile(r"\\([\\`*\[\]|~_])")
_INVISIBLE = "\u200b"


def print_document(markdown: str, least: Sequence[str] = ()) -> None:
    """A report on stdout.

    Args:
        markdown: headings, paragraphs, lists, tables, and fixed-width text between fences.
        least: the columns of its tables that a narrow terminal can do without, the least important first. The others
            but the first and the last follow, from the right.
    """
    console = stdout_console()
    if not console.is_terminal:
        sys.stdout.write(markdown if markdown.endswith("\n") else f"{markdown}\n")
        return
    for block in _blocks(_COMMENT.sub("", markdown).splitlines()):
        if block[0].startswith("|"):
            _show_table(console, block, least)
        elif block[0].startswith(_FENCE):
            _show_fixed(console, block[1:-1])
        else:
            for line in block:
                _show_line(console, line)


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Tables and fixed-width texts as one block each, every other line as one of its own."""
    number = 0
    while number < len(lines):
        end = number + 1
        if lines[number].startswith("|"):
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
        elif lines[number].startswith(_FENCE):
            while end < len(lines) and lines[end - 1 : end] != [_FENCE]:
                end += 1
        yield list(lines[number:end])
        number = end


def _show_line(console: Console, line: str) -> None:
    if line.startswith("#"):
        say(console, _plain(line.lstrip("# ")), style="bold")
        return
    bullet = _BULLET.match(line)
    indent = f"{bullet[1]}- " if bullet else ""
    say(console, _plain(line[len(indent) :]), indent=indent)


def _show_table(console: Console, block: Sequence[str], least: Sequence[str]) -> None:
    header, *rows = [
        [_plain(cell) for cell in _CELLS.split(line.strip())[1:-1]] for line in block if not _is_ruler(line)
    ]
    known = [name for name in least if name in header]
    others = [name for name in reversed(header[1:-1]) if name not in known]
    wide = [name for number, name in enumerate(header) if any(" " in row[number].strip() for row in rows)]
    show_table(
        console, "", [dict(zip(header, row, strict=True)) for row in rows], header, least=[*known, *others], prose=wide
    )


def _show_fixed(console: Console, lines: Sequence[str]) -> None:
    if max(map(cell_len, lines), default=0) > console.width:
        say(console, f"Not shown in {console.width} columns: a drawing of the same figures", style="dim")
        return
    for line in lines:
        say(console, line)


def _is_ruler(line: str) -> bool:
    return _RULER.fullmatch(line) is not None


def _plain(text: str) -> str:
    text = _EMPHASIS.sub("", text.strip().replace(_INVISIBLE, ""))
    return html.unescape(_ESCAPED.sub(r"\1", text))
