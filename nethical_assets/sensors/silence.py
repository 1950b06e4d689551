"""The silence sensor: the monitors are watched too, by what their reports say and by their absence.

What belongs here: reading reports from the event log, and filing. What does not: deciding (``core.alerts.silence``), or
reports themselves (an asset, on a schedule).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from nethical_assets.assets.factory import asset_key
from nethical_assets.assets.watch_runs import failed_runs, window_reports
from nethical_assets.core.alerts import Alert, IssueTracker, Resolution
from nethical_assets.core.alerts.silence import (
    LOOKED,
    AbandonedWindow,
    JudgedWindow,
    Memory,
    Patience,
    WatchedFamily,
    judge,
    judge_abandoned,
)
from nethical_assets.core.drift.due import is_given_up
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import has_served
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.resources.platform import IssueTrackerResource
from nethical_assets.stages.watching import DRIFT_REPORTS

_INTERVAL_SECONDS = 60
_OBSERVER = "silence-sensor"
_AT_ONCE = 100


def build_silence_sensor(settings: Settings, families: tuple[str, ...]) -> dg.SensorDefinition:
    """Files families whose drift reports stay away or say for long that nothing is scored; closes it by a report."""
    monitoring = settings.file.monitoring
    interval = timedelta(hours=monitoring.drift_interval_hours)
    trailing = timedelta(hours=monitoring.drift_window_hours)
    limits = Patience(interval, timedelta(hours=monitoring.no_traffic_alert_hours))

    @dg.sensor(
        name="silence_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Files families with a champion whose drift reports stay away, or say for long that it scored "
        "nothing, and windows that are given up because their runs fail; notes when it looked, so that its own end is "
        "seen.",
    )
    def silence_sensor(context: dg.SensorEvaluationContext, issue_tracker: IssueTrackerResource) -> dg.SkipReason:
        now = utc_now()
        memory = Memory.parse(context.cursor).looking(now)
        for family in families:
            memory = _read(context.instance, family, interval, memory)
        watched = _watched(Workspace(settings, CycleOptions(), _OBSERVER), families, memory)
        since, served = memory.watching_since or now, has_served(settings.home)
        results = judge(watched, now=now, watching_since=since, has_served=served, limits=limits)
        abandoned = _abandoned(context.instance, now - trailing, monitoring.drift_interval_hours)
        for one in watched:
            results += judge_abandoned(one, abandoned.get(one.family, ()), now=now, trailing=trailing)
        tracker = issue_tracker.open(settings)
        told = [result for result in results if _matters(tracker, result)]
        recorded = tracker.record(told, reader=LOOKED, position=now.isoformat(timespec="seconds"))
        context.update_cursor(str(memory))
        return dg.SkipReason(
            f"{len(watched)} families watched, {recorded.filed} occurrences filed, {recorded.closed} issues closed"
        )

    return silence_sensor


def _matters(tracker: IssueTracker, result: Alert | Resolution) -> bool:
    """Whether it may change something: that nothing is wrong is told of what is open alone."""
    return isinstance(result, Alert) or tracker.is_open(result.fingerprint)


def _watched(workspace: Workspace, families: tuple[str, ...], memory: Memory) -> list[WatchedFamily]:
    """The families with a champion. One whose pointer is damaged is told of by those who need it."""
    found = []
    for family in families:
        try:
            champion = workspace.registry.champion(family)
            if champion is None:
                continue
            pointers = (champion, *workspace.registry.archived(family))
        except IntegrityError:
            continue
        since = min(datetime.fromisoformat(pointer.decided_at) for pointer in pointers)
        found.append(WatchedFamily(family, DRIFT_REPORTS.record_name(family), since, memory.windows.get(family, ())))
    return found


def _abandoned(instance: dg.DagsterInstance, since: datetime, hours: int) -> dict[str, list[AbandonedWindow]]:
    """The windows since then that were given up, by family."""
    found: dict[str, list[AbandonedWindow]] = {}
    for asked, failures in failed_runs(instance, since, hours).items():
        if not is_given_up(failures, None) or asked.window.start < since:
            continue
        report = window_reports(instance, asked.family, [asked.window]).get(asked.window)
        if is_given_up(failures, report.begun if report is not None and report.complete else None):
            window = AbandonedWindow(asked.window.start, failures.runs, failures.ended, asked.evidence)
            found.setdefault(asked.family, []).append(window)
    return found


def _read(instance: dg.DagsterInstance, family: str, interval: timedelta, memory: Memory) -> Memory:
    """The memory with the reports about a family that were made since it was last read."""
    while True:
        wanted = dg.AssetRecordsFilter(
            asset_key=asset_key(DRIFT_REPORTS, family), after_storage_id=memory.read.get(family)
        )
        records = instance.fetch_materializations(wanted, limit=_AT_ONCE, ascending=True).records
        for record in records:
            memory = memory.told(family, record.storage_id, _report(record, interval))
        if len(records) < _AT_ONCE:
            return memory


def _report(record: dg.EventLogRecord, interval: timedelta) -> JudgedWindow:
    materialization = record.asset_materialization
    shown = {} if materialization is None else {name: one.value for name, one in materialization.metadata.items()}
    judged_at, rows = datetime.fromtimestamp(record.timestamp, UTC), shown.get("rows")
    return JudgedWindow(
        # Reports of older versions are about no window: about the time before them.
        start=_moment(shown.get("window_start"), judged_at - interval),
        end=_moment(shown.get("window_end"), judged_at),
        judged_at=judged_at,
        verdict=str(shown.get("verdict")),
        rows=rows if isinstance(rows, int) else 0,
    )


def _moment(said: Any, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(said) if isinstance(said, str) else otherwise
