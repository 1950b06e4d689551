"""Recovery end to end: damage is named, copies are verified, and a restored dataset is validated before it is used."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from nethical_assets.core.ground.errors import IntegrityError, NethicalError, SettingsError, SourceUnavailableError
from nethical_assets.core.quality.declarations import licence_known
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.workspace import CycleOptions, Workspace
from nethical_assets.operations.restoring import is_restored, restore
from nethical_assets.operations.verification import verify
from nethical_assets.stages.checking import assess_raw
from nethical_assets.stages.fetching import RAW, SNAPSHOT
from nethical_assets.stages.sealing import finalize_run
from tests.assets.assets_graph import materialize
from tests.orchestration import write_settings
from tests.stage_runs import publish
from tests.tiny_mirror import CATALOG, connections, write_connections

ENTRY = CATALOG.entry("nslkdd")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "mirror"
    write_connections(place, connections(400, np.random.default_rng(2)))
    return place


@pytest.fixture
def configured(environment: dict[str, str], folder: Path) -> Settings:
    return load_settings({**environment, "NETHICAL_DATA_MIRROR": str(folder)})


@pytest.fixture
def open_workspace(configured: Settings) -> Callable[[], Workspace]:
    numbers = iter(range(100))

    def opened() -> Workspace:
        return Workspace(configured, CycleOptions(source="mirror"), f"recovery-{next(numbers)}")

    return opened


def fetched(workspace: Workspace) -> str:
    return publish(workspace, RAW, ENTRY.name).objects[SNAPSHOT]


def damage(workspace: Workspace, digest: str) -> Path:
    path = Path(str(workspace.snapshots.objects.path(digest)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    return path


def statuses(workspace: Workspace) -> dict[str, str]:
    return {outcome.name: outcome.status for outcome in assess_raw(workspace, ENTRY)}


def test_a_tampered_snapshot_is_named_although_its_checks_are_known_and_a_backup_brings_it_back(
    open_workspace: Callable[[], Workspace], folder: Path
) -> None:
    workspace = open_workspace()
    digest = fetched(workspace)
    assert statuses(workspace)["schema"] == "pass"
    path = damage(workspace, digest)
    (outcome,) = assess_raw(workspace, ENTRY)
    assert (outcome.name, outcome.status) == ("available", "fail")
    assert str(path) in outcome.message
    assert "nethical data restore nslkdd" in outcome.message

    record = restore(workspace, ENTRY)
    assert (record.objects["snapshot"], record.facts["status"]) == (digest, "restored")
    assert record.facts["reason"].startswith("backup of the snapshot of ")
    assert is_restored(workspace, "nslkdd")
    assert statuses(workspace)["schema"] == "pass"
    assert not is_restored(workspace, "nslkdd")
    finalize_run(workspace)
    assert verify(workspace.settings)["problems"] == []


def test_going_back_takes_the_backup_before_the_present_one_and_then_has_none(
    open_workspace: Callable[[], Workspace], folder: Path
) -> None:
    workspace = open_workspace()
    first = fetched(workspace)
    write_connections(folder, connections(500, np.random.default_rng(3)))
    second = fetched(workspace)
    assert first != second
    assert restore(workspace, ENTRY, "backup").objects["snapshot"] == first
    with pytest.raises(IntegrityError, match="is intact and there is no older backup"):
        restore(workspace, ENTRY, "backup")
    # Without a backup to go back to, the mirror is asked.
    assert restore(workspace, ENTRY).objects["snapshot"] == second


def test_a_damaged_backup_is_passed_over_and_named(open_workspace: Callable[[], Workspace], folder: Path) -> None:
    workspace = open_workspace()
    fetched(workspace)
    write_connections(folder, connections(500, np.random.default_rng(3)))
    digest = fetched(workspace)
    older, newer = workspace.backups.list("nslkdd")
    newer.data.write_bytes(b"PAR1")
    damage(workspace, digest)
    record = restore(workspace, ENTRY, "backup")
    assert record.facts["rows"] == 400
    assert newer.data.name in record.facts["reason"]
    older.manifest.write_bytes(b"{}")
    damage(workspace, record.objects["snapshot"])
    with pytest.raises(IntegrityError, match="there is no intact backup") as refusal:
        restore(workspace, ENTRY, "backup")
    assert older.manifest.name in str(refusal.value)


def test_the_mirror_is_refused_in_one_line_when_it_cannot_serve(
    open_workspace: Callable[[], Workspace], folder: Path, environment: dict[str, str]
) -> None:
    workspace = open_workspace()
    fetched(workspace)
    next((folder / ENTRY.slug).iterdir()).unlink()
    with pytest.raises(SourceUnavailableError, match="cannot be restored from the mirror") as refusal:
        restore(workspace, ENTRY, "mirror")
    assert "\n" not in str(refusal.value)
    nowhere = Workspace(load_settings(environment), CycleOptions(), "nowhere")
    with pytest.raises(NethicalError, match="NETHICAL_DATA_MIRROR"):
        restore(nowhere, ENTRY, "mirror")


def test_a_run_validates_what_was_restored_before_it_trains_on_it(
    open_workspace: Callable[[], Workspace], configured: Settings, instance: dg.DagsterInstance
) -> None:
    workspace = open_workspace()
    digest = fetched(workspace)
    damage(workspace, digest)
    restore(workspace, ENTRY)
    finalize_run(workspace)
    keys = [dg.AssetKey(["raw", entry.name]) for entry in configured.catalog.for_family("logistic")]
    graph = materialize(configured, instance, keys=[*keys, dg.AssetKey(["datasets", "logistic"])])
    assert graph.success
    assert graph.metadata("datasets", "logistic")["synthetic"] is False
    assert not is_restored(workspace, "nslkdd")


def test_a_restored_dataset_that_fails_a_blocking_check_stops_the_family_with_one_line(
    environment: dict[str, str], tmp_path: Path, folder: Path, instance: dg.DagsterInstance
) -> None:
    write_connections(folder, connections(400, np.random.default_rng(2)).assign(duration=None))
    write_settings(
        tmp_path / "state",
        datasets={"minimum_samples": 100, "maximum_rows": 5000, "blocking_checks": ["missing_values"]},
    )
    settings = load_settings({**environment, "NETHICAL_DATA_MIRROR": str(folder)})
    workspace = Workspace(settings, CycleOptions(source="mirror"), "first")
    digest = fetched(workspace)
    damage(workspace, digest)
    restore(workspace, ENTRY)
    finalize_run(workspace)
    keys = [dg.AssetKey(["raw", entry.name]) for entry in settings.catalog.for_family("logistic")]
    graph = materialize(settings, instance, keys=[*keys, dg.AssetKey(["datasets", "logistic"])])
    reason = graph.failures()["datasets__logistic"]
    assert "dataset nslkdd was restored and no validation of it passed yet" in reason
    assert "nethical data validate nslkdd" in reason
    assert "nethical data restore nslkdd" in reason
    assert "\n" not in reason
    assert not graph.checks("raw", "nslkdd")["missing_values"].passed
    assert is_restored(workspace, "nslkdd")


def test_a_blocking_check_stops_its_family_and_says_why(
    environment: dict[str, str], tmp_path: Path, folder: Path, instance: dg.DagsterInstance
) -> None:
    write_settings(
        tmp_path / "state",
        datasets={"minimum_samples": 100, "maximum_rows": 5000, "blocking_checks": ["leakage"], "leakage_auc_max": 0.6},
    )
    settings = load_settings({**environment, "NETHICAL_DATA_MIRROR": str(folder)})
    graph = materialize(settings, instance, "logistic")
    assert not graph.success
    leakage = graph.checks("datasets", "logistic")["leakage"]
    assert not leakage.passed
    assert leakage.blocking
    assert leakage.severity is dg.AssetCheckSeverity.ERROR
    assert {row.data["column"] for row in leakage.metadata["failing"].value.records} >= {"flag", "service"}
    assert leakage.metadata["failing_since"].value
    assert graph.failures()["check__datasets__logistic"].startswith(
        "datasets/logistic: blocking check leakage failed: "
    )
    assert "screened/logistic" not in graph.materialized()
    assert "models/logistic" not in graph.materialized()


def test_without_a_blocking_check_the_same_failure_only_informs(
    configured: Settings, instance: dg.DagsterInstance
) -> None:
    graph = materialize(configured, instance, "logistic")
    assert graph.success
    checks = graph.checks("datasets", "logistic")
    assert checks["schema"].blocking
    assert not checks["leakage"].passed
    assert not checks["leakage"].blocking
    assert graph.checks("splits", "logistic")["split_overlap"].passed
    assert "models/logistic" in graph.materialized()


@pytest.mark.parametrize("names", [["nonsense"], ["gate"], "schema", [3]])
def test_an_unknown_blocking_check_is_one_line(names: Any, environment: Mapping[str, str], tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({"datasets": {"blocking_checks": names}}))
    with pytest.raises(SettingsError, match="blocking_checks") as refusal:
        load_settings({**environment, "NETHICAL_CONFIG": str(path)})
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("licence", "status"), [("MIT", "pass"), ("", "warn"), ("See its page", "warn"), (" ", "warn")]
)
def test_a_licence_is_known_or_not(licence: str, status: str) -> None:
    assert licence_known(licence).status == status


def test_a_changed_snapshot_is_compared_with_the_one_before(
    open_workspace: Callable[[], Workspace], folder: Path
) -> None:
    workspace = open_workspace()
    fetched(workspace)
    assert "distribution" not in statuses(workspace)
    changed = connections(400, np.random.default_rng(3))
    write_connections(folder, changed.assign(duration=changed["duration"] + 5000))
    fetched(workspace)
    outcome = next(outcome for outcome in assess_raw(workspace, ENTRY) if outcome.name == "distribution")
    assert outcome.status == "warn"
    assert "duration" in {row["column"] for row in outcome.failures}
    assert outcome.failing_since


def test_going_back_to_earlier_content_is_no_change(
    open_workspace: Callable[[], Workspace], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = open_workspace()
    # Snapshots are dated to the second.
    hours = itertools.count()
    monkeypatch.setattr(Workspace, "now", lambda self: datetime.now(UTC) - timedelta(hours=50 - next(hours)))
    good = connections(400, np.random.default_rng(2))
    for frame, status in ((good, None), (good.assign(duration=9999), "warn"), (good, "pass")):
        write_connections(folder, frame)
        fetched(workspace)
        assert statuses(workspace).get("distribution") == status
