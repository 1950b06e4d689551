"""Ordinary sequences of runs: after each of them the audit log verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from nethical_assets.core.detectors.registry import family_names
from tests.across.conftest import Copy
from tests.across.platform import ForkServer, Home, files_of, flip, wait_until
from tests.sweeping import COMPLETE


def test_real_then_synthetic_then_real_data_verifies_after_each(
    server: ForkServer, tmp_path: Path, mirror: Path
) -> None:
    home = Home(server, tmp_path, mirror)
    families = list(family_names()) if COMPLETE else ["anomaly", "logistic"]
    documents = []
    for source in ("mirror", "synthetic", "mirror"):
        documents.append(
            home.run("--families", ",".join(families), "--source", source, "--samples", "600").ok().document
        )
        assert home.problems() == [], f"after run {len(documents)}, from {source}"

    first, second, third = (document["families"] for document in documents)
    for family in families:
        assert first[family]["verdict"] == "promoted"
        assert second[family]["verdict"] == "candidate"
        assert third[family]["verdict"] == "unchanged"
        assert third[family]["model_digest"] == first[family]["model_digest"] != second[family]["model_digest"]
        lineage = home.nethical("lineage", family)
        assert lineage.code == 0, lineage.out


def test_a_damaged_card_is_issued_again_by_the_next_run(copy: Copy, real: Home, records: Path) -> None:
    home = copy(real)
    cards = [path for path in files_of(home.path / "models") if "_card" in path.name]
    assert len(cards) >= 6
    rest = [path for path in cards if not path.name.endswith("_card.json")]
    assert len(rest) == len(cards) - 1
    groups = (
        [[card] for card in cards]
        if COMPLETE
        else [
            [path for path in cards if path not in rest],
            rest,
        ]
    )
    for damaged in groups:
        for card in damaged:
            flip(card)
        problems = home.problems()
        for card in damaged:
            assert any(card.name in problem for problem in problems)
        document = home.run("--source", "mirror").ok().document
        assert document["families"]["logistic"]["verdict"] == "unchanged"
        assert home.faults(records) == [], [card.name for card in damaged]


@pytest.mark.slow
def test_a_killed_run_then_a_good_one(copy: Copy, real: Home, records: Path) -> None:
    home = copy(real)
    store = home.path / "models" / "store"
    before = len(list(store.iterdir()))
    # Another seed trains another model, which is decided about next.
    killed = home.start("run", "--families", "logistic", "--source", "mirror", "--seed", "5")
    wait_until(lambda: len(list(store.iterdir())) > before, 60, "the model of the run that is killed")
    killed.kill()
    assert killed.wait().code < 0
    document = home.run("--source", "mirror", "--seed", "5").ok().document
    assert document["families"]["logistic"]["verdict"] in ("promoted", "candidate", "unchanged")
    assert home.faults(records) == []


@pytest.mark.slow
def test_a_killed_first_run_then_a_good_one(fresh: Home) -> None:
    killed = fresh.start("run", "--families", "logistic", "--source", "synthetic", "--samples", "600")
    wait_until(lambda: (fresh.path / "audit" / "pending").is_dir(), 60, "the first event")
    killed.kill()
    assert killed.wait().code < 0
    document = fresh.run("--source", "synthetic", "--samples", "600").ok().document
    assert document["families"]["logistic"]["verdict"] == "promoted"
    assert fresh.problems() == []
    assert [path for path in files_of(fresh.path) if path.name.startswith(".partial-")] == []
