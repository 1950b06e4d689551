"""The silence sensor: reads reports once, files what is silent, closes it by a report, and notes that it looked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
import pytest

from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.core.alerts.silence import LOOKED
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import open_registry, segment_folder
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations.status import read_status
from nethical_assets.orchestration.build import build_defs, build_resources
from nethical_assets.sensors import silence
from tests.core.models.conftest import pointer_of

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
NOW = utc_now()


class Silence:
    """The sensor with its cursor, at a time of its own."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, patch: pytest.MonkeyPatch) -> None:
        self.definition = build_defs(settings).get_repository_def().get_sensor_def("silence_sensor")
        self.resources = {"issue_tracker": build_resources(settings)["issue_tracker"]}
        self.instance, self.cursor, self.now = instance, "", NOW
        patch.setattr(silence, "utc_now", lambda: self.now)

    def tick(self, now: datetime) -> str:
        self.now = now
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=self.resources)
        data = self.definition.evaluate_tick(context)
        self.cursor = data.cursor
        return str(data.skip_message)


@pytest.fixture
def sensor(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Silence]:
    """Of a home that served, with one champion of three days."""
    pointer = pointer_of(digest_bytes(b"model"), decided_at=(NOW - timedelta(days=3)).isoformat())
    open_registry(settings.home).set_champion(pointer)
    segment_folder(settings.home).mkdir(parents=True)
    segment_folder(settings.home).joinpath("a.segment").write_bytes(b"")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Silence(settings, instance, monkeypatch)


def tracker_of(settings: Settings) -> LocalIssueTracker:
    return Workspace(settings, CycleOptions(), "reader").tracker


def report(instance: dg.DagsterInstance, end: datetime, rows: int) -> None:
    """A drift report of the six hours before ``end``, made now."""

    @dg.asset(key=["drift_reports", "logistic"])
    def drift_report() -> dg.MaterializeResult[None]:
        window = {"window_start": (end - timedelta(hours=6)).isoformat(), "window_end": end.isoformat()}
        return dg.MaterializeResult(metadata={"verdict": "stable" if rows else "hold", "rows": rows, **window})

    assert dg.materialize([drift_report], instance=instance, run_config=QUIET).success


def states(settings: Settings) -> dict[str, str]:
    return {issue.check: issue.state for issue in tracker_of(settings).list()}


def test_missing_reports_and_missing_traffic_are_told_once_and_end_with_a_report(
    sensor: Silence, settings: Settings
) -> None:
    report(sensor.instance, NOW - timedelta(hours=30), 500)
    for hours in (24, 18, 12, 6, 0):
        report(sensor.instance, NOW - timedelta(hours=hours), 0)
    later = NOW + timedelta(minutes=5)
    assert "1 families watched" in sensor.tick(later)
    assert states(settings) == {"traffic": "open"}
    # It is not there for two days; when it is back, the schedule is given an hour.
    assert sensor.tick(later + timedelta(days=2)).endswith("0 occurrences filed, 0 issues closed")
    for minutes in range(0, 70, 8):
        sensor.tick(later + timedelta(days=2, minutes=minutes))
    assert states(settings) == {"traffic": "open", "reports": "open"}
    assert [issue.occurrences for issue in tracker_of(settings).list()] == [1, 1]
    report(sensor.instance, NOW + timedelta(days=2), 300)
    sensor.tick(later + timedelta(days=2, minutes=70))
    # The clock of the event log is that of this machine: two days behind the sensor's here.
    assert states(settings)["traffic"] == "closed"


def test_a_home_that_never_served_is_told_nothing(sensor: Silence, settings: Settings) -> None:
    segment_folder(settings.home).joinpath("a.segment").unlink()
    for minutes in range(0, 90, 9):
        sensor.tick(NOW + timedelta(minutes=minutes))
    assert states(settings) == {}


def test_a_family_without_reports_is_told_of(sensor: Silence, settings: Settings) -> None:
    for minutes in range(0, 70, 9):
        sensor.tick(NOW + timedelta(minutes=minutes))
    assert states(settings) == {"reports": "open"}
    (issue,) = tracker_of(settings).list()
    assert issue.title.startswith("Monitor Silent: logistic - ")


def test_it_notes_when_it_looked(sensor: Silence, settings: Settings) -> None:
    assert tracker_of(settings).position(LOOKED) is None
    assert read_status(settings)["alerts"]["looked_at"] is None
    sensor.tick(NOW)
    assert tracker_of(settings).position(LOOKED) == NOW.isoformat(timespec="seconds")
    assert read_status(settings)["alerts"]["looked_at"] == NOW.isoformat(timespec="seconds")


def test_a_damaged_pointer_keeps_no_other_family_from_being_watched(sensor: Silence, settings: Settings) -> None:
    (settings.home / "models" / "current" / "anomaly.json").write_text("{")
    assert sensor.tick(NOW).startswith("1 families watched")
