"""What is removed with time, and what never is."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from nethical_assets.core.ground.storage import (
    TEMPORARY_PREFIX,
    sweep_lock_files,
    sweep_partial_files,
    temporary_folder,
    temporary_prefix,
    write_atomically,
)
from nethical_assets.home.leases import run_lock_path
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.cycle import run_cycle
from nethical_assets.orchestration.instance import open_instance
from nethical_assets.orchestration.run_history import (
    apply_retention,
    forget_old_runs,
    forget_runs,
    sweep_left_files,
)
from nethical_assets.resources.platform import IssueTrackerResource
from nethical_assets.sensors.alerts import file_results
from tests.tiny_mirror import CHECKOUT

HOUR = 3600.0
STOPPED = """
import os, sys, time
from pathlib import Path
from nethical_assets.core.ground import storage
def stop(*arguments):
    print("stopped", flush=True)
    sys.stdin.read(1)
    return real(*arguments)
real = getattr(os, sys.argv[2])
setattr(os, sys.argv[2], stop)
storage.write_atomically(Path(sys.argv[1]), b"new")
"""
Stop = Callable[[Path, str], subprocess.Popen[str]]


@pytest.fixture
def stopped_writer() -> Iterator[Stop]:
    """A process that stands still in the middle of writing a file."""
    started: list[subprocess.Popen[str]] = []

    def start(target: Path, moment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", STOPPED, str(target), moment],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "stopped\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def partial_files(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{TEMPORARY_PREFIX}*"))


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds, time.time() - seconds))


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_killed_writers_file_is_removed_and_a_slow_writers_is_not(
    moment: str, tmp_path: Path, stopped_writer: Stop
) -> None:
    slow, dead = tmp_path / "slow" / "file", tmp_path / "models" / "keys" / "key.pem"
    living, killed = stopped_writer(slow, moment), stopped_writer(dead, moment)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    for path in partial_files(tmp_path):
        age(path, HOUR)
    assert len(partial_files(tmp_path)) == 2
    (removed,) = sweep_partial_files(tmp_path)
    assert removed.parent == dead.parent
    living.communicate("\n", timeout=30)
    assert living.returncode == 0
    assert slow.read_bytes() == b"new"
    assert partial_files(tmp_path) == []
    assert sweep_partial_files(tmp_path) == []


@pytest.mark.parametrize(("seconds", "stays"), [(0, True), (HOUR, False), (-400 * 24 * HOUR, False)])
def test_a_file_of_this_moment_may_not_be_locked_yet_and_one_of_the_future_is_old(
    seconds: float, stays: bool, tmp_path: Path
) -> None:
    path = tmp_path / f"{TEMPORARY_PREFIX}x"
    path.write_bytes(b"")
    age(path, seconds)
    assert sweep_partial_files(tmp_path) == ([] if stays else [path])
    assert path.exists() is stays


@pytest.mark.parametrize("pid", ["1", "99999999"])
def test_a_folder_goes_by_its_lock_whoever_has_the_number_of_its_process(pid: str, tmp_path: Path) -> None:
    """Number 1 always lives, and in a container whatever runs there has it."""
    with temporary_folder(tmp_path) as held:
        other = tmp_path / f"{TEMPORARY_PREFIX}{pid}-folder"
        held.rename(other)
        (other / "file").touch()
        age(other, HOUR)
        assert sweep_partial_files(tmp_path) == []
    assert sweep_partial_files(tmp_path) == [other]
    assert not other.exists()


def test_a_file_of_an_earlier_process_of_the_same_number_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, earlier = (tmp_path / f"{temporary_prefix()}{name}" for name in ("own", "earlier"))
    for path in (own, earlier):
        path.touch()
    age(earlier, 30)
    monkeypatch.setattr("nethical_assets.core.ground.storage._STARTED", time.time() - 10)
    assert sweep_partial_files(tmp_path) == [earlier]
    assert own.exists()


def test_only_temporary_files_are_removed_and_links_and_folders_are_not_followed(tmp_path: Path) -> None:
    write_atomically(tmp_path / "kept", b"kept")
    age(tmp_path / "kept", HOUR)
    (tmp_path / f"{TEMPORARY_PREFIX}link").symlink_to(tmp_path / "kept")
    (tmp_path / f"{TEMPORARY_PREFIX}folder").symlink_to(tmp_path)
    assert sweep_partial_files(tmp_path) == []
    assert (tmp_path / "kept").read_bytes() == b"kept"
    assert sweep_partial_files(tmp_path / "absent") == []


def test_locks_of_ended_runs_are_removed_and_held_ones_are_not(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "held.lock")
    with held:
        for name in ("ended.lock", "held.lock", "other"):
            (tmp_path / name).touch()
            age(tmp_path / name, HOUR)
        assert sweep_lock_files(tmp_path) == [tmp_path / "ended.lock"]
        assert (tmp_path / "held.lock").exists()
    assert (tmp_path / "other").exists()


def test_the_lock_of_a_killed_run_stays_until_the_run_is_known_to_be_over(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """Of a run that the daemon started, nothing else tells that it was killed."""
    job = dg.define_asset_job("job").resolve(asset_graph=dg.Definitions([second]).resolve_asset_graph())
    killed = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    lock = run_lock_path(settings.home, killed.run_id)
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert sweep_left_files(settings.home, instance) == []
    assert apply_retention(settings, instance, now=later(0)).files == 1
    assert not lock.exists()
    ended = instance.get_run_by_id(killed.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE


def test_a_cycle_begins_by_removing_what_killed_ones_left(settings: Settings) -> None:
    left = settings.home / "models" / "keys" / f"{TEMPORARY_PREFIX}key"
    lock = settings.home / "runs" / "dead.lock"
    for path in (left, lock):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        age(path, HOUR)
    summary = run_cycle(settings, ("logistic",), CycleOptions(source="synthetic", samples=300))
    assert summary["run_id"]
    assert not left.exists()
    assert not lock.exists()


@dg.asset
def first() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(data_version=dg.DataVersion("one"))


@dg.asset
def second() -> None:
    return None


@dg.asset_check(asset=first)
def holds() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def run_of(instance: dg.DagsterInstance, *what: dg.AssetsDefinition) -> str:
    return dg.materialize([*what], instance=instance).run_id


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings) as opened:
        yield opened


def forget(instance: dg.DagsterInstance, *, keep: int = 1000, days: float = 1) -> list[str]:
    """Forget runs whose results were all read."""
    return forget_runs(instance, ended_before=later(days), keep=keep, was_read=lambda run: True)


def read_all(settings: Settings, instance: dg.DagsterInstance) -> None:
    """Have the issue tracker read what the ended runs told."""
    tracker = IssueTrackerResource.of(settings).open(settings)
    for _ in range(20):
        file_results(instance, tracker)


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_old_runs_go_with_everything_of_theirs_and_the_newest_results_stay(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    old = run_of(instance, first, holds)
    only_second = run_of(instance, second)
    newest = run_of(instance, first, holds)
    home = settings.home / "dagster"
    before = sorted(path.name for path in home.rglob(f"*{old}*"))
    assert before

    assert apply_retention(settings, instance, now=later(91)).runs == 0  # what it told was not read
    read_all(settings, instance)
    assert apply_retention(settings, instance, now=later(89)).runs == 0
    assert apply_retention(settings, instance, now=later(91)).runs == 1

    assert {run.run_id for run in instance.get_runs()} == {only_second, newest}
    assert list(home.rglob(f"*{old}*")) == []
    key = dg.AssetKey("first")
    materialization = instance.get_latest_materialization_event(key)
    assert materialization is not None
    assert materialization.run_id == newest
    version = instance.get_latest_data_version_record(key)
    assert version is not None
    assert version.event_log_entry.run_id == newest
    assert instance.get_latest_materialization_event(dg.AssetKey("second")).run_id == only_second  # type: ignore[union-attr]
    history = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, "holds"), limit=9)
    assert [record.run_id for record in history] == [newest]
    assert [event.dagster_event_type for event in instance.all_logs(newest)][-1] is dg.DagsterEventType.RUN_SUCCESS
    assert apply_retention(settings, instance, now=later(91)).runs == 0


def test_a_run_with_the_newest_check_result_stays(instance: dg.DagsterInstance) -> None:
    checked = run_of(instance, first, holds)
    run_of(instance, first)
    assert forget(instance) == []
    assert checked in {run.run_id for run in instance.get_runs()}


def test_a_run_that_goes_on_stays(instance: dg.DagsterInstance) -> None:
    old = run_of(instance, second)
    run_of(instance, second)
    living = instance.create_run_for_job(
        dg.define_asset_job("job").resolve(asset_graph=dg.Definitions([first]).resolve_asset_graph())
    )
    assert forget(instance) == [old]
    assert living.run_id in {run.run_id for run in instance.get_runs()}


@pytest.mark.parametrize("moment", ["delete_events", "delete_run"])
def test_a_retention_that_is_killed_is_completed_by_the_next(
    moment: str, settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = run_of(instance, first, holds)
    run_of(instance, first, holds)
    store = instance.event_log_storage if moment == "delete_events" else instance.run_storage

    def killed(run_id: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, moment, killed)
        with pytest.raises(KeyboardInterrupt):
            forget(instance)
    assert forget(instance) == [old]
    assert list((settings.home / "dagster").rglob(f"*{old}*")) == []


def test_an_instance_with_another_storage_keeps_its_runs() -> None:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        run_of(ephemeral, second)
        run_of(ephemeral, second)
        assert forget(ephemeral) == []
        assert len(ephemeral.get_runs()) == 2


def kilobytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1024


def content(folder: Path) -> int:
    """The pages of all databases: what they hold, without the write-ahead logs that SQLite empties now and then."""
    pages = 0
    for path in folder.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            pages += int(connection.execute("PRAGMA page_count").fetchone()[0])
    return pages


def with_runs_kept(settings: Settings, number: int) -> Settings:
    monitoring = settings.file.monitoring.model_copy(update={"run_retention_runs": number})
    return replace(settings, file=settings.file.model_copy(update={"monitoring": monitoring}))


def test_over_many_runs_the_instance_stays_as_large_as_what_is_kept(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """Runs and events of no run are made faster than they are forgotten; both kinds of file stop growing."""
    kept = with_runs_kept(settings, 3)
    tracker = IssueTrackerResource.of(settings).open(settings)
    sizes, first_run = [], run_of(instance, second)
    for number in range(1, 13):
        run_of(instance, first, holds)
        for _ in range(25):
            instance.report_runless_asset_event(dg.AssetMaterialization("root", metadata={"text": "x" * 200}))
        file_results(instance, tracker)
        forget_old_runs(kept, instance, now=later(0))
        if number % 4 == 0:
            sizes.append(content(settings.home / "dagster"))
    assert len(instance.get_runs()) == 4
    assert first_run in {run.run_id for run in instance.get_runs()}
    assert len(instance.fetch_materializations(dg.AssetKey("root"), limit=1000).records) == 100
    assert sizes[-1] - sizes[1] < 0.1 * sizes[1], sizes


def test_the_space_of_many_forgotten_runs_is_given_back(settings: Settings, instance: dg.DagsterInstance) -> None:
    for _ in range(30):
        instance.report_runless_asset_event(dg.AssetMaterialization("text", metadata={"text": "x" * 100_000}))
    for _ in range(100):
        instance.report_runless_asset_event(dg.AssetMaterialization("text"))
    read_all(settings, instance)
    before = kilobytes(settings.home / "dagster" / "history" / "runs")
    with sqlite3.connect(settings.home / "dagster" / "history" / "runs" / "index.db") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event_logs").fetchone()
        # Somebody who reads is neither waited for nor disturbed.
        forget_old_runs(settings, instance, now=later(0))
        reader.execute("ROLLBACK")
    reader.close()
    for _ in range(5):
        run_of(instance, second)
    forget(instance)
    assert kilobytes(settings.home / "dagster" / "history" / "runs") < before / 2
    assert len(instance.fetch_materializations(dg.AssetKey("text"), limit=1000).records) == 100


def test_of_each_job_the_newest_runs_stay(instance: dg.DagsterInstance) -> None:
    runs = [run_of(instance, second) for _ in range(13)]
    assert forget(instance, keep=10, days=-1) == runs[:3]


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def of_windows() -> None:
    """An asset of two partitions."""


def test_the_newest_result_of_a_partition_goes_when_it_is_too_old_and_not_as_one_too_many(
    instance: dg.DagsterInstance,
) -> None:
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    first_a, newest_a, b, newest_b = (
        dg.materialize([of_windows], instance=instance, partition_key=key, run_config=quiet).run_id for key in "aabb"
    )
    assert forget(instance, keep=1, days=-1) == [first_a, b]
    assert instance.get_materialized_partitions(of_windows.key) == {"a", "b"}
    assert forget(instance, keep=100) == [newest_a]
    assert {run.run_id for run in instance.get_runs()} == {newest_b}


def test_a_run_that_nobody_has_read_stays(settings: Settings, instance: dg.DagsterInstance) -> None:
    kept = with_runs_kept(settings, 10)
    runs = [run_of(instance, second) for _ in range(12)]
    assert forget_old_runs(kept, instance, now=later(0)) == []
    read_all(settings, instance)
    unread = run_of(instance, second)
    assert forget_old_runs(kept, instance, now=later(0)) == runs[:3]
    assert unread in {run.run_id for run in instance.get_runs()}


def test_the_newest_run_of_a_request_stays(instance: dg.DagsterInstance) -> None:
    """Sensors look there whether they asked before, and what came of it."""
    tags = {"nethical/trigger": "drift", "nethical/family": "logistic"}
    asked = [dg.materialize([second], instance=instance, tags=tags).run_id for _ in range(2)]
    others = [run_of(instance, second) for _ in range(3)]
    assert forget(instance) == [asked[0], *others[:2]]


def test_one_process_at_a_time_forgets(settings: Settings, instance: dg.DagsterInstance) -> None:
    runs = [run_of(instance, second) for _ in range(2)]
    read_all(settings, instance)
    with FileLock(settings.home / "dagster" / "retention.lock"):
        assert forget_old_runs(settings, instance, now=later(91)) == []
    assert forget_old_runs(settings, instance, now=later(91)) == runs[:1]


def test_what_is_left_of_a_run_without_a_record_goes_and_what_is_no_run_stays(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """As a page that is open on a run makes its file anew."""
    old, home = run_of(instance, second), settings.home / "dagster"
    run_of(instance, second)
    assert forget(instance) == [old]
    assert instance.all_logs(old) == []
    (home / "storage" / old / "compute_logs").mkdir(parents=True)
    (home / "storage" / "of_a_person").mkdir()
    assert {path.name for path in home.rglob(f"*{old}*")} >= {f"{old}.db", old}
    forget(instance)
    assert list(home.rglob(f"*{old}*")) == []
    assert (home / "storage" / "of_a_person").is_dir()


def test_a_clock_that_was_set_back_makes_no_run_old(settings: Settings, instance: dg.DagsterInstance) -> None:
    before = run_of(instance, second)
    then = run_of(instance, second)
    newest = run_of(instance, second)
    long_ago = (datetime.now(UTC) - timedelta(days=400)).replace(tzinfo=None).isoformat(" ")
    with contextlib.closing(sqlite3.connect(settings.home / "dagster" / "history" / "runs.db")) as runs:
        runs.execute("UPDATE runs SET update_timestamp = ? WHERE run_id = ?", (long_ago, then))
        runs.commit()
    assert forget(instance, days=-90) == []
    assert {run.run_id for run in instance.get_runs()} == {before, then, newest}
    with contextlib.closing(sqlite3.connect(settings.home / "dagster" / "history" / "runs.db")) as runs:
        runs.execute("UPDATE runs SET update_timestamp = ? WHERE run_id = ?", (long_ago, before))
        runs.commit()
    assert forget(instance, days=-90) == [before, then]
