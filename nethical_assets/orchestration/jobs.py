"""Jobs, and the asset selections and run requests that schedules, sensors and the command line share.

What belongs here: what each job materializes. What does not: which assets belong together in a family's cycle
(``assets.selections``), or when they run (``schedules``, ``sensors``).
"""

from typing import Any

import dagster as dg

from nethical_assets.assets.factory import asset_key, expected_failures
from nethical_assets.assets.presentation import table
from nethical_assets.assets.requests import DRIFT_JOB, RETENTION_JOB, RUN_RETENTION_JOB, TRAINING_JOB, VALIDATION_JOB
from nethical_assets.assets.roots import witness_root
from nethical_assets.assets.selections import cycle_assets
from nethical_assets.home.settings import Settings
from nethical_assets.stages.checking import DATASET_VALIDATION
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.judging import ETHICAL_DRIFT_REPORT
from nethical_assets.stages.watching import DRIFT_REPORTS


def build_jobs(settings: Settings, families: tuple[str, ...]) -> list[Any]:
    """The training cycle, dataset validation, drift watch, and retention of models and of runs."""

    @dg.op(
        description="Remove candidates and batches of the inference log that are older than the settings keep them; "
        "every removal is an audit event."
    )
    def remove_expired_models(context: dg.OpExecutionContext) -> None:
        from nethical_assets.home.options import CycleOptions
        from nethical_assets.home.workspace import Workspace
        from nethical_assets.operations.retention import remove_expired, remove_expired_batches
        from nethical_assets.stages.sealing import finalize_run

        workspace = Workspace(settings, CycleOptions(), context.run.run_id)
        with expected_failures():
            batches = remove_expired_batches(workspace)
            removed = remove_expired(workspace)
            if workspace.recorded:
                finalize_run(workspace)
            witness_root(context.instance, settings.home)
        context.add_output_metadata(
            {
                "removed": len(removed),
                "models": table(removed),
                "batches_of_predictions": batches.predictions,
                "batches_of_labels": batches.labels,
            }
        )

    @dg.job(
        name=RETENTION_JOB,
        description="Remove candidates, and batches of the inference log, older than the settings keep them. Champions "
        "and replaced champions stay.",
    )
    def retention() -> None:
        remove_expired_models()

    @dg.op(description="Remove Dagster's records of runs that the settings keep no longer, and what killed ones left.")
    def forget_old_runs(context: dg.OpExecutionContext) -> None:
        from nethical_assets.home.workspace import utc_now
        from nethical_assets.orchestration.run_history import apply_retention

        with expected_failures():
            forgotten = apply_retention(settings, context.instance, now=utc_now())
        context.add_output_metadata({"runs_forgotten": forgotten.runs, "files_swept": forgotten.files})

    @dg.job(
        name=RUN_RETENTION_JOB,
        description="Remove Dagster's records of runs that are too old or too many of their job, and what killed "
        "processes left. Runs with the newest result of an asset or a check stay, and so does the audit log.",
    )
    def run_retention() -> None:
        forget_old_runs()

    raw = [asset_key(RAW, entry.name) for entry in settings.catalog.dataset]
    drift = [asset_key(DRIFT_REPORTS, family) for family in families]
    return [
        build_training_job(settings, families),
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
        run_retention,
    ]


def build_training_job(settings: Settings, families: tuple[str, ...]) -> Any:
    """The training cycle of some families; the code location's is of all."""
    return dg.define_asset_job(
        TRAINING_JOB,
        selection=dg.AssetSelection.assets(*cycle_assets(settings, families)),
        description="Fetch, validate, screen, split, train, evaluate, decide, card and audit every family.",
    )
