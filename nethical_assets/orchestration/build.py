"""Assembles the code location from settings.

What belongs here: which assets, checks, jobs, schedules, sensors and resources there are, generated from the catalog
and the registered families. What does not: any of their implementations.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import dagster as dg

from nethical_assets.assets.checks.decisions import (
    build_audit_check,
    build_reconciliation_check,
    build_release_checks,
    build_watch_checks,
)
from nethical_assets.assets.checks.quality import build_dataset_checks, build_raw_checks, build_split_checks
from nethical_assets.assets.factory import asset_key, build_stage_asset, subjects_of
from nethical_assets.assets.selections import cycle_assets
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.jobs import build_jobs, build_training_job
from nethical_assets.orchestration.schedules import build_schedules
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, IssueTrackerResource
from nethical_assets.sensors.alerts import build_alert_sensors
from nethical_assets.sensors.code import build_code_sensor
from nethical_assets.sensors.drift import build_drift_sensor
from nethical_assets.sensors.silence import build_silence_sensor
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.graph import STAGES
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.watching import DRIFT_REPORTS


def build_assets(
    settings: Settings, families: tuple[str, ...], only: Collection[dg.AssetKey] | None = None
) -> list[dg.AssetsDefinition]:
    """One asset a stage and subject: all, or ``only`` those. What an asset depends on is the same in both cases."""
    return [
        build_stage_asset(stage, subject, settings, families)
        for stage in STAGES
        for subject in subjects_of(stage, settings, families)
        if only is None or asset_key(stage, subject) in only
    ]


def build_checks(
    settings: Settings, families: tuple[str, ...], only: Collection[dg.AssetKey] | None = None
) -> list[dg.AssetChecksDefinition]:
    """The asset checks: all, or those of ``only`` some assets."""
    entries = [entry for entry in settings.catalog.dataset if only is None or asset_key(RAW, entry.name) in only]
    of_family = (
        (DATASETS, build_dataset_checks),
        (SPLITS, build_split_checks),
        (RELEASES, build_release_checks),
        (DRIFT_REPORTS, build_watch_checks),
    )
    return [
        *(build_raw_checks(entry, settings) for entry in entries),
        *(
            build(family, settings)
            for family in families
            for stage, build in of_family
            if only is None or asset_key(stage, family) in only
        ),
        build_audit_check(settings),
        build_reconciliation_check(families, settings),
    ]


def build_resources(settings: Settings) -> dict[str, Any]:
    """All resources by the name under which assets and sensors ask for them."""
    return {
        "data_sources": DataSourcesResource.configure_at_launch(),
        "cycle": CycleResource.configure_at_launch(home=str(settings.home)),
        "issue_tracker": IssueTrackerResource.of(settings),
    }


def build_defs(settings: Settings) -> dg.Definitions:
    """The definitions of the code location."""
    families = family_names()
    return dg.Definitions(
        assets=build_assets(settings, families),
        asset_checks=build_checks(settings, families),
        jobs=build_jobs(settings, families),
        schedules=build_schedules(settings, families),
        sensors=[
            build_drift_sensor(settings, families),
            build_code_sensor(settings, families),
            *build_alert_sensors(settings),
            build_silence_sensor(settings, families),
        ],
        resources=build_resources(settings),
        executor=dg.in_process_executor,
    )


def build_cycle_defs(
    settings: Settings, families: tuple[str, ...], *, executor: dg.ExecutorDefinition = dg.in_process_executor
) -> dg.Definitions:
    """As much of the code location as one cycle of some families executes: its assets with their checks, and its job.

    Building all of it takes longer than many a stage, and a run is one of the same assets and job either way.
    """
    wanted = frozenset(cycle_assets(settings, families))
    return dg.Definitions(
        assets=build_assets(settings, family_names(), wanted),
        asset_checks=build_checks(settings, family_names(), wanted),
        jobs=[build_training_job(settings, families)],
        resources=build_resources(settings),
        executor=executor,
    )
