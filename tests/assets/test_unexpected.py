"""What a library says of a value it fails on is in no event, log or terminal."""

from __future__ import annotations

import dagster as dg
import pandas as pd
import pytest
from dagster._serdes import serialize_value

from nethical_assets.assets.factory import expected_failures
from nethical_assets.command_line import app as command_line
from nethical_assets.core.ground.errors import DatasetError

MAIL = "a.person@example.com"


def fail() -> None:
    pd.Series([MAIL]).astype("float64")


def test_a_step_that_fails_on_a_value_keeps_nothing_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    @dg.asset
    def failing() -> None:
        with expected_failures():
            fail()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([failing], instance=instance, raise_on_error=False)
        events = instance.all_logs(result.run_id)
        (failure,) = [event for event in result.all_events if event.is_step_failure]
    kept = "".join(map(serialize_value, events))
    said = capfd.readouterr()
    assert not result.success
    assert MAIL not in kept + said.out + said.err
    assert "unexpected ValueError" in str(failure.step_failure_data.user_failure_data.description)


def test_expected_errors_and_those_of_the_machine_say_what_they_said() -> None:
    with pytest.raises(dg.Failure, match="one line"), expected_failures():
        raise DatasetError("one line")
    with pytest.raises(OSError, match="No space"), expected_failures():
        raise OSError(28, "No space left on device")
    with pytest.raises(dg.Failure, match="said so"), expected_failures():
        raise dg.Failure("said so")


def test_a_command_that_fails_on_a_value_shows_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command_line, "app", lambda **options: fail())
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    said = capfd.readouterr()
    assert ended.value.code == 1
    assert "nethical: unexpected ValueError" in said.err
    assert MAIL not in said.out + said.err
    assert "Traceback" not in said.err
