"""What the log and the newest records name is there: what is removed is missed, and a run puts back what it can."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nethical_assets.core.ground.storage import read_json
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.operations.verification import verify
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.screening import SCREENED
from nethical_assets.stages.splitting import SPLITS
from tests.across.conftest import Copy
from tests.across.platform import Home, files_of, flip
from tests.sweeping import cases


@pytest.fixture
def held(real: Home, copy: Copy) -> Home:
    """A home after a cycle of real data, which a test may spoil."""
    return copy(real)


def settings_of(home: Home) -> Settings:
    return load_settings(home.environment)


def missed(settings: Settings, path: Path) -> list[str]:
    """What ``audit verify`` says while ``path`` is away."""
    away = settings.home.parent / "away"
    path.rename(away)
    try:
        return list(verify(settings)["problems"])
    finally:
        away.rename(path)


def test_every_stored_object_is_missed(held: Home) -> None:
    settings = settings_of(held)
    unnoticed = []
    for area in ("data/objects", "data/snapshots/objects"):
        for path in files_of(held.path / area):
            problems = missed(settings, path)
            if not any(path.name in problem for problem in problems):
                unnoticed.append((path.name, path.read_bytes()[:300]))
    assert unnoticed == []
    assert verify(settings)["problems"] == []


def test_a_lost_snapshot_pointer_is_missed_and_fetched_again(held: Home) -> None:
    settings = settings_of(held)
    (pointer,) = (path for path in files_of(held.path / "data" / "snapshots" / "datasets") if path.stem == "nslkdd")
    pointer.unlink()
    (problem,) = verify(settings)["problems"]
    assert str(pointer) in problem
    assert "nethical data restore nslkdd" in problem
    held.run("--source", "mirror").ok()
    assert verify(settings)["problems"] == []


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("audit/keys/signing-key.pem", "NETHICAL_AUDIT_KEY_FILE"),
        ("models/keys/signing-key.pem", "nethical models rotate-key"),
    ],
)
def test_a_lost_private_key_is_missed_by_its_operator_only(held: Home, key: str, advice: str) -> None:
    lost = held.path / key
    away = held.folder / "elsewhere.pem"
    lost.rename(away)
    (problem,) = held.problems()
    assert str(lost) in problem
    assert advice in problem

    verifier = (held.path / "audit" / "keys" / "verifier.vkey").read_text().strip()
    held.nethical("audit", "verify", "--key", verifier).ok()
    variable = "NETHICAL_AUDIT_KEY_FILE" if key.startswith("audit") else "NETHICAL_MODEL_KEY_FILE"
    elsewhere = held.server.start(
        "nethical", ("audit", "verify", "--json"), {**held.environment, variable: str(away)}, {}
    ).wait()
    assert elsewhere.code == 0, elsewhere.out


def test_a_replaced_key_is_not_missed(held: Home) -> None:
    held.nethical("models", "rotate-key", "--reason", "a drill").ok()
    held.nethical("audit", "keys", "rotate").ok()
    assert held.problems() == []


@pytest.mark.parametrize("seed", cases("5", more=[""]))
@pytest.mark.slow
def test_a_champion_whose_pointer_is_gone_is_compared_with_and_put_back(seed: str, held: Home, records: Path) -> None:
    pointer = held.path / "models" / "current" / "logistic.json"
    before = json.loads(pointer.read_text())
    pointer.unlink()
    (problem,) = held.problems()
    for answer in (held.score(records)[0], held.nethical("lineage", "logistic")):
        assert answer.code == 1
        assert f"{pointer}: missing, the audit log names {before['model']}" in problem
        assert problem in answer.err + answer.out
    # Too few rows for a better model.
    trial = ("--seed", seed, "--samples", "300") if seed else ()
    document = held.run("--source", "mirror", *trial).ok().document
    assert document["families"]["logistic"]["verdict"] == ("candidate" if seed else "unchanged")
    assert json.loads(pointer.read_text()) == before
    assert held.faults(records) == []


@pytest.mark.parametrize("files", ["kept", "removed"])
def test_a_pointer_that_lost_its_card_is_found_and_gets_the_issued_one_again(
    files: str, held: Home, records: Path
) -> None:
    pointer = held.path / "models" / "current" / "logistic.json"
    before = pointer.read_bytes()
    pointer.write_text(json.dumps({**json.loads(before), "card": ""}))
    for path in files_of(held.path / "models" / "metadata") if files == "removed" else ():
        path.unlink()
    (problem, *_) = held.problems()
    assert f"issued card {json.loads(before)['card']} for the champion, its pointer names none" in problem
    held.run("--source", "mirror").ok()
    assert json.loads(pointer.read_text()) == json.loads(before)
    assert held.faults(records) == []


def test_a_champion_that_is_said_to_be_replaced_is_found(held: Home) -> None:
    pointer = held.path / "models" / "current" / "logistic.json"
    pointer.write_text(json.dumps({**json.loads(pointer.read_text()), "replaced_at": "2020-01-01T00:00:00+00:00"}))
    (problem,) = held.problems()
    assert f"{pointer}: replaced_at is not what was decided" in problem


def test_what_retention_deleted_is_not_missed(held: Home) -> None:
    # Too few rows for a better model: the champion stays, and a candidate is kept beside it.
    held.run("--source", "mirror", "--seed", "5", "--samples", "300").ok()
    pruned = held.nethical("models", "prune", "--json", injection={"clock_days": 4000}).ok().document
    assert pruned["removed"], pruned
    assert held.problems() == []


def computed(home: Home) -> dict[Path, bytes]:
    """The stored results of the stages that can compute them again, with their bytes."""
    found = {}
    for stage in (DATASETS, SCREENED, SPLITS, EVALUATIONS):
        path = home.path / "data" / "records" / "newest" / stage.name / "logistic.json"
        record = StageRecord.from_json(read_json(path))
        for digest in {record.output, *record.objects.values()}:
            stored = home.path / "data" / "objects" / digest[7:9] / digest[7:]
            found[stored] = stored.read_bytes()
    return found


def unlink(path: Path) -> None:
    """Remove a file."""
    path.unlink()


@pytest.mark.parametrize("damage", [flip, unlink])
def test_a_run_puts_results_back_that_can_be_computed_again_and_says_so(
    damage: Callable[[Path], None], held: Home, real: Home
) -> None:
    settings = settings_of(held)
    results = computed(held)
    assert len(results) > 5
    for path in results:
        damage(path)
    assert {path.name for path in results if any(path.name in one for one in verify(settings)["problems"])} == {
        path.name for path in results
    }
    answer = held.run("--source", "mirror").ok()
    for path, data in results.items():
        assert path.name in answer.err
        assert path.read_bytes() == data
    assert verify(settings)["problems"] == []
    assert held.pointer() == real.pointer()


@pytest.mark.parametrize("damage", [flip, unlink])
def test_a_run_writes_the_public_key_in_force_anew_and_says_so(
    damage: Callable[[Path], None], held: Home, real: Home
) -> None:
    (path,) = (held.path / "models" / "keys").glob("*.pub.pem")
    data = path.read_bytes()
    damage(path)
    assert held.problems()
    answer = held.run("--source", "mirror").ok()
    assert path.name in answer.err
    assert path.read_bytes() == data
    assert held.problems() == []
    assert held.pointer() == real.pointer()


def about(path: Path) -> str:
    """What a stored object is a signed statement about; nothing for another object."""
    data = path.read_bytes()
    if not data.startswith(b'{"payload"'):
        return ""
    return str(json.loads(base64.b64decode(json.loads(data)["payload"]))["subject"][0]["name"])


def test_what_cannot_be_made_again_fails_the_run_with_one_line_that_names_it(held: Home) -> None:
    # A statement; that about a source that was not there holds no time, and is made again byte for byte.
    (victim,) = (path for path in files_of(held.path / "data" / "objects") if about(path) == "models/logistic")
    flip(victim)
    answer = held.run("--source", "mirror")
    assert answer.code == 1
    assert victim.name in answer.err + answer.out
    assert any(victim.name in problem and "restore it from a backup" in problem for problem in held.problems())


@pytest.mark.slow
def test_a_decision_about_a_quarantined_row_is_missed(copy: Copy, keeping: Home) -> None:
    home = copy(keeping)
    run = ("--families", "prompt_injection", "--source", "mirror")
    (row,) = home.nethical("quarantine", "list", "--json").ok().document["rows"]
    index = home.path / "data" / "quarantine" / "prompt_injection.json"
    held = index.read_bytes()
    index.write_text(json.dumps([{**json.loads(held)[0], "label": "1"}]))
    (problem,) = home.problems()
    assert f"row {row['row_id']} has another label" in problem
    index.write_bytes(held)
    decide = ("prompt_injection", row["row_id"], "--actor", "ada", "--reason", "harmless")
    home.nethical("quarantine", "confirm", *decide).ok()
    home.nethical("quarantine", "release", *decide).ok()
    home.run(*run).ok()
    assert home.problems() == []

    # Nothing of the newest data is kept out: only the decision says that there is a row.
    before = index.read_bytes()
    (entry,) = json.loads(before)
    for entries in cases([{**entry, "status": "held", "decision": ""}], more=[[]]):
        index.unlink()
        if entries:
            index.write_text(json.dumps(entries))
        (problem,) = home.problems()
        assert "restore data/quarantine from a backup" in problem
        answer = home.run(*run)
        assert answer.code == 1
        assert "restore data/quarantine from a backup" in answer.err + answer.out
        index.write_bytes(before)
    assert home.problems() == []
