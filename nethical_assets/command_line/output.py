"""How every command answers: one JSON document on stdout, or text for people; errors as one line.

What belongs here: printing. What does not: any command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nethical_assets.core.detectors.registry import check_family, family_names

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; logs go to stderr.")]
DelimiterOption = Annotated[
    str | None, typer.Option(help="What separates the columns of a csv or tsv file, when the name does not say it.")
]
EncodingOption = Annotated[
    str | None, typer.Option(help="The encoding of a text file: utf-8 by default, cp1252, utf-16, gb18030, ...")
]

errors = Console(stderr=True)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def stdout_console() -> Console:
    """Standard output; wide enough for tables where it is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=140)


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Rows as a table on stdout; says so when there are none."""
    console = stdout_console()
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=title)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*("-" if row.get(column) in (None, "") else str(row[column]) for column in columns))
    console.print(table)


def parse_families(value: str | None) -> tuple[str, ...]:
    """A comma-separated list of families; all of them when it is not given.

    Raises:
        UnknownFamilyError: one is not registered.
    """
    if value is None:
        return family_names()
    return tuple(dict.fromkeys(check_family(name.strip()) for name in value.split(",")))
