"""Runs of the command line whose process is gone.

What belongs here: finding them and saying so to the instance. What does not: starting them (``orchestration.runs``), or
    the runs of the daemon, which its own run monitoring looks after."""

from __future__ import annotations

import dagster as dg

from nethical_assets.assets.requests import TRIGGER_TAG
from nethical_assets.home.leases import is_alive
from nethical_assets.home.settings import Settings

TRIGGER = "command line"
_ALIVE = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)


def fail_dead_runs(instance: dg.DagsterInstance, settings: Settings) -> list[str]:
    """Mark runs of the command line whose process is gone as failed; their ids.

    A killed process leaves its run "started": the UI shows it as running, and its families' pools stay taken.
    """
    runs = instance.get_runs(dg.RunsFilter(statuses=list(_ALIVE), tags={TRIGGER_TAG: TRIGGER}))
    dead = [run for run in runs if not is_alive(settings.home, run.run_id)]
    for run in dead:
        instance.report_run_failed(run, "The process of this run was ended before the run was.")
    return [run.run_id for run in dead]
