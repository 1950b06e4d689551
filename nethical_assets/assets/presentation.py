"""How what a stage shows becomes Dagster's metadata.

What belongs here: turning plain values into metadata values. What does not: which values a stage shows (``stages``).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from nethical_assets.stages.shown import (
    Bullets,
    ColumnTypes,
    Document,
    FilePath,
    Markdown,
    Picture,
    Shown,
    Table,
)

_DECIMALS = 4


def meaning(passed: str) -> str:
    """What a check is about, for a page that shows it whether it passed or not."""
    return f"Passes when this holds: {passed}"


def present(shown: Mapping[str, Shown]) -> dict[str, Any]:
    """The metadata of what a stage shows; numbers with four decimals."""
    return {name: _metadata(value) for name, value in shown.items()}


def _metadata(value: Shown) -> Any:
    shown: Any = value
    match value:
        case float():
            shown = round(value, _DECIMALS)
        case Table(rows):
            shown = table(rows)
        case ColumnTypes(columns):
            schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns])
            shown = dg.MetadataValue.table_schema(schema)
        case Picture(title, png):
            shown = dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")
        case Markdown(text):
            shown = dg.MetadataValue.md(text)
        case Bullets(lines):
            shown = bullet_list(lines)
        case Document(content):
            shown = dg.MetadataValue.json(content)
        case FilePath(path):
            shown = dg.MetadataValue.path(path)
    return shown


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table; numbers are shown with four decimals, values that are not plain become text."""
    records = [dg.TableRecord({key: _plain(value) for key, value in row.items()}) for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    kinds = {name: _kind([row.get(name) for row in rows]) for name in columns}
    schema = dg.TableSchema(columns=[dg.TableColumn(name, kinds[name]) for name in columns])
    return dg.MetadataValue.table(records, schema=schema)


def bullet_list(lines: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Sentences as a Markdown list."""
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in lines))


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    return value if isinstance(value, str | int | bool) or value is None else str(value)


def _kind(values: Sequence[Any]) -> str:
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, bool) for value in present):
        return "bool"
    if present and all(isinstance(value, int) for value in present):
        return "int"
    return "float" if present and all(isinstance(value, int | float) for value in present) else "string"
