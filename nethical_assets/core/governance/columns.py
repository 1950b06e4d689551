"""From whatever a text column holds to UTF-8 text in Arrow, with a record of what could not be read.

What belongs here: types, encodings, lone surrogates, bare-number columns. What does not: rules and matching.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.governance.rules import MALFORMED_TEXT, NOT_TEXT, Rule

TextColumn: TypeAlias = pa.Array | pa.ChunkedArray | pd.Series | Sequence[object]

_LARGEST_NUMBER = 10**40
LARGEST_EXACT = 1 << 53
_SURROGATES = re.compile("[\ud800-\udfff]")
BARE_NUMBER = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$"


@dataclass
class ReadColumn:
    """``texts`` (large_string, null where nothing is to be read) and what reading could not do, as (row, rule)."""

    texts: pa.LargeStringArray
    outcomes: list[tuple[int, Rule]] = field(default_factory=list)


def is_numeric(column: TextColumn) -> bool:
    """Whether ``column`` is typed as numbers, truth values or times, which are never text."""
    if isinstance(column, pd.Series):
        dtype = column.dtype.categories.dtype if isinstance(column.dtype, pd.CategoricalDtype) else column.dtype
        return bool(
            pd.api.types.is_numeric_dtype(dtype)
            or pd.api.types.is_bool_dtype(dtype)
            or pd.api.types.is_datetime64_any_dtype(dtype)
            or pd.api.types.is_timedelta64_dtype(dtype)
        )
    if isinstance(column, pa.Array | pa.ChunkedArray):
        value_type = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        return bool(
            pa.types.is_primitive(value_type) or pa.types.is_decimal(value_type) or pa.types.is_null(value_type)
        )
    return False


def holds_bare_numbers(texts: pa.LargeStringArray) -> bool:
    """Whether every value is a number written as text (and there is one): identifiers or measurements, not prose."""
    present = texts.drop_null()
    return len(present) > 0 and bool(pc.all(pc.match_substring_regex(present, BARE_NUMBER)).as_py())


def whole_numbers(column: pa.Array) -> pa.LargeStringArray:
    """The whole numbers of a column typed as numbers as their digits; null for all others, and for those that a float
    does not hold exactly."""
    kind = column.type
    if pa.types.is_integer(kind):
        return column.cast(pa.large_string())
    if pa.types.is_floating(kind):
        numbers = column.cast(pa.float64())
        exact = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), float(LARGEST_EXACT)))
        return pc.if_else(exact, numbers, None).cast(pa.int64()).cast(pa.large_string())
    if pa.types.is_decimal(kind):
        texts = pc.replace_substring_regex(column.cast(pa.large_string()), r"\.0+$", "")
        return pc.if_else(pc.match_substring_regex(texts, r"^-?[0-9]+$"), texts, None)
    return pa.nulls(len(column), pa.large_string())


def read_column(column: TextColumn) -> ReadColumn:
    """The texts of ``column``; numeric columns come back as nulls.

    In a column of mixed types whole numbers are read as their digits, bytes as UTF-8 with U+FFFD where they are not,
    missing values and other numbers as null; anything else is recorded as not text. Lone surrogates become U+FFFD, so
    that offsets stay.
    """
    if is_numeric(column):
        return ReadColumn(pa.nulls(len(column), pa.large_string()))
    if isinstance(column, pd.Series):
        values: Any = column.astype(object) if isinstance(column.dtype, pd.CategoricalDtype) else column
        if values.dtype == object:
            values = values.tolist()
    else:
        values = column
    if isinstance(values, pa.Array | pa.ChunkedArray):
        array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        try:
            return ReadColumn(_cast(array))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            # Not castable as a whole: each value is read, or recorded as what cannot be read, by itself.
            values = array.to_pylist()
    try:
        return ReadColumn(_cast(pa.array(values, type=pa.large_string(), from_pandas=True)))
    except (pa.ArrowTypeError, pa.ArrowInvalid, UnicodeEncodeError):
        return _read_values(values)


def _cast(array: pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return whole.cast(pa.large_string())


def _read_values(values: Sequence[object]) -> ReadColumn:
    outcomes: list[tuple[int, Rule]] = []
    texts: list[str | None] = []
    for row, value in enumerate(values):
        text, outcome = _read_value(value)
        texts.append(text)
        if outcome is not None:
            outcomes.append((row, outcome))
    return ReadColumn(pa.array(texts, pa.large_string()), outcomes)


def _read_value(value: object) -> tuple[str | None, Rule | None]:
    text: str | None = None
    outcome: Rule | None = None
    match value:
        case str():
            text = _SURROGATES.sub("\ufffd", value)
            outcome = None if text == value else MALFORMED_TEXT
        case bytes() | bytearray() | memoryview():
            text = bytes(value).decode(errors="replace")
            outcome = None if text.encode() == bytes(value) else MALFORMED_TEXT
        case bool() | np.bool_() | complex():
            pass
        case float() | np.floating():
            # As in a column of numbers, whatever stands beside it.
            number = float(value)
            text = str(int(number)) if number.is_integer() and abs(number) < LARGEST_EXACT else None
        case int() | np.integer() | Decimal() if _is_whole(value):
            text = str(int(value)) if -_LARGEST_NUMBER < value < _LARGEST_NUMBER else None
        case Decimal():
            pass
        case _ if not _is_missing(value):
            outcome = NOT_TEXT
    return text, outcome


def _is_whole(value: Any) -> bool:
    return not isinstance(value, Decimal) or (value.is_finite() and value == value.to_integral_value())


def _is_missing(value: object) -> bool:
    return pd.api.types.is_scalar(value) and bool(pd.isna(value))  # type: ignore[call-overload]


def batches(texts: pa.LargeStringArray, *, rows: int, size: int) -> Iterator[tuple[int, pa.LargeStringArray]]:
    """``(first row, texts)`` of at most ``rows`` texts and about ``size`` bytes, at least one text each."""
    if len(texts) == 0:
        return
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    first = 0
    while first < len(texts):
        last = int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1
        last = max(first + 1, min(last, first + rows, len(texts)))
        yield first, texts.slice(first, last - first)
        first = last
