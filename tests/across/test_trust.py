"""Histories that did not happen: an older log put back, a clock that ran backwards, a champion from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.across.conftest import Copy
from tests.across.platform import Home
from tests.sweeping import cases


@pytest.mark.parametrize("folders", cases(("audit",), more=[("audit", "models")]))
def test_an_older_audit_log_put_back_is_found_without_a_witness(
    folders: tuple[str, ...], copy: Copy, real: Home, tmp_path: Path
) -> None:
    home = copy(real)
    for folder in folders:
        shutil.copytree(home.path / folder, tmp_path / "older" / folder)
    home.run("--source", "mirror").ok()
    assert home.problems() == []
    for folder in folders:
        shutil.rmtree(home.path / folder)
        shutil.copytree(tmp_path / "older" / folder, home.path / folder)
    assert home.problems() != []
    # Nor is it forgotten when the log grows again.
    home.run("--source", "mirror")
    assert home.problems() != []


def test_leaf_times_that_run_backwards_are_noted(copy: Copy, real: Home) -> None:
    home = copy(real)
    before = home.nethical("audit", "verify", "--json").ok().document
    home.run("--source", "mirror", injection={"clock_days": -400}).ok()
    times = [event["time"] for event in home.nethical("audit", "show", "--json").ok().document["events"]]
    assert times != sorted(times)
    answer = home.nethical("audit", "verify", "--json")
    said = [note for note in (*answer.document["notes"], *answer.document["problems"]) if note not in before["notes"]]
    assert any("time" in note or "clock" in note for note in said), said


@pytest.mark.parametrize("pending", ["empty", "foreign", "none"])
def test_a_champion_from_elsewhere_is_not_used(
    pending: str, copy: Copy, real: Home, stranger: Home, records: Path
) -> None:
    home = copy(real)
    theirs = json.loads(stranger.pointer() or b"")
    digest = theirs["model"].partition(":")[2]
    shutil.copytree(stranger.path / "models" / "store" / digest, home.path / "models" / "store" / digest)
    for folder in ("signatures", "keys"):
        for path in (stranger.path / "models" / folder).glob("*"):
            if "signing" not in path.name and not (home.path / "models" / folder / path.name).exists():
                shutil.copy(path, home.path / "models" / folder / path.name)
    shutil.copytree(stranger.path / "data" / "objects", home.path / "data" / "objects", dirs_exist_ok=True)
    run = "11111111-2222-3333-4444-555555555555"
    file = home.path / "audit" / "pending" / f"{run}.jsonl"
    file.parent.mkdir(exist_ok=True)
    if pending == "empty":
        file.touch()
    elif pending == "foreign":
        # A pending file that names the promotion, but of a run that this log never heard of.
        events = stranger.nethical("audit", "show", "--json", "--last", "1000").ok().document["events"]
        lines = [json.dumps({**event, "run_id": run}) for event in events if event["type"] == "model_promoted"]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    pointer = home.path / "models" / "current" / "logistic.json"
    pointer.write_text(json.dumps({**theirs, "run_id": run if pending != "none" else theirs["run_id"]}))
    answer, scores = home.score(records)
    assert answer.code != 0
    assert scores == ""
    assert "Traceback" not in answer.err
    assert home.problems() != []


@pytest.fixture(scope="module")
def stranger(real: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Somebody else's home, with keys and a champion of its own."""
    home = Home(real.server, tmp_path_factory.mktemp("stranger"), real.mirror)
    document = home.run("--source", "mirror", "--seed", "77").ok().document
    assert document["families"]["logistic"]["verdict"] == "promoted"
    return home
