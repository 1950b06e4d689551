"""What a stage shows to people, as plain values; the orchestrator turns them into its own (``assets.presentation``).

What belongs here: the kinds of things that can be shown. What does not: any stage's own numbers, or how a page draws
    them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of a table, each a mapping from column to value."""

    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class ColumnTypes:
    """The (name, type) pairs of a dataset's columns."""

    columns: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A small PNG with its title."""

    title: str
    png: bytes


@dataclass(frozen=True)
class Markdown:
    """Markdown text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """Sentences, one a line."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Document:
    """A JSON document."""

    value: Any


@dataclass(frozen=True)
class FilePath:
    """The path of a file of this home."""

    path: str


Shown = str | int | float | bool | Table | ColumnTypes | Picture | Markdown | Bullets | Document | FilePath

ROW_COUNT = "dagster/row_count"
COLUMN_SCHEMA = "dagster/column_schema"
