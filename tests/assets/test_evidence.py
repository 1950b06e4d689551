"""What is kept is held against its digest and the audit log: tampering is named, and nobody acts on it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from nethical_assets.core.audit import LogReader
from nethical_assets.core.delivery.champion import check_champion
from nethical_assets.core.delivery.release import SYNTHETIC_REFUSAL, TRIAL_REFUSAL, decide_release
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.stores import open_registry
from nethical_assets.operations.verification import reconcile_facts, verify
from tests.assets.assets_graph import materialize
from tests.conftest import Once
from tests.orchestration import write_settings

FAMILY = "logistic"


@pytest.fixture
def released(settings: Settings, once: Once) -> Settings:
    """Settings of a home with one promoted model and a finalised log."""

    def make(folder: Path) -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            graph = materialize(replace(settings, home=folder / "home"), instance, FAMILY)
        assert graph.metadata("releases", FAMILY)["verdict"] == "promoted"

    shutil.copytree(once("released", make) / "home", settings.home, dirs_exist_ok=True)
    assert verify(settings)["ok"]
    return settings


def test_a_changed_object_model_or_snapshot_is_named(released: Settings) -> None:
    victims = [
        next(path for path in (released.home / "data" / "objects").rglob("*") if path.is_file()),
        next((released.home / "models" / "store").glob("*/*.safetensors")),
    ]
    for victim in victims:
        original = victim.read_bytes()
        victim.write_bytes(original + b"x")
        problems = verify(released)["problems"]
        assert any(victim.name in problem for problem in problems), victim
        victim.write_bytes(original)
    assert verify(released)["ok"]


def test_a_pointer_that_the_log_never_moved_is_found_and_not_acted_on(released: Settings) -> None:
    path = released.home / "models" / "current" / f"{FAMILY}.json"
    pointer = json.loads(path.read_bytes())
    path.write_text(json.dumps({**pointer, "decision": pointer["evaluation"]}))
    registry = open_registry(released.home)
    champion = registry.champion(FAMILY)
    assert champion is not None
    with pytest.raises(IntegrityError, match="no newest promotion"):
        check_champion(registry, LogReader(released.home / "audit"), champion)
    assert len(verify(released)["problems"]) >= 2


def test_a_damaged_pointer_is_a_problem_and_no_crash(released: Settings) -> None:
    path = released.home / "models" / "current" / f"{FAMILY}.json"
    path.write_text("{")
    assert any(path.name in problem for problem in verify(released)["problems"])


def test_a_pointer_with_a_malformed_digest_is_named(released: Settings) -> None:
    path = released.home / "models" / "current" / f"{FAMILY}.json"
    pointer = json.loads(path.read_bytes())
    for name in ("model", "decision", "evaluation", "thresholds", "card", "reference"):
        path.write_text(json.dumps({**pointer, name: "sha256:cg" + pointer[name][9:]}))
        assert any(path.name in problem for problem in verify(released)["problems"]), name


def test_a_model_folder_that_was_never_finished_is_no_model(released: Settings) -> None:
    (released.home / "models" / "store" / ("0" * 64)).mkdir()
    assert verify(released)["ok"]


def test_a_champion_refused_later_stays_with_the_card_of_its_own_decision(
    released: Settings, instance: dg.DagsterInstance, environment: dict[str, str], tmp_path: Path
) -> None:
    before = open_registry(released.home).champion(FAMILY)
    (tmp_path / "stricter").mkdir()
    file = write_settings(tmp_path / "stricter", performance_thresholds={"accuracy_min": 1.0, "ece_max": 0.0})
    stricter = load_settings({**environment, "NETHICAL_CONFIG": str(file)})
    release = materialize(stricter, instance, FAMILY).metadata("releases", FAMILY)
    assert release["verdict"] == "candidate"
    assert "This model is the champion." in str(release["reasons"])
    registry = open_registry(released.home)
    assert registry.champion(FAMILY) == before
    assert registry.candidates(FAMILY) == []
    assert verify(stricter)["ok"]


def test_an_event_that_the_log_lacks_is_found(released: Settings) -> None:
    champion = open_registry(released.home).champion(FAMILY)
    assert champion is not None
    known = (champion.run_id, "model_trained", champion.model)
    assert reconcile_facts(released, [known]).ok
    missing = reconcile_facts(released, [known, ("another-run", "model_trained", champion.model)])
    assert not missing.ok
    assert "another-run" in missing.problems()[0]


@pytest.mark.parametrize(
    ("options", "reason"), [({"is_trial": True}, TRIAL_REFUSAL), ({"replaces_real_data": True}, SYNTHETIC_REFUSAL)]
)
def test_neither_a_trial_nor_synthetic_data_replaces_a_champion(options: dict[str, bool], reason: str) -> None:
    passing = {"verdict": "pass", "reasons": ["good"]}
    assert decide_release(passing, passing).verdict == "promoted"
    refused = decide_release(passing, passing, **options)
    assert refused.verdict == "candidate"
    assert refused.reasons[0] == reason
