"""Dagster's SQLite files are complete from the first moment: killed makers, several makers at once, events of a run."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.ground.storage import TEMPORARY_PREFIX, sweep_partial_files
from tests.orchestration.test_sqlite_storage import files_of, schema_of
from tests.sweeping import COMPLETE
from tests.tiny_mirror import CHECKOUT

# Every child is a fork of a process that has imported everything; it dies before its n-th statement that changes
# something, or is one of several that begin at the same moment.
DRIVER = """
import json, os, signal, sqlite3, sys
import sqlalchemy.dialects.sqlite.pysqlite
from pathlib import Path
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from nethical_assets.orchestration.sqlite_storage import PooledSqliteStorage
from tests.orchestration.test_sqlite_storage import *

READING = ("SELECT", "PRAGMA MAIN", "PRAGMA TEMP", "PRAGMA DATABASE_LIST", "PRAGMA SYNCHRONOUS", "BEGIN", "ROLLBACK")
real = sqlite3.connect

def dies_at(number, seen):
    def count(statement):
        if not statement.strip().upper().startswith(READING):
            seen.append(statement)
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)
    def connect(*arguments, **options):
        connection = real(*arguments, **options)
        connection.set_trace_callback(count)
        return connection
    sqlite3.connect = sqlite3.dbapi2.connect = connect

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(3)
    return child

def make(folder, number=0):
    seen = []
    dies_at(number, seen)
    os.environ["DAGSTER_HOME"] = str(folder)
    folder.mkdir(exist_ok=True)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides={**QUIET, **POOLED})) as instance:
        instance.event_log_storage.get_logs_for_run("00000000-0000-0000-0000-000000000000")
    if not (folder / "statements").exists():
        (folder / "statements").write_text(json.dumps(seen))

def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

base = Path(sys.argv[1])
"""
KILLS = """
answers = {}
for number in json.loads(sys.argv[2]):
    folder = base / str(number)
    died = ended(forked(lambda: make(folder, number)))
    answers[number] = [died, ended(forked(lambda: make(folder)))]
print(json.dumps(answers))
"""
TOGETHER = """
def work(go):
    os.read(go, 1)
    make(base)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(base), overrides={**QUIET, **POOLED})) as instance:
        run_once(instance)

read, write = os.pipe()
children = [forked(lambda: work(read)) for _ in range(4)]
os.write(write, b"....")
codes = [ended(child) for child in children]
with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(base), overrides={**QUIET, **POOLED})) as instance:
    print(json.dumps([codes, len(instance.get_runs())]))
"""


def driven(code: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER + code, *arguments],
        env={"DAGSTER_HOME": arguments[0], "PATH": "", "PYTHONPATH": str(CHECKOUT)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def complete(folder: Path) -> dict[str, Any]:
    """Schema, revision and marks of migrations of every file that has its name."""
    found = {}
    for name, path in files_of(folder).items():
        if TEMPORARY_PREFIX in str(path):
            continue
        with sqlite3.connect(path) as connection:
            marks = "SELECT name FROM secondary_indexes WHERE migration_completed IS NOT NULL"
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            done = {row[0] for row in connection.execute(marks)} if "secondary_indexes" in tables else set()
        connection.close()
        found[name] = (schema_of(path), done)
    return found


def points(statements: Sequence[str]) -> list[int]:
    """The statements to die at: all, or one of each file's indexes, of its marks, and of a run's file."""
    if COMPLETE:
        return list(range(1, len(statements) + 1))
    count = len(statements)
    return [2, count // 2, count - 8]


@pytest.mark.timeout(0 if COMPLETE else 300)
@pytest.mark.slow
def test_a_file_whose_maker_is_killed_is_made_whole_by_the_next(tmp_path: Path) -> None:
    assert driven(KILLS, str(tmp_path), "[0]") == {"0": [0, 0]}
    whole = complete(tmp_path / "0")
    assert len(whole) == 4
    statements = json.loads((tmp_path / "0" / "statements").read_text())
    numbers = points(statements)
    answers = driven(KILLS, str(tmp_path), json.dumps(numbers))
    assert answers == {str(number): [-9, 0] for number in numbers}
    for number in numbers:
        folder = tmp_path / str(number)
        assert complete(folder) == whole, statements[number - 1]
        sweep_partial_files(folder)
        assert [
            name for _, folders, _ in os.walk(folder) for name in folders if name.startswith(TEMPORARY_PREFIX)
        ] == []


@pytest.mark.slow
def test_several_processes_that_make_the_files_at_once_share_them(tmp_path: Path) -> None:
    assert driven(TOGETHER, str(tmp_path)) == [[0, 0, 0, 0], 4]
