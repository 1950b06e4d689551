"""Jobs, and the asset selections and run requests that schedules, sensors and the command line share.

What belongs here: what each job materializes. What does not: which assets belong together in a family's cycle
(``assets.selections``), or when they run (``schedules``, ``sensors``).
"""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from nethical_assets.assets.factory import asset_key, expected_failures
from nethical_assets.assets.presentation import table
from nethical_assets.assets.selections import cycle_assets, family_assets
from nethical_assets.home.settings import Settings
from nethical_assets.stages.checking import DATASET_VALIDATION
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.judging import ETHICAL_DRIFT_REPORT
from nethical_assets.stages.watching import DRIFT_REPORTS

TRAINING_JOB = "training_cycle"
VALIDATION_JOB = "validate_datasets"
DRIFT_JOB = "drift_watch"
RETENTION_JOB = "retention"
FAMILY_TAG = "nethical/family"
FAMILIES_TAG = "nethical/families"
"""The families of a run of several, separated by commas."""
TRIGGER_TAG = "nethical/trigger"
REASON_TAG = "nethical/reason"


def families_tag(families: Sequence[str]) -> dict[str, str]:
    """The tag by which a run says which families it is for."""
    return {FAMILY_TAG: families[0]} if len(families) == 1 else {FAMILIES_TAG: ",".join(families)}


def families_of(run: dg.DagsterRun) -> tuple[str, ...]:
    """The families a run was asked for; none where it is about something else."""
    named = run.tags.get(FAMILY_TAG) or run.tags.get(FAMILIES_TAG) or ""
    return tuple(name for name in named.split(",") if name)


def family_request(
    repository: dg.RepositoryDefinition | None,
    settings: Settings,
    family: str,
    *,
    run_key: str,
    trigger: str,
    reason: str = "",
    force: bool = False,
) -> dg.RunRequest:
    """A run of the training job for one family with all checks of its assets.

    The checks are named one by one: the UI's "Apply requests & commit" runs those that a request names, and no others.
    """
    if repository is None:
        raise ValueError("a run request needs the repository, whose checks it names")
    assets = family_assets(settings, family)
    config = {"resources": {"cycle": {"config": {"force": True}}}} if force else {}
    return dg.RunRequest(
        run_key=run_key,
        job_name=TRAINING_JOB,
        asset_selection=assets,
        asset_check_keys=sorted(repository.asset_graph.get_check_keys_for_assets(set(assets)), key=str),
        run_config=config,
        tags={**families_tag([family]), TRIGGER_TAG: trigger, **({REASON_TAG: reason} if reason else {})},
    )


def build_jobs(settings: Settings, families: tuple[str, ...]) -> list[Any]:
    """The training cycle, dataset validation, drift watch and retention."""

    @dg.op(description="Remove candidates older than the settings keep them; every removal is an audit event.")
    def remove_expired_models(context: dg.OpExecutionContext) -> None:
        from nethical_assets.home.workspace import CycleOptions, Workspace
        from nethical_assets.operations.retention import remove_expired
        from nethical_assets.orchestration.retention import apply_retention

        workspace = Workspace(settings, CycleOptions(), context.run.run_id)
        with expected_failures():
            removed = remove_expired(workspace)
        forgotten = apply_retention(settings, context.instance, now=workspace.now())
        context.add_output_metadata(
            {
                "removed": len(removed),
                "models": table(removed),
                "runs_forgotten": forgotten.runs,
                "files_swept": forgotten.files,
            }
        )

    @dg.job(
        name=RETENTION_JOB,
        description="Remove candidates older than the settings keep them. Champions and replaced champions stay.",
    )
    def retention() -> None:
        remove_expired_models()

    raw = [asset_key(RAW, entry.name) for entry in settings.catalog.dataset]
    drift = [asset_key(DRIFT_REPORTS, family) for family in families]
    return [
        dg.define_asset_job(
            TRAINING_JOB,
            selection=dg.AssetSelection.assets(*cycle_assets(settings, families)),
            description="Fetch, validate, screen, split, train, evaluate, decide, card and audit every family.",
        ),
        dg.define_asset_job(
            VALIDATION_JOB,
            selection=dg.AssetSelection.assets(*raw, asset_key(DATASET_VALIDATION)),
            description="Refresh and validate every dataset of the catalog.",
        ),
        dg.define_asset_job(
            DRIFT_JOB,
            selection=dg.AssetSelection.assets(*drift, asset_key(ETHICAL_DRIFT_REPORT)),
            description="Compare what every champion scored with its reference window.",
        ),
        retention,
    ]
