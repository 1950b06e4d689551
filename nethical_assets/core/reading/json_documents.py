"""JSON documents that hold rows in some shape, and files of lines that are such documents.

What belongs here: the shapes in which rows are usually wrapped, and refusing what is none of them, in words that say
what it is. What does not: reading (``json_rows``).

Documents that are understood: a list of objects; an object around one such list (``{"data": [...], "version": 1}``);
and what pandas' ``to_json`` and ``to_dict`` write: by columns, by index, split, as a table, or lists by column.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from typing import Any

from nethical_assets.core.reading.columns import unique_names
from nethical_assets.core.reading.tally import UnreadableError
from nethical_assets.core.rows.naming import looks_like_name, shown_columns

NOT_JSON = (ValueError, RecursionError)
ONE_DOCUMENT = "write one list of all objects, or one object a line (.jsonl)"


def unwrapped(document: Any, shown: str) -> Iterable[Any]:
    """The rows of a document that is no list.

    Raises:
        UnreadableError: it is of none of the known shapes; says what it is.
    """
    if isinstance(document, dict):
        rows = _rows_of(document)
        if rows is not None:
            return rows
        shown_names = shown_columns(document) if all(map(looks_like_name, document)) else f"{len(document)} of them"
        what = f"one JSON object, in whose members ({shown_names}) no rows are found" if document else "an empty object"
    else:
        what = f"one JSON {type(document).__name__}"
    raise UnreadableError(
        f"{shown}: expected a JSON list of objects, and it is {what}",
        "write a list of objects, or one object a line (jsonl)",
        "write a list of objects, or one object a line (.jsonl)",
    )


def refuse_wrapped(value: Any, shown: str, text_column: str | None) -> None:
    """Refuse a file of lines whose only line is a document around the rows, unless its members are what is asked for.

    Raises:
        UnreadableError: says what the file is.
    """
    if not isinstance(value, dict) or text_column in value:
        return
    rows = _rows_of(value)
    if rows is not None and len(rows) > 1:
        raise UnreadableError(
            f"{shown}: it is one JSON object around {len(rows)} rows, not one object a line",
            "its 'format' is \"json\"",
            "name it .json",
        )


def refuse_several_lines(block: bytes, decoder: json.JSONDecoder, shown: str) -> None:
    """Refuse a file of lines whose first value goes on over several: one pretty-printed document, or several objects.

    Raises:
        UnreadableError: says which of both it is.
    """
    text = block.decode().strip()
    first_line = text.partition("\n")[0]
    with contextlib.suppress(*NOT_JSON):
        decoder.decode(first_line)
        return
    try:
        _, end = decoder.raw_decode(text)
        whole, several = not text[end:].strip(" \t\r\n,"), "\n" in text[:end]
    except json.JSONDecodeError as error:
        # It breaks off where the block does: a document that is longer than that.
        whole = several = error.pos >= len(text) and text[0] in "[{"
    except NOT_JSON:
        return
    if not several:
        return
    if whole:
        raise UnreadableError(
            f"{shown}: it is one JSON document over several lines, not one object a line",
            "its 'format' is \"json\"",
            "name it .json",
        )
    raise UnreadableError(
        f"{shown}: its JSON objects go over several lines each",
        "write one object a line",
        "write one object a line (for example with jq -c .)",
    )


def _rows_of(document: dict[str, Any]) -> list[Any] | None:
    shapes = (_split, _records_within, _lists_by_column, _by_columns_or_index)
    return next((rows for shape in shapes if (rows := shape(document)) is not None), None)


def _split(document: dict[str, Any]) -> list[Any] | None:
    """``{"columns": [names], "data": [[cells]]}``, with or without ``index``."""
    columns, data = document.get("columns"), document.get("data")
    if not isinstance(columns, list) or not isinstance(data, list) or not set(document) <= {"columns", "index", "data"}:
        return None
    if not all(isinstance(cells, list) and len(cells) == len(columns) for cells in data):
        return None
    names = unique_names([str(name) for name in columns])
    return [dict(zip(names, cells, strict=True)) for cells in data]


def _records_within(document: dict[str, Any]) -> list[Any] | None:
    """The one list of objects among the members."""
    lists = [value for value in document.values() if isinstance(value, list) and value and _all_objects(value)]
    return lists[0] if len(lists) == 1 else None


def _lists_by_column(document: dict[str, Any]) -> list[Any] | None:
    """``{"text": [cells], "label": [cells]}``."""
    columns = list(document.values())
    if not columns or not all(isinstance(column, list) and column for column in columns):
        return None
    if len({len(column) for column in columns}) > 1 or any(_all_objects(column) for column in columns):
        return None
    return [dict(zip(document, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _by_columns_or_index(document: dict[str, Any]) -> list[Any] | None:
    """``{"text": {"0": cell}, "label": {"0": cell}}`` or ``{"0": {"text": cell, "label": cell}}``.

    Which of the two it is shows in the keys: those of rows are numbers, or else many more than those of columns.
    """
    members = list(document.values())
    if not members or not all(isinstance(member, dict) and member for member in members):
        return None
    inner = list(members[0])
    if any(member.keys() != members[0].keys() for member in members):
        return None
    numbered_outside, numbered_inside = _are_numbers(document), _are_numbers(inner)
    if numbered_outside != numbered_inside:
        by_columns = numbered_inside
    elif len(inner) != len(document) and not numbered_outside:
        by_columns = len(inner) > len(document)
    else:
        return None
    if by_columns:
        return [{name: member[key] for name, member in document.items()} for key in inner]
    return members


def _all_objects(values: list[Any]) -> bool:
    return all(isinstance(value, dict) for value in values)


def _are_numbers(keys: Iterable[str]) -> bool:
    return all(key.isdigit() for key in keys)
