"""The alert sensors: failed checks and failed runs become issues, once each, and are closed when they pass."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from filelock import FileLock

from nethical_assets.core.alerts import LocalIssueTracker, local
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.errors import DatasetError, NethicalError
from nethical_assets.home.leases import is_alive, run_lock_path
from nethical_assets.home.settings import Settings
from nethical_assets.operations.verification import verify
from nethical_assets.orchestration.build import build_defs, build_resources
from nethical_assets.orchestration.sqlite_storage import PooledSqliteStorage
from nethical_assets.resources.platform import CycleResource
from nethical_assets.sensors import alerts
from nethical_assets.sensors.results import RunEvents
from tests.orchestration import NO_OUTPUT_KEPT, clean_environment

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on disk: SQLite keeps the events of every run apart, and paging goes over runs."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    storage = {
        "module": PooledSqliteStorage.__module__,
        "class": PooledSqliteStorage.__name__,
        "config": {"base_dir": str(folder)},
    }
    overrides = {"telemetry": {"enabled": False}, "storage": {"custom": storage}, **NO_OUTPUT_KEPT}
    with dg.DagsterInstance.local_temp(str(folder), overrides=overrides) as opened:
        yield opened


@pytest.fixture
def tracker(settings: Settings) -> LocalIssueTracker:
    return LocalIssueTracker(settings.home / "alerts" / "issues.sqlite")


def run_check(
    instance: dg.DagsterInstance,
    passed: bool,
    *,
    asset: str = "nslkdd",
    stage: str = "raw",
    check: str = "schema",
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    verdict: str = "decided",
) -> str:
    """One run that materializes ``<stage>/<asset>`` and evaluates one check of it; its id."""
    key = dg.AssetKey([stage, asset])

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
    assert sensor.tick().startswith("0 occurrences filed, 0")
    assert sensor.cursor is None


def test_the_same_problem_in_several_runs_is_one_issue(
    settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    sensor = CheckSensor(settings, kept)
    runs = [run_check(kept, False) for _ in range(3)]
    assert sensor.tick().startswith("3 occurrences filed")
    (issue,) = tracker.list(state="open")
    assert issue.occurrences == 3
    assert (issue.subject, issue.check) == ("raw/nslkdd", "schema")
    assert {"ml-ops", "data-quality", "needs-attention"} <= set(issue.labels)
    assert issue.title.startswith("Dataset Validation Issues: nslkdd - ")
    assert "duration" in issue.body
    assert len(set(runs)) == 3

    # Read events are not read again.
    assert sensor.tick().startswith("0 occurrences filed")
    run_check(kept, False)
    assert sensor.tick().startswith("1 occurrences filed")
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


@pytest.mark.parametrize("retag", [False, True], ids=["plain", "an old run re-tagged"])
@pytest.mark.parametrize("first", ["sensor", "cycle"])
def test_an_older_pass_never_closes_a_newer_failure_whoever_reads_first(
    first: str, retag: bool, kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    passed, failed = run_check(kept, True), run_check(kept, False)
    if first == "cycle":
        alerts.file_cycle(kept, tracker, failed)
    if retag:
        kept.add_run_tags(passed, {"note": "looked at"})
    for _ in range(3):
        alerts.file_results(kept, tracker)
        alerts.file_cycle(kept, tracker, passed)
    (issue,) = tracker.list()
    assert (issue.state, issue.occurrences) == ("open", 1)
    run_check(kept, True)
    alerts.file_results(kept, tracker)
    assert tracker.show(issue.number).state == "closed"


def test_runs_that_end_in_another_order_than_their_checks(kept: dg.DagsterInstance, tracker: LocalIssueTracker) -> None:
    """The run that failed first ends last, after the run that passed was read."""
    failed, passed = run_check(kept, False), run_check(kept, True)
    kept.add_run_tags(failed, {"ended": "later"})
    tracker.record(RunEvents.read(kept, kept.get_run_by_id(passed)).results())
    alerts.file_results(kept, tracker)
    (issue,) = tracker.list()
    assert (issue.state, issue.occurrences) == ("closed", 1)


@pytest.mark.parametrize("noted", [None, "2026-01-01T00:00:00+00:00"], ids=["new", "noted by an older version"])
def test_an_ended_run_is_read_once_and_one_that_becomes_visible_late_too(
    noted: str | None, kept: dg.DagsterInstance, tracker: LocalIssueTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, early = run_check(kept, False, asset="late"), run_check(kept, False, asset="early")
    if noted is not None:
        tracker.record([], reader=alerts.READER, position=noted)
    hidden, read = {late}, []
    events, ended = alerts._events, alerts._ended_runs

    def reading(instance: dg.DagsterInstance, run: dg.DagsterRun, known: RunEvents | None) -> RunEvents:
        read.append(run.run_id)
        return events(instance, run, known)

    def visible(*arguments: Any, **options: Any) -> list[dg.RunRecord]:
        return [run for run in ended(*arguments, **options) if run.dagster_run.run_id not in hidden]

    monkeypatch.setattr(alerts, "_events", reading)
    monkeypatch.setattr(alerts, "_ended_runs", visible)
    for _ in range(2):
        alerts.file_results(kept, tracker)
    assert read == [early]
    hidden.clear()
    for _ in range(2):
        alerts.file_results(kept, tracker)
    assert read == [early, late]
    kept.add_run_tags(early, {"note": "looked at"})
    for _ in range(2):
        alerts.file_results(kept, tracker)
    assert read == [early, late, early]
    assert {issue.subject: issue.occurrences for issue in tracker.list()} == {"raw/early": 1, "raw/late": 1}


def broken(path: Path, how: str) -> sqlite3.Connection | None:
    """Make the tracker's file unusable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "folder":
        path.mkdir()
    elif how == "damaged":
        path.write_bytes(b"not a database " * 100)
    else:
        LocalIssueTracker(path).list()
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        return connection
    return None


@pytest.mark.parametrize("how", ["folder", "damaged", "locked"])
@pytest.mark.parametrize("later", ["sensor", "cycle"])
def test_what_a_broken_tracker_missed_is_filed_later_once(
    later: str,
    how: str,
    kept: dg.DagsterInstance,
    tracker: LocalIssueTracker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "_BUSY_SECONDS", 0.1)
    blocker = broken(tracker.path, how)
    missed = run_check(kept, False)
    with pytest.raises(NethicalError) as caught:
        alerts.file_cycle(kept, tracker, missed)
    assert "\n" not in str(caught.value)
    if blocker is not None:
        blocker.close()
    elif how == "folder":
        tracker.path.rmdir()
    else:
        tracker.path.unlink()
    for _ in range(2):
        if later == "sensor":
            alerts.file_results(kept, tracker)
        else:
            alerts.file_cycle(kept, tracker, run_check(kept, True, asset="guide"))
    (issue,) = tracker.list()
    assert (issue.subject, issue.state, issue.occurrences) == ("raw/nslkdd", "open", 1)


def fail_or_succeed(
    instance: dg.DagsterInstance, *, fails: bool, tags: dict[str, str], name: str = "training_cycle"
) -> str:
    """One run of a job with assets of two families, of which logistic's may fail."""

    @dg.asset(key=dg.AssetKey(["models", "logistic"]))
    def logistic() -> None:
        if fails:
            raise dg.Failure(description="nslkdd: wrong columns;\nrestore it")

    @dg.asset(key=dg.AssetKey(["models", "heuristic"]))
    def heuristic() -> None: ...

    definitions = dg.Definitions(assets=[logistic, heuristic], jobs=[dg.define_asset_job(name)])
    job = definitions.resolve_job_def(name)
    return job.execute_in_process(instance=instance, raise_on_error=False, run_config=QUIET, tags=tags).run_id


ONE, SEVERAL = {"nethical/family": "logistic"}, {"nethical/families": "heuristic,logistic"}


@pytest.mark.parametrize("how", [ONE, SEVERAL], ids=["one family", "several"])
@pytest.mark.parametrize("later", [ONE, SEVERAL], ids=["one family", "several"])
def test_a_failed_run_names_family_step_and_error_and_ends_when_the_job_succeeds_for_it(
    how: dict[str, str],
    later: dict[str, str],
    kept: dg.DagsterInstance,
    tracker: LocalIssueTracker,
) -> None:
    fail_or_succeed(kept, fails=True, tags={**how, "nethical/reason": "drift score 0.5 is above 0.15"})
    alerts.file_results(kept, tracker)
    (issue,) = tracker.list()
    assert (issue.kind, issue.subject) == ("run_failure", "logistic")
    assert "training_cycle failed at step models__logistic: nslkdd: wrong columns; restore it" in (
        issue.body.replace("\\", "")
    )
    assert "drift score 0.5 is above 0.15" in issue.body
    # Another job, or another family of the same job, proves nothing.
    fail_or_succeed(kept, fails=False, tags=later, name="validate_datasets")
    fail_or_succeed(kept, fails=True, tags={"nethical/family": "heuristic"})
    alerts.file_results(kept, tracker)
    assert tracker.show(issue.number).state == "open"
    fail_or_succeed(kept, fails=False, tags=later)
    alerts.file_results(kept, tracker)
    assert tracker.show(issue.number).state == "closed"
    assert "succeeded later" in tracker.show(issue.number).close_reason


def test_a_blocking_check_that_fails_a_run_is_the_reason(kept: dg.DagsterInstance, tracker: LocalIssueTracker) -> None:
    key = dg.AssetKey(["audit_roots"])

    @dg.asset(key=key)
    def audit_roots() -> None: ...

    @dg.asset_check(asset=key, name="log_verifies", blocking=True)
    def log_verifies() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="tile 3 differs")

    result = dg.materialize([audit_roots, log_verifies], instance=kept, run_config=QUIET, raise_on_error=False)
    (failure,) = RunEvents.read(kept, kept.get_run_by_id(result.run_id)).failures()
    assert failure.error == "the audit log does NOT verify: tile 3 differs"
    alerts.file_results(kept, tracker)
    assert {issue.kind: issue.severity for issue in tracker.list()} == {
        "audit_failure": "critical",
        "run_failure": "high",
    }


def test_words_of_unexpected_errors_stay_in_the_log(kept: dg.DagsterInstance) -> None:
    """They may quote a cell."""

    @dg.op
    def breaks() -> None:
        try:
            float("4111 1111 1111 1111")
        except ValueError as error:
            raise RuntimeError(f"row 3: {error}") from error

    @dg.job
    def training_cycle() -> None:
        breaks()

    result = training_cycle.execute_in_process(instance=kept, raise_on_error=False, run_config=QUIET)
    told = RunEvents.read(kept, kept.get_run_by_id(result.run_id))
    assert [failure.error for failure in told.failures()] == ["ValueError; its log in the UI says more"]
    assert "4111 1111" not in str(told.results())


@pytest.mark.parametrize(
    ("verdict", "model", "ends"),
    [
        ("promoted", "sha256:new", True),
        ("promoted", "sha256:old", False),
        ("unchanged", "sha256:old", False),
        ("candidate", "sha256:new", False),
    ],
)
def test_drift_ends_when_another_model_is_promoted(
    verdict: str, model: str, ends: bool, kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    key = dg.AssetKey(["releases", "logistic"])

    @dg.asset(key=key)
    def release() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(
            metadata={"verdict": verdict, "model": model, "champion_before": "sha256:old", "version": "1.0.1"}
        )

    judge_window(kept, {"drift": False, "accuracy": False, "calibration": False})
    run_check(kept, passed=False, asset="logistic", stage="releases", check="champion")
    dg.materialize([release], instance=kept, run_config=QUIET)
    alerts.file_results(kept, tracker)
    found = {issue.kind: issue for issue in tracker.list()}
    assert sorted(found) == ["accuracy_drop", "calibration", "drift", "regression"]
    assert {issue.state == "closed" for issue in found.values()} == {ends}
    assert found["accuracy_drop"].severity == "high"


def judge_window(instance: dg.DagsterInstance, verdicts: dict[str, bool], **numbers: str) -> None:
    """One run of the drift watch of a family."""
    watched = dg.AssetKey(["drift_reports", "logistic"])

    @dg.asset(key=watched)
    def drifting() -> None: ...

    @dg.multi_asset_check(specs=[dg.AssetCheckSpec(name, asset=watched) for name in verdicts])
    def checks() -> Iterator[dg.AssetCheckResult]:
        for name, passed in verdicts.items():
            yield dg.AssetCheckResult(check_name=name, passed=passed, description="score: 0.5", metadata=dict(numbers))

    dg.materialize([drifting, checks], instance=instance, run_config=QUIET)


def test_what_an_old_window_says_is_older_than_what_a_newer_one_said(
    kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    old, new = "2026-03-01T06:00:00+00:00", "2026-03-01T12:00:00+00:00"
    judge_window(kept, {"accuracy": False}, window_end=new, quoted="471100815293")
    judge_window(kept, {"accuracy": True}, window_end=old)
    alerts.file_results(kept, tracker)
    (issue,) = tracker.list()
    assert (issue.state, issue.title[:-10]) == ("open", "Model Accuracy Drop: logistic - ")
    assert new in issue.body
    assert "471100815293" not in issue.body, "of texts only the window's end is told"
    judge_window(kept, {"accuracy": True}, window_end=new)
    alerts.file_results(kept, tracker)
    assert tracker.show(1).state == "closed"
    judge_window(kept, {"accuracy": False}, window_end=old)
    alerts.file_results(kept, tracker)
    assert tracker.show(1).state == "closed"


def test_a_run_of_the_command_line_whose_process_is_gone_is_a_failed_run(
    settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker
) -> None:
    tags = {"nethical/trigger": "command line", "nethical/family": "logistic"}
    job = build_defs(settings).resolve_job_def("training_cycle")
    started = [kept.create_run_for_job(job, tags=tags) for _ in range(2)]
    for run in started:
        kept.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "training_cycle", message="started"), run.run_id
        )
    alive, dead = started
    with FileLock(settings.home / "runs" / f"{alive.run_id}.lock"):
        CheckSensor(settings, kept).tick()
        status = {run.run_id: run.status for run in kept.get_runs()}
    assert status == {alive.run_id: dg.DagsterRunStatus.STARTED, dead.run_id: dg.DagsterRunStatus.FAILURE}
    (issue,) = tracker.list()
    assert issue.title.startswith("Run Failure: logistic - ")
    assert "The process of this run was ended" in issue.body


def test_a_run_of_the_daemon_whose_process_is_gone_is_a_failed_run(
    settings: Settings, kept: dg.DagsterInstance
) -> None:
    job = build_defs(settings).resolve_job_def("training_cycle")
    alive, dead, not_begun = (kept.create_run_for_job(job) for _ in range(3))
    for run in (alive, dead, not_begun):
        kept.report_dagster_event(
            dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "training_cycle", message="started"), run.run_id
        )
    # What a process that was killed leaves: a lock file that nobody holds.
    run_lock_path(settings.home, dead.run_id).parent.mkdir(parents=True, exist_ok=True)
    run_lock_path(settings.home, dead.run_id).touch()
    with FileLock(run_lock_path(settings.home, alive.run_id)):
        CheckSensor(settings, kept).tick()
        status = {run.run_id: run.status for run in kept.get_runs()}
    assert status == {
        alive.run_id: dg.DagsterRunStatus.STARTED,
        dead.run_id: dg.DagsterRunStatus.FAILURE,
        not_begun.run_id: dg.DagsterRunStatus.STARTED,
    }


def test_a_run_is_held_from_before_its_first_step(settings: Settings, kept: dg.DagsterInstance) -> None:
    seen = []

    @dg.asset(required_resource_keys={"cycle"})
    def looks(context) -> None:  # type: ignore[no-untyped-def]
        seen.append((context.run.run_id, is_alive(settings.home, context.run.run_id)))

    dg.materialize(
        [looks], instance=kept, resources={"cycle": CycleResource(home=str(settings.home))}, run_config=QUIET
    )
    ((run_id, alive),) = seen
    assert alive
    assert not run_lock_path(settings.home, run_id).exists()


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
        "from nethical_assets.home.options import CycleOptions\n"
        "from nethical_assets.home.workspace import Workspace\n"
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
    assert issue.title.startswith("Run Failure: logistic - ")
    assert "at step breaks: DatasetError" in issue.body
    assert "caught fire" not in issue.body
    assert list(log.pending_runs()) == []
    types = [str(found.event.type) for found in log.find_events(run_id=result.run_id)]
    assert "data_fetched" in types
    assert verify(settings)["problems"] == []


def test_nobody_is_told_before_all_ended_runs_are_read(
    settings: Settings, kept: dg.DagsterInstance, tracker: LocalIssueTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(alerts, "_BATCH", 1)
    monkeypatch.setattr(alerts, "deliver_quietly", lambda home, tracker: told.append(len(tracker.list())) or [])
    for name in ("nslkdd", "guide", "hdfs"):
        run_check(kept, False, asset=name)
    sensor = CheckSensor(settings, kept)
    for _ in range(4):
        sensor.tick()
    assert told and set(told) == {3}
