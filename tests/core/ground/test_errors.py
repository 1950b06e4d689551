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
    assert kind("wrong").exit_code == (1 if kind.__name__ in NEGATIVE else 2)


def test_a_message_is_always_one_line() -> None:
    assert str(errors.DatasetError("first\n  second\tthird\r\nfourth ")) == "first second third fourth"
