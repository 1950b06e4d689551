"""Decisions on real Dagster: refused gates, regressions, the champion's safety, and the audit check."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pytest

from nethical_assets.assets.checks import decisions, quality
from nethical_assets.core.alerts.checks import HIGH_PRIORITY, REPLACED, advice_of
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.drift.watch_checks import WatchCheck
from nethical_assets.core.ground.parquet import get_table
from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.core.quality.checks import CheckOutcome
from nethical_assets.core.rows.catalog import Catalog
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.orchestration.build import build_checks
from tests.assets.assets_graph import materialize
from tests.orchestration import write_settings
from tests.tiny_mirror import CATALOG, attack_alerts, connections, write_connections


@pytest.fixture
def own_mirror(tmp_path: Path) -> Path:
    """A mirror with NSL-KDD rows alone, which a test may change."""
    folder = tmp_path / "mirror"
    write_connections(folder, connections(900, np.random.default_rng(3)))
    return folder


@pytest.fixture
def own(environment: dict[str, str], own_mirror: Path) -> Settings:
    return load_settings({**environment, "NETHICAL_DATA_MIRROR": str(own_mirror)})


def registry_of(settings: Settings) -> ModelRegistry:
    return ModelRegistry(settings.home / "models")


def pointer_files(settings: Settings) -> dict[str, bytes]:
    """Every pointer below ``models`` by path."""
    base = settings.home / "models"
    folders = ("current", "candidates", "archived")
    return {str(p.relative_to(base)): p.read_bytes() for f in folders for p in (base / f).rglob("*.json")}


def test_random_labels_are_refused_by_the_gate_without_failing_the_run(
    environment: dict[str, str], tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    # The labels of this set have nothing to do with its columns; here somebody trains on it all the same.
    alerts = CATALOG.entry("cyber_attacks").model_copy(
        update={
            "families": ("logistic",),
            "evaluation_families": (),
            "mapping": None,
            "numeric_columns": ("Destination Port", "Packet Length", "Anomaly Scores"),
            "categorical_columns": ("Protocol", "Traffic Type"),
        }
    )
    path = tmp_path / "mirror" / alerts.slug / "cybersecurity_attacks.csv"
    path.parent.mkdir(parents=True)
    attack_alerts(4000, np.random.default_rng(5)).to_csv(path, index=False)
    settings = load_settings(
        {**environment, "NETHICAL_DATA_MIRROR": str(tmp_path / "mirror")}, catalog=Catalog(dataset=(alerts,))
    )

    graph = materialize(settings, instance, "logistic")

    assert graph.success
    assert "releases/logistic" in graph.materialized()
    gate = graph.checks("releases", "logistic")["gate"]
    assert not gate.passed
    assert gate.severity is dg.AssetCheckSeverity.ERROR
    assert "below the minimum 0.85" in str(gate.description)
    assert abs(float(graph.metadata("evaluations", "logistic")["roc_auc"]) - 0.5) < 0.1
    assert graph.metadata("releases", "logistic")["verdict"] == "candidate"
    model = graph.metadata("models", "logistic")["model"]
    assert registry_of(settings).champion("logistic") is None
    assert registry_of(settings).candidate("logistic", model) is not None
    # The refused candidate has its card too.
    assert "model_cards/logistic" in graph.materialized()
    assert graph.checks("audit_roots")["log_verifies"].passed


@pytest.mark.slow
def test_a_regression_is_refused_although_the_gate_passes(
    environment: dict[str, str], own_mirror: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    # A gate that lets everything through leaves the decision to the comparison with the champion.
    write_settings(tmp_path / "state", performance_thresholds={"accuracy_min": 0.0, "ece_policy": "disable"})
    settings = load_settings({**environment, "NETHICAL_DATA_MIRROR": str(own_mirror)})
    rows = connections(900, np.random.default_rng(3)).assign(num_access_files=range(900))
    write_connections(own_mirror, rows)
    assert materialize(settings, instance, "logistic").metadata("releases", "logistic")["verdict"] == "promoted"
    champion = registry_of(settings).champion("logistic")
    assert champion is not None
    pointers = pointer_files(settings)

    # The same records again; the labels of those that train are wrong now, those of the test rows are not.
    workspace = Workspace(settings, CycleOptions(), "test")
    record = workspace.records.newest("splits", "logistic")
    assert record is not None
    split = get_table(workspace.objects, record.objects["frame"])
    train = split.loc[split["split"] != "test", "num_access_files"].to_numpy().astype(int)
    rows.loc[train, "attack"] = np.where(rows.loc[train, "attack"] == "normal", "neptune", "normal")
    write_connections(own_mirror, rows)
    second = materialize(settings, instance, "logistic")

    assert second.success
    checks = second.checks("releases", "logistic")
    assert checks["gate"].passed
    assert not checks["regression"].passed
    assert checks["regression"].severity is dg.AssetCheckSeverity.ERROR
    release = second.metadata("releases", "logistic")
    assert (release["verdict"], release["champion_before"]) == ("candidate", champion.model)
    assert registry_of(settings).champion("logistic") == champion
    after = pointer_files(settings)
    assert pointers.items() <= after.items()
    assert len(after) == len(pointers) + 1


@pytest.mark.slow
def test_a_better_candidate_replaces_the_champion_which_is_archived(
    own: Settings, own_mirror: Path, instance: dg.DagsterInstance
) -> None:
    materialize(own, instance, "logistic")
    champion = registry_of(own).champion("logistic")
    assert champion is not None
    write_connections(own_mirror, connections(1500, np.random.default_rng(8)))
    graph = materialize(own, instance, "logistic")

    release = graph.metadata("releases", "logistic")
    assert release["verdict"] == "promoted"
    assert release["champion_before"] == champion.model
    registry = registry_of(own)
    assert [pointer.model for pointer in registry.archived("logistic")] == [champion.model]
    now = registry.champion("logistic")
    assert now is not None and now.model == release["model"] != champion.model
    assert (champion.version, now.version) == ("1.0.0", "1.0.1")


@pytest.mark.slow
def test_a_champion_that_falls_on_new_labels_is_an_issue_and_its_candidate_waits(
    environment: dict[str, str], own_mirror: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    write_settings(tmp_path / "state", performance_thresholds={"accuracy_min": 0.5, "ece_policy": "disable"})
    settings = load_settings({**environment, "NETHICAL_DATA_MIRROR": str(own_mirror)})
    rows = connections(4000, np.random.default_rng(3))
    write_connections(own_mirror, rows)
    first = materialize(settings, instance, "logistic")
    none = first.checks("releases", "logistic")["champion"]
    assert (none.passed, none.description) == (True, "there was no champion to watch")
    champion = registry_of(settings).champion("logistic")
    # The same records come back, every fifth with the wrong label: nothing that trains on them is a regression.
    wrong = np.arange(len(rows)) % 5 == 0
    rows.loc[wrong, "attack"] = np.where(rows.loc[wrong, "attack"] == "normal", "neptune", "normal")
    write_connections(own_mirror, rows)
    second = materialize(settings, instance, "logistic")

    assert second.success
    checks = second.checks("releases", "logistic")
    assert checks["gate"].passed and checks["regression"].passed
    assert not checks["champion"].passed
    assert checks["champion"].severity is dg.AssetCheckSeverity.ERROR
    assert checks["champion"].metadata[HIGH_PRIORITY].value is True
    assert checks["champion"].metadata["drop"].value > 0.05
    assert second.metadata("releases", "logistic")["verdict"] == "candidate"
    assert registry_of(settings).champion("logistic") == champion
    # Asked again without news, it still waits, and says so again.
    again = materialize(settings, instance, "logistic")
    assert again.metadata("releases", "logistic")["verdict"] == "unchanged"
    assert not again.checks("releases", "logistic")["champion"].passed


@pytest.mark.parametrize(
    ("watch", "verdict", "shown"),
    [
        (None, "candidate", (False, "WARN", "needs_more_data", None)),
        ("needs_more_data", "candidate", (False, "WARN", "needs_more_data", None)),
        ("held", "candidate", (True, "WARN", "held", None)),
        ("fell", "candidate", (False, "ERROR", "fell", None)),
        ("fell", "promoted", (False, "WARN", "fell", True)),
    ],
)
def test_a_watch_that_could_not_tell_is_no_pass(watch: str | None, verdict: str, shown: tuple[Any, ...]) -> None:
    found = {"verdict": watch, "reason": "so it is", "drop": 0.1, "now": None}
    facts: dict[str, Any] = {"verdict": verdict, "stage": "", "version": "1.0.1", "champion_before": "sha256:a"}
    check = decisions._champion({**facts, "champion_watch": found if watch else None})
    told = {name: value.value for name, value in check.metadata.items()}
    assert (check.passed, check.severity.value, told["verdict"], told.get(REPLACED)) == shown
    assert ("what_to_do" in told) is (told.get(HIGH_PRIORITY, False) and not told.get(REPLACED, False))
    assert told.get("drop") == (0.1 if watch else None) and "now" not in told


@pytest.mark.parametrize("older", [False, True])
def test_a_check_of_a_report_says_of_which_window_it_is_and_that_there_is_a_newer_one(older: bool) -> None:
    key = dg.AssetKey(["drift_reports", "logistic"])
    facts: dict[str, Any] = {
        "window": {"start": "2026-11-22T06:00:00+00:00", "end": "2026-11-22T12:00:00+00:00"},
        **{"verdict": "drift", "rows": 600, "labelled_rows": 0},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        assert decisions._newest_window(instance, key) == ("", "")
        newest = "2026-11-23T00:00" if older else "2026-11-22T06:00"
        for window, verdict in ((newest, "needs_more_data"), ("2026-11-21T00:00", "drift")):
            made = dg.AssetMaterialization(key, metadata={"verdict": verdict}, partition=window)
            instance.report_runless_asset_event(made)
        found = decisions._newest_window(instance, key)
    check = decisions._watch_result(WatchCheck("drift", "failed", "it moved"), facts, found)
    shown = {name: value.value for name, value in check.metadata.items()}
    assert not check.passed and "2026-11-22T06:00 UTC" in str(check.description)
    assert str(check.description).endswith(": it moved")
    assert ("OLDER" in str(check.description)) is older
    assert shown.get("newest_window") == ("2026-11-23T00:00" if older else None)
    assert ("needs more data" in str(check.description)) is older


def test_a_data_check_that_could_not_tell_is_undecided_in_dagster() -> None:
    key = dg.AssetKey(["raw", "nslkdd"])
    spec = dg.AssetCheckSpec("distribution", asset=key)
    context: Any = SimpleNamespace(selected_asset_check_keys={spec.key})
    outcome = CheckOutcome("distribution", "warn", "not certain", {"rows": 9}, undecided=True)
    (result,) = quality._results(context, key, [spec], [outcome])
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert result.metadata["verdict"].value == "needs_more_data"


def test_the_audit_check_fails_after_one_byte_changed_and_blocks(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    graph = materialize(settings, instance, "logistic", samples=700)
    check = graph.checks("audit_roots")["log_verifies"]
    assert check.passed
    root = graph.metadata("audit_roots")["root"]
    assert check.metadata["root"].value == root

    victim = max(
        (
            p
            for p in (settings.home / "audit").rglob("*")
            if p.is_file() and "tile" in p.parts and p.stat().st_size > 64
        ),
        key=lambda path: path.stat().st_size,
    )
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(bytes(data))
    after = materialize(settings, instance, "logistic", samples=700)
    assert not after.success
    evaluated = after.checks("audit_roots")
    if evaluated:  # a decision that is looked up in the damaged log, or appending to it, may refuse before
        assert not evaluated["log_verifies"].passed
        assert victim.name in str(evaluated["log_verifies"].metadata["problems"].value)
    else:
        assert after.failures().keys() & {"audit_roots", "releases__logistic"}


def test_a_changed_card_fails_the_audit_check(settings: Settings, instance: dg.DagsterInstance) -> None:
    graph = materialize(settings, instance, "logistic", samples=700)
    card = Path(graph.metadata("model_cards", "logistic")["path"])
    card.chmod(0o644)
    card.write_text(card.read_text().replace('"logistic"', '"heuristic"', 1))
    check = materialize(settings, instance, keys=[dg.AssetKey(["audit_roots"])]).checks("audit_roots")["log_verifies"]
    assert not check.passed
    assert card.name in str(check.description)


def test_a_damaged_model_is_trained_again_and_never_used(settings: Settings, instance: dg.DagsterInstance) -> None:
    first = materialize(settings, instance, "logistic", samples=700)
    model = first.metadata("models", "logistic")["model"]
    folder = settings.home / "models" / "store" / model.partition(":")[2]
    victim = next(folder.glob("*.safetensors"))
    victim.chmod(0o644)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    second = materialize(settings, instance, "logistic", samples=700)
    assert second.failures() == {}
    assert second.metadata("models", "logistic")["reused"] is False
    assert victim.read_bytes() != bytes(data)


def test_a_decision_that_did_not_pass_says_what_to_do_and_no_check_claims_what_failed(settings: Settings) -> None:
    facts: dict[str, Any] = {
        "gate": {"verdict": "fail", "reasons": ["too bad"]},
        "regression": {"verdict": "pass", "reasons": ["as good"]},
        "high_priority": False,
        "champion_before": "",
        "stage": "candidates",
    }
    refused, passed = decisions._gate(facts), decisions._regression(facts)
    assert "Read the reasons" in str(refused.metadata["what_to_do"].value)
    assert "what_to_do" not in passed.metadata
    for check in ("gate", "regression", "champion", "drift", "log_verifies", "events_reconciled"):
        assert advice_of(check)
    for spec in [spec for checks in build_checks(settings, family_names()) for spec in checks.check_specs]:
        assert str(spec.description).startswith("Passes when this holds: "), spec.key
