"""Runs of the command line in the Dagster instance: what they belong to, and what becomes of those that died.

What belongs here: creating and executing a run in this process so that the UI shows it under its code location and job.
What does not: which job with what options (``cycle``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._utils.interrupts import capture_interrupts

from nethical_assets.assets.requests import TRIGGER_TAG, families_tag
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import PROJECT_ROOT, Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.resources.platform import share_workspace
from nethical_assets.sensors.dead_runs import TRIGGER

if TYPE_CHECKING:
    from dagster._core.remote_origin import RemoteJobOrigin

_REPOSITORY = "__repository__"
"""The name Dagster gives the repository of a ``Definitions`` object."""


def execute_here(
    settings: Settings,
    build: Callable[[Workspace], dg.JobDefinition],
    instance: dg.DagsterInstance,
    *,
    options: CycleOptions,
    families: Sequence[str],
    assets: Sequence[dg.AssetKey],
    run_config: Mapping[str, Any],
    said: Callable[[str], None],
) -> dg.DagsterRun:
    """Run the job that ``build`` makes for a new run, for these assets and their checks; the run as it ended.

    The run carries the code location and the job, as runs of the UI, schedules and sensors do
    (``execute_in_process`` gives it neither). It counts as alive before it exists, and it is never retried by the
    daemon: whoever started it reads its exit code. Runs that are at work on one of the families are waited for;
    ``said`` is told so.
    """
    from dagster._core.utils import make_new_run_id

    run_id = make_new_run_id()
    workspace = Workspace(settings, options, run_id)
    share_workspace(workspace)
    workspace.recorder  # noqa: B018 (holds the lock that says the run is alive)
    try:
        for family in sorted(families):
            workspace.hold_family(family, said=said)
        return _execute(build(workspace), instance, run_id, families, assets, run_config)
    finally:
        workspace.end()


def _execute(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    run_id: str,
    families: Sequence[str],
    assets: Sequence[dg.AssetKey],
    run_config: Mapping[str, Any],
) -> dg.DagsterRun:
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run_iterator

    try:
        run = instance.create_run_for_job(
            job,
            run_id=run_id,
            run_config=run_config,
            tags={**families_tag(families), TRIGGER_TAG: TRIGGER, "dagster/max_retries": "0"},
            asset_selection=frozenset(assets),
            remote_job_origin=_origin(job.name),
        )
        for _ in execute_run_iterator(InMemoryJob(job), run, instance):
            pass
    except KeyboardInterrupt:
        # Before its first step and after its last one Dagster leaves interruptions to others.
        with capture_interrupts():
            left = instance.get_run_by_id(run_id)
            if left is not None and not left.is_finished:
                instance.report_run_canceled(left, "Interrupted from the command line.")
        raise
    ended = instance.get_run_by_id(run_id)
    if ended is None:
        raise RuntimeError(f"run {run_id} was deleted while it ran")
    return ended


def _origin(job: str) -> RemoteJobOrigin:
    """Where the webserver and the daemon find ``job``: in the code location of the workspace file."""
    from dagster._core.remote_origin import RemoteRepositoryOrigin
    from dagster._core.workspace.load import location_origins_from_yaml_paths

    (location,) = location_origins_from_yaml_paths([str(PROJECT_ROOT / "workspace.yaml")])
    return RemoteRepositoryOrigin(location, _REPOSITORY).get_job_origin(job)
