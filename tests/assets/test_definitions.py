"""The code location: it loads, and it is what the design says."""

from __future__ import annotations

import itertools
import re

import dagster as dg
import pytest

from nethical_assets.assets.requests import DRIFT_JOB, RETENTION_JOB, RUN_RETENTION_JOB, TRAINING_JOB, VALIDATION_JOB
from nethical_assets.assets.selections import cycle_assets
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.quality.checks import checks_of
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.build import build_cycle_defs, build_defs
from tests.tiny_mirror import CATALOG

FAMILY_STAGES = {
    "datasets": "datasets",
    "screened": "screening",
    "quarantine": "screening",
    "splits": "splits",
    "models": "models",
    "evaluations": "evaluations",
    "releases": "releases",
    "model_cards": "model_cards",
    "drift_reports": "drift_reports",
}
SINGLE = {
    "audit_roots": "audit",
    "dataset_validation": "validation",
    "screening_error_card": "screening",
    "ethical_drift_report": "drift_reports",
}


@pytest.fixture
def definitions(settings: Settings) -> dg.Definitions:
    return build_defs(settings)


@pytest.fixture
def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_definitions_are_loadable(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_the_entry_point_builds_the_same(environment: dict[str, str], definitions: dg.Definitions) -> None:
    from nethical_assets.definitions import defs

    built = defs()
    assert {s.key for s in built.resolve_all_asset_specs()} == {s.key for s in definitions.resolve_all_asset_specs()}


def test_assets_and_their_groups(specs: dict[str, dg.AssetSpec]) -> None:
    wanted = {f"{stage}/{family}": group for family in family_names() for stage, group in FAMILY_STAGES.items()}
    wanted |= {f"raw/{entry.name}": "raw" for entry in CATALOG.dataset} | SINGLE
    assert {key: spec.group_name for key, spec in specs.items()} == wanted


def test_the_five_families_of_the_design_are_there() -> None:
    assert {"heuristic", "logistic", "prompt_injection", "anomaly", "correlation"} <= set(family_names())


def test_every_asset_has_description_owner_and_kinds(specs: dict[str, dg.AssetSpec]) -> None:
    for key, spec in specs.items():
        assert spec.description and len(spec.description) > 20, key
        assert spec.owners and all(re.fullmatch(r"team:[a-z-]+", owner) for owner in spec.owners), key
        assert 0 < len(spec.kinds) <= 10, key


def test_raw_assets_are_expected_to_be_fresh(specs: dict[str, dg.AssetSpec]) -> None:
    for entry in CATALOG.dataset:
        assert specs[f"raw/{entry.name}"].freshness_policy is not None


def test_the_stages_of_a_family_follow_each_other(specs: dict[str, dg.AssetSpec]) -> None:
    order = ["datasets", "screened", "splits", "models", "evaluations", "releases", "model_cards"]
    for family in family_names():
        for upstream, downstream in itertools.pairwise(order):
            parents = {dep.asset_key.to_user_string() for dep in specs[f"{downstream}/{family}"].deps}
            assert f"{upstream}/{family}" in parents, (upstream, downstream)
        raw = {dep.asset_key.to_user_string() for dep in specs[f"datasets/{family}"].deps}
        assert raw == {f"raw/{entry.name}" for entry in CATALOG.for_family(family)}
        assert f"model_cards/{family}" in {dep.asset_key.to_user_string() for dep in specs["audit_roots"].deps}


def test_checks(definitions: dg.Definitions) -> None:
    found = {
        (spec.key.asset_key.to_user_string(), spec.key.name)
        for checks in definitions.asset_checks or ()
        for spec in checks.check_specs
    }
    wanted = {(f"raw/{entry.name}", name) for entry in CATALOG.dataset for name in checks_of("delivered")}
    for family in family_names():
        wanted |= {(f"datasets/{family}", name) for name in checks_of("canonical")}
        wanted |= {(f"splits/{family}", name) for name in checks_of("divided")}
        wanted |= {(f"releases/{family}", name) for name in ("gate", "regression", "champion")}
        wanted |= {(f"drift_reports/{family}", name) for name in ("drift", "accuracy", "calibration")}
    assert found == wanted | {("audit_roots", "log_verifies"), ("audit_roots", "events_reconciled")}


def test_only_the_audit_check_and_what_the_settings_name_block(definitions: dg.Definitions) -> None:
    blocking = {
        (spec.key.asset_key.path[0], spec.key.name)
        for checks in definitions.asset_checks or ()
        for spec in checks.check_specs
        if spec.blocking
    }
    assert blocking == {("audit_roots", "log_verifies"), ("datasets", "schema"), ("raw", "schema")}


def test_jobs_schedules_and_sensors_run_as_soon_as_the_daemon_does(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs()}
    assert {TRAINING_JOB, VALIDATION_JOB, DRIFT_JOB, RETENTION_JOB, RUN_RETENTION_JOB} <= jobs
    assert {s.name: s.default_status for s in repository.schedule_defs} == dict.fromkeys(
        (
            "weekly_training",
            "dataset_validation_schedule",
            "drift_watch_schedule",
            "retention_schedule",
            "run_retention_schedule",
        ),
        dg.DefaultScheduleStatus.RUNNING,
    )
    assert {s.name: s.default_status for s in repository.sensor_defs} == dict.fromkeys(
        ("drift_sensor", "code_sensor", "check_alert_sensor", "run_failure_alert_sensor", "silence_sensor"),
        dg.DefaultSensorStatus.RUNNING,
    )


@pytest.mark.parametrize("families", [("logistic",), ("anomaly", "heuristic"), family_names()], ids="+".join)
def test_a_cycle_of_some_families_is_one_of_the_same_assets_checks_and_job(
    families: tuple[str, ...], settings: Settings, definitions: dg.Definitions, specs: dict[str, dg.AssetSpec]
) -> None:
    """Dagster compares a run's assets with those it has loaded: a dependency less would make an asset look stale."""
    built = build_cycle_defs(settings, families)
    wanted = set(cycle_assets(settings, families))
    assets = [asset for asset in built.assets or () if isinstance(asset, dg.AssetsDefinition)]
    assert {spec.key for asset in assets for spec in asset.specs} == wanted
    for spec in (spec for asset in assets for spec in asset.specs):
        loaded = specs[spec.key.to_user_string()]
        assert (list(spec.deps), spec.metadata, spec.tags) == (list(loaded.deps), loaded.metadata, loaded.tags)
    assert set(checks_by_step(built)) == {
        (step, names)
        for step, names in checks_by_step(definitions)
        if all(dg.AssetKey.from_user_string(asset) in wanted for asset, _ in names)
    }
    job, whole = (one.resolve_job_def(TRAINING_JOB) for one in (built, definitions))
    assert (job.name, job.description) == (whole.name, whole.description)
    steps = {node.name for node in job.nodes}
    assert steps <= {node.name for node in whole.nodes}
    assert steps == {asset.op.name for asset in assets} | {step for step, _ in checks_by_step(built)}


def checks_by_step(definitions: dg.Definitions) -> list[tuple[str, frozenset[tuple[str, str]]]]:
    """Each step that checks, with the assets and names of its checks."""
    return [
        (checks.op.name, frozenset((key.asset_key.to_user_string(), key.name) for key in checks.check_keys))
        for checks in definitions.asset_checks or ()
    ]
