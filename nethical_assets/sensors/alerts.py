"""The alert sensors: what ended runs tell becomes issues, and what they prove closes them.

What belongs here: which runs are read, and how far. What does not: what a run tells (``results``), what is a problem,
what an alert says, its fingerprint or its labels (``core.alerts``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg

from nethical_assets.assets.roots import witness_root
from nethical_assets.core.alerts import IssueTracker, Recorded
from nethical_assets.home.deliveries import deliver_quietly
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.resources.platform import IssueTrackerResource
from nethical_assets.sensors.dead_runs import fail_dead_runs
from nethical_assets.sensors.promotions import file_promotions
from nethical_assets.sensors.results import RunEvents

READER = "ended runs"
_OBSERVER = "run-failure-sensor"  # not the failed run itself, which would count as alive
_BATCH = 20
_CATCH_UP_BATCHES = 10
_OVERLAP = timedelta(seconds=60)
"""A run whose end waited for the database may become visible after runs that ended later: it is looked for so long."""
_TICK = timedelta(microseconds=1)
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_INTERVAL_SECONDS = 30


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The check sensor and the run failure sensor."""

    @dg.sensor(
        name="check_alert_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Files failed checks and failed runs with the issue tracker, closes their issues when they "
        "pass again, and tells the targets that the environment names.",
    )
    def check_alert_sensor(context: dg.SensorEvaluationContext, issue_tracker: IssueTrackerResource) -> dg.SkipReason:
        witness_root(context.instance, settings.home)
        fail_dead_runs(context.instance, settings)
        tracker = issue_tracker.open(settings)
        recorded = file_results(context.instance, tracker) + file_promotions(settings, tracker)
        position = tracker.position(READER)
        if position is not None:
            context.update_cursor(position)
        told = deliver_quietly(settings.home, tracker) if has_read_all(context.instance, tracker) else []
        return dg.SkipReason("; ".join([f"{recorded.filed} occurrences filed, {recorded.closed} issues closed", *told]))

    @dg.run_failure_sensor(
        name="run_failure_alert_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        monitor_all_code_locations=True,
        description="Closes a failed run's part of the audit log, and files the failure.",
    )
    def run_failure_alert_sensor(context: dg.RunFailureSensorContext, issue_tracker: IssueTrackerResource) -> None:
        Workspace(settings, CycleOptions(), _OBSERVER).finalize_abandoned()
        issue_tracker.open(settings).record(RunEvents.read(context.instance, context.dagster_run).results())

    return [check_alert_sensor, run_failure_alert_sensor]


def file_results(instance: dg.DagsterInstance, tracker: IssueTracker, known: RunEvents | None = None) -> Recorded:
    """Record what the next ended runs tell, from where the tracker says that reading stopped.

    The tracker remembers the position in the same step as the results, so a tracker that could not be written is given
    the same runs again, and an emptied one is filled again from the event log. Runs are read one by one because SQLite
    keeps the events of each run apart.
    """
    noted = tracker.position(READER)
    if noted is None:
        position, runs = None, _ended_runs(instance, limit=_BATCH)
    else:
        position = _Position.parse(noted)
        late = _ended_runs(instance, updated_after=position.until - _OVERLAP, updated_before=position.until + _TICK)
        newer = _ended_runs(instance, updated_after=position.until, limit=_BATCH)
        runs = [run for run in (*late, *newer) if not position.has_read(run)]
    if not runs:
        # A process that was killed may have closed what held an alert back, and not filed that.
        return tracker.record([]) if tracker.releases() else Recorded(0, 0)
    results = [result for run in runs for result in _events(instance, run.dagster_run, known).results()]
    return tracker.record(results, reader=READER, position=str(_Position.after(position, runs)))


def has_read_all(instance: dg.DagsterInstance, tracker: IssueTracker) -> bool:
    """Whether no ended run waits to be read. Until then the tracker may not know of the end of what it holds open, as
    one that was emptied and is filled again, and tells nobody."""
    noted = tracker.position(READER)
    if noted is None:
        return True
    position = _Position.parse(noted)
    newer = _ended_runs(instance, updated_after=position.until, limit=_BATCH)
    return all(position.has_read(run) for run in newer)


def reading(tracker: IssueTracker) -> Callable[[dg.RunRecord], bool]:
    """Whether what an ended run told was read, so that nothing is lost with the run."""
    noted = tracker.position(READER)
    if noted is None:
        return lambda run: False
    position = _Position.parse(noted)
    return lambda run: run.update_timestamp <= position.until - _OVERLAP or position.has_read(run)


@dataclass(frozen=True)
class _Position:
    """How far ended runs were read: until which moment, and which of the last ones (id -> when it was updated)."""

    until: datetime
    read: Mapping[str, datetime]

    @classmethod
    def parse(cls, text: str) -> _Position:
        """The inverse of ``str``; older versions noted the moment alone."""
        until, *read = text.split()
        runs = dict(one.split("@") for one in read)
        return cls(datetime.fromisoformat(until), {run: datetime.fromisoformat(at) for run, at in runs.items()})

    @classmethod
    def after(cls, before: _Position | None, runs: Sequence[dg.RunRecord]) -> _Position:
        """The position when ``runs`` were read too."""
        read = dict(before.read if before is not None else {})
        read |= {run.dagster_run.run_id: run.update_timestamp for run in runs}
        until = max(read.values() if before is None else (before.until, *read.values()))
        return cls(until, {run: at for run, at in read.items() if at > until - _OVERLAP})

    def has_read(self, run: dg.RunRecord) -> bool:
        """Whether the run was read as it is now."""
        return self.read.get(run.dagster_run.run_id) == run.update_timestamp

    def __str__(self) -> str:
        return " ".join([self.until.isoformat(), *(f"{run}@{at.isoformat()}" for run, at in self.read.items())])


def file_cycle(instance: dg.DagsterInstance, tracker: IssueTracker, run_id: str, told: RunEvents | None = None) -> None:
    """Record what one run tells at once, and then what earlier runs told that could not be filed at its time.

    Args:
        told: the events of the run, where they were read since it ended.
    """
    run = instance.get_run_by_id(run_id)
    if run is not None:
        told = _events(instance, run, told)
        tracker.record(told.results())
    for _ in range(_CATCH_UP_BATCHES):
        before = tracker.position(READER)
        file_results(instance, tracker, told)
        if tracker.position(READER) == before:
            return


def _events(instance: dg.DagsterInstance, run: dg.DagsterRun, known: RunEvents | None) -> RunEvents:
    """What a run told, read unless it is known."""
    return known if known is not None and known.run.run_id == run.run_id else RunEvents.read(instance, run)


def _ended_runs(
    instance: dg.DagsterInstance,
    *,
    updated_after: datetime | None = None,
    updated_before: datetime | None = None,
    limit: int | None = None,
) -> list[dg.RunRecord]:
    return list(
        instance.get_run_records(
            filters=dg.RunsFilter(statuses=list(_ENDED), updated_after=updated_after, updated_before=updated_before),
            order_by="update_timestamp",
            ascending=True,
            limit=limit,
        )
    )
