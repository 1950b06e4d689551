"""Numbers and times of records: what counts as missing, what as wrong, and that a wrong cell is never silent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.cells import read_numbers, read_texts, read_times, tallied


def numbers_of(*cells: Any, dtype: Any = "object") -> tuple[list[float], dict[str, Any] | None]:
    """The numbers, and what was noted about the column."""
    with tallied() as tally:
        found = read_numbers(pd.Series(list(cells), name="size", dtype=dtype))
    noted = tally.to_json()
    return found.tolist(), noted[0] if noted else None


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        *[("1", 1), ("+5", 5), ("-3.25", -3.25), ("5.", 5), (".5", 0.5), ("1e5", 1e5), ("-2.5E-3", -0.0025)],
        *[(" 7 ", 7), ("007", 7), ("1" * 20, float("1" * 20)), (3, 3), (4.5, 4.5), (np.int64(8), 8)],
    ],
)
@pytest.mark.parametrize("dtype", ["object", "str"])
def test_numbers_are_read(cell: Any, number: float, dtype: str) -> None:
    assert numbers_of(cell if dtype == "object" else str(cell), dtype=dtype) == ([number], None)


@pytest.mark.parametrize(
    "cell", [None, np.nan, pd.NA, "", "  ", "NaN", "nan", "null", "N/A", "[EMAIL]", "[SSN 0123456789ab]"]
)
def test_empty_null_nan_and_masked_cells_are_missing(cell: Any) -> None:
    (number,), noted = numbers_of(cell)
    assert (np.isnan(number), noted) == (True, None)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        *[
            ("1,000", "digits with separators"),
            ("1 000", "digits with separators"),
            ("1_000", "digits with separators"),
        ],
        *[("1.000,5", "digits with separators"), ("0x10", "a number of another base than ten")],
        *[
            ("True", "a truth value"),
            ("false", "a truth value"),
            (True, "a truth value"),
            (np.bool_(0), "a truth value"),
        ],
        *[([1, 2], "a list"), ("[1, 2]", "a list"), ({"a": 1}, "an object"), ('{"a": 1}', "an object")],
        *[
            ("9" * 400, "too large for a number"),
            (10**400, "too large for a number"),
            ("1e999", "too large for a number"),
        ],
        *[("inf", "infinite"), ("-Infinity", "infinite"), (float("inf"), "infinite")],
        *[("abc", "text"), ("٣", "text"), ("\ud800", "text"), (b"5", "text"), ("[lower]", "a list"), ("--5", "text")],
    ],
)
def test_everything_else_is_wrong_and_says_why(cell: Any, reason: str) -> None:
    (number, one), noted = numbers_of(cell, 1)
    assert np.isnan(number)
    assert one == 1
    told = {"column": "size", "count": 1, "first": 1, "records": 2, "reason": reason, "reasons": {reason: 1}}
    assert noted == told


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        (pd.Series([True, False], name="a"), 2),
        (pd.Series([1.0, np.inf, -np.inf], name="a"), 2),
        (pd.Series([1, None], dtype="Int64", name="a"), 0),
        (pd.Series(["1", "x", None], dtype="category", name="a"), 1),
    ],
)
def test_typed_columns_are_held_to_the_same(values: pd.Series, wrong: int) -> None:
    with tallied() as tally:
        read_numbers(values)
    assert tally.count == wrong


@given(st.lists(st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.text(max_size=6)), max_size=20))
def test_no_cell_that_is_there_gets_lost(cells: list[Any]) -> None:
    with tallied() as tally:
        found = read_numbers(pd.Series(cells, name="a", dtype="object"))
    missing = sum(
        cell is None
        or (isinstance(cell, float) and np.isnan(cell))
        or (isinstance(cell, str) and cell.strip().lower() in ("", "nan", "null", "n/a", "#n/a"))
        for cell in cells
    )
    assert np.isfinite(found).sum() + missing + tally.count == len(cells)


def test_times_are_iso_8601_or_wrong() -> None:
    with tallied() as tally:
        found = read_times(pd.Series(["2024-06-01T10:00:00Z", None, "yesterday", "", "2024-06-01"], name="when"))
    assert found.notna().tolist() == [True, False, False, False, True]
    why = "no ISO 8601 time"
    told = {"column": "when", "count": 1, "first": 3, "records": 5, "reason": why, "reasons": {why: 1}}
    assert tally.to_json() == [told]


def test_a_column_counts_once_and_records_are_counted_in_their_file() -> None:
    values = pd.Series(["1", "x", "y", "1,5"], name="a")
    with tallied(positions=np.array([2, 4, 6, 8])) as tally:
        read_numbers(values)
        read_numbers(values)
        with tallied() as inner:
            read_numbers(values)
    assert (tally.count, tally.columns["a"].first, tally.columns["a"].reason) == (
        3,
        5,
        "text (2) or digits with separators (1)",
    )
    assert inner.columns["a"].first == 2
    assert read_numbers(values).tolist()[0] == 1, "also where nobody counts"


def test_above_the_share_records_are_refused_in_one_line_without_values() -> None:
    with tallied() as tally:
        read_numbers(pd.Series(["secret@example.org"] + ["1"] * 99, name="a"))
        read_numbers(pd.Series(["4,1"] * 3 + ["1"] * 97, name="b"))
    tally.refuse_above(0.03, "records.csv")
    with pytest.raises(DatasetError) as refused:
        tally.refuse_above(0.02, "records.csv")
    message = str(refused.value)
    assert message.startswith("records.csv: column b: 3 of 100 values are digits with separators (first: record 1);")
    assert "wrong_type_share_max" in message
    assert "\n" not in message
    with pytest.raises(DatasetError, match="column a: 1 of 100 value is text"):
        tally.refuse_above(0.0, "records.csv")


def test_the_name_of_a_column_is_not_shown_where_it_is_data() -> None:
    with tallied() as tally:
        read_numbers(pd.Series(["x"], name="planted@example.org"))
    assert "planted" not in str(tally.to_json())
    with pytest.raises(DatasetError) as refused:
        tally.refuse_above(0.0, "r")
    assert "planted" not in str(refused.value)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["a", "12", 12, 1.5, "true", "[x]"], {}),
        (["a", None, "", " \t", np.nan, pd.NA], {"missing": 5}),
        (["a", True, np.bool_(0)], {"a truth value": 2}),
        (["a", ["b"], ("c",), {"d": 1}, None], {"a list": 2, "an object": 1, "missing": 1}),
    ],
)
def test_a_column_of_texts_counts_what_is_no_text(cells: list[Any], told: dict[str, int]) -> None:
    with tallied() as tally:
        found = read_texts(pd.Series(cells, name="text", dtype="object"))
    assert [column["reasons"] for column in tally.to_json()] == ([told] if told else [])
    assert (found == "").sum() == sum(told.values())
    kept = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    with tallied() as again:
        assert read_texts(pd.Series([*kept, None, " "], name="text", dtype="str")).tolist() == [*kept, "", ""]
    assert again.columns["text"].reasons == {"missing": 2}


def test_reasons_are_counted_each_and_missing_texts_refuse_nothing() -> None:
    with tallied() as tally:
        read_numbers(pd.Series(["x", "y", True, [1]], name="a"))
    with pytest.raises(DatasetError, match=r"4 of 4 values are text \(2\) or a truth value \(1\) or a list \(1\)"):
        tally.refuse_above(0.5, "x.csv")
    with tallied() as tally:
        read_texts(pd.Series([None, "a"], name="text"))
    tally.refuse_above(0.1, "x.csv")
    with tallied() as tally:
        read_texts(pd.Series([None, [1], "a", "b"], name="text", dtype="object"))
    tally.refuse_above(0.25, "x.csv")
    with pytest.raises(DatasetError, match=r"2 of 4 values are missing \(1\) or a list \(1\)"):
        tally.refuse_above(0.2, "x.csv")
