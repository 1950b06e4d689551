"""What may be told of an error that nobody expected: its kind and where it arose, never its words.

What belongs here: describing such an error. What does not: expected ones (``errors``), which say what to do.

A library that fails on a value quotes it: ``could not convert string to float: 'anna@example.org'``. Event logs, issues
and terminals keep what they are told, so they are told none of it.
"""

from __future__ import annotations

import sqlite3
import traceback
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
_SHOWN_PLACES = 6
_OF_THE_MACHINE = (OSError, MemoryError, sqlite3.Error, ImportError, RecursionError)


def may_quote_data(error: BaseException) -> bool:
    """Whether the words of an unexpected error may hold what is in a table: not those of the machine, its disk and its
    databases, which name files, nor what an interruption led to."""
    led: BaseException | None = error
    while led is not None:
        if not isinstance(led, Exception):
            return False
        led = led.__cause__ or led.__context__
    return not isinstance(error, _OF_THE_MACHINE)


def describe_unexpected(error: BaseException) -> str:
    """One line: the kind of the error, and the places of this package that led to it, the innermost first."""
    places = []
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            places.append(f"{path.relative_to(_PACKAGE).as_posix()}:{frame.lineno} {frame.name}")
    led = f" at {' < '.join(places[:_SHOWN_PLACES])}" if places else ""
    return (
        f"unexpected {type(error).__name__}{led}; its words are not kept, for they may quote data: report these places"
    )
