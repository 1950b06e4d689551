"""Columns as they come out of a file: their names, what counts as missing, and nested values as text.

What belongs here: what the readers of all formats share about columns. What does not: parsing, or column types
(``readers``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.reading.tally import FileTally, UnreadableError
from nethical_assets.core.rows.naming import columns_there, looks_like_name, shown_column

MISSING_VALUES = ("", "NaN", "nan", "null", "NULL", "N/A", "#N/A")
_UNSEEN = "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060"
MAXIMUM_COLUMNS = 50_000


def unique_names(header: Iterable[str]) -> list[str]:
    """Header cells as distinct, non-empty column names: ``unnamed_2`` for an empty second one, ``x_2`` for a repeat."""
    names: dict[str, None] = {}
    repeats: dict[str, int] = {}
    for index, cell in enumerate(header, start=1):
        stem = _stripped(cell) or f"unnamed_{index}"
        name, repeat = stem, repeats.get(stem, 1)
        while name in names:
            repeat += 1
            name = f"{stem}_{repeat}"
        repeats[stem] = repeat
        names[name] = None
    return list(names)


def _stripped(cell: str) -> str:
    """A header cell without blanks and the signs around it that nobody sees, such as a byte order mark."""
    return cell.strip().strip(_UNSEEN).strip()


def said_names(header: Sequence[str], tally: FileTally) -> list[str]:
    """:func:`unique_names` of a header, with a note of those that are repeated."""
    names = unique_names(header)
    for position, (cell, name) in enumerate(zip(header, names, strict=True), start=1):
        stem = _stripped(cell)
        if stem and stem != name:
            first = names.index(stem) + 1
            tally.note(
                f"column {shown_column(stem, first)} is there more than once: the first keeps its name, and "
                f"column {position} is called {name if looks_like_name(name) else f'the {position}. column'}"
            )
    return names


def check_wanted(wanted: str, names: Sequence[str], shown: str, cause: tuple[str, str, str] | None = None) -> None:
    """Refuse columns among which the wanted one is not; ``cause`` is a likely one
    (empty where none is known), with advice for both callers.

    Raises:
        UnreadableError: names the columns there are.
    """
    if wanted in names:
        return
    why, declare, option = cause or ("", "correct the column's name", "name one of them")
    there = why or f"; {columns_there(names)}"
    raise UnreadableError(f"{shown}: no column {wanted!r}{there}", declare, option)


def as_text(column: pa.Array, *, lines: bool = False) -> pa.Array:
    """Any Arrow array as strings; NaN as missing, nested values as JSON or, with ``lines``, as :func:`nested_text`.

    Raises:
        pyarrow.ArrowInvalid: a text is not valid UTF-8.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        return json_column(column.to_pylist(), lines=lines)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    text = pc.cast(column, pa.string())
    text.validate(full=True)
    return without_missing(text)


def json_column(values: Sequence[Any], *, lines: bool = False) -> pa.Array:
    """Python values as strings: texts as they are, missing values missing, anything else as JSON or lines.

    Raises:
        UnicodeEncodeError: a text holds half a surrogate pair.
    """
    try:
        return without_missing(pa.array(values, pa.string()))
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return without_missing(pa.array([text_of(value, lines=lines) for value in values], pa.string()))


def nested_text(value: Any) -> str:
    """A list, mapping or structure as lines: a value a line, in its order, with its key before it where it has one.

    Keys of what is nested further stand on lines of their own. Nothing is escaped, so that rules see what was written,
    and positions count in this text.

    >>> nested_text([{"role": "user", "content": "Mail anna@example.org"}, {"tags": ["a", 2]}])
    'role: user\\ncontent: Mail anna@example.org\\ntags:\\na\\n2'
    """
    return "\n".join(_lines(value))


def without_missing(column: pa.Array) -> pa.Array:
    """The column without the texts that mean a missing value."""
    missing = pc.is_in(column, value_set=pa.array(MISSING_VALUES, pa.string()))
    return pc.if_else(missing, pa.scalar(None, pa.string()), column)


def text_of(value: Any, *, lines: bool) -> str | None:
    """One value as :func:`json_column` writes it."""
    if value is None or isinstance(value, str):
        return value
    if lines and isinstance(value, list | tuple | dict):
        return nested_text(value)
    # Not escaped: what is screened, shown and learned from is what was written.
    return json.dumps(value, default=str, ensure_ascii=False)


def _lines(value: Any) -> Iterator[str]:
    waiting = [iter([(None, value)])]
    while waiting:
        found = next(waiting[-1], None)
        if found is None:
            waiting.pop()
            continue
        key, item = found
        before = "" if key is None else f"{key}:"
        match item:
            case dict():
                if before:
                    yield before
                waiting.append(iter(item.items()))
            case list() | tuple():
                if before:
                    yield before
                # Arrow gives a map as pairs.
                pairs = all(isinstance(part, tuple) and len(part) == 2 for part in item)
                waiting.append(iter(item if pairs and item else [(None, part) for part in item]))
            case None:
                continue
            case bytes():
                yield f"{before} {item.decode(errors='replace')}".lstrip()
            case _:
                yield f"{before} {item}" if before else str(item)
