from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.audit import AuditLog, verify_log
from nethical_assets.core.ground import storage
from nethical_assets.core.ground.errors import AuditError
from tests.sweeping import COMPLETE

from .conftest import KEY_RUN, open_log, record

DRIVER = Path(__file__).with_name("crash_driver.py")


@pytest.mark.parametrize(
    ("scenario", "least"), [("first chunk", 60), ("chunk over a tile boundary", 70), ("key rotation", 100)]
)
def test_a_kill_at_every_write_leaves_a_log_that_verifies_and_continues(
    scenario: str, least: int, tmp_path: Path
) -> None:
    """At every fourth, outside a sweep."""
    step = 1 if COMPLETE else 4
    done = subprocess.run(
        [sys.executable, str(DRIVER), scenario, str(tmp_path), str(step)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["violations"] == []
    assert result["last"] >= least - step


def write_runs(folder: str, name: str, runs: int, events: int) -> None:
    for number in range(runs):
        record(open_log(Path(folder)), f"{name}-{number}", events)


def append_to_one_run(folder: str, events: int) -> None:
    recorder = open_log(Path(folder)).recorder("shared-run")
    for _ in range(events):
        recorder.append("heartbeat", actor="t")


def in_processes(target: Any, arguments: list[tuple[Any, ...]]) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=one) for one in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0


def test_two_writers_at_once_lose_nothing(log: AuditLog) -> None:
    record(log, "first", 1)
    in_processes(write_runs, [(str(log.folder), name, 6, 4) for name in ("left", "right")])
    report = verify_log(log.folder)
    assert report.problems == []
    assert sorted(chunk.run_id for chunk in report.chunks) == sorted(
        [KEY_RUN, "first", *(f"{name}-{number}" for name in ("left", "right") for number in range(6))]
    )
    assert all(chunk.events == (1 if chunk.run_id in ("first", KEY_RUN) else 4) for chunk in report.chunks)


def test_processes_and_threads_of_one_run_number_their_events_without_gaps(log: AuditLog) -> None:
    recorder = log.recorder("shared-run")
    threads = [
        threading.Thread(target=lambda: [recorder.append("heartbeat", actor="t") for _ in range(20)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    in_processes(append_to_one_run, [(str(log.folder), 30), (str(log.folder), 30)])
    for thread in threads:
        thread.join()
    size, root = recorder.prefix_root()
    assert size == 140
    receipt = log.finalize_run("shared-run")
    assert (receipt.events, receipt.chunk_root) == (140, root)
    assert verify_log(log.folder).problems == []


@pytest.mark.slow
def test_a_torn_last_line_is_dropped_and_the_rest_kept(log: AuditLog) -> None:
    record(log, "run-a", 2, finalize=False)
    path = log.folder / "pending" / "run-a.jsonl"
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    for cut in range(second + 1, len(whole)):
        path.write_bytes(whole[:cut])
        report = verify_log(log.folder)
        assert [problem for problem in report.problems if not problem.startswith("checkpoint: missing")] == []
        assert log.recorder("run-a").prefix_root()[0] == 1
    path.write_bytes(whole[: second + 100])
    assert log.recorder("run-a").append("heartbeat", actor="t") == 1
    assert log.finalize_run("run-a").events == 2
    assert verify_log(log.folder).problems == []


def test_a_damaged_write_ahead_file_stops_the_run_and_is_kept_as_evidence(log: AuditLog) -> None:
    record(log, "run-a", 3, finalize=False)
    path = log.folder / "pending" / "run-a.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = lines[0] + lines[1].replace(b"tester", b"nobody") + lines[2]
    path.write_bytes(damaged)
    with pytest.raises(AuditError, match=r"run-a\.jsonl: line 2 was changed on disk"):
        log.recorder("run-a").append("heartbeat", actor="t")
    with pytest.raises(AuditError, match="finalise the run as abandoned"):
        log.finalize_run("run-a")
    (receipt,) = log.finalize_abandoned(lambda run_id: False)
    assert receipt.events == 2
    (interrupted,) = log.find_events(event_type="run_interrupted")
    assert log.payloads.get(interrupted.event.subjects[0].digest) == damaged
    assert "line 2 was changed" in log.payload(interrupted.event)["damage"]
    assert verify_log(log.folder).problems == []


def test_a_full_disk_at_any_write_loses_nothing(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    record(log, "run-a", 2)
    packages = ("nethical_assets.core.audit.", "nethical_assets.core.tlog.")
    loaded = [module for name, module in sys.modules.items() if name.startswith(packages)]
    writers = [module for module in loaded if vars(module).get("write_atomically") is storage.write_atomically]
    for failing in range(30):
        run_id = f"run-b{failing}"
        record(log, run_id, 2, finalize=False)
        left = [failing]

        def full(path: Any, data: bytes, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            storage.write_atomically(path, data)

        with monkeypatch.context() as patched:
            for module in writers:
                patched.setattr(module, "write_atomically", full)
            try:
                log.finalize_run(run_id)
                finished = True
            except AuditError as error:
                assert "No space left on device" in str(error)
                assert "nothing was lost" in str(error)
                finished = False
        assert verify_log(log.folder).problems == []
        if finished:
            break
        assert log.finalize_run(run_id).events == 2
        assert verify_log(log.folder).problems == []
    assert finished
    assert failing >= 4


def limited(folder: str, limit: int) -> None:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log = open_log(Path(folder))
    recorder = log.recorder("run-a")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    count = 0
    try:
        for _ in range(1000):
            recorder.append("heartbeat", actor="t")
            count += 1
    except AuditError as error:
        assert "was not recorded (File too large)" in str(error)
    assert recorder.prefix_root()[0] == count
    Path(folder, "count").write_text(str(count))


def test_a_write_ahead_file_that_cannot_grow_keeps_what_was_acknowledged(log: AuditLog) -> None:
    in_processes(limited, [(str(log.folder), 5000)])
    count = int((log.folder / "count").read_text())
    assert 5 < count < 50
    assert not log.view().pending("run-a").torn, "the half-written line was taken back"
    assert log.finalize_run("run-a").events == count
    assert verify_log(log.folder).problems == []
