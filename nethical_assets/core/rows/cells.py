"""Cells of the wrong type: what a column of numbers, times or texts may hold, judged the same wherever it is read.

What belongs here: from a cell to a number, a time or a text, or why it is none, and the count of what was not. What
does not: which columns are read as what (the mappings and families, through ``frames``), or which share is too much
(settings).

A cell is missing when it is empty, null or NaN, or masked by screening. Everything else is what its column asks for, or
wrong: ``1,000`` is no number, for it may be 1 or 1000; nor is ``0x10``, a truth value, a list, an object, infinity, or
a number that a 64-bit float cannot hold. A column of texts is all that its family reads: there a missing cell is wrong
too, as are truth values, lists and objects, while a number is the text it is written as. Wrong cells count as missing,
and are counted: column, first record, reasons. Their values are never shown. However many texts are missing, records
are not refused for it, as they are not for missing numbers.
"""

from __future__ import annotations

import contextlib
import contextvars
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.columns import MASKED_VALUE, FloatArray
from nethical_assets.core.rows.naming import shown_columns

_Flags = npt.NDArray[np.bool_]

NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_MISSING = ("", "nan", "null", "n/a", "#n/a")
_REASONS = (
    (re.compile(r"(?i)true|false|t|f|yes|no"), "a truth value"),
    (re.compile(r"(?i)[+-]?inf(inity)?"), "infinite"),
    (re.compile(NUMBER), "too large for a number"),
    (re.compile(r"(?i)[+-]?0[xob][0-9a-f_]+"), "a number of another base than ten"),
    (re.compile(r"[+-]?[0-9][0-9.,' _\u00a0\u202f]*[0-9]"), "digits with separators"),
    (re.compile(r"\[.*\]", re.DOTALL), "a list"),
    (re.compile(r"\{.*\}", re.DOTALL), "an object"),
)
_TEXT = "text"
_NOTHING = "missing"
_NO_TIME = "no ISO 8601 time"
_SHOWN_COLUMNS = 5


@dataclass(frozen=True)
class WrongCells:
    """The cells of one column that are not what they should be.

    ``first``: the record of the first one, counted from 1, a header line not; ``records``: how many there are in all;
    ``reasons``: each kind of them and how many of it there are, the most frequent first.
    """

    column: str
    count: int
    first: int
    records: int
    reasons: Mapping[str, int]

    @property
    def reason(self) -> str:
        """What they are, with counts where they are of several kinds."""
        if len(self.reasons) == 1:
            return next(iter(self.reasons))
        return " or ".join(f"{reason} ({count})" for reason, count in self.reasons.items())

    @property
    def share(self) -> float:
        """The share of records whose cell is of a wrong type, in [0, 1]; a missing text is counted, but of no type."""
        return (self.count - self.reasons.get(_NOTHING, 0)) / self.records if self.records else 0.0

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "column": shown_columns([self.column]),
            "count": self.count,
            "first": self.first,
            "records": self.records,
            "reason": self.reason,
            "reasons": dict(self.reasons),
        }

    def __str__(self) -> str:
        """One clause for a message."""
        what = "value is" if self.count == 1 else "values are"
        return (
            f"column {shown_columns([self.column])}: {self.count} of {self.records} {what} {self.reason} "
            f"(first: record {self.first})"
        )


@dataclass
class CellTally:
    """What was met while records were read: one ``WrongCells`` a column.

    ``positions`` says for each record that is read which one of the file it is, from 0; without, they are all.
    """

    columns: dict[str, WrongCells] = field(default_factory=dict)
    positions: npt.NDArray[np.int64] | None = None

    def note(self, name: object, wrong: _Flags, reasons: list[str]) -> None:
        """Note the wrong cells of a column, ``reasons`` in their order; a column that is read twice counts once."""
        at = np.flatnonzero(wrong)
        if len(at):
            known = self.columns.get(str(name))
            if known is None or known.count < len(at):
                first = int(at[0] if self.positions is None else self.positions[at[0]]) + 1
                counted = dict(Counter(reasons).most_common())
                self.columns[str(name)] = WrongCells(str(name), len(at), first, len(wrong), counted)

    @property
    def count(self) -> int:
        """How many cells are wrong."""
        return sum(column.count for column in self.columns.values())

    def to_json(self) -> list[dict[str, Any]]:
        """The columns, those with most wrong cells first."""
        return [column.to_json() for column in self._worst()]

    def refuse_above(self, share: float, what: str) -> None:
        """Refuse records of which a column has more than ``share`` wrong cells.

        Raises:
            DatasetError: one line that names ``what``, the columns and the first wrong record of each.
        """
        over = [column for column in self._worst() if column.share > share]
        if over:
            more = f" and {len(over) - _SHOWN_COLUMNS} more columns" if len(over) > _SHOWN_COLUMNS else ""
            raise DatasetError(
                f"{what}: {'; '.join(map(str, over[:_SHOWN_COLUMNS]))}{more}; at most a share of {share:g} may be "
                f"(wrong_type_share_max): correct these cells, or leave them empty"
            )

    def _worst(self) -> list[WrongCells]:
        return sorted(self.columns.values(), key=lambda column: (-column.share, -column.count, column.column))


_TALLY: contextvars.ContextVar[CellTally | None] = contextvars.ContextVar("cells", default=None)


@contextlib.contextmanager
def tallied(positions: npt.NDArray[np.int64] | None = None) -> Iterator[CellTally]:
    """Count the wrong cells of all records that are read inside, by whatever reads them; see ``CellTally``."""
    tally = CellTally(positions=positions)
    token = _TALLY.set(tally)
    try:
        yield tally
    finally:
        _TALLY.reset(token)


def read_numbers(values: pd.Series) -> FloatArray:
    """``values`` as float64, NaN where a cell is missing or wrong; wrong ones are noted under the column's name."""
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
        array = values.to_numpy(dtype=np.float64, na_value=np.nan)
        infinite = np.isinf(array)
        if infinite.any():
            _note(values.name, infinite, lambda: ["infinite"] * int(infinite.sum()))
            return np.where(infinite, np.nan, array)
        # One of its own, as in every other case.
        return np.array(array)
    texts = _texts(values)
    numeric = pc.match_substring_regex(texts, NUMBER)
    digits = pc.replace_substring_regex(texts, r"^\+", "")
    array = pc.cast(pc.if_else(numeric, digits, None), pa.float64()).to_numpy(zero_copy_only=False)
    array = np.where(np.isfinite(array), array, np.nan)
    wrong = np.isnan(array) & ~_are_missing(texts)
    if wrong.any():
        _note(values.name, wrong, lambda: [reason_of(text) for text in texts.filter(pa.array(wrong)).to_pylist()])
    return np.asarray(array, dtype=np.float64)


def read_times(values: pd.Series) -> pd.Series:
    """ISO 8601 texts as UTC timestamps of nanoseconds, NaT where a cell is missing or wrong; wrong ones are noted."""
    found = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601").astype("datetime64[ns, UTC]")
    lost = (found.isna() & values.notna()).to_numpy()
    if lost.any():
        wrong = lost & ~_are_missing(_texts(values))
        _note(values.name, wrong, lambda: [_NO_TIME] * int(wrong.sum()))
    return found


def read_texts(values: pd.Series) -> pd.Series:
    """``values`` as texts, empty where a cell is missing or wrong; both are noted."""
    if isinstance(values.dtype, pd.StringDtype):
        wrong = _are_blank(values)
        _note(values.name, wrong, lambda: [_NOTHING] * int(wrong.sum()))
        return values.mask(wrong, "")
    reasons = [no_text(cell) for cell in values.tolist()]
    wrong = np.array([reason is not None for reason in reasons], dtype=np.bool_)
    _note(values.name, wrong, lambda: [reason for reason in reasons if reason is not None])
    return values.astype("object").mask(wrong, "")


def _are_blank(values: pd.Series) -> _Flags:
    trimmed = pc.utf8_trim_whitespace(pa.array(values, type=pa.large_string(), from_pandas=True))
    return np.asarray(pc.fill_null(pc.equal(trimmed, ""), True), dtype=np.bool_)


def no_text(cell: object) -> str | None:
    """Why a cell is no text; nothing where it is one, or a number."""
    match cell:
        case str():
            return None if cell.strip() else _NOTHING
        case bool() | np.bool_():
            return "a truth value"
        case list() | tuple() | set() | np.ndarray():
            return "a list"
        case dict():
            return "an object"
        case _:
            return _NOTHING if _is_missing(cell) else None


def _note(name: object, wrong: _Flags, reasons: Any) -> None:
    tally = _TALLY.get()
    if tally is not None and wrong.any():
        tally.note(name, wrong, reasons())


def _texts(values: pd.Series) -> pa.LargeStringArray:
    """Every cell as trimmed text, empty where it is missing."""
    if isinstance(values.dtype, pd.StringDtype):
        array = pa.array(values, type=pa.large_string(), from_pandas=True)
    else:
        cells = ["" if _is_missing(cell) else str(cell) for cell in values.tolist()]
        array = pa.array([cell.encode("utf-8", "replace").decode() for cell in cells], type=pa.large_string())
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return pc.utf8_trim_whitespace(pc.fill_null(whole, ""))


def _is_missing(cell: object) -> bool:
    return cell is None or (pd.api.types.is_scalar(cell) and bool(pd.isna(cell)))  # type: ignore[call-overload]


def _are_missing(texts: pa.LargeStringArray) -> _Flags:
    empty = pc.is_in(pc.utf8_lower(texts), value_set=pa.array(_MISSING, pa.large_string()))
    masked = pc.match_substring_regex(texts, f"^(?:{MASKED_VALUE})$")
    return np.asarray(pc.or_(empty, masked).to_numpy(zero_copy_only=False), dtype=np.bool_)


def reason_of(text: str) -> str:
    """What a text is that is no number: never the text itself."""
    return next((reason for pattern, reason in _REASONS if pattern.fullmatch(text)), _TEXT)
