"""Jobs.

What belongs here: what each job materializes. What does not: which assets belong together in a family's cycle
(``assets.selections``), or when they run (``schedules``, ``sensors``).
"""

from __future__ import annotations

import dagster as dg

from nethical_assets.assets.factory import asset_key
from nethical_assets.assets.selections import cycle_assets
from nethical_assets.home.settings import Settings
from nethical_assets.stages.checking import DATASET_VALIDATION
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.watching import DRIFT_REPORTS

TRAINING_JOB = "training_cycle"
VALIDATION_JOB = "validate_datasets"
DRIFT_JOB = "drift_watch"


def build_jobs(settings: Settings, families: tuple[str, ...]) -> list[dg.UnresolvedAssetJobDefinition]:
    """The training cycle, dataset validation and drift watch."""
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
            selection=dg.AssetSelection.assets(*drift),
            description="Compare what every champion scored with its reference window.",
        ),
    ]
