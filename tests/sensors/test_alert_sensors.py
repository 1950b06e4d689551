"""The alert sensors: failed checks and failed runs become issues, once each, and are closed when they pass."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.home.settings import Settings
from nethical_assets.operations.verification import verify
from nethical_assets.orchestration.build import build_defs, build_resources
from nethical_assets.sensors import alerts
from tests.orchestration import clean_environment

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on disk: SQLite keeps the events of every run apart, and paging goes over runs."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}}) as opened:
        yield opened


@pytest.fixture
def tracker(settings: Settings) -> LocalIssueTracker:
    return LocalIssueTracker(settings.home / "alerts" / "issues.sqlite")


def run_check(
    instance: dg.DagsterInstance,
    passed: bool,
    *,
    asset: str = "nslkdd",
    check: str = "schema",
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    verdict: str = "decided",
) -> str:
    """One run that materializes ``raw/<asset>`` and evaluates one check of it; its id."""
    key = dg.AssetKey(["raw", asset])

    @dg.asset(key=key)
    def raw() -> None: ...

    @dg.asset_check(asset=key, name=check)
    def checked() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            passed=passed,
            severity=severity,
            description="wrong columns: duration" if not passed else "all columns are there",
            metadata={"columns_failing": 0 if passed else 1, "verdict": verdict},
        )

    result = dg.materialize([raw, checked], instance=instance, run_config=QUIET)
    assert result.success
    return result.run_id


class CheckSensor:
    """The check sensor with its cursor."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance) -> None:
        self.repository = build_defs(settings).get_repository_def()
        self.resources = {"issue_tracker": build_resources(settings)["issue_tracker"]}
        self.instance = instance
        self.cursor: str | None = None

    def tick(self) -> str:
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=self.repository,
            sensor_name="check_alert_sensor",
            resources=self.resources,
        )
        data = self.repository.get_sensor_def("check_alert_sensor").evaluate_tick(context)
        self.cursor = data.cursor
        assert data.run_requests == []
        return str(data.skip_message)


def test_nothing_ran_nothing_is_filed(settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker) -> None:
    sensor = CheckSensor(settings, kept)
    assert sensor.tick().startswith("0 check failures filed, 0")
    assert sensor.cursor is None


def test_the_same_problem_in_several_runs_is_one_issue(
    settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    sensor = CheckSensor(settings, kept)
    runs = [run_check(kept, False) for _ in range(3)]
    assert sensor.tick().startswith("3 check failures filed")
    (issue,) = tracker.list(state="open")
    assert issue.occurrences == 3
    assert (issue.subject, issue.check) == ("raw/nslkdd", "schema")
    assert {"ml-ops", "data-quality", "needs-attention"} <= set(issue.labels)
    assert issue.title.startswith("Dataset Validation Issues - ")
    assert "duration" in issue.body
    assert len(set(runs)) == 3

    # Read events are not read again.
    assert sensor.tick().startswith("0 check failures filed")
    run_check(kept, False)
    assert sensor.tick().startswith("1 check failures filed")
    (issue,) = tracker.list(state="open")
    assert issue.occurrences == 4


def test_an_issue_is_closed_when_its_check_passes_and_reopened_when_it_fails_again(
    settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    sensor = CheckSensor(settings, kept)
    run_check(kept, False)
    run_check(kept, False, asset="guide")
    sensor.tick()
    run_check(kept, True)
    assert "1 issues closed" in sensor.tick()
    assert [issue.subject for issue in tracker.list(state="open")] == ["raw/guide"]
    (closed,) = tracker.list(state="closed")
    assert "passed again" in closed.close_reason

    run_check(kept, False)
    sensor.tick()
    assert len(tracker.list(state="open")) == 2
    assert tracker.show(closed.number).state == "open"


def test_failure_and_pass_within_one_tick_are_taken_in_order(
    settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    sensor = CheckSensor(settings, kept)
    run_check(kept, False)
    run_check(kept, True)
    sensor.tick()
    assert tracker.list(state="open") == ()
    run_check(kept, True)
    run_check(kept, False)
    sensor.tick()
    assert len(tracker.list(state="open")) == 1


def test_more_runs_than_one_tick_takes_are_read_by_the_next_ones(
    settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "_BATCH", 3)
    sensor = CheckSensor(settings, kept)
    for number in range(7):
        run_check(kept, False, asset=f"set{number}")
    filed = [int(sensor.tick().split()[0]) for _ in range(4)]
    assert filed == [3, 3, 1, 0]
    assert [issue.subject for issue in tracker.list()] == [f"raw/set{number}" for number in range(7)]


def test_what_nobody_has_to_act_on_is_not_filed(
    settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    warning = dg.AssetCheckSeverity.WARN
    run_check(kept, False, check="personal_data", severity=warning)
    run_check(kept, False, check="available", severity=warning)
    run_check(kept, False, check="gate", verdict="needs_more_data", severity=warning)
    run_check(kept, True)
    CheckSensor(settings, kept).tick()
    assert tracker.list() == ()


def test_a_failed_run_is_filed_and_its_part_of_the_audit_log_is_closed(
    settings: Settings, environment: dict[str, str], kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    @dg.op
    def breaks() -> None:
        raise DatasetError("the disk caught fire")

    @dg.job
    def training_cycle() -> None:
        breaks()

    result = training_cycle.execute_in_process(
        instance=kept, raise_on_error=False, run_config=QUIET, tags={"nethical/family": "logistic"}
    )
    assert not result.success
    # The process of that run recorded an event and died.
    program = (
        "import os, sys\n"
        "from nethical_assets.home.workspace import CycleOptions, Workspace\n"
        "from nethical_assets.home.settings import load_settings\n"
        "workspace = Workspace(load_settings(), CycleOptions(), sys.argv[1])\n"
        "workspace.record_event('data_fetched', {'raw/nslkdd': 'sha256:' + '0' * 64})\n"
        "os._exit(9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, result.run_id], env=clean_environment(environment), check=False, timeout=60
    )
    assert done.returncode == 9
    log = LogReader(settings.home / "audit")
    assert list(log.pending_runs()) == [result.run_id]

    repository = build_defs(settings).get_repository_def()
    sensor = repository.get_sensor_def("run_failure_alert_sensor")
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_event=result.get_run_failure_event(),
        dagster_instance=kept,
        dagster_run=result.dagster_run,
    ).for_run_failure()
    issue_tracker = build_resources(settings)["issue_tracker"]
    sensor(context, issue_tracker=issue_tracker)
    sensor(context, issue_tracker=issue_tracker)

    (issue,) = tracker.list(state="open")
    assert (issue.kind, issue.subject, issue.check) == ("run_failure", "logistic", "training_cycle")
    assert issue.occurrences == 1
    assert result.run_id in issue.body
    assert list(log.pending_runs()) == []
    types = [str(found.event.type) for found in log.find_events(run_id=result.run_id)]
    assert "data_fetched" in types
    assert verify(settings)["problems"] == []
