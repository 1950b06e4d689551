"""Cycles as processes: two at once, killed ones, and a full disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.operations.verification import verify
from nethical_assets.orchestration.cycle import run_cycle
from tests.orchestration import clean_environment
from tests.tiny_mirror import CHECKOUT

Start = Callable[..., subprocess.Popen[str]]
RUN = ("run", "--families", "logistic", "--samples", "700", "--json")


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start ``nethical`` as a process group of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def run(
        *arguments: str, file_size_limit: int | None = None, ignored: signal.Signals | None = None
    ) -> subprocess.Popen[str]:
        def limit() -> None:
            # Whatever started the tests may have these ignored, which is inherited.
            for each in ENDINGS:
                signal.signal(each, signal.SIG_IGN if each == ignored else signal.SIG_DFL)
            if file_size_limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_limit, file_size_limit))

        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "nethical"), *arguments],
            env=clean_environment(environment),
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=limit,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60.0) -> None:
    """Wait until ``condition`` holds while ``process`` runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def half_written(home: Path) -> list[Path]:
    """Stored objects and model files whose bytes are not what their name says, and temporary files beside them."""
    wrong = []
    for folder in ("data/objects", "data/snapshots/objects"):
        for path in (home / folder).rglob("*"):
            if path.is_file() and digest_bytes(path.read_bytes()).partition(":")[2] != path.name:
                wrong.append(path)
    registry = ModelRegistry(home / "models")
    for folder in (home / "models" / "store").glob("*"):
        if (folder / "model_manifest.json").exists():
            registry.load(f"sha256:{folder.name}")
    for folder in ("data/records", "data/stages", "models/current", "models/candidates", "models/metadata"):
        for path in (home / folder).rglob("*.json"):
            json.loads(path.read_text())
    return wrong


def types_of(settings: Settings, run_id: str) -> list[str]:
    """The types of a run's events in the log."""
    return [str(found.event.type) for found in LogReader(settings.home / "audit").find_events(run_id=run_id)]


def test_the_second_of_two_cycles_gets_one_line_and_spoils_nothing(settings: Settings, start: Start) -> None:
    first = start(*RUN)
    wait_for(lambda: any((settings.home / "runs").glob("*.lock")), first)
    second = start(*RUN)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 2, err
    assert out == ""
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert "in use by another process" in line
    assert "cycle.lock" in line

    summary = json.loads(first.communicate(timeout=120)[0])
    assert first.returncode == 0
    assert summary["families"]["logistic"]["verdict"] in ("promoted", "candidate")
    assert verify(settings)["problems"] == []
    assert half_written(settings.home) == []


@pytest.mark.parametrize("stage", ["raw", "models"])
def test_after_a_kill_the_next_cycle_works_and_logs_what_the_dead_one_did(
    stage: str, settings: Settings, start: Start
) -> None:
    process = start(*RUN)
    reached = settings.home / "data" / "records" / "newest" / stage
    wait_for(lambda: reached.is_dir() and any(reached.glob("*.json")), process)
    if stage == "models":
        wait_for(lambda: any(LogReader(settings.home / "audit").pending_runs()), process)
    pending = list(LogReader(settings.home / "audit").pending_runs())
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    if stage == "models":
        assert pending

    summary = run_cycle(settings, ("logistic",), CycleOptions(samples=700))

    assert summary["families"]["logistic"]["verdict"] in ("promoted", "candidate")
    assert half_written(settings.home) == []
    assert verify(settings)["problems"] == []
    assert list(LogReader(settings.home / "audit").pending_runs()) == []
    for dead in pending:
        types = types_of(settings, dead)
        assert "run_interrupted" in types
        assert stage == "raw" or "data_screened" in types
        assert "run_completed" not in types
    assert types_of(settings, summary["run_id"])[-2:] == ["run_completed", "chunk_final"]


ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# A shell that starts a command in the background has it ignore Ctrl-C.
interrupted = pytest.mark.parametrize(
    ("sent", "ignored"), [*((sent, None) for sent in ENDINGS), (signal.SIGTERM, signal.SIGINT)]
)


@interrupted
def test_a_cycle_that_is_interrupted_before_its_run_says_so_in_one_line(
    sent: signal.Signals, ignored: signal.Signals | None, settings: Settings, start: Start
) -> None:
    with exclusive_lock(settings.home / "dagster" / "creation.lock", waiting_seconds=0.0, what="the instance"):
        process = start(*RUN, ignored=ignored)
        wait_for((settings.home / "dagster" / "dagster.yaml").exists, process)
        os.kill(process.pid, sent)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + sent
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert line == "nethical: interrupted; what was finished is kept, start it again to go on"


@interrupted
def test_a_cycle_that_is_interrupted_at_a_step_is_a_failed_run_that_says_so(
    sent: signal.Signals, ignored: signal.Signals | None, settings: Settings, start: Start
) -> None:
    process = start(*RUN, ignored=ignored)
    wait_for(lambda: (settings.home / "data" / "records" / "newest" / "raw").is_dir(), process)
    os.kill(process.pid, sent)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    summary = json.loads(out)
    assert summary["status"] == "failed"
    assert summary["failures"][0]["error"] == "interrupted; what was finished is kept, start it again to go on"
    assert verify(settings)["problems"] == []


def test_what_ignores_a_closed_terminal_goes_on(start: Start, settings: Settings) -> None:
    process = start(*RUN, ignored=signal.SIGHUP)  # as nohup does
    wait_for(lambda: (settings.home / "data" / "records" / "newest" / "raw").is_dir(), process)
    os.kill(process.pid, signal.SIGHUP)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err


@pytest.mark.parametrize("limit", [600_000, 12_000, 2_000], ids=["tables", "records", "instance"])
def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing_half_written(
    limit: int, settings: Settings, start: Start
) -> None:
    process = start("run", "--families", "prompt_injection", "--samples", "6000", "--json", file_size_limit=limit)
    out, err = process.communicate(timeout=150)
    assert process.returncode in (1, 2), (out, err)
    assert "Traceback" not in err + out
    assert half_written(settings.home) == []
    if out:
        result = json.loads(out)["families"]["prompt_injection"]
        assert result["verdict"] == "error"
        assert all("\n" not in reason for reason in result["reasons"])

    # With room again the next cycle goes on.
    summary = run_cycle(settings, ("logistic",), CycleOptions(samples=700))
    assert summary["families"]["logistic"]["verdict"] in ("promoted", "candidate")
    assert verify(settings)["problems"] == []
