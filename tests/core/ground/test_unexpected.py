"""An unexpected error is told by its kind and place, and never by words that a library took from a table."""

from __future__ import annotations

import sqlite3

import pandas as pd
import pytest

from nethical_assets.core.ground.unexpected import describe_unexpected, may_quote_data
from nethical_assets.core.rows.frames import seconds

MAIL = "a.person@example.com"


def failing() -> Exception:
    with pytest.raises(AttributeError) as caught:
        seconds([MAIL])  # type: ignore[arg-type]
    return caught.value


def test_the_places_of_this_package_are_named_and_no_word() -> None:
    try:
        pd.Series([MAIL]).astype("float64")
    except ValueError as error:
        assert MAIL in str(error)
        assert describe_unexpected(error) == (
            "unexpected ValueError; its words are not kept, for they may quote data: report these places"
        )
    said = describe_unexpected(failing())
    assert said.startswith("unexpected AttributeError at core/rows/cells.py:")
    assert " read_times < core/rows/frames.py:" in said
    assert MAIL not in said
    assert "\n" not in said


@pytest.mark.parametrize("error", [ValueError(MAIL), KeyError(MAIL), UnicodeDecodeError("utf-8", b"x", 0, 1, MAIL)])
def test_words_of_libraries_are_kept_from_logs(error: Exception) -> None:
    assert may_quote_data(error)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), MemoryError(), sqlite3.OperationalError("locked")])
def test_words_of_the_machine_are_not(error: Exception) -> None:
    assert not may_quote_data(error)


def test_what_an_interruption_led_to_is_an_interruption() -> None:
    error = ValueError("bad state")
    error.__context__ = KeyboardInterrupt()
    assert not may_quote_data(error)
