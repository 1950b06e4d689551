"""Runs of the jobs: their names, the tags by which a run says what it is for, and requests for them.

What belongs here: what schedules, sensors, the command line and the jobs themselves share. What does not: what a job
materializes (``orchestration.jobs``), or when it runs.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from nethical_assets.assets.selections import family_assets
from nethical_assets.home.settings import Settings

TRAINING_JOB = "training_cycle"
VALIDATION_JOB = "validate_datasets"
DRIFT_JOB = "drift_watch"
RETENTION_JOB = "retention"
RUN_RETENTION_JOB = "run_retention"
FAMILY_TAG = "nethical/family"
FAMILIES_TAG = "nethical/families"
"""The families of a run of several, separated by commas."""
TRIGGER_TAG = "nethical/trigger"
REASON_TAG = "nethical/reason"
ASKED_TAG = "nethical/evidence"
"""Of a run of the watch: each family with the evidence by which it was asked for, ``family=evidence``, by commas."""
WATCH_TRIGGER = "watch"
"""What the schedule of the watch says that its runs are asked for by."""


def families_tag(families: Sequence[str]) -> dict[str, str]:
    """The tag by which a run says which families it is for."""
    return {FAMILY_TAG: families[0]} if len(families) == 1 else {FAMILIES_TAG: ",".join(families)}


def families_of(run: dg.DagsterRun) -> tuple[str, ...]:
    """The families a run was asked for; none where it is about something else."""
    named = run.tags.get(FAMILY_TAG) or run.tags.get(FAMILIES_TAG) or ""
    return tuple(name for name in named.split(",") if name)


def asked_by(run: dg.DagsterRun) -> dict[str, str]:
    """The families that the schedule of the watch asked a run for, each with its evidence; none of other runs."""
    pairs = (pair.partition("=") for pair in run.tags.get(ASKED_TAG, "").split(","))
    return {family: evidence for family, _, evidence in pairs if family and evidence}


def family_request(
    repository: dg.RepositoryDefinition | None,
    settings: Settings,
    family: str,
    *,
    run_key: str,
    trigger: str,
    reason: str = "",
    force: bool = False,
    drift_report: str = "",
) -> dg.RunRequest:
    """A run of the training job for one family with all checks of its assets.

    The checks are named one by one: the UI's "Apply requests & commit" runs those that a request names, and no others.
    ``drift_report`` is the digest of the report that asks for it, which the card of a new model cites.
    """
    if repository is None:
        raise ValueError("a run request needs the repository, whose checks it names")
    assets = family_assets(settings, family)
    cycle = {**({"force": True} if force else {}), **({"drift_report": drift_report} if drift_report else {})}
    return dg.RunRequest(
        run_key=run_key,
        job_name=TRAINING_JOB,
        asset_selection=assets,
        asset_check_keys=sorted(repository.asset_graph.get_check_keys_for_assets(set(assets)), key=str),
        run_config={"resources": {"cycle": {"config": cycle}}} if cycle else {},
        tags={**families_tag([family]), TRIGGER_TAG: trigger, **({REASON_TAG: reason} if reason else {})},
    )


def watch_request(
    repository: dg.RepositoryDefinition | None,
    assets: Sequence[dg.AssetKey],
    evidence: Mapping[str, str],
    *,
    window: str,
    run_key: str,
    reason: str,
) -> dg.RunRequest:
    """A run of the watch for the window whose key this is, of some families' reports with all their checks.

    ``evidence`` says for each of the families why it is asked for (``core.drift.due``).
    """
    if repository is None:
        raise ValueError("a run request needs the repository, whose checks it names")
    return dg.RunRequest(
        run_key=run_key,
        job_name=DRIFT_JOB,
        partition_key=window,
        asset_selection=list(assets),
        asset_check_keys=sorted(repository.asset_graph.get_check_keys_for_assets(set(assets)), key=str),
        tags={
            **families_tag(list(evidence)),
            TRIGGER_TAG: WATCH_TRIGGER,
            REASON_TAG: reason,
            ASKED_TAG: ",".join(f"{family}={why}" for family, why in evidence.items()),
        },
    )
