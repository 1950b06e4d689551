"""Daemon and code servers of a home in order have nothing to warn of."""

from __future__ import annotations

import logging
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon

from nethical_assets.definitions import defs
from nethical_assets.orchestration.server_logs import CODE_SERVER, begin_consuming, expect_replacement


class Context:
    """As much of the daemon's workspace as one look for runs to try again needs."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance


def warned_by_daemon(instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture) -> list[str]:
    daemon = EventLogConsumerDaemon()
    daemon._logger.addHandler(caplog.handler)
    try:
        list(daemon.run_iteration(Context(instance)))  # type: ignore[arg-type]
    finally:
        daemon._logger.removeHandler(caplog.handler)
    return [record.getMessage() for record in caplog.records]


@dg.op
def _nothing() -> None:
    pass


@dg.job
def _idle() -> None:
    _nothing()


@pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning")
def test_a_first_start_has_a_place_in_the_event_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert any("No cursor" in line for line in warned_by_daemon(instance, caplog)), "what it says of itself"
    (home := tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        assert _idle.execute_in_process(instance=instance).success
        begin_consuming(instance)
        key = f"EVENT_LOG_CONSUMER_CURSOR-{dg.DagsterEventType.RUN_SUCCESS.value}"
        before = instance.daemon_cursor_storage.get_cursor_values({key})
        assert before == {key: str(instance.event_log_storage.get_maximum_record_id())}
        assert _idle.execute_in_process(instance=instance).success
        begin_consuming(instance)
        after = instance.daemon_cursor_storage.get_cursor_values(set(before))
        assert after == before, "what ran since then is still to be looked at"
        caplog.clear()
        assert not [line for line in warned_by_daemon(instance, caplog) if "cursor" in line]


def test_a_code_server_that_is_replaced_ends_quietly_and_says_everything_else(caplog: pytest.LogCaptureFixture) -> None:
    expect_replacement()
    expect_replacement()
    logger = logging.getLogger(CODE_SERVER)
    logger.warning("No heartbeat received in 20 seconds, shutting down")
    logger.warning("something is wrong")
    assert [record.getMessage() for record in caplog.records if record.name == CODE_SERVER] == ["something is wrong"]


def test_the_code_location_asks_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger(CODE_SERVER)
    monkeypatch.setattr(logger, "filters", [])
    assert defs
    defs()
    assert len(logger.filters) == 1
