"""Expected failures are one line and carry the exit code of the command line."""

from __future__ import annotations

import inspect

import pytest

from nethical_assets.core.ground import errors

NEGATIVE = {
    "SourceUnavailableError",
    "IntegrityError",
    "TrainingError",
    "AuditError",
    "NoChampionError",
    "SegmentError",
}
KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.NethicalError) and kind is not errors.NethicalError
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_exit_code_says_bad_input_or_negative_result(kind: type[errors.NethicalError]) -> None:
    error = kind("field", "wrong") if kind is errors.RecordError else kind("wrong")
    assert error.exit_code == (1 if kind.__name__ in NEGATIVE else 2)


def test_a_message_is_always_one_line() -> None:
    assert str(errors.DatasetError("first\n  second\tthird\r\nfourth ")) == "first second third fourth"


def test_a_record_error_names_field_and_reason() -> None:
    error = errors.RecordError("src_bytes", "a list", 3)
    assert (error.field, error.reason, error.record) == ("src_bytes", "a list", 3)
    assert str(error) == "record 3, field src_bytes: a list"
    assert str(errors.RecordError("src_bytes", "a list")) == "field src_bytes: a list"
