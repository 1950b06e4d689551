"""Dagster's SQLite storage with kept connections: the same files, few descriptors, safe with processes and forks."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as db
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import DagsterEvent
from dagster._core.instance.ref import InstanceRef
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool

from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.instance import open_instance
from nethical_assets.orchestration.sqlite_engines import MAXIMUM_FILES, SqliteEngines
from nethical_assets.orchestration.sqlite_storage import (
    PooledEventLogStorage,
    PooledRunStorage,
    PooledScheduleStorage,
    PooledSqliteStorage,
)
from tests.orchestration import NO_OUTPUT_KEPT
from tests.tiny_mirror import CHECKOUT

POOLED = {
    "storage": {
        "custom": {
            "module": "nethical_assets.orchestration.sqlite_storage",
            "class": "PooledSqliteStorage",
            "config": {"base_dir": {"env": "DAGSTER_HOME"}},
        }
    }
}
QUIET: dict[str, Any] = {"telemetry": {"enabled": False}, **NO_OUTPUT_KEPT}


@dg.asset
def measured() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 3}, data_version=dg.DataVersion("one"))


@dg.asset_check(asset=measured)
def has_rows() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def opened(folder: Path, monkeypatch: pytest.MonkeyPatch, *, pooled: bool) -> dg.DagsterInstance:
    """An instance in ``folder`` with the storage of this project, or with Dagster's own."""
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    folder.mkdir(exist_ok=True)
    return dg.DagsterInstance.from_ref(
        InstanceRef.from_dir(str(folder), overrides={**QUIET, **(POOLED if pooled else {})})
    )


def run_once(instance: dg.DagsterInstance) -> str:
    result = dg.materialize([measured, has_rows], instance=instance)
    assert result.success
    return result.run_id


def seen_by(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What the UI and the sensors read of a run and its asset."""
    key = dg.AssetKey("measured")
    newest = instance.get_latest_materialization_event(key)
    assert newest is not None
    check = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, "has_rows"), limit=50)
    return {
        "runs": sorted(run.run_id for run in instance.get_runs()),
        "status": instance.get_run_by_id(run_id).status,  # type: ignore[union-attr]
        "events": [event.dagster_event_type for event in instance.all_logs(run_id)],
        "newest": newest.run_id,
        "materializations": len(instance.fetch_materializations(key, limit=50).records),
        "checks": [(record.run_id, record.status) for record in check],
        "version": instance.get_latest_data_version_record(key).event_log_entry.run_id,  # type: ignore[union-attr]
        "statuses": len(instance.fetch_run_status_changes(dg.DagsterEventType.RUN_SUCCESS, limit=50).records),
    }


def schema_of(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        version = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        mode = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    return {" ".join(row[0].split()) for row in rows} | {repr(version), repr(mode)}


def files_of(folder: Path) -> dict[str, Path]:
    """Database files by what they are for; the file of a run is named after it."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.db")}
    return {("a run" if len(path.stem) == 36 else name): path for name, path in found.items()}


def descriptors_below(folder: Path) -> list[str]:
    listed = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith(str(folder)):
            listed.append(target)
    return listed


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "dagster"


@pytest.fixture
def pooled(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    with opened(home, monkeypatch, pooled=True) as instance:
        yield instance


def test_both_storages_make_the_same_files_with_the_same_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas = []
    for pooled in (True, False):
        folder = tmp_path / str(pooled)
        with opened(folder, monkeypatch, pooled=pooled) as instance:
            run_once(instance)
        schemas.append({name: schema_of(path) for name, path in files_of(folder).items()})
    assert schemas[0] == schemas[1]
    assert "a run" in schemas[0]


@pytest.mark.parametrize("first", [True, False], ids=["pooled-first", "default-first"])
def test_what_one_storage_wrote_the_other_reads_and_goes_on_with(
    first: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home, monkeypatch, pooled=first) as instance:
        old = run_once(instance)
        before = seen_by(instance, old)
    with opened(home, monkeypatch, pooled=not first) as instance:
        assert seen_by(instance, old) == before
        new = run_once(instance)
        after = seen_by(instance, new)
    assert after["materializations"] == 2
    assert [run for run, _ in after["checks"]] == [new, old]
    with opened(home, monkeypatch, pooled=first) as instance:
        assert seen_by(instance, new) == after


@pytest.mark.parametrize("batch", ["0", "200"])
def test_batched_or_not_the_same_events_are_stored(batch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for pooled in (True, False):
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", batch if pooled else "0")
        folder = tmp_path / str(pooled)
        with opened(folder, monkeypatch, pooled=pooled) as instance:
            run_once(instance)
            instance.report_dagster_event(of_partitions(), run_id="planned")
            run_id = run_once(instance)
        counts.append(
            {
                (name, table): rows(folder / "history" / "runs" / f"{name.format(run_id)}.db", table)
                for name in ("{}", "index")
                for table in ("event_logs", "asset_keys", "asset_check_executions", "asset_event_tags")
            }
        )
    assert counts[0] == counts[1]


def of_partitions() -> DagsterEvent:
    """The plan to evaluate a check of two partitions."""
    days = dg.StaticPartitionsDefinition(["monday", "tuesday"])
    subset = days.subset_with_partition_keys(["monday", "tuesday"])
    planned = AssetCheckEvaluationPlanned(asset_key=measured.key, check_name="has_rows", partitions_subset=subset)
    return DagsterEvent(dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value, "job", event_specific_data=planned)


def rows(path: Path, table: str) -> list[Any]:
    """What is the same in every run of the job: everything but the run's own id, times and texts with them."""
    what = {
        "event_logs": "id, dagster_event_type, step_key, asset_key, partition",
        "asset_keys": "asset_key, last_materialization IS NULL, last_run_id IS NULL,"
        " last_materialization_timestamp IS NULL",
        "asset_check_executions": "asset_key, check_name, partition, execution_status, evaluation_event_storage_id,"
        " materialization_event_storage_id",
        "asset_event_tags": "event_id, asset_key, key",
    }
    connection = sqlite3.connect(path)
    found = connection.execute(f"SELECT {what[table]} FROM {table}").fetchall()
    connection.close()
    return sorted(found, key=repr)


def test_a_run_opens_each_file_a_few_times_not_once_an_event(pooled: dg.DagsterInstance) -> None:
    run_once(pooled)
    connects: list[str] = []

    def count(connection: sqlite3.Connection, record: Any) -> None:
        connects.append(connection.execute("PRAGMA database_list").fetchone()[2])

    db.event.listen(Pool, "connect", count)
    try:
        run_id = run_once(pooled)
    finally:
        db.event.remove(Pool, "connect", count)
    assert len(pooled.all_logs(run_id)) > 10
    shared = [path for path in connects if not path.endswith(f"{run_id}.db")]
    assert all(shared.count(path) <= 2 for path in set(shared)), shared


def test_what_never_changes_is_asked_once_not_for_every_event(pooled: dg.DagsterInstance) -> None:
    run_once(pooled)
    asked: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        asked.append(statement)

    db.event.listen(Engine, "before_cursor_execute", note)
    try:
        run_once(pooled)
    finally:
        db.event.remove(Engine, "before_cursor_execute", note)
    assert [one for one in asked if "table_xinfo" in one and "asset_keys" in one] == []
    assert [one for one in asked if "FROM secondary_indexes" in one] == []
    assert len([one for one in asked if "asset_keys" in one and one.startswith("UPDATE")]) == 0


def results_of(folder: Path, run_id: str) -> list[str]:
    """What another process would see now of what a run told."""
    connection = sqlite3.connect(folder / "history" / "runs" / f"{run_id}.db")
    found = connection.execute("SELECT dagster_event_type FROM event_logs ORDER BY id").fetchall()
    connection.close()
    return [kind for (kind,) in found if kind in ("ASSET_CHECK_EVALUATION", "STEP_OUTPUT", "STEP_SUCCESS")]


def test_what_a_step_tells_right_before_it_ends_is_written_with_its_end_and_read_before(
    home: Path, pooled: dg.DagsterInstance
) -> None:
    run_id = run_once(pooled)
    told = [event for event in pooled.all_logs(run_id) if event.step_key == "measured_has_rows"]
    kinds = [event.dagster_event_type.value for event in told if event.dagster_event_type is not None]
    results = told[kinds.index("STEP_OUTPUT") :]
    before = results_of(home, run_id)
    storage = pooled.event_log_storage
    for event in results[:-1]:
        storage.store_event(event)
    assert results_of(home, run_id) == before
    storage.store_event(results[-1])
    assert results_of(home, run_id) == [*before, "STEP_OUTPUT", "ASSET_CHECK_EVALUATION", "STEP_SUCCESS"]
    for event in results[:-1]:
        storage.store_event(event)
    assert len([one for one in pooled.all_logs(run_id) if one.step_key == "measured_has_rows"]) == len(told) + 5


def test_what_waits_is_written_when_the_storage_is_disposed_of_and_not_by_a_fork(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home, monkeypatch, pooled=True) as instance:
        run_id = run_once(instance)
        output = next(
            one for one in instance.all_logs(run_id) if one.dagster_event_type is dg.DagsterEventType.STEP_OUTPUT
        )
        before = results_of(home, run_id)
        instance.event_log_storage.store_event(output)
        child = os.fork()
        if not child:
            instance.event_log_storage.get_logs_for_run(run_id)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert results_of(home, run_id) == before
    assert results_of(home, run_id) == [*before, "STEP_OUTPUT"]


def test_a_result_without_a_step_is_written_at_once(home: Path, pooled: dg.DagsterInstance) -> None:
    run_once(pooled)
    pooled.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=measured.key, check_name="has_rows", passed=False, metadata={})
    )
    connection = sqlite3.connect(home / "history" / "runs" / "index.db")
    states = connection.execute("SELECT execution_status FROM asset_check_executions ORDER BY id").fetchall()
    connection.close()
    assert [state for (state,) in states] == ["SUCCEEDED", "FAILED"]


def test_descriptors_are_bounded_over_many_runs_and_given_back(home: Path, pooled: dg.DagsterInstance) -> None:
    event = pooled.all_logs(run_once(pooled))[0]
    for number in range(3 * MAXIMUM_FILES):
        pooled.event_log_storage.store_event(event._replace(run_id=str(number)))
    open_now = descriptors_below(home)
    assert 0 < len({path for path in open_now if path.endswith(".db")}) <= MAXIMUM_FILES + 2
    assert len(open_now) <= 6 * (MAXIMUM_FILES + 2)
    pooled.dispose()
    pooled.schedule_storage.dispose()
    assert descriptors_below(home) == []
    run_id = run_once(pooled)
    assert pooled.get_run_by_id(run_id) is not None, "it opens its files again when it is used again"


def test_an_instance_that_nobody_disposed_of_keeps_nothing_open(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = PooledSqliteStorage(str(home))
    storage.run_storage.get_runs()
    storage.event_log_storage.has_table("event_logs")
    assert descriptors_below(home)
    del storage
    assert descriptors_below(home) == []


def test_a_deleted_file_is_not_written_to_any_more(home: Path, pooled: dg.DagsterInstance) -> None:
    run_id = run_once(pooled)
    events = pooled.all_logs(run_id)
    for path in (home / "history" / "runs").glob(f"{run_id}.db*"):
        path.unlink()
    pooled.event_log_storage.store_event(events[0])
    assert rows(home / "history" / "runs" / f"{run_id}.db", "event_logs")
    assert len(pooled.all_logs(run_id)) == 1


def test_an_error_undoes_the_transaction_and_leaves_the_connection_usable(tmp_path: Path) -> None:
    engines = SqliteEngines(timeout_seconds=1.0)
    path = tmp_path / "file.db"
    with engines.begin(path) as connection:
        connection.execute(db.text("CREATE TABLE numbers (n INTEGER)"))
    with pytest.raises(ZeroDivisionError), engines.begin(path) as connection:
        connection.execute(db.text("INSERT INTO numbers VALUES (1)"))
        raise ZeroDivisionError
    with engines.begin(path) as connection:
        assert connection.execute(db.text("SELECT count(*) FROM numbers")).scalar_one() == 0
    engines.close()


def test_a_file_in_use_is_closed_when_it_is_given_back(tmp_path: Path) -> None:
    engines = SqliteEngines(timeout_seconds=1.0, maximum_files=1)
    with engines.begin(tmp_path / "held.db") as held:
        held.execute(db.text("CREATE TABLE t (n INTEGER)"))
        for number in range(3):
            with engines.begin(tmp_path / f"{number}.db") as connection:
                connection.execute(db.text("CREATE TABLE t (n INTEGER)"))
        engines.close()
        held.execute(db.text("INSERT INTO t VALUES (1)"))
    assert descriptors_below(tmp_path) == []
    with engines.begin(tmp_path / "held.db") as connection:
        assert connection.execute(db.text("SELECT n FROM t")).scalar_one() == 1
    engines.close()


def test_threads_write_to_one_instance(pooled: dg.DagsterInstance) -> None:
    template = pooled.all_logs(run_once(pooled))[:1] * 20
    events = {run: [entry._replace(run_id=run) for entry in template] for run in map(str, range(4))}
    failures: list[BaseException] = []

    def write(own: Any) -> None:
        try:
            for event in own:
                pooled.event_log_storage.store_event(event)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(own,)) for own in events.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {run: len(pooled.all_logs(run)) for run in events} == dict.fromkeys(events, len(template))


CHILD = """
import os, sys
import dagster as dg
sys.path.insert(0, ".")
from tests.orchestration.test_sqlite_storage import *
instance = dg.DagsterInstance.from_ref(InstanceRef.from_dir(sys.argv[1], overrides={**QUIET, **POOLED}))
"""


def start(code: str, home: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {"DAGSTER_HOME": str(home), "PATH": "", "PYTHONPATH": str(CHECKOUT)}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, str(home), *arguments],
        env=environment,
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_processes_write_to_one_home_at_the_same_moment(home: Path, pooled: dg.DagsterInstance) -> None:
    code = """
print(json.dumps([run_once(instance) for _ in range(5)]))
instance.dispose()
"""
    processes = [start(code, home) for _ in range(2)]
    own = [run_once(pooled) for _ in range(5)]
    runs = list(own)
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        runs += json.loads(out.splitlines()[-1])
    assert len(set(runs)) == 15
    assert {run.run_id for run in pooled.get_runs()} == set(runs)
    assert len(pooled.fetch_materializations(dg.AssetKey("measured"), limit=50).records) == 15
    assert all(pooled.all_logs(run)[-1].dagster_event_type is dg.DagsterEventType.RUN_SUCCESS for run in runs)


@pytest.mark.slow
def test_a_fork_inherits_no_connection_and_both_sides_go_on(home: Path, pooled: dg.DagsterInstance) -> None:
    code = """
first = run_once(instance)
assert descriptors_below(Path(sys.argv[1]))
pid = os.fork()
if pid == 0:
    inherited = descriptors_below(Path(sys.argv[1]))
    print(json.dumps({"inherited": inherited, "run": run_once(instance)}), flush=True)
    instance.dispose()
    os._exit(0)
mine = [run_once(instance) for _ in range(3)]
assert os.waitpid(pid, 0)[1] == 0
mine.append(run_once(instance))
print(json.dumps({"runs": [first, *mine]}), flush=True)
instance.dispose()
"""
    process = start(code, home)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    child, parent = sorted((json.loads(line) for line in out.splitlines() if line.startswith("{")), key=len)[::-1]
    assert child["inherited"] == []
    runs = [*parent["runs"], child["run"]]
    assert {run.run_id for run in pooled.get_runs()} == set(runs)
    for path in home.rglob("*.db"):
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()


@pytest.mark.slow
def test_a_fork_while_another_thread_writes_neither_hangs_nor_spoils(home: Path, pooled: dg.DagsterInstance) -> None:
    code = """
import threading
run = run_once(instance)
events = instance.all_logs(run)
engines = SqliteEngines(timeout_seconds=5.0)
path = Path(sys.argv[1]) / "other.db"
with engines.begin(path) as connection:
    connection.execute(db.text("CREATE TABLE t (n INTEGER)"))
inside, go = threading.Event(), threading.Event()
def write():
    with engines.begin(path) as connection:
        connection.execute(db.text("INSERT INTO t VALUES (1)"))
        inside.set()
        go.wait(30)
thread = threading.Thread(target=write)
thread.start()
inside.wait(30)
pid = os.fork()
if pid == 0:
    instance.get_runs()
    engines.close()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
go.set()
thread.join()
with engines.begin(path) as connection:
    print(connection.execute(db.text("SELECT count(*) FROM t")).scalar_one())
engines.close()
instance.dispose()
"""
    process = start(code, home)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "1"


def test_a_watcher_sees_events_that_are_only_in_the_write_ahead_log(
    home: Path, monkeypatch: pytest.MonkeyPatch, pooled: dg.DagsterInstance
) -> None:
    run_id = run_once(pooled)
    event = pooled.all_logs(run_id)[0]
    reached: list[str] = []
    with opened(home, monkeypatch, pooled=True) as watching:
        newest = watching.get_records_for_run(run_id).cursor
        watching.watch_event_logs(run_id, newest, lambda entry, cursor: reached.append(cursor))
        for _ in range(3):  # too few for a checkpoint, which would change the file itself
            pooled.event_log_storage.store_event(event)
            time.sleep(0.1)
        deadline = time.monotonic() + 5
        while not reached and time.monotonic() < deadline:
            time.sleep(0.05)
    assert reached


def test_the_instance_of_a_home_uses_it_and_keeps_everything_below_dagster_home(settings: Settings) -> None:
    with open_instance(settings) as instance:
        assert isinstance(instance.event_log_storage, PooledEventLogStorage)
        assert isinstance(instance.run_storage, PooledRunStorage)
        assert isinstance(instance.schedule_storage, PooledScheduleStorage)
        run_once(instance)
    assert set(files_of(settings.home / "dagster")) == {
        "history/runs.db",
        "history/runs/index.db",
        "schedules/schedules.db",
        "a run",
    }
