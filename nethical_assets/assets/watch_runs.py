"""What Dagster knows of the watch: the reports about windows, and the runs that were asked for.

What belongs here: reading its event log and its runs. What does not: which windows are due by that, or given up
(``core.drift.due``).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from nethical_assets.assets.factory import asset_key
from nethical_assets.assets.requests import DRIFT_JOB, asked_by, families_of
from nethical_assets.core.drift.due import Asked, Failures
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.stages.watching import DRIFT_REPORTS

_PARTITION_TAG = "dagster/partition"
_FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class WindowReport:
    """The newest report of a window: whether the window had ended, and when making it began."""

    complete: bool
    begun: datetime


def window_reports(
    instance: dg.DagsterInstance, family: str, windows: Collection[Window]
) -> dict[Window, WindowReport]:
    """The newest report of each of the windows that has one."""
    key = asset_key(DRIFT_REPORTS, family)
    there = instance.get_materialized_partitions(key)
    found = {}
    for window in windows:
        if window.key not in there:
            continue
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[window.key])
        for record in instance.fetch_materializations(wanted, limit=1).records:
            made = record.asset_materialization
            complete = made.metadata.get("complete") if made is not None else None
            run = instance.get_run_record_by_id(record.run_id)
            begun = record.timestamp if run is None or run.start_time is None else run.start_time
            found[window] = WindowReport(
                complete is not None and bool(complete.value), datetime.fromtimestamp(begun, UTC)
            )
    return found


def failed_runs(instance: dg.DagsterInstance, since: datetime, hours: int) -> dict[Asked, Failures]:
    """The failures of runs that the schedule asked for since then, by what each was asked for.

    What a person executes again has the tags of the first run, and uses up no attempt.
    """
    wanted = dg.RunsFilter(job_name=DRIFT_JOB, statuses=list(_FAILED), created_after=since)
    found: dict[Asked, Failures] = {}
    for record in instance.get_run_records(wanted, ascending=True):
        window = _window(record.dagster_run, hours)
        if window is None or record.dagster_run.parent_run_id is not None:
            continue
        begun = record.create_timestamp.replace(tzinfo=UTC)
        ended = record.update_timestamp.replace(tzinfo=UTC)
        if record.end_time is not None:
            ended = datetime.fromtimestamp(record.end_time, UTC)
        for family, evidence in asked_by(record.dagster_run).items():
            asked = Asked(family, window, evidence)
            before = found[asked].runs if asked in found else 0
            found[asked] = Failures(before + 1, begun, ended)
    return found


def waiting_runs(instance: dg.DagsterInstance, families: Sequence[str], hours: int) -> set[tuple[str, Window]]:
    """Each family and window that a run is to judge and has not ended, whoever asked for it."""
    found = set()
    unfinished = [status for status in dg.DagsterRunStatus if status not in (*_FAILED, dg.DagsterRunStatus.SUCCESS)]
    for run in instance.get_runs(dg.RunsFilter(job_name=DRIFT_JOB, statuses=unfinished)):
        window = _window(run, hours)
        if window is not None:
            found |= {(family, window) for family in families_of(run) or families}
    return found


def _window(run: dg.DagsterRun, hours: int) -> Window | None:
    """The window that a run is about; None where it is about none, or about one of another length."""
    try:
        return Window.from_key(run.tags.get(_PARTITION_TAG, ""), hours)
    except DatasetError:
        return None
