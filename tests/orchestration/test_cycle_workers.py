"""Cycles whose families are computed in worker processes: the same results in one run, and no process outlives it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.operations.verification import verify
from nethical_assets.orchestration.cycle import run_cycle
from nethical_assets.orchestration.instance import open_instance
from tests.across.platform import Command, ForkServer
from tests.orchestration import clean_environment
from tests.sweeping import COMPLETE, cases

FAMILIES = ("heuristic", "logistic")
SMALL = CycleOptions(samples=700)
SMALL_OPTIONS = ("--samples", "700")
TIMES = {"trained_at", "training_seconds", "decided_at", "audit_merkle_root", "path", "paths"}
PATIENCE_SECONDS = 120.0


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)


def results(home: Path) -> dict[str, Any]:
    """What every stage made, without when; a card names the log, which knows when."""
    found = {}
    for path in sorted((home / "data" / "records" / "newest").glob("*/*.json")):
        record = json.loads(path.read_text())
        facts = {name: value for name, value in record["facts"].items() if name not in TIMES}
        objects = record["objects"] if record["stage"] not in ("releases", "model_cards") else sorted(record["objects"])
        found[f"{record['stage']}/{record['subject']}"] = (facts, objects, record["fingerprint"], record["inputs"])
    return found


def step_processes(settings: Settings, run_id: str) -> dict[str, int | None]:
    with open_instance(settings) as instance:
        events = [entry.get_dagster_event() for entry in instance.all_logs(run_id) if entry.is_dagster_event]
    return {str(event.step_key): event.pid for event in events if event.event_type is dg.DagsterEventType.STEP_START}


@pytest.mark.slow
def test_two_processes_give_what_one_gives(mirrored: Settings, tmp_path: Path) -> None:
    alone = replace(mirrored, home=tmp_path / "alone")
    for home in (alone.home, mirrored.home):
        # Pseudonyms of two homes differ, unless they share the secret.
        write_atomically(home / "data" / "pseudonyms.key", bytes(range(32)), private=True)
    one = run_cycle(alone, FAMILIES, SMALL)
    two = run_cycle(mirrored, FAMILIES, SMALL, workers=2)

    assert one["status"] == two["status"] == "success"
    assert results(mirrored.home) == results(alone.home)
    assert {name: result["model_digest"] for name, result in two["families"].items()} == {
        name: result["model_digest"] for name, result in one["families"].items()
    }
    assert two["checks"] == one["checks"]
    assert set(step_processes(alone, one["run_id"]).values()) == {os.getpid()}
    processes = step_processes(mirrored, two["run_id"])
    assert len(set(processes.values())) == 3
    assert {pid for step, pid in processes.items() if step.startswith("raw__")} == {os.getpid()}
    assert verify(mirrored)["problems"] == []
    assert list(LogReader(mirrored.home / "audit").pending_runs()) == []
    assert list((mirrored.home / "data" / "records" / "runs").glob("*")) == []
    assert list((mirrored.home / "runs").glob("*.lock")) == []

    again = run_cycle(mirrored, FAMILIES, SMALL, workers=2)
    assert {result["verdict"] for result in again["families"].values()} == {"unchanged"}
    assert set(step_processes(mirrored, again["run_id"]).values()) == {os.getpid()}
    if COMPLETE:
        forced = run_cycle(mirrored, FAMILIES, replace(SMALL, force=True), workers=2)
        assert {result["verdict"] for result in forced["families"].values()} == {"unchanged"}
        assert len(set(step_processes(mirrored, forced["run_id"]).values())) > 1


def test_one_family_stays_in_one_process(settings: Settings) -> None:
    summary = run_cycle(settings, ("logistic",), SMALL, workers=2)
    assert set(step_processes(settings, summary["run_id"]).values()) == {os.getpid()}


@pytest.fixture
def cycle(server: ForkServer, environment: dict[str, str], mirrored: Settings) -> Iterator[Command]:
    """``nethical run`` of two families, in a session of its own."""
    variables = clean_environment({**environment, "NETHICAL_DATA_MIRROR": str(mirrored.mirror)})
    arguments = ("run", "--families", ",".join(FAMILIES), *SMALL_OPTIONS, "--json")
    command = server.start("nethical", arguments, variables, {"cores": 2})
    yield command
    for pid in session_of(command.pid):
        os.kill(pid, signal.SIGKILL)


def session_of(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            found.append(int(path.parent.name))
    return found


def until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def workers_at(settings: Settings, stage: str) -> set[int]:
    """The processes, other than the run's first, that made something of ``stage``."""
    if not any((settings.home / "data" / "records" / "newest" / stage).glob("*.json")):
        return set()
    with open_instance(settings) as instance:
        (run,) = instance.get_runs()
    return {pid for step, pid in step_processes(settings, run.run_id).items() if step.startswith(stage) and pid}


@pytest.mark.slow
def test_a_killed_worker_fails_the_run_in_one_line_and_the_next_heals(cycle: Command, mirrored: Settings) -> None:
    until(lambda: workers_at(mirrored, "datasets"))
    worker = sorted(workers_at(mirrored, "datasets"))[0]
    assert worker != cycle.pid
    os.kill(worker, signal.SIGKILL)
    answer = cycle.wait()
    assert "Traceback" not in answer.err
    assert answer.code in (0, 1), answer.err
    if answer.code == 1:  # it had a step at work
        (failure,) = answer.document["failures"]
        assert "WorkerEndedError" in failure["error"] or "signal 9" in failure["error"]
    until(lambda: session_of(cycle.pid) == [])
    heals(mirrored)


@pytest.mark.parametrize("sent", cases(signal.SIGKILL, more=[signal.SIGINT, signal.SIGTERM]))
@pytest.mark.slow
def test_no_process_outlives_a_run_that_is_ended(cycle: Command, mirrored: Settings, sent: signal.Signals) -> None:
    until(lambda: workers_at(mirrored, "datasets"))
    os.kill(cycle.pid, sent)
    answer = cycle.wait()
    assert answer.code != 0
    assert "Traceback" not in answer.err
    until(lambda: session_of(cycle.pid) == [])
    if COMPLETE:
        heals(mirrored)


@pytest.mark.parametrize("sent", cases(signal.SIGTERM, more=[signal.SIGINT, signal.SIGHUP]))
@pytest.mark.slow
def test_what_all_processes_of_a_run_are_told_cancels_it_also_twice(
    cycle: Command, mirrored: Settings, sent: signal.Signals
) -> None:
    until(lambda: workers_at(mirrored, "datasets"))
    cycle.kill(sent)
    time.sleep(0.05)
    cycle.kill(sent)
    answer = cycle.wait()
    assert answer.code == 128 + sent, answer.err
    assert answer.out == "" and "Traceback" not in answer.err
    assert answer.err.count("nethical: interrupted") == 1
    until(lambda: session_of(cycle.pid) == [])
    with open_instance(mirrored) as instance:
        (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED
    heals(mirrored)


def heals(settings: Settings) -> None:
    summary = run_cycle(settings, FAMILIES, SMALL)
    assert summary["status"] == "success", summary["failures"]
    assert {result["verdict"] for result in summary["families"].values()} <= {"promoted", "candidate", "unchanged"}
    assert verify(settings)["problems"] == []
