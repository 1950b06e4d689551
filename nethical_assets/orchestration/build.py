"""Assembles the code location from settings.

What belongs here: which assets, checks, jobs, schedules, sensors and resources there are, generated from the catalog
and the registered families. What does not: any of their implementations. Tests pass their own settings and resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from nethical_assets.assets.checks.decisions import (
    build_audit_check,
    build_drift_check,
    build_reconciliation_check,
    build_release_checks,
)
from nethical_assets.assets.checks.quality import build_dataset_checks, build_raw_checks, build_split_checks
from nethical_assets.assets.factory import build_stage_asset, subjects_of
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.jobs import build_jobs
from nethical_assets.orchestration.schedules import build_schedules
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, IssueTrackerResource
from nethical_assets.sensors.alerts import build_alert_sensors
from nethical_assets.sensors.code import build_code_sensor
from nethical_assets.sensors.drift import build_drift_sensor
from nethical_assets.stages.graph import STAGES


def build_assets(settings: Settings, families: tuple[str, ...]) -> list[dg.AssetsDefinition]:
    """All assets: one a stage and subject."""
    return [
        build_stage_asset(stage, subject, settings, families)
        for stage in STAGES
        for subject in subjects_of(stage, settings, families)
    ]


def build_checks(settings: Settings, families: tuple[str, ...]) -> list[dg.AssetChecksDefinition]:
    """All asset checks."""
    checks = [build_raw_checks(entry, settings) for entry in settings.catalog.dataset]
    for family in families:
        checks += [build_dataset_checks(family, settings), build_split_checks(family, settings)]
        checks += [build_release_checks(family, settings), build_drift_check(family, settings)]
    return [*checks, build_audit_check(settings), build_reconciliation_check(families, settings)]


def build_resources(settings: Settings) -> dict[str, Any]:
    """All resources by the name under which assets and sensors ask for them."""
    return {
        "data_sources": DataSourcesResource.configure_at_launch(),
        "cycle": CycleResource.configure_at_launch(home=str(settings.home)),
        "issue_tracker": IssueTrackerResource.of(settings),
    }


def build_defs(
    settings: Settings,
    *,
    resource_overrides: Mapping[str, Any] | None = None,
    executor: dg.ExecutorDefinition = dg.in_process_executor,
) -> dg.Definitions:
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
        ],
        resources={**build_resources(settings), **(resource_overrides or {})},
        executor=executor,
    )
