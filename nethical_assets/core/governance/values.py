"""What screening finds in one column of a table, by what kind of values it holds, each distinct value looked at once.

What belongs here: how texts, values and sequences of actions are handed to the screener. What does not: which numbers
are identifiers (``searches``), rules and matching (``screener``), what is done about a finding (``frames``,
``records``).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.governance.columns import TextColumn, read_column, whole_numbers
from nethical_assets.core.governance.findings import SCHEMA, Findings, concatenate, moved
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.searches import NumberSearch, ProseSearch


class Reading(enum.StrEnum):
    """How the values of a column are read.

    ``prose``: what people wrote, whole. ``values``: categories, identifiers, addresses, each a value by itself; numbers
    among them are looked at apart from the others, as identifiers or not. ``actions``: sequences of names between
    spaces; where they are mostly event numbers (``E5 E22``, ``192 6``) each name by itself, for a run of numbers is no
    telephone number, else whole.
    """

    PROSE = "prose"
    VALUES = "values"
    ACTIONS = "actions"


NUMBER = r"^\s*[+-]?[0-9]+(?:\.0*)?\s*$"
_ACTION = r"\S+"
EVENT_NAME = r"[A-Za-z]{0,8}[0-9]{1,6}"
_EVENT_NUMBER = rf"(?:^|\s){EVENT_NAME}(?:\s{EVENT_NAME})*(?:\s|$)"
SMALLEST_IDENTIFIER = 1_000_000

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class FoundValues:
    """The distinct values of a column and what was found in them.

    ``codes``: the value of each row, -1 where it is missing; ``values``: what stands for each code, in order of first
    appearance; ``findings``: their rows are codes; ``sampled``: not every value was looked at.
    """

    codes: Codes
    values: pd.Series
    findings: Findings
    sampled: bool = False

    def on_rows(self) -> Findings:
        """The findings with the rows of the column, ordered by row and start: a value counts as often as it occurs."""
        if len(self.findings) == 0:
            return self.findings
        order = np.argsort(self.codes, kind="stable")
        first = np.searchsorted(self.codes[order], np.arange(len(self.values)))
        times = np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))
        own = self.findings.rows
        repeated = np.repeat(np.arange(len(own)), times[own])
        rows = np.concatenate([order[first[code] : first[code] + times[code]] for code in own.tolist()])
        by_row = np.lexsort((repeated, rows))
        table = self.findings.table.take(pa.array(repeated[by_row]))
        return Findings(table.set_column(0, SCHEMA.field("row"), pa.array(rows[by_row], pa.int64())))


def find_in(
    column: pd.Series, reading: Reading, screener: Screener, *, maximum: int | None = None, alone: bool = False
) -> FoundValues:
    """Screen the distinct values of ``column``, whatever its type; of more than ``maximum`` only every n-th.

    A column typed as truth values or times holds nothing to be found. Numbers are judged by ``searches.NumberSearch``,
    however they are typed; where each value is to be judged ``alone``, whatever else the column holds.
    """
    if holds_nothing(column):
        return FoundValues(np.full(len(column), -1), pd.Series([], dtype="str"), Findings.empty())
    codes, values = _distinct(column)
    every = 1 if maximum is None else max(1, -(-len(values) // maximum))
    # Without the others, not with nulls in their place: those would fill batches, and each costs its compilations.
    some, places = values.iloc[::every], np.arange(0, len(values), every)
    times = np.bincount(codes[codes >= 0], minlength=len(values))[::every]
    match Reading.VALUES if pd.api.types.is_numeric_dtype(column.dtype) else reading:
        case Reading.PROSE:
            prose = ProseSearch(str(column.name), screener, alone=alone)
            prose.add(some, places, times)
            findings = prose.findings()
        case Reading.VALUES:
            findings = moved(_in_values(str(column.name), some, times, screener, alone), places)
        case Reading.ACTIONS:
            findings = moved(_in_actions(some, screener, alone), places)
    return FoundValues(codes, values, findings, sampled=every > 1)


def holds_nothing(column: pd.Series) -> bool:
    """Whether the type of a column, or the size of its numbers, says that nothing can be found in it."""
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype) or _is_time(column):
        return True
    if not pd.api.types.is_numeric_dtype(dtype):
        return False
    sizes = np.abs(column.to_numpy()) if isinstance(dtype, np.dtype) else column.abs()
    return not (sizes >= SMALLEST_IDENTIFIER).any()


def _is_time(column: pd.Series) -> bool:
    dtype = column.dtype
    return bool(pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype))


def _distinct(column: pd.Series) -> tuple[Codes, pd.Series]:
    if pd.api.types.is_numeric_dtype(column.dtype):
        codes, numbers = pd.factorize(column)
        return codes.astype(np.int64), pd.Series(whole_numbers(pa.array(numbers)).to_pylist(), dtype="object")
    if isinstance(column.dtype, pd.CategoricalDtype | pd.StringDtype):
        codes, texts = pd.factorize(column.astype("str"))
        return codes.astype(np.int64), pd.Series(texts, dtype="str")
    try:
        # Not by the values alone: to pandas 1, 1.0 and True are one value.
        codes, pairs = pd.factorize(pd.Series(list(zip(column.map(type), column, strict=True)), dtype="object"))
    except (TypeError, ValueError):
        return np.arange(len(column)), column.reset_index(drop=True)
    values = pd.Series([value for _, value in pairs], dtype="object")
    missing = values.isna().to_numpy()
    return np.where(missing[codes], -1, codes).astype(np.int64), values.mask(missing, None)


def _in_texts(texts: TextColumn, screener: Screener, alone: bool) -> Findings:
    return screener.screen_each(read_column(texts)) if alone else screener.screen(texts)


def _in_values(name: str, values: pd.Series, times: Codes, screener: Screener, alone: bool) -> Findings:
    texts = read_column(values).texts
    numeric = _are_numbers(texts)
    others = np.flatnonzero(~numeric)
    parts = [moved(_in_texts(values.iloc[others], screener, alone), others)]
    if numeric.any():
        numbers = NumberSearch(name, screener, alone=alone)
        numbers.add(texts, np.arange(len(texts)), times)
        parts.append(numbers.findings())
    return _ordered(parts)


def _in_actions(values: pd.Series, screener: Screener, alone: bool) -> Findings:
    texts = read_column(values).texts
    named = pc.count_substring_regex(pc.replace_substring_regex(texts, _EVENT_NUMBER, " "), _ACTION)
    total = pc.count_substring_regex(texts, _ACTION)
    numbered = pc.fill_null(pc.greater(total, pc.multiply(named, 2)), False).to_numpy(zero_copy_only=False)
    others = np.flatnonzero(~numbered)
    parts = [moved(_in_texts(texts.take(pa.array(others)), screener, alone), others)]
    rows = np.flatnonzero(numbered)
    if len(rows):
        parts.append(moved(_in_names(texts.take(pa.array(rows)), screener, alone), rows))
    return _ordered(parts)


def _in_names(sequences: pa.LargeStringArray, screener: Screener, alone: bool) -> Findings:
    """Findings in single names of actions, at their places in the sequences."""
    flat = pc.list_flatten(pc.utf8_split_whitespace(sequences))
    names = pd.Series(pc.unique(flat).to_pylist(), dtype="object")
    found = _in_values("", names, np.ones(len(names), dtype=np.int64), screener, alone)
    if len(found) == 0:
        return found
    of_name: dict[str, list[int]] = {}
    for position, row in enumerate(found.rows.tolist()):
        of_name.setdefault(names.iloc[row], []).append(position)
    taken: list[int] = []
    places: list[tuple[int, int, int]] = []
    starts, ends = found.table["start"].to_pylist(), found.table["end"].to_pylist()
    for row, name, at in _places(sequences, of_name):
        for position in of_name[name]:
            taken.append(position)
            places.append((row, at + starts[position], at + ends[position]))
    table = found.table.take(pa.array(taken, pa.int64()))
    for number, column in enumerate(("row", "start", "end")):
        index = table.schema.get_field_index(column)
        table = table.set_column(index, SCHEMA.field(column), pa.array([place[number] for place in places], pa.int64()))
    return Findings(table)


def _places(sequences: pa.LargeStringArray, names: dict[str, list[int]]) -> Iterator[tuple[int, str, int]]:
    for row, sequence in enumerate(sequences.to_pylist()):
        if sequence is not None and any(name in sequence for name in names):
            for match in re.finditer(_ACTION, sequence):
                if match[0] in names:
                    yield row, match[0], match.start()


def _are_numbers(texts: pa.LargeStringArray) -> npt.NDArray[np.bool_]:
    matching = pc.fill_null(pc.match_substring_regex(texts, NUMBER), False)
    return np.asarray(matching.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _ordered(parts: list[Findings]) -> Findings:
    found = concatenate(parts)
    if len(found) == 0:
        return found
    return Findings(found.table.sort_by([("row", "ascending"), ("start", "ascending")]))
