"""What is removed with time: files that killed processes left, and Dagster's record of old runs.

What belongs here: which of them may go, and removing them. What does not: retention of models (``nethical models
prune``) and of datasets' backups. The audit log, provenance and records keep what they say about a removed run.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path

import dagster as dg

from nethical_assets.assets.requests import TRIGGER_TAG, families_of
from nethical_assets.assets.roots import runs_of_newest_roots
from nethical_assets.core.ground.errors import BusyError, NethicalError
from nethical_assets.core.ground.storage import exclusive_lock, sweep_lock_files, sweep_partial_files
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.sqlite_storage import PooledEventLogStorage
from nethical_assets.resources.platform import IssueTrackerResource
from nethical_assets.sensors.alerts import reading
from nethical_assets.sensors.dead_runs import fail_dead_runs

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_STATUSES = list(dg.DagsterRunStatus)
_RUNS_AT_ONCE = 500
_RUNLESS_EVENTS_KEPT = 100


@dataclass(frozen=True)
class Retained:
    """How many of each were removed."""

    runs: int
    files: int


def apply_retention(settings: Settings, instance: dg.DagsterInstance, *, now: datetime) -> Retained:
    """Mark killed runs as failed, and remove left files and the runs that the settings keep no longer.

    At most 500 runs at a time, the oldest first; call it again for more. Several processes may do so at once, and it
    may be killed at any instant: whoever comes next completes it.

    Args:
        now: the time, with its time zone.
    """
    fail_dead_runs(instance, settings)
    return Retained(
        runs=len(forget_old_runs(settings, instance, now=now)), files=len(sweep_left_files(settings.home, instance))
    )


def sweep_left_files(home: Path, instance: dg.DagsterInstance) -> list[Path]:
    """Remove the temporary files of killed writers and the locks of ended runs below ``home``; the files removed.

    The lock of a killed run stays until the instance knows that the run is over: that it is there, and that nobody
    holds it, is how this is found out.
    """
    going_on = set(instance.get_run_ids(dg.RunsFilter(statuses=[each for each in _STATUSES if each not in _ENDED])))
    return [*sweep_partial_files(home), *sweep_lock_files(home / "runs", keep=going_on)]


def forget_old_runs(settings: Settings, instance: dg.DagsterInstance, *, now: datetime) -> list[str]:
    """Remove runs that the settings keep no longer, and whose end the issue tracker has read; their ids.

    Nothing is removed while another process does it, or while the tracker does not say how far it has read.
    """
    monitoring = settings.file.monitoring
    try:
        was_read = reading(IssueTrackerResource.of(settings).open(settings))
    except NethicalError:
        return []
    lock = settings.home / "dagster" / "retention.lock"
    try:
        with exclusive_lock(lock, waiting_seconds=0.0, what="the retention of runs"):
            return forget_runs(
                instance,
                ended_before=now - timedelta(days=monitoring.run_retention_days),
                keep=monitoring.run_retention_runs,
                was_read=was_read,
            )
    except BusyError:
        return []


def forget_runs(
    instance: dg.DagsterInstance, *, ended_before: datetime, keep: int, was_read: Callable[[dg.RunRecord], bool]
) -> list[str]:
    """Remove ended runs that were last updated before ``ended_before``, or after which ``keep`` others of their job
    ended: record, events, check results, logs; their ids.

    A run stays until ``was_read`` says that its end was, while it holds the newest result of an asset or a check, and
    while it is the newest that something asked for about some families. The newest result of a partition, such as the
    report of a window of the watch, is not one too many of its job: it goes when it is too old.

    What sensors, freshness and the asset pages read of the present is therefore never removed:
    ``DagsterInstance.delete_run`` alone would remove it. With another event storage than this project's, which cannot
    say which runs those are, all stay.
    """
    events = instance.event_log_storage
    if not isinstance(events, PooledEventLogStorage):
        return []
    known = events.runs_with_events() | _runs_with_logs(instance)
    needed = events.runs_of_newest_results() | runs_of_newest_roots(instance)
    # What a call that was killed left of a run: its record is looked for after its events, and came before them.
    for run_id in known - needed - set(instance.get_run_ids()):
        _forget(instance, events, run_id)
    ended = instance.get_run_records(filters=dg.RunsFilter(statuses=_ENDED))
    chosen = [
        run.dagster_run.run_id
        for run in reversed(_old_runs(ended, ended_before, keep, events.runs_of_newest_partitions()))
        if run.dagster_run.run_id not in needed and was_read(run)
    ][:_RUNS_AT_ONCE]
    for run_id in chosen:
        _forget(instance, events, run_id)
    runless = events.forget_runless_events(keep=_RUNLESS_EVENTS_KEPT)
    if chosen or runless:
        events.give_back_space()
    return chosen


def _old_runs(
    newest_first: Sequence[dg.RunRecord], ended_before: datetime, keep: int, of_partitions: Collection[str]
) -> list[dg.RunRecord]:
    """The runs that are too old, or too many of their job and none ``of_partitions``, without the newest of each
    request.

    They come in the order in which they began. None is older than one that began before it: a clock that was set back
    makes no run old.
    """
    ended = list(accumulate((run.update_timestamp for run in reversed(newest_first)), max))
    of_job: Counter[str] = Counter()
    asked: set[tuple[str, str, tuple[str, ...]]] = set()
    old = []
    for run, latest in zip(newest_first, reversed(ended), strict=True):
        about = run.dagster_run
        of_job[about.job_name] += 1
        # Sensors look whether they asked for the same before, and what came of it.
        trigger = about.tags.get(TRIGGER_TAG, "")
        request = (about.job_name, trigger, families_of(about))
        is_newest = bool(trigger) and request not in asked
        asked.add(request)
        is_too_many = of_job[about.job_name] > keep and about.run_id not in of_partitions
        if not is_newest and (is_too_many or latest < ended_before):
            old.append(run)
    return old


def _forget(instance: dg.DagsterInstance, events: PooledEventLogStorage, run_id: str) -> None:
    """Remove a run. Its record goes last: a call that is killed before that finds the run again."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    events.delete_events(run_id)
    instance.run_storage.delete_run(run_id)


def _runs_with_logs(instance: dg.DagsterInstance) -> set[str]:
    """The runs that have a folder for what their steps printed."""
    folder = Path(instance.storage_directory())
    return {path.name for path in folder.iterdir() if _is_run_id(path.name)} if folder.is_dir() else set()


def _is_run_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False
