"""The silence sensor: reads reports once, files what is silent, closes it by a report, and notes that it looked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import uuid4

import dagster as dg
import pytest

from nethical_assets.assets.requests import ASKED_TAG, DRIFT_JOB
from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.core.alerts.silence import LOOKED
from nethical_assets.core.drift.due import ATTEMPTS
from nethical_assets.core.drift.windows import Window
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


def fail_runs(instance: dg.DagsterInstance, window: Window, evidence: str, runs: int) -> None:
    """Runs that the schedule asked for about a window and that failed."""
    tags = {"dagster/partition": window.key, ASKED_TAG: f"anomaly=missed,logistic={evidence}"}
    for _ in range(runs):
        run = dg.DagsterRun(job_name=DRIFT_JOB, run_id=str(uuid4()), status=dg.DagsterRunStatus.FAILURE, tags=tags)
        instance.add_run(run)


def judge_by_hand(instance: dg.DagsterInstance, window: Window) -> None:
    report = dg.AssetMaterialization(
        dg.AssetKey(["drift_reports", "logistic"]), metadata={"complete": True}, partition=window.key
    )
    instance.report_runless_asset_event(report)


@pytest.mark.parametrize("judged", [True, False])
def test_a_window_that_is_given_up_is_told_once_until_it_is_judged_or_counts_no_more(
    judged: bool, sensor: Silence, settings: Settings
) -> None:
    window = Window.at(NOW, 6).before()
    fail_runs(sensor.instance, window, "missed", ATTEMPTS - 1)
    fail_runs(sensor.instance, window, "0123456789abcdef", 1)
    sensor.tick(utc_now())
    assert states(settings) == {}
    fail_runs(sensor.instance, window, "missed", 1)
    for _ in range(2):
        sensor.tick(utc_now())
    # Of a family without a champion nothing is watched.
    (issue,) = tracker_of(settings).list()
    assert (issue.check, issue.state, issue.occurrences, issue.subject) == (
        "windows",
        "open",
        1,
        "drift_reports/logistic",
    )
    assert "is given up, 3 runs about it failed" in issue.body
    if judged:
        judge_by_hand(sensor.instance, window)
    sensor.tick(utc_now() if judged else NOW + timedelta(days=8))
    assert states(settings)["windows"] == "closed"
