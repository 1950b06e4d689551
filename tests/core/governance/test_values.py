"""Findings in columns of values, sequences and numbers: each distinct value once, numbers believed by their share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.governance.memo import ScreeningMemo
from nethical_assets.core.governance.rules import Ruleset
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading, find_in

MAIL, CARD = "a.person@example.com", "4111111111111111"


def kinds(values: list[Any], reading: Reading, screener: Screener, name: str = "column", **options: Any) -> list[Any]:
    """(row, kind, what was found) of each finding."""
    column = pd.Series(values, name=name, **options)
    table = find_in(column, reading, screener).on_rows().table
    found = zip(*(table[part].to_pylist() for part in ("row", "kind", "start", "end")), strict=True)
    return [(row, kind, str(values[row])[start:end]) for row, kind, start, end in found]


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_a_value_counts_as_often_as_it_occurs_and_is_screened_once(ruleset: Ruleset, dtype: str) -> None:
    memo = ScreeningMemo()
    screener = Screener(ruleset, memo=memo)
    values = ["tcp", MAIL, "udp", None, MAIL, f"to {MAIL}"] * 50
    found = kinds(values, Reading.VALUES, screener, dtype=dtype)
    assert [row for row, _, _ in found] == [row for row, value in enumerate(values) if value and MAIL in value]
    assert {(kind, text) for _, kind, text in found} == {("EMAIL", MAIL)}
    assert memo.texts_asked < 10


@pytest.mark.parametrize("reading", list(Reading))
@pytest.mark.parametrize(
    "values",
    [[], [None, None], [True, False], pd.to_datetime(["2024-01-01"]), [1.5, 2.5], [0, 1, 2**40]],
)
def test_where_no_value_can_be_one_nothing_is_found(values: Any, reading: Reading, screener: Screener) -> None:
    assert len(find_in(pd.Series(values, dtype=None if len(values) else "str"), reading, screener).findings) == 0


def test_mixed_values_are_each_what_they_are(screener: Screener) -> None:
    values = [1, 1.0, True, "1", [MAIL], {"to": MAIL}, b"x", MAIL, None, float("nan")]
    assert (7, "EMAIL", MAIL) in kinds(values, Reading.VALUES, screener, dtype="object")


def test_a_number_among_words_is_judged_apart_from_them(screener: Screener) -> None:
    assert kinds(["private", CARD, "http"], Reading.VALUES, screener) == [(1, "CREDIT_CARD", CARD)]
    ordinary = [str(10**15 + 7 * row) for row in range(40)]
    assert kinds(["private", *ordinary, CARD], Reading.VALUES, screener) == [], "identifiers of which one passes"


@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "str"])
def test_cards_in_a_column_of_numbers_are_found_among_those_of_their_length(dtype: str, screener: Screener) -> None:
    numbers = [3, 80, 443, int(CARD), 5500000000000004, 12_000_000]
    values = [str(number) for number in numbers] if dtype == "str" else numbers
    found = kinds(values, Reading.VALUES, screener, dtype=dtype)
    assert [(row, kind) for row, kind, _ in found] == [(3, "CREDIT_CARD"), (4, "CREDIT_CARD")]


def test_what_a_column_is_called_says_what_its_numbers_are(screener: Screener) -> None:
    numbers = [536228145 + 1000 * row for row in range(30)]
    assert {kind for _, kind, _ in kinds(numbers, Reading.VALUES, screener, "ssn")} == {"SSN"}
    assert kinds(numbers, Reading.VALUES, screener, "src_bytes") == []
    assert kinds(numbers, Reading.VALUES, screener, "4") == []
    phones = kinds([2125550143 + row for row in range(9)], Reading.VALUES, screener, "mobilePhone")
    assert {kind for _, kind, _ in phones} == {"PHONE"}
    measured = [*numbers[:3], *(666_000_000 + row for row in range(9))]
    assert kinds(measured, Reading.VALUES, screener, "ssn") == [], "most of them are none"


def test_event_numbers_are_names_and_no_telephone_number(screener: Screener) -> None:
    whole = kinds(["4111 1111 1111 1111 5 6"], Reading.PROSE, screener)
    assert [kind for _, kind, _ in whole] == ["CREDIT_CARD"]
    assert kinds(["4111 1111 1111 1111 5 6"], Reading.ACTIONS, screener) == []
    sequences = ["212 555 0143 6 33 5", "E5 E22 E5 E11", f"E5 E22 {MAIL} E11 {MAIL}", f"5 22 11 {CARD} 9"]
    assert kinds(sequences, Reading.ACTIONS, screener) == [
        (2, "EMAIL", MAIL),
        (2, "EMAIL", MAIL),
        (3, "CREDIT_CARD", CARD),
    ]


def test_named_actions_are_read_whole_also_in_lists(screener: Screener) -> None:
    sequences = ["open read 212-555-0143 close", f'["open", "{MAIL}", "close"]', "call +1 212 555 0143 now", ""]
    assert [(row, kind) for row, kind, _ in kinds(sequences, Reading.ACTIONS, screener)] == [
        (0, "PHONE"),
        (1, "EMAIL"),
        (2, "PHONE"),
    ]


def test_of_too_many_values_some_are_looked_at(screener: Screener) -> None:
    column = pd.Series([f"person{row}@example.com" for row in range(100)], name="who")
    assert len(find_in(column, Reading.VALUES, screener).findings) == 100
    part = find_in(column, Reading.VALUES, screener, maximum=30)
    assert (part.sampled, len(part.findings)) == (True, 25)
    assert np.all(part.findings.rows % 4 == 0)


@pytest.mark.parametrize("reading", list(Reading))
def test_values_that_are_not_looked_at_are_not_handed_to_the_screener(ruleset: Ruleset, reading: Reading) -> None:
    memo = ScreeningMemo()
    column = pd.Series([f"person{row // 2}@example.com" for row in range(200)], dtype="str")
    part = find_in(column, reading, Screener(ruleset, memo=memo), maximum=30)
    assert part.on_rows().rows.tolist() == [row for row in range(200) if row // 2 % 4 == 0]
    assert memo.texts_asked == 25


def test_numbers_that_are_looked_at_keep_their_rows_and_times(screener: Screener) -> None:
    column = pd.Series([CARD, *(f"411111111111{row:04}" for row in range(99))] + [CARD] * 300, name="number")
    part = find_in(column, Reading.VALUES, screener, maximum=50)
    rows = set(part.on_rows().rows.tolist())
    # The card is one of the 50 values that are looked at, and 301 of the 350 rows that these stand for.
    assert {0, *range(100, 400)} <= rows
    assert all(row % 2 == 0 for row in rows if row < 100)
