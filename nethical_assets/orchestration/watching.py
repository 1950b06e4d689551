"""The schedule of the watch: each window when it ended, windows that were missed, and windows that labels came for.

What belongs here: gathering what is known at a tick, and asking for runs. What does not: which windows are due by that
(``core.drift.due``), what Dagster knows of earlier ones (``assets.watch_runs``), or what labels came
(``home.watched_windows``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import dagster as dg

from nethical_assets.assets.factory import asset_key, window_cron
from nethical_assets.assets.requests import DRIFT_JOB, watch_request
from nethical_assets.assets.watch_runs import failed_runs, waiting_runs, window_reports
from nethical_assets.core.drift.due import due_runs, is_given_up, trailing_windows
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.watched_windows import began_at, windows_with_new_labels
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.judging import ETHICAL_DRIFT_REPORT
from nethical_assets.stages.watching import DRIFT_REPORTS

_OBSERVER = "watch-schedule"


def build_watch_schedule(settings: Settings, families: Sequence[str]) -> dg.ScheduleDefinition:
    """Ticks when a window ends."""
    hours, trailing = settings.file.monitoring.drift_interval_hours, settings.file.monitoring.drift_window_hours

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
        ended = Window.at(context.scheduled_execution_time, hours).before()
        began = began_at(settings.home)
        first = ended if began is None else Window.at(began, hours)
        before = list(trailing_windows(ended, first, trailing))
        failures = failed_runs(context.instance, min([ended, *before]).start, hours)
        judged: dict[str, dict[Window, datetime]] = {}
        labelled: dict[str, dict[Window, str]] = {}
        for family in families:
            reports = window_reports(context.instance, family, before)
            judged[family] = {window: report.begun for window, report in reports.items() if report.complete}
            # Labels that come after a window was given up are a reason to try it again.
            since = {
                asked.window: found.begun
                for asked, found in failures.items()
                if asked.family == family
                and asked.window in before
                and asked.window not in judged[family]
                and is_given_up(found, None)
            }
            try:
                workspace = Workspace(settings, CycleOptions(), _OBSERVER)
                labelled[family] = windows_with_new_labels(workspace, family, {**judged[family], **since})
            except (NethicalError, OSError) as error:
                # The window that ended is judged all the same, and says what is wrong where it concerns it.
                context.log.warning(f"labels of {family} were not looked for: {error}")
        due = due_runs(
            ended,
            before,
            families,
            hours=trailing,
            judged=judged,
            labelled=labelled,
            failures=failures,
            waiting=waiting_runs(context.instance, families, hours),
        )
        for one in due:
            assets = [asset_key(DRIFT_REPORTS, family) for family in one.families]
            # What all families together say is about now: it follows the window that just ended.
            more = [asset_key(ETHICAL_DRIFT_REPORT)] if one.window == ended else []
            yield watch_request(
                context.repository_def,
                [*assets, *more],
                one.evidence,
                window=one.window.key,
                run_key=one.key,
                reason=one.reason,
            )

    return drift_watch_schedule
