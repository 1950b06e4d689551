"""What a column of two tables holds, whatever way it was written: moments, flags, numbers or texts.

What belongs here: telling these apart over both tables together, and the values in one form. What does not: histograms
and verdicts (``tables``, ``verdict``). The same column often is written in two ways (``1`` and ``True``, ``12`` and
``12.0``, a date as text or as a date), because a tool changed a type on account of one missing or stray value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Form = Literal["moment", "flag", "number", "text", "not_comparable", "spelled_otherwise", "empty"]

STRAY_SHARE = 0.1
"""Up to this share of its values a column of numbers, flags or moments may hold other words."""

_FLAGS = {
    **dict.fromkeys(("1", "1.0", "true", "t", "yes", "y", "on"), 1.0),
    **dict.fromkeys(("0", "0.0", "false", "f", "no", "n", "off"), 0.0),
}
_NO_VALUE = frozenset(
    (
        *("?", "-", "--", ".", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "nil", "nul"),
        *("missing", "unknown", "undefined", "empty", "#value!", "#div/0!", "#null!"),
    )
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?", re.ASCII)
_BLANKS = r" '\u00a0\u202f\u2019"
_WITH_DECIMAL = {
    ".": re.compile(rf"[+-]?\d{{1,3}}(?:([,{_BLANKS}])\d{{3}}(?:\1\d{{3}})*)?(?:\.\d+)?", re.ASCII),
    ",": re.compile(rf"[+-]?(?:\d{{1,3}}(?:([.{_BLANKS}])\d{{3}}(?:\1\d{{3}})*)?|\d+)(?:,\d+)?", re.ASCII),
}
"""Numbers with separators between their thousands, by the sign before their decimals. ``1,000`` is one of either."""
_SEPARATORS = re.compile(rf"\d[.,{_BLANKS}]\d", re.ASCII)
_STARTS_OF_NUMBERS = frozenset("0123456789.+-iI")
_IDENTIFIER = re.compile(r"0\d+", re.ASCII)

_YEAR, _MONTH, _DAY = r"(?:1[6-9]|2\d)\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_NAME = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[ap]\.?m\.?)?"
_ZONE = r"(?: ?(?:z|utc|gmt|[a-z]{3,4}|[+-]\d\d(?::?\d\d)?|\[[a-z_/+-]+\])){0,3}"
_DATES = "|".join(
    (
        rf"{_YEAR}([-/. ]){_MONTH}\1{_DAY}",
        rf"{_YEAR}-{_MONTH}|{_YEAR}-w\d\d(?:-\d)?|{_YEAR}-?q[1-4]",
        rf"{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])",
        rf"(?:{_DAY}([-/.]){_MONTH}|{_MONTH}([-/.]){_DAY})(?:\2|\3){_YEAR}",
        rf"(?:{_DAY}/{_MONTH}|{_MONTH}/{_DAY})/\d\d",
        rf"{_DAY}(?:st|nd|rd|th)?[-/. ]{{1,2}}{_NAME}[-/., ]{{1,2}}(?:{_YEAR}|\d\d)",
        rf"{_NAME}[- ]{{1,2}}{_DAY}(?:st|nd|rd|th)?,?[- ](?:{_YEAR}|\d\d)",
        rf"{_YEAR}[- ]{_NAME}[- ]{_DAY}",
        rf"{_DAY}\.? [^\W\d_]{{3,9}}\.? {_YEAR}",
        rf"{_YEAR}\u5e74{_MONTH}\u6708{_DAY}\u65e5",
    )
)
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? )?"
_MOMENT = re.compile(
    rf"\[?{_WEEKDAY}(?:"
    rf"(?:{_DATES})(?:(?:[t :,]|, | at )(?:{_CLOCK}|\d\d(?:\d\d(?:\d\d(?:\.\d+)?)?)?){_ZONE})?"
    rf"|{_NAME} {{1,2}}{_DAY} {_CLOCK}(?:{_ZONE} {_YEAR})?"
    rf")\]?"
)

_TIME_NAME = re.compile(r"(?:^| )(?:t|ts|time|timestamp|date|datetime|epoch|when|created|updated|modified|at)(?: |$)")
_EPOCHS = tuple((946_684_800 * unit, 4_102_444_800 * unit) for unit in (1, 10**3, 10**6, 10**9))
"""2000 to 2100 as seconds, milliseconds, microseconds and nanoseconds since 1970."""

_LONGEST_MOMENT = 64
_LOOKED_AT_FIRST = 500


@dataclass(frozen=True)
class ColumnValues:
    """The values of a column in one table."""

    series: pd.Series

    @cached_property
    def is_number_type(self) -> bool:
        """Whether the type alone says that these are numbers or flags."""
        return pd.api.types.is_numeric_dtype(self.series) and not pd.api.types.is_complex_dtype(self.series)

    @cached_property
    def is_truth_type(self) -> bool:
        """Whether the type alone says that these are flags."""
        return pd.api.types.is_bool_dtype(self.series)

    @cached_property
    def typed_numbers(self) -> FloatArray:
        """The numbers of a column of numbers, shape (rows,); NaN where there is none."""
        return self.series.to_numpy(dtype=np.float64, na_value=np.nan)

    @cached_property
    def texts(self) -> pd.Series:
        """Every value as text without space around it; missing where there is none."""
        if pd.api.types.is_timedelta64_dtype(self.series):
            return pd.Series(self.series.dt.total_seconds().astype("str"))
        texts = self.series.astype("str").str.strip()
        return pd.Series(texts.where(texts != ""))

    @cached_property
    def _factors(self) -> tuple[IntArray, list[str], IntArray]:
        codes, distinct = pd.factorize(self.texts)
        counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
        return codes, distinct.tolist(), counts

    @cached_property
    def _sample(self) -> tuple[str, ...]:
        """Some of the distinct values, and those of some rows, in lower case: at most twice ``_LOOKED_AT_FIRST``."""
        codes, distinct, _ = self._factors
        chosen = np.append(np.arange(0, len(distinct), _step(len(distinct))), codes[:: _step(len(codes))])
        return tuple(distinct[place].lower() for place in np.unique(chosen[chosen >= 0]).tolist())

    @cached_property
    def filled(self) -> int:
        """How many rows have a value or a word that stands for none."""
        if self.is_number_type:
            return int((~np.isnan(self.typed_numbers)).sum())
        return int(self._factors[2].sum())

    @cached_property
    def has_values(self) -> bool:
        """Whether any row has a value."""
        if self.is_number_type:
            return self.filled > 0
        return any(text.lower() not in _NO_VALUE for text in self._factors[1])

    @cached_property
    def is_moment(self) -> bool:
        """Whether the values are days or moments in time."""
        if pd.api.types.is_datetime64_any_dtype(self.series):
            return True
        if self.is_number_type:
            numbers = self.typed_numbers[~np.isnan(self.typed_numbers)]
            if self._is_epoch(numbers):
                return True
            # A day written as one whole number, such as 20260104.
            if not len(numbers) or numbers.min() < 16e6 or numbers.max() >= 3e7 or (numbers % 1 != 0).any():
                return False
            return all(_MOMENT.fullmatch(str(int(number))) for number in np.unique(numbers))
        if self._mostly(_reads_as_moment):
            return True
        return self._is_called_a_time and self.is_number and self._is_epoch(self.numbers())

    @cached_property
    def _is_called_a_time(self) -> bool:
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W\d_]+", " ", str(self.series.name)).lower()
        return _TIME_NAME.search(words) is not None

    def _is_epoch(self, numbers: FloatArray) -> bool:
        """Whether numbers of a column that is called a time count from 1970, in one unit."""
        told = numbers[~np.isnan(numbers)]
        if not len(told) or not self._is_called_a_time:
            return False
        return any(low <= told.min() and told.max() < high for low, high in _EPOCHS)

    @cached_property
    def is_exact(self) -> bool:
        """Whether whole numbers are written as such (``1000000``): ``1000000.0`` may be rounded."""
        if self.is_number_type:
            return not pd.api.types.is_float_dtype(self.series)
        return not any("." in text or "e" in text.lower() for text in self._factors[1])

    @cached_property
    def is_separated(self) -> bool:
        """Whether the values are numbers, some of them with separators: ``1,000``, ``1.234,5``."""
        if self.is_number_type or self.is_number or not any(map(_SEPARATORS.search, self._sample)):
            return False
        return self._mostly(lambda text: any(form.fullmatch(text) for form in _WITH_DECIMAL.values()))

    @cached_property
    def decimal_sign(self) -> str | None:
        """The sign before the decimals, where any value tells it: of ``1,000`` and ``2,500`` none does."""
        if not self.is_separated:
            return "."
        fits = {sign: form.fullmatch for sign, form in _WITH_DECIMAL.items()}
        only = {
            sign: any(fit(text) and not other(text) for text in self._factors[1])
            for sign, fit, other in ((".", fits["."], fits[","]), (",", fits[","], fits["."]))
        }
        told = [sign for sign, is_told in only.items() if is_told]
        return told[0] if len(told) == 1 else None

    @cached_property
    def is_flag(self) -> bool:
        """Whether the values are yes or no, in any of the spellings that are common."""
        if self.is_number_type:
            numbers = self.typed_numbers[~np.isnan(self.typed_numbers)]
            return len(numbers) > 0 and bool(np.isin(numbers, (0.0, 1.0)).all())
        return self._mostly(_FLAGS.__contains__)

    @cached_property
    def is_number(self) -> bool:
        """Whether the values are numbers; texts with leading zeros are identifiers."""
        if self.is_number_type:
            return True
        return self._mostly(_NUMBER.fullmatch) and not any(map(_IDENTIFIER.fullmatch, self._factors[1]))

    def _mostly(self, fits: Callable[[str], object]) -> bool:
        """Whether all values fit but a few, or but words that say that there is no value."""
        if not any(map(fits, self._sample)):
            return False
        _, distinct, counts = self._factors
        lowered = [text.lower() for text in distinct]
        fitting = np.array([bool(fits(text)) for text in lowered], dtype=bool)
        silent = np.array([text in _NO_VALUE for text in lowered], dtype=bool)
        fit, told = int(counts[fitting].sum()), int(counts[~silent].sum())
        return fit > 0 and fit >= (1.0 - STRAY_SHARE) * told

    def numbers(self, decimal_sign: str = ".") -> FloatArray:
        """The values as numbers, shape (rows,); NaN where there is none, flags as 0 and 1."""
        if self.is_number_type:
            return self.typed_numbers
        codes, distinct, _ = self._factors
        read = _flag if self.is_flag else partial(_separated, decimal_sign) if self.is_separated else _parsed
        known = [read(text.lower()) for text in distinct]
        return np.append(np.array(known, dtype=np.float64), np.nan)[codes]

    def category_counts(self) -> pd.Series:
        """How often each text occurs, numbers by their value and other texts as they are."""
        _, distinct, counts = self._factors
        spelled = [_by_value(text) if text[0] in _STARTS_OF_NUMBERS else text for text in distinct]
        series = pd.Series(counts, index=pd.Index(spelled, dtype="str"))
        return series if series.index.is_unique else series.groupby(level=0).sum()

    def two_values(self) -> frozenset[str]:
        """The distinct values in lower case where there are two, else nothing."""
        if self.is_truth_type:
            texts = ["false", "true"] if self.is_flag else []
        elif self.is_number_type:
            numbers = np.unique(self.typed_numbers[~np.isnan(self.typed_numbers)])
            texts = [str(int(number)) if number % 1 == 0 else repr(number) for number in numbers[:3].tolist()]
        else:
            texts = sorted({text.lower() for text in self._factors[1]} - _NO_VALUE)
        return frozenset(texts) if len(texts) == 2 else frozenset()


def form_of(reference: ColumnValues, window: ColumnValues) -> Form:
    """How a column of both tables is to be compared; the same for exchanged tables."""
    sides = (reference, window)
    if any(side.is_moment for side in sides):
        return "moment"
    if not any(side.has_values for side in sides):
        return "empty"
    if not any(side.is_separated for side in sides):
        return _form_of_plain(reference, window)
    if not all(side.is_separated or side.is_number or not side.has_values for side in sides):
        return "text"
    return "number" if decimal_signs(reference, window) else "spelled_otherwise"


def _form_of_plain(reference: ColumnValues, window: ColumnValues) -> Form:
    sides = (reference, window)
    if all(side.is_flag or not side.has_values for side in sides) and not all(side.is_number for side in sides):
        return "flag"
    if reference.is_flag != window.is_flag and not all(side.is_number and not side.is_truth_type for side in sides):
        first, second = (side.two_values() for side in sides)
        if first and second and not first & second:
            return "not_comparable"
    return "number" if any(side.is_number for side in sides if side.has_values) else "text"


def decimal_signs(reference: ColumnValues, window: ColumnValues) -> tuple[str, str] | None:
    """The signs before the decimals of the numbers of both tables; nothing where that of one cannot be told.

    Where neither tells it, both are written in the same way, whichever it is.
    """
    first, second = reference.decimal_sign, window.decimal_sign
    if first and second:
        return first, second
    if not first and not second:
        return ".", "."
    known = reference if first else window
    told = known.decimal_sign
    return (told, told) if told and known.is_separated else None


def _step(size: int) -> int:
    return max(1, -(-size // _LOOKED_AT_FIRST))


def _flag(text: str) -> float:
    return _FLAGS.get(text, float("nan"))


def _reads_as_moment(text: str) -> bool:
    return len(text) <= _LONGEST_MOMENT and _MOMENT.fullmatch(text) is not None


def _by_value(text: str) -> str:
    number = _parsed(text.lower())
    return text if np.isnan(number) or _IDENTIFIER.fullmatch(text) else repr(number)


def _separated(decimal_sign: str, text: str) -> float:
    if not _WITH_DECIMAL[decimal_sign].fullmatch(text):
        return _parsed(text)
    thousands = rf"[{'.' if decimal_sign == ',' else ','}{_BLANKS}]"
    return float(re.sub(thousands, "", text).replace(decimal_sign, "."))


def _parsed(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else float("nan")
