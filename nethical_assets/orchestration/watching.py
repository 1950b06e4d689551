"""The schedule of the watch: each window when it ended, windows that were missed, and windows that labels came for.

What belongs here: what Dagster knows of earlier reports and runs. What does not: which windows are due by that
(``core.drift.due``), or what labels came (``home.watched_windows``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from nethical_assets.assets.factory import asset_key, window_cron
from nethical_assets.assets.requests import DRIFT_JOB, watch_request
from nethical_assets.core.drift.due import due_runs, trailing_windows
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.watched_windows import began_at, windows_with_new_labels
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.judging import ETHICAL_DRIFT_REPORT
from nethical_assets.stages.watching import DRIFT_REPORTS

_OBSERVER = "watch-schedule"
_PARTITION_TAG = "dagster/partition"
_FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@dataclass(frozen=True)
class _Report:
    """The newest report of a window: whether the window had ended, and when making it began."""

    complete: bool
    begun: datetime


def build_watch_schedule(settings: Settings, families: Sequence[str]) -> dg.ScheduleDefinition:
    """Ticks when a window ends."""
    monitoring = settings.file.monitoring

    @dg.schedule(
        name="drift_watch_schedule",
        cron_schedule=window_cron(settings),
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        job_name=DRIFT_JOB,
        description="Judge the window that just ended; of the trailing period also windows that were missed, and those "
        "that labels came for since their report.",
    )
    def drift_watch_schedule(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        ended = Window.at(context.scheduled_execution_time, monitoring.drift_interval_hours).before()
        began = began_at(settings.home)
        first = ended if began is None else Window.at(began, monitoring.drift_interval_hours)
        before = list(trailing_windows(ended, first, monitoring.drift_window_hours))
        reports = {family: _reports(context.instance, family, before) for family in families}
        workspace = Workspace(settings, CycleOptions(), _OBSERVER)
        labelled: dict[str, dict[Window, str]] = {}
        for family, known in reports.items():
            try:
                judged = {window: report.begun for window, report in known.items()}
                labelled[family] = windows_with_new_labels(workspace, family, judged)
            except (NethicalError, OSError) as error:
                # The window that ended is judged all the same, and says what is wrong where it concerns it.
                context.log.warning(f"labels of {family} were not looked for: {error}")
        failed, waiting = _runs(context.instance, before)
        due = due_runs(
            ended,
            before,
            families,
            judged={family: [w for w, one in known.items() if one.complete] for family, known in reports.items()},
            labelled=labelled,
            failed=failed,
            waiting=waiting,
        )
        for one in due:
            assets = [asset_key(DRIFT_REPORTS, family) for family in one.families]
            # What all families together say is about now: it follows the window that just ended.
            more = [asset_key(ETHICAL_DRIFT_REPORT)] if one.window == ended else []
            yield watch_request(
                context.repository_def,
                [*assets, *more],
                one.families,
                window=one.window.key,
                run_key=one.key,
                reason=one.reason,
            )

    return drift_watch_schedule


def _reports(instance: dg.DagsterInstance, family: str, windows: Sequence[Window]) -> dict[Window, _Report]:
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
            found[window] = _Report(complete is not None and bool(complete.value), datetime.fromtimestamp(begun, UTC))
    return found


def _runs(instance: dg.DagsterInstance, windows: Sequence[Window]) -> tuple[Counter[Window], set[Window]]:
    """How many runs about each window failed, and about which windows a run has not ended."""
    by_key = {window.key: window for window in windows}
    failed: Counter[Window] = Counter()
    waiting = set()
    for run in instance.get_runs(dg.RunsFilter(job_name=DRIFT_JOB)):
        window = by_key.get(run.tags.get(_PARTITION_TAG, ""))
        if window is None:
            continue
        if run.status in _FAILED:
            failed[window] += 1
        elif not run.is_finished:
            waiting.add(window)
    return failed, waiting
