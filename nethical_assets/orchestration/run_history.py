"""What is removed with time: files that killed processes left, and Dagster's record of old runs.

What belongs here: which of them may go, and removing them. What does not: retention of models (``nethical models
prune``) and of datasets' backups. The audit log, provenance and records keep what they say about a removed run.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from nethical_assets.core.ground.storage import sweep_lock_files, sweep_partial_files
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.sqlite_storage import PooledEventLogStorage

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_RUNS_AT_ONCE = 500


@dataclass(frozen=True)
class Retained:
    """How many of each were removed."""

    runs: int
    files: int


def apply_retention(settings: Settings, instance: dg.DagsterInstance, *, now: datetime) -> Retained:
    """Remove left files, and the runs that ended ``monitoring.run_retention_days`` before ``now`` (with its time zone).

    At most 500 runs at a time, the oldest first; call it again for more.
    """
    age = timedelta(days=settings.file.monitoring.run_retention_days)
    return Retained(
        runs=len(forget_runs(instance, ended_before=now - age)),
        files=len(sweep_left_files(settings.home)),
    )


def sweep_left_files(home: Path) -> list[Path]:
    """Remove the temporary files of killed writers and the locks of ended runs below ``home``; the files removed."""
    return [*sweep_partial_files(home), *sweep_lock_files(home / "runs")]


def forget_runs(instance: dg.DagsterInstance, *, ended_before: datetime) -> list[str]:
    """Remove ended runs that were last updated before ``ended_before``: record, events, check results, logs; their ids.

    A run stays while it holds the newest result of an asset or a check. What sensors, freshness and the asset pages
    read of the present is therefore never removed: ``DagsterInstance.delete_run`` alone would remove it. With another
    event storage than this project's, which cannot say which runs those are, all stay.
    """
    events = instance.event_log_storage
    if not isinstance(events, PooledEventLogStorage):
        return []
    needed = events.runs_of_newest_results()
    old = instance.get_run_records(
        filters=dg.RunsFilter(statuses=_ENDED, updated_before=ended_before),
        limit=_RUNS_AT_ONCE + len(needed),
        order_by="update_timestamp",
        ascending=True,
    )
    chosen = [run.dagster_run.run_id for run in old if run.dagster_run.run_id not in needed][:_RUNS_AT_ONCE]
    for run_id in chosen:
        # The record goes last: a call that is killed before that finds the run again.
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        events.delete_events(run_id)
        instance.run_storage.delete_run(run_id)
    return chosen
