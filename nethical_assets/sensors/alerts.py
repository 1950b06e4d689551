"""The alert sensors: failed checks and failed runs become issues; checks that pass again close them.

What belongs here: reading Dagster's events and calling the tracker. What does not: what is a problem, what an alert
says, its fingerprint or its labels (``core.alerts``).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from nethical_assets.core.alerts import Alert
from nethical_assets.core.alerts.checks import CheckResult, alert_of
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import CycleOptions, Workspace
from nethical_assets.resources.platform import IssueTrackerResource

ACTOR = "check sensor"
_OBSERVER = "run-failure-sensor"  # not the failed run itself, which would count as alive
_BATCH = 20
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_INTERVAL_SECONDS = 30


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The check sensor and the run failure sensor."""

    @dg.sensor(
        name="check_alert_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Files failed checks with the issue tracker, and closes their issues when they pass again.",
    )
    def check_alert_sensor(context: dg.SensorEvaluationContext, issue_tracker: IssueTrackerResource) -> dg.SkipReason:
        filed, closed, cursor = file_check_results(context.instance, issue_tracker, context.cursor)
        if cursor is not None:
            context.update_cursor(cursor)
        return dg.SkipReason(f"{filed} check failures filed, {closed} issues closed")

    @dg.run_failure_sensor(
        name="run_failure_alert_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        monitor_all_code_locations=True,
        description="Files failed runs with the issue tracker and closes their part of the audit log.",
    )
    def run_failure_alert_sensor(context: dg.RunFailureSensorContext, issue_tracker: IssueTrackerResource) -> None:
        issue_tracker.open().file(failure_alert(context.dagster_run, context.failure_event))
        from nethical_assets.stages.sealing import finalize_abandoned

        finalize_abandoned(Workspace(settings, CycleOptions(), _OBSERVER))

    return [check_alert_sensor, run_failure_alert_sensor]


def file_check_results(
    instance: dg.DagsterInstance, issue_tracker: IssueTrackerResource, cursor: str | None
) -> tuple[int, int, str | None]:
    """File the check results of runs that ended after ``cursor`` (ISO 8601), in the order they ended.

    Returns how many were filed, how many issues were closed, and the new cursor (None without runs). Runs are read one
    by one because SQLite keeps the events of each run apart.
    """
    after = None if cursor is None else datetime.fromisoformat(cursor)
    runs = instance.get_run_records(
        filters=dg.RunsFilter(statuses=list(_ENDED), updated_after=after),
        order_by="update_timestamp",
        ascending=True,
        limit=_BATCH,
    )
    counts = [file_run_checks(instance, issue_tracker, run.dagster_run.run_id) for run in runs]
    filed, closed = (sum(count[part] for count in counts) for part in (0, 1))
    return filed, closed, runs[-1].update_timestamp.isoformat() if runs else None


def file_run_checks(instance: dg.DagsterInstance, issue_tracker: IssueTrackerResource, run_id: str) -> tuple[int, int]:
    """File the check results of one run, and close the issues of checks that passed: how many of each.

    The same result filed twice counts once, so a cycle may file its own before the sensor sees it.
    """
    tracker = issue_tracker.open()
    events = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION, ascending=True)
    filed = closed = 0
    for record in events.records:
        result = check_result(record.event_log_entry)
        alert = alert_of(result)
        if alert is not None:
            tracker.file(alert)
            filed += 1
        elif result.passed and (issue := tracker.find(result.fingerprint)) is not None and issue.state == "open":
            tracker.close(issue.number, f"the check passed again: {result.summary}", ACTOR)
            closed += 1
    return filed, closed


def check_result(entry: dg.EventLogEntry) -> CheckResult:
    """A check evaluation event as core sees it."""
    event = entry.get_dagster_event()
    evaluation = event.asset_check_evaluation_data
    metadata = {name: value.value for name, value in evaluation.metadata.items()}
    return CheckResult(
        asset=evaluation.asset_key.to_user_string(),
        check=evaluation.check_name,
        passed=evaluation.passed,
        warning=evaluation.severity is dg.AssetCheckSeverity.WARN,
        undecided=metadata.get("verdict") == "needs_more_data",
        summary=evaluation.description or f"check {evaluation.check_name} did not pass",
        when=datetime.fromtimestamp(entry.timestamp, UTC),
        occurrence=entry.run_id,
        numbers=_numbers(metadata),
    )


def failure_alert(run: dg.DagsterRun, event: dg.DagsterEvent) -> Alert:
    """The alert of a failed run; the family it was for is its subject where it was for one."""
    return Alert(
        kind="run_failure",
        subject=run.tags.get("nethical/family", run.job_name),
        check=run.job_name,
        summary=f"Run {run.run_id} of {run.job_name} failed; its log in the UI names the step.",
        when=datetime.now(UTC),
        occurrence=run.run_id,
        details={"run": run.run_id, "job": run.job_name, "event": event.event_type_value},
    )


def _numbers(metadata: Mapping[str, Any]) -> dict[str, str | int | float | bool | None]:
    return {name: value for name, value in metadata.items() if isinstance(value, bool | int | float)}
