"""A home that cannot be written reads, for another user, with what a killed process left in a write-ahead log."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.across.platform import Home

READING = (
    ("status", "--json"),
    ("models", "list", "--json"),
    ("data", "list", "--json"),
    ("alerts", "list", "--json"),
    ("alerts", "show", "1"),
    ("quarantine", "list", "--json"),
    ("lineage", "logistic"),
    ("reproduce", "logistic"),
    ("audit", "show"),
    ("audit", "prove", "1"),
    ("audit", "keys", "show"),
    ("audit", "verify"),
)
WRITING = (
    ("run", "--families", "logistic", "--source", "synthetic"),
    ("alerts", "close", "1", "--reason", "r"),
    ("audit", "heartbeat"),
    ("models", "prune"),
    ("retention",),
)


@pytest.fixture
def foreign(real: Home) -> Iterator[Home]:
    """A copy of a home, with an open issue in a write-ahead log, in a folder that another user may look into."""
    # A check that fails, so that an issue is filed.
    settings = {**real.settings, "datasets": {"minimum_samples": 5000}}
    before = real.copy(Path(tempfile.mkdtemp()) / "before", mirror=None, settings=settings)
    before.nethical("run", "--families", "logistic", "--source", "synthetic", "--samples", "400").ok()
    database = before.path / "alerts" / "issues.sqlite"
    folder = Path(tempfile.mkdtemp())
    with closing(sqlite3.connect(database)) as living:
        living.execute("INSERT INTO comments (issue, at, actor, body) VALUES (1, '2026', 'kim', 'in the log')")
        living.commit()
        home = before.copy(folder / "home")
    assert (home.path / "alerts" / "issues.sqlite-wal").stat().st_size > 0
    (home.path / "alerts" / "issues.sqlite-shm").unlink()
    for parent in (folder, home.folder):
        parent.chmod(0o755)
    if os.geteuid() != 0:
        for path in (home.path, *home.path.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    yield home
    if os.geteuid() != 0:
        for path in (home.path, *home.path.rglob("*")):
            path.chmod(path.stat().st_mode | 0o200)
    shutil.rmtree(folder)
    shutil.rmtree(before.folder.parent)


def test_whoever_may_only_read_reads_everything_and_changes_nothing(
    foreign: Home, records: Path, tmp_path: Path
) -> None:
    def state() -> dict[Path, tuple[int, int]]:
        return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in foreign.path.rglob("*")}

    before, reader = state(), {"reader": True}
    for command in READING:
        answer = foreign.nethical(*command, injection=reader)
        assert (answer.code, answer.err) == (0, ""), (command, answer)
        assert "witness" not in answer.out
        if command[:2] == ("alerts", "show"):
            assert "in the log" in answer.out
    for command in WRITING:
        answer = foreign.nethical(*command, injection=reader)
        assert answer.code in (1, 2), (command, answer)
        assert len(answer.err.strip().splitlines()) == 1, (command, answer)
        assert "space" not in answer.err.replace("check space and rights", ""), "a permission is no space"
    # What was scored must be in the log before anybody has it.
    own = Path(tempfile.mkdtemp())
    own.chmod(0o777)
    shutil.copy(records, own / "records.csv")
    (own / "records.csv").chmod(0o644)
    scores = own / "scores.csv"
    answer = foreign.nethical("score", "logistic", str(own / "records.csv"), "--output", str(scores), injection=reader)
    assert (answer.code, len(answer.err.strip().splitlines()), scores.exists()) == (2, 1, False), answer
    shutil.rmtree(own)
    assert state() == before


def test_a_log_that_was_put_back_is_found_where_nothing_can_be_written(real: Home, tmp_path: Path) -> None:
    """Dagster's event log is its witness for a reader too."""
    folder = Path(tempfile.mkdtemp())
    home = real.copy(folder / "home", mirror=None)
    shutil.copytree(home.path / "audit", tmp_path / "audit")
    home.nethical("run", "--families", "logistic", "--source", "synthetic", "--samples", "400").ok()
    shutil.rmtree(home.path / "audit")
    shutil.copytree(tmp_path / "audit", home.path / "audit")
    for parent in (folder, home.folder):
        parent.chmod(0o755)
    runs = home.path / "dagster" / "history" / "runs"
    runs.chmod(0o555)
    answer = home.nethical("audit", "verify", injection={"reader": True})
    runs.chmod(0o755)
    assert answer.code == 1, answer
    assert "rollback" in answer.out
    shutil.rmtree(folder)
