"""Steps in lasting worker processes: they overlap, fail as themselves, and end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nethical_assets.orchestration import executor
from nethical_assets.orchestration.step_workers import Job, StepWorker
from tests import worker_job
from tests.sweeping import cases

CHECKOUT = Path(__file__).resolve().parents[2]


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + worker_job.PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WORKER_JOB_FOLDER", str(tmp_path))
    return tmp_path


def test_independent_steps_are_at_work_at_the_same_time(folder: Path) -> None:
    assert worker_job.run("meeting").success
    assert (folder / "first").read_text() != (folder / "second").read_text()


def test_a_step_fails_as_itself_and_a_dead_worker_fails_only_its_step(folder: Path) -> None:
    result = worker_job.run("failing")
    failures = {event.step_key: event.step_failure_data for event in result.events if event.is_step_failure}
    assert set(failures) == {"refusing", "killed"} and not result.success
    refused, died = failures["refusing"].error, failures["killed"].error
    assert refused is not None and refused.cause is not None and died is not None
    assert refused.cause.cls_name == "DatasetError" and "give another one" in refused.cause.message
    assert died.cls_name == "WorkerEndedError" and "signal 9" in died.message
    assert (folder / "still_run").exists() and not (folder / "after_refusal").exists()


@pytest.mark.parametrize("pays", [False, True])
def test_the_first_steps_run_here_and_what_they_found_decides_about_the_others(folder: Path, pays: bool) -> None:
    asked = []

    def decide() -> bool:
        asked.append((folder / "first_of_all").exists())
        return pays

    own = str(os.getpid())
    assert worker_job.run("after_another", is_first=lambda key: key == "first_of_all", pays=decide).success
    assert asked == [True]
    assert (folder / "first_of_all").read_text() == own
    assert ((folder / "second_of_all").read_text() == own) is not pays


def test_workers_that_were_started_for_nothing_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[StepWorker] = []

    def start(job: Job) -> StepWorker:
        started.append(StepWorker(job))
        return started[-1]

    monkeypatch.setattr(executor, "StepWorker", start)
    assert worker_job.run("after_another", expected=lambda: True, pays=lambda: False).success
    assert len(started) == 2
    assert not any(worker._process.is_alive() for worker in started)


@pytest.mark.parametrize("sent", cases(signal.SIGKILL, more=[signal.SIGINT, signal.SIGTERM]))
def test_workers_end_with_the_process_that_started_them(folder: Path, sent: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.worker_job"], cwd=CHECKOUT, env=dict(os.environ), stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: (folder / "waiting").exists() and (folder / "waiting").read_text() != "")
        worker = int((folder / "waiting").read_text())
        assert is_alive(worker)
        parent.send_signal(sent)
        parent.wait(worker_job.PATIENCE_SECONDS)
        until(lambda: not is_alive(worker))
    finally:
        parent.kill()
        parent.wait()
