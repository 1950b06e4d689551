"""Cycles as processes: two at once, killed ones, and a full disk."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.operations.verification import verify
from nethical_assets.orchestration.cycle import run_cycle
from nethical_assets.orchestration.instance import open_instance
from tests.across.platform import Answer, wait_until
from tests.orchestration import Start, clean_environment
from tests.sweeping import cases
from tests.tiny_mirror import CHECKOUT

RUN = ("run", "--families", "logistic", "--samples", "700", "--json")


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


@pytest.mark.slow
def test_the_second_of_two_cycles_gets_one_line_and_spoils_nothing(settings: Settings, start: Start) -> None:
    first = start(*RUN)
    wait_until(lambda: any((settings.home / "runs").glob("*.lock")), 60, "the run of the first")
    second = start(*RUN).wait()
    assert second.code == 2, second.err
    assert second.out == ""
    assert "Traceback" not in second.err
    (line,) = [line for line in second.err.splitlines() if line.strip()]
    assert "in use by another process" in line
    assert "cycle.lock" in line

    summary = first.wait().ok().document
    assert summary["families"]["logistic"]["verdict"] in ("promoted", "candidate")
    assert verify(settings)["problems"] == []
    assert half_written(settings.home) == []


@pytest.mark.slow
@pytest.mark.parametrize("stage", cases("models", more=["raw"]))
def test_after_a_kill_the_next_cycle_works_and_logs_what_the_dead_one_did(
    stage: str, settings: Settings, start: Start
) -> None:
    process = start(*RUN)
    reached = settings.home / "data" / "records" / "newest" / stage
    wait_until(lambda: reached.is_dir() and any(reached.glob("*.json")), 60, f"the stage {stage}")
    if stage == "models":
        wait_until(lambda: any(LogReader(settings.home / "audit").pending_runs()), 60, "an event of the run")
    pending = list(LogReader(settings.home / "audit").pending_runs())
    process.kill()
    assert process.wait().code < 0
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


def runs_of(settings: Settings) -> list[dg.DagsterRun]:
    """The runs that Dagster knows of."""
    with open_instance(settings) as instance:
        return list(instance.get_runs())


def assert_interrupted(answer: Answer, sent: signal.Signals) -> None:
    """One line, nothing else, and the exit code of the signal."""
    assert answer.code == 128 + sent, answer.err
    assert answer.out == ""
    said = [line for line in answer.err.splitlines() if not STAGE_LINE.match(line)]
    assert said == ["nethical: interrupted; what was finished is kept, start it again to go on"], answer.err


STAGE_LINE = re.compile(r" *\d+:\d\d  \d+/\d+ .* finished in ")
ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# A shell that starts a command in the background has it ignore Ctrl-C.
interrupted = pytest.mark.parametrize(
    ("sent", "ignored"), [*((sent, []) for sent in ENDINGS), (signal.SIGTERM, [signal.SIGINT])]
)


@interrupted
def test_a_cycle_that_is_interrupted_before_its_run_says_so_in_one_line(
    sent: signal.Signals, ignored: list[signal.Signals], settings: Settings, start: Start
) -> None:
    with exclusive_lock(settings.home / "dagster" / "creation.lock", waiting_seconds=0.0, what="the instance"):
        process = start(*RUN, ignored=ignored)
        wait_until((settings.home / "dagster" / "dagster.yaml").exists, 60, "the instance")
        os.kill(process.pid, sent)
        answer = process.wait(60)
    assert_interrupted(answer, sent)
    assert runs_of(settings) == []


@interrupted
def test_a_cycle_that_is_interrupted_at_a_step_is_a_cancelled_run_and_the_next_goes_on(
    sent: signal.Signals, ignored: list[signal.Signals], settings: Settings, start: Start
) -> None:
    process = start(*RUN, ignored=ignored)
    wait_until((settings.home / "data" / "records" / "newest" / "raw").is_dir, 60, "the first stage")
    os.kill(process.pid, sent)
    answer = process.wait(60)
    assert_interrupted(answer, sent)
    (run,) = runs_of(settings)
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert types_of(settings, run.run_id)[-2:] == ["run_interrupted", "chunk_final"]
    assert list(LogReader(settings.home / "audit").pending_runs()) == []
    assert verify(settings)["problems"] == []
    assert list((settings.home / "runs").glob("*.lock")) == []


def test_what_ignores_a_closed_terminal_goes_on(start: Start, settings: Settings) -> None:
    process = start(*RUN, ignored=[signal.SIGHUP])  # as nohup does
    wait_until((settings.home / "data" / "records" / "newest" / "raw").is_dir, 60, "the first stage")
    os.kill(process.pid, signal.SIGHUP)
    process.wait().ok()


@pytest.mark.slow
@pytest.mark.parametrize("limit", cases(600_000, 2_000, more=[12_000]))
def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing_half_written(
    limit: int, settings: Settings, environment: dict[str, str]
) -> None:
    # A process of its own, because its streams are pipes: files of the fork server would be limited too.
    program = str(Path(sys.executable).parent / "nethical")
    process = subprocess.run(
        [program, "run", "--families", "prompt_injection", "--samples", "6000", "--json"],
        env=clean_environment(environment),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert process.returncode in (1, 2), process
    assert "Traceback" not in process.stderr + process.stdout
    assert half_written(settings.home) == []
    if process.stdout:
        result = json.loads(process.stdout)["families"]["prompt_injection"]
        assert result["verdict"] == "error"
        assert all("\n" not in reason for reason in result["reasons"])

    # With room again the next cycle goes on.
    summary = run_cycle(settings, ("logistic",), CycleOptions(samples=700))
    assert summary["families"]["logistic"]["verdict"] in ("promoted", "candidate")
    assert verify(settings)["problems"] == []
