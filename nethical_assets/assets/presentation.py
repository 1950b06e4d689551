"""How stage records are shown in the UI: Dagster metadata from plain JSON facts.

What belongs here: turning facts into metadata values. What does not: computing a fact.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from nethical_assets.home.records import StageRecord

RECORDS_IO_MANAGER = "records"
OWNERS = {"data": "team:data-stewards", "model": "team:ml-engineers", "audit": "team:auditors", "run": "team:on-call"}


def materialized(record: StageRecord, metadata: Mapping[str, Any]) -> dg.MaterializeResult[Any]:
    """The result of an asset whose value is ``record`` and whose data version is its digest."""
    return dg.MaterializeResult(
        value=record,
        data_version=dg.DataVersion(record.digest),
        metadata={"digest": record.digest, "reused": record.reused, **metadata},
    )


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows as a table; numbers are shown with four decimals, values that are not plain become text."""
    records = [dg.TableRecord({key: _plain(value) for key, value in row.items()}) for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    kinds = {name: _kind([row.get(name) for row in rows]) for name in columns}
    schema = dg.TableSchema(columns=[dg.TableColumn(name, kinds[name]) for name in columns])
    return dg.MetadataValue.table(records, schema=schema)


def column_schema(columns: Sequence[Sequence[str]]) -> dg.TableSchemaMetadataValue:
    """(name, type) pairs as the catalogue's column schema."""
    return dg.MetadataValue.table_schema(dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns]))


def picture(title: str, png: bytes) -> dg.MarkdownMetadataValue:
    """A small PNG as Markdown, the image route the UI has."""
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})")


def bullet_list(lines: Sequence[str]) -> dg.MarkdownMetadataValue:
    """Sentences as a Markdown list."""
    return dg.MetadataValue.md("\n".join(f"- {line}" for line in lines))


def _plain(value: Any) -> str | int | float | bool | None:
    if isinstance(value, float):
        return round(value, 4)
    return value if isinstance(value, str | int | bool) or value is None else str(value)


def _kind(values: Sequence[Any]) -> str:
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, bool) for value in present):
        return "bool"
    if present and all(isinstance(value, int) for value in present):
        return "int"
    return "float" if present and all(isinstance(value, int | float) for value in present) else "string"
