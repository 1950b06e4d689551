"""Real data that is damaged or unusable: it stops its family, and never quietly becomes synthetic data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.across.conftest import Copy
from tests.across.platform import ForkServer, Home, files_of, flip
from tests.sweeping import cases
from tests.tiny_mirror import CATALOG, connections, write_connections

DATASET = "nslkdd"


def snapshot(home: Home) -> Path:
    """The newest snapshot's table."""
    return max(
        (path for path in files_of(home.path / "data" / "snapshots") if path.parent.parent.name == "objects"),
        key=lambda path: path.stat().st_mtime_ns,
    )


def flipped(path: Path) -> None:
    """One bit is another."""
    flip(path)


def truncated(path: Path) -> None:
    """The file ends early."""
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:1000])


def removed(path: Path) -> None:
    """The file is gone, what names it is not."""
    path.unlink()


@pytest.mark.parametrize("damage", cases(flipped, more=[truncated, removed]))
@pytest.mark.parametrize("download", [True, False])
def test_damaged_real_data_stops_the_family_with_one_line(
    damage: Callable[[Path], None], download: bool, copy: Copy, real: Home
) -> None:
    # No source can serve it anew.
    home = copy(real, mirror=None)
    damage(snapshot(home))
    # Nor is it enough that nothing has to be computed: the rows are asked for in another number.
    answer = home.run("--samples", "550", *(() if download else ("--no-download",)))
    assert answer.code == 1, answer.out
    result = answer.document["families"]["logistic"]
    assert result["verdict"] == "error"
    assert result["source"] in (None, "mirror")
    (reason,) = result["reasons"]
    assert "\n" not in reason
    assert DATASET in reason
    assert home.pointer() == real.pointer()
    assert "Traceback" not in answer.err
    assert ("no source was asked" in answer.document["sources"]) is not download


@pytest.mark.slow
def test_damaged_real_data_is_healed_from_its_source_or_stops_the_family(copy: Copy, real: Home) -> None:
    home = copy(real)
    flip(snapshot(home))
    answer = home.run("--samples", "550")
    result = answer.document["families"]["logistic"]
    if answer.code == 0:
        assert result["source"] == "mirror"
        assert home.problems() == []
    else:
        assert (answer.code, result["verdict"], len(result["reasons"])) == (1, "error", 1)
    assert home.pointer() == real.pointer()


def junk(folder: Path) -> None:
    """Bytes that are no table."""
    _file(folder).write_bytes(b"\x00\x01\x02\xff\xfe" * 2000)


def one_class(folder: Path) -> None:
    """A table in which every row has the same label."""
    write_connections(folder, connections(900, np.random.default_rng(2)).assign(attack="normal"))


def other_columns(folder: Path) -> None:
    """A table without most of the columns."""
    write_connections(folder, pd.DataFrame({"a": range(900), "b": "x"}))


def no_labels(folder: Path) -> None:
    """A table whose label column is empty."""
    write_connections(folder, connections(900, np.random.default_rng(2)).assign(attack=None))


def _file(folder: Path) -> Path:
    return next((folder / CATALOG.entry(DATASET).slug).iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("spoil", cases(junk, more=[one_class, other_columns, no_labels]))
def test_unusable_sources_never_lead_to_a_promoted_synthetic_model_without_an_issue(
    spoil: Callable[[Path], None], server: ForkServer, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    write_connections(mirror, connections(900, np.random.default_rng(2)))
    spoil(mirror)
    home = Home(server, tmp_path / "home", mirror)
    answer = home.run("--samples", "600")
    result = answer.document["families"]["logistic"]
    if result["verdict"] == "error":
        assert answer.code == 1
        assert any(DATASET in reason for reason in result["reasons"])
        return
    cause = answer.document["datasets"][DATASET]["reason"]
    assert cause
    about = [home.nethical("alerts", "show", str(issue["number"])).ok().out for issue in home.alerts()]
    said = [text for text in about if DATASET in text]
    assert said, f"a synthetic model is {result['verdict']}, and no issue says why: {cause}"
    # The issue names the cause: what follows the file's or the source's name in the run's own words.
    words = {word for word in cause.lower().replace(",", " ").split() if len(word) > 4 and "/" not in word}
    assert any(len(words & set(text.lower().replace(",", " ").split())) >= len(words) // 2 for text in said)


def test_restore_brings_back_the_newest_intact_copy_of_what_was_current(server: ForkServer, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    home = Home(server, tmp_path / "home", mirror)
    good = connections(900, np.random.default_rng(2))
    bad = [connections(700, np.random.default_rng(seed), learnable=False) for seed in (3, 4)]

    def fetched(rows: pd.DataFrame) -> str:
        write_connections(mirror, rows)
        home.nethical("data", "fetch", DATASET, "--source", "mirror").ok()
        return _current(home)

    write_connections(mirror, good)
    first = home.run("--source", "mirror").ok().document
    assert first["families"]["logistic"]["verdict"] == "promoted"
    a = _current(home)
    digests = [fetched(rows) for rows in (*bad, good)]
    assert digests[-1] == a
    assert len({a, *digests}) == 3

    flip(snapshot_of(home, a))
    home.nethical("data", "restore", DATASET, "--from", "backup").ok()
    assert _current(home) == a
    home.nethical("data", "validate", DATASET)
    after = home.run("--source", "mirror").ok().document
    assert after["families"]["logistic"]["model_digest"] == first["families"]["logistic"]["model_digest"]
    assert home.problems() == []


@pytest.mark.parametrize("own", ["kept", "removed"])
def test_a_backup_of_data_that_the_log_never_saw_is_not_restored(
    own: str, copy: Copy, real: Home, server: ForkServer, tmp_path: Path
) -> None:
    write_connections(tmp_path / "elsewhere", connections(900, np.random.default_rng(6), learnable=False))
    other = Home(server, tmp_path / "other", tmp_path / "elsewhere")
    other.nethical("data", "fetch", DATASET, "--source", "mirror").ok()
    home = copy(real)
    current = _current(home)
    backups = home.path / "data" / "backups"
    if own == "removed":
        shutil.rmtree(backups)
    shutil.copytree(other.path / "data" / "backups", backups, dirs_exist_ok=True)
    flip(snapshot_of(home, current))
    answer = home.nethical("data", "restore", DATASET, "--from", "backup")
    if own == "kept":
        answer.ok()
        assert _current(home) == current
        assert home.problems() == []
    else:
        assert answer.code == 1
        assert "of which the audit log knows no fetch" in answer.err
        assert _current(home) == current


def _current(home: Home) -> str:
    rows = home.nethical("data", "list", "--json").ok().document["datasets"]
    return next(str(row["digest"]) for row in rows if row["name"] == DATASET)


def snapshot_of(home: Home, digest: str) -> Path:
    """The stored table of a snapshot."""
    name = digest.partition(":")[2]
    (path,) = (path for path in files_of(home.path / "data" / "snapshots") if path.name == name)
    return path


def test_restored_data_is_said_in_the_log(copy: Copy, real: Home) -> None:
    home = copy(real)
    flip(snapshot_of(home, _current(home)))
    home.nethical("data", "restore", DATASET).ok()
    home.run("--source", "mirror").ok()
    assert home.problems() == []
    events = home.nethical("audit", "show", "--json", "--last", "1000").ok().document["events"]
    assert "data_restored" in {event["type"] for event in events}
    assert json.loads(home.pointer() or b"")["model"] == json.loads(real.pointer() or b"")["model"]


def to_what_was_current_before(pointer: Path, before: str) -> None:
    """The file of an earlier time, put back."""
    pointer.write_text(before)


def to_a_later_confirmation(pointer: Path, before: str) -> None:
    """Old data that says it was confirmed a moment ago."""
    document = json.loads(pointer.read_text())
    pointer.write_text(json.dumps({**document, "refreshed_at": "2031-01-01T00:00:00+00:00"}))


@pytest.mark.slow
@pytest.mark.parametrize("moved", [to_what_was_current_before, to_a_later_confirmation])
@pytest.mark.parametrize("confirmed", cases(False, more=[True]))
def test_a_pointer_to_data_that_was_moved_is_found_and_mended(
    moved: Callable[[Path, str], None], confirmed: bool, copy: Copy, real: Home, tmp_path: Path
) -> None:
    mirror = tmp_path / "mirror"
    home = copy(real, mirror=mirror)
    write_connections(mirror, connections(900, np.random.default_rng(5)))
    pointer = home.path / "data" / "snapshots" / "datasets" / f"{DATASET}.json"
    before = pointer.read_text()
    home.nethical("data", "fetch", DATASET, "--source", "mirror").ok()
    if confirmed:
        home.nethical("data", "fetch", DATASET, "--source", "mirror").ok()
    assert home.problems() == []
    moved(pointer, before)
    (problem,) = home.problems()
    assert str(pointer) in problem
    home.run("--source", "mirror").ok()
    assert home.problems() == []
