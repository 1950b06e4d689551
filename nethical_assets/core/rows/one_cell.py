"""One cell by itself: the rules of ``cells`` and ``frames`` for a value of one record, without a column around it.

What belongs here: the number, category or text of one value, equal to what a column of it would give, and why a value
of a record that is asked about by itself is refused. What does not: columns (``cells``, ``frames``), or which field is
read as what (``one_record``).

A record that is asked about by itself is judged more strictly than a cell of a file, where some cells may be wrong:
what is wrong is refused and never a missing value. So is what stands for "missing" in a file only (an empty text where
a number is read, ``n/a``) and NaN, which JSON does not have: where there is no value, null says so.
"""

from __future__ import annotations

import contextlib
import enum
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.rows.cells import NUMBER, no_text, reason_of
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.frames import MISSING

_NUMBER = re.compile(NUMBER)
_PLAIN_NUMBERS = {int, float}
_TOO_LARGE = "too large for a number"


class Reads(enum.Enum):
    """What a family reads a field as. ``NOTHING``: the field is known, and screened, but no input comes from it."""

    NUMBER = "a number"
    CATEGORY = "a category"
    TEXT = "a text"
    NOTHING = "nothing"


def number_of(cell: Any) -> float:
    """As ``cells.read_numbers`` of a column of this cell: NaN where it is missing or wrong."""
    if type(cell) is float:
        return cell if math.isfinite(cell) else math.nan
    if cell is None or isinstance(cell, bool | np.bool_):
        return math.nan
    if isinstance(cell, str):
        return _parsed(cell)
    if isinstance(cell, int | float | np.number):
        try:
            number = float(cell)
        except OverflowError:
            return math.nan
        return number if math.isfinite(number) else math.nan
    return math.nan


def numbers_of(cells: Sequence[Any]) -> FloatArray:
    """``number_of`` each of the cells, shape ``(cells,)``."""
    if _PLAIN_NUMBERS.issuperset(map(type, cells)):
        try:
            numbers = np.array(cells, dtype=np.float64)
        except OverflowError:
            numbers = np.array([number_of(cell) for cell in cells], dtype=np.float64)
        finite = np.isfinite(numbers)
        return numbers if np.count_nonzero(finite) == len(numbers) else np.where(finite, numbers, np.nan)
    return np.array([number_of(cell) for cell in cells], dtype=np.float64)


def floats_of(cells: Sequence[Any]) -> list[float]:
    """``numbers_of`` the cells as a list."""
    if _PLAIN_NUMBERS.issuperset(map(type, cells)):
        with contextlib.suppress(OverflowError):
            numbers = list(map(float, cells))
            if math.isfinite(sum(numbers)):
                return numbers
    return [number_of(cell) for cell in cells]


def number_or_zero(cell: Any) -> float:
    """As ``frames.numbers_or_zero`` of a column of this cell."""
    number = number_of(cell)
    return 0.0 if math.isnan(number) else number


def category_of(cell: Any) -> str:
    """As ``frames.categories`` of a column of this cell."""
    if type(cell) is str:
        return (cell if cell.isascii() else encodable(cell)).strip() or MISSING
    if isinstance(cell, float | np.floating) and not math.isnan(cell):
        return str(pc.cast(pa.scalar(float(cell)), pa.large_string()).as_py())
    return text_of(cell).strip() or MISSING


def text_of(cell: Any) -> str:
    """As ``frames.texts`` of a column of this cell: missing is empty; what UTF-8 cannot hold is a question mark."""
    if type(cell) is not str:
        missing = cell is None or (pd.api.types.is_scalar(cell) and bool(pd.isna(cell)))
        cell = "" if missing else str(cell)
    return cell if cell.isascii() else encodable(cell)


def encodable(text: str) -> str:
    """``text`` with question marks for what UTF-8 cannot hold (lone surrogates)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def refusal(cell: Any, reads: Reads) -> str | None:
    """Why ``cell`` cannot be what a field is read as, or nothing where it can; never the value."""
    if isinstance(cell, bool):
        return None if reads is Reads.NOTHING else "a truth value"
    if isinstance(cell, int | float):
        return _refused_number(cell)
    if isinstance(cell, str):
        return _refused_text(cell, reads)
    if cell is None:
        return no_text(None) if reads is Reads.TEXT else None
    return no_text(cell) or "of a type that JSON does not have"


def _refused_number(number: float) -> str | None:
    if isinstance(number, float) and not math.isfinite(number):
        return "not a number" if math.isnan(number) else "infinite"
    return _TOO_LARGE if math.isnan(number_of(number)) else None


def _refused_text(text: str, reads: Reads) -> str | None:
    if reads is Reads.TEXT:
        return no_text(text)
    if reads is not Reads.NUMBER or not math.isnan(_parsed(text)):
        return None
    return f"{reason_of(text.strip())}, where a number is read" if text.strip() else "an empty text; null is no value"


def _parsed(text: str) -> float:
    trimmed = text.strip()
    if _NUMBER.fullmatch(trimmed) is None:
        return math.nan
    number = float(trimmed)
    return number if math.isfinite(number) else math.nan
