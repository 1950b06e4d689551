"""Runs whose process is gone.

What belongs here: finding them and saying so to the instance. What does not: starting them (``orchestration.runs``), or
runs that never began, which Dagster's own run monitoring looks after. It cannot see that a process that the code server
started is gone, and would wait for the longest time that a run may take."""

from __future__ import annotations

import dagster as dg

from nethical_assets.assets.requests import TRIGGER_TAG
from nethical_assets.home.leases import is_alive, were_killed
from nethical_assets.home.settings import Settings

TRIGGER = "command line"
_ALIVE = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)


def fail_dead_runs(instance: dg.DagsterInstance, settings: Settings) -> list[str]:
    """Mark runs whose process is gone as failed; their ids.

    A killed process leaves its run "started": the UI shows it as running, and its families' pools stay taken.
    """
    runs = instance.get_runs(dg.RunsFilter(statuses=list(_ALIVE)))
    own = {run.run_id for run in runs if run.tags.get(TRIGGER_TAG) == TRIGGER}
    # A run of the command line is held before it exists; any other one from its first step on.
    killed = were_killed(settings.home, [run.run_id for run in runs if run.run_id not in own])
    dead = [
        run for run in runs if run.run_id in killed or (run.run_id in own and not is_alive(settings.home, run.run_id))
    ]
    for run in dead:
        instance.report_run_failed(run, "The process of this run was ended before the run was.")
    return [run.run_id for run in dead]
