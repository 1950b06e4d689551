"""Histories that did not happen: an older log put back, a clock that ran backwards, a champion from elsewhere."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.across.conftest import Copy
from tests.across.platform import Home, Sensors, flip
from tests.across.traffic import drift_report
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


def drift_watch(home: Home) -> None:
    assert home.dagster("execute", json.dumps({"job": "drift_watch"}))["success"]


def one_asset_with_its_checks(home: Home) -> None:
    assert home.dagster("execute", json.dumps({"assets": ["raw/nslkdd"]}))["success"]


def an_errand_and_a_tick(home: Home) -> None:
    home.nethical("audit", "heartbeat").ok()
    Sensors(home).tick("check_alert_sensor")
    roots = home.dagster("materializations", "audit_roots")
    # Nothing to tell is told once.
    Sensors(home).tick("check_alert_sensor")
    assert home.dagster("materializations", "audit_roots") == roots


@pytest.mark.parametrize("does", cases(drift_watch, an_errand_and_a_tick, more=[one_asset_with_its_checks]))
def test_what_is_recorded_between_cycles_has_a_witness_too(
    does: Callable[[Home], None], copy: Copy, real: Home, tmp_path: Path
) -> None:
    home = copy(real)
    shutil.copytree(home.path / "audit", tmp_path / "older")
    does(home)
    assert home.problems() == []
    shutil.rmtree(home.path / "audit")
    shutil.copytree(tmp_path / "older", home.path / "audit")
    assert any("known root: rollback" in problem for problem in home.problems())
    # Nor does a tick that sees the older log make it the known one.
    Sensors(home).tick("check_alert_sensor")
    assert any("known root: rollback" in problem for problem in home.problems())


@pytest.mark.slow
def test_a_fork_never_becomes_what_the_witness_knows(copy: Copy, real: Home, tmp_path: Path) -> None:
    home = copy(real)
    shutil.copytree(home.path / "audit", tmp_path / "older")
    home.nethical("audit", "heartbeat").ok()
    Sensors(home).tick("check_alert_sensor")
    (home.path / "audit").rename(tmp_path / "right")
    shutil.copytree(tmp_path / "older", home.path / "audit")
    for _ in range(3):
        home.nethical("audit", "heartbeat").ok()
    Sensors(home).tick("check_alert_sensor")
    assert any("known root: fork" in problem for problem in home.problems())
    shutil.rmtree(home.path / "audit")
    (tmp_path / "right").rename(home.path / "audit")
    assert home.problems() == []


@pytest.mark.slow
def test_a_tick_witnesses_although_the_tracker_is_broken_or_a_tile_cannot_be_read(copy: Copy, real: Home) -> None:
    home = copy(real)
    before = len(home.dagster("materializations", "audit_roots"))
    tracker = home.path / "alerts" / "issues.sqlite"
    kept = tracker.read_bytes()
    tracker.write_bytes(b"no database " * 1000)
    home.nethical("audit", "heartbeat").ok()
    with pytest.raises(AssertionError, match="tracker"):
        Sensors(home).tick("check_alert_sensor")
    assert len(home.dagster("materializations", "audit_roots")) == before + 1
    tracker.write_bytes(kept)
    newest = max((home.path / "audit" / "tile" / "entries" / "000.p").iterdir(), key=lambda path: int(path.name))
    newest.unlink()
    newest.mkdir()
    Sensors(home).tick("check_alert_sensor")
    assert len(home.dagster("materializations", "audit_roots")) == before + 1


def test_a_witness_that_cannot_be_read_is_noted(copy: Copy, real: Home) -> None:
    home = copy(real)
    database = home.path / "dagster" / "history" / "runs" / "index.db"
    for leftover in database.parent.glob("index.db-*"):
        leftover.unlink()
    database.write_bytes(b"no database " * 1000)
    answer = home.nethical("audit", "verify", "--json").ok()
    (note,) = [note for note in answer.document["notes"] if "witness" in note]
    assert str(home.path / "dagster") in note


@pytest.mark.slow
@pytest.mark.parametrize("file", ["dagster", "dagster/history/runs.db"])
def test_a_witness_that_is_gone_is_noted(file: str, copy: Copy, real: Home) -> None:
    home = copy(real)
    assert home.nethical("audit", "verify", "--json").ok().document["notes"] == []
    path = home.path / file
    if file == "dagster":
        shutil.rmtree(path)
        (note,) = home.nethical("audit", "verify", "--json").ok().document["notes"]
        assert "knows no root, so the log was not held against its witness" in note
        home.run("--source", "mirror").ok()
        assert home.nethical("audit", "verify", "--json").ok().document["notes"] == []
        return
    path.write_bytes(path.read_bytes()[:8192] + b"no database " * 1000)
    answer = home.run("--source", "mirror")
    assert answer.code == 2
    assert "database is damaged" in answer.err
    assert "move it away" in answer.err
    (home.path / "dagster").rename(home.folder / "away")
    home.run("--source", "mirror").ok()
    assert home.problems() == []


def test_leaf_times_that_run_backwards_are_noted(copy: Copy, real: Home) -> None:
    home = copy(real)
    before = home.nethical("audit", "verify", "--json").ok().document
    home.run("--source", "mirror", injection={"clock_days": -400}).ok()
    times = [event["time"] for event in home.nethical("audit", "show", "--json").ok().document["events"]]
    assert times != sorted(times)
    answer = home.nethical("audit", "verify", "--json")
    said = [note for note in (*answer.document["notes"], *answer.document["problems"]) if note not in before["notes"]]
    assert any("time" in note or "clock" in note for note in said), said


@pytest.mark.slow
def test_a_candidate_of_a_run_whose_clock_was_set_back_is_kept_as_long_as_any(copy: Copy, real: Home) -> None:
    home = copy(real)
    # Too few rows for a better model: the champion stays, and a candidate is kept beside it.
    refused = ("run", "--families", "logistic", "--source", "mirror", "--seed", "5", "--samples", "300")
    home.nethical(*refused, injection={"clock_days": -400}).ok()
    folder = home.path / "models" / "candidates" / "logistic"
    (candidate,) = folder.glob("*.json")
    age = datetime.now(UTC) - datetime.fromisoformat(json.loads(candidate.read_text())["decided_at"])
    assert age > timedelta(days=399)
    for days in (0, 29):
        pruned = home.nethical("models", "prune", "--json", injection={"clock_days": days}).ok().document
        assert pruned == {"removed": []}
    pruned = home.nethical("models", "prune", "--json", injection={"clock_days": 31}).ok().document
    assert len(pruned["removed"]) == 1
    assert list(folder.glob("*.json")) == []
    assert home.problems() == []


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


@pytest.mark.parametrize("suffix", ["html", "json"])
def test_an_empty_pending_file_hides_no_card(suffix: str, copy: Copy, real: Home) -> None:
    home = copy(real)
    run = json.loads(home.pointer() or b"")["run_id"]
    (home.path / "audit" / "pending" / f"{run}.jsonl").touch()
    (card,) = (home.path / "models" / "metadata").glob(f"*_card.{suffix}")
    flip(card)
    assert any(card.name in problem for problem in home.problems())


def batch_of(home: Home) -> Path:
    (batch,) = (home.path / "serving" / "inference" / "logistic").glob("*.parquet")
    return batch


@pytest.mark.slow
def test_what_was_scored_counts_only_as_the_log_names_it(copy: Copy, real: Home, records: Path) -> None:
    home = copy(real)
    home.score(records)[0].ok()
    batch = batch_of(home)
    rows = drift_report(home)["rows"]
    assert rows > 0

    # Rows that nobody scored, in a file whose name fits its bytes.
    table = pq.read_table(batch)
    forged = batch.with_name("forged")
    pq.write_table(pa.concat_tables([table, table]), forged)
    content = hashlib.sha256(forged.read_bytes()).hexdigest()[:16]
    moment, model, occasion, _ = batch.name.split("-")
    forged = forged.rename(batch.with_name(f"{moment}-{model}-{occasion[::-1]}-{content}.parquet"))
    assert drift_report(home)["rows"] == rows
    assert home.problems() == []
    forged.unlink()

    # The same rows at another time.
    moved = batch.rename(batch.with_name(batch.name.replace(moment, f"2020{moment[4:]}")))
    assert any(batch.name in problem for problem in home.problems())
    moved.rename(batch)
    assert home.problems() == []


@pytest.mark.parametrize("after", cases(True, more=[False]))
@pytest.mark.slow
def test_a_killed_scoring_leaves_no_batch_that_is_missed(
    after: bool, copy: Copy, real: Home, records: Path, tmp_path: Path
) -> None:
    home, writes = copy(real), tmp_path / "writes"
    command = ("score", "logistic", str(records), "--output", str(tmp_path / "scores.csv"))
    copy(real).nethical(*command, injection={"log": str(writes)}).ok()
    lines = writes.read_text(encoding="utf-8").splitlines()
    (number,) = [n for n, line in enumerate(lines, 1) if "serving/inference/" in line and "fsync" not in line]
    assert home.nethical(*command, injection={"kill_at": number, "after": after}).code < 0
    home.run("--source", "mirror").ok()
    assert home.problems() == []
    assert home.score(records)[0].code == 0
    assert drift_report(home)["rows"] == len(pd.read_csv(records))
    assert home.faults(records) == []


@pytest.fixture(scope="module")
def stranger(real: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Somebody else's home, with keys and a champion of its own."""
    home = Home(real.server, tmp_path_factory.mktemp("stranger"), real.mirror)
    document = home.run("--source", "mirror", "--seed", "77").ok().document
    assert document["families"]["logistic"]["verdict"] == "promoted"
    return home
