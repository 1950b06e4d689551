"""Two live runs of one family: one waits or is refused in one line, and neither uses what the other made."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.across.conftest import Copy
from tests.across.entry import CHECKOUT, code_location_name
from tests.across.platform import Answer, Home, wait_until
from tests.e2e.platform import LAUNCH, running
from tests.sweeping import cases

SOURCE = ("--source", "mirror")
WORKSPACE = ("-w", str(CHECKOUT / "workspace.yaml"))


def window(home: Home, run_id: str) -> tuple[float, float]:
    """From when to when a run worked on the family: from its first step's start to its last one's end."""
    steps = home.dagster("steps", run_id)
    times = [step["at"] for step in steps if "logistic" in (step["step"] or "") and "drift" not in step["step"]]
    assert times, steps
    return min(times), max(times)


def assert_never_mixed(home: Home, records: Path, run_ids: list[str]) -> None:
    """No two of the runs worked on the family at once, each decided about its own model, and the home is sound."""
    windows = sorted(window(home, run_id) for run_id in run_ids)
    for earlier, later in itertools.pairwise(windows):
        assert earlier[1] <= later[0], f"two runs worked on the family for {earlier[1] - later[0]:.2f} s"
    for run_id in run_ids:
        events = home.nethical("audit", "show", "--run", run_id, "--last", "1000", "--json").ok().document["events"]
        models = {
            subject["digest"]
            for event in events
            if event["type"] in ("model_trained", "model_evaluated", "gate_decided", "model_promoted")
            for subject in event["subjects"]
            if subject["name"] == "models/logistic"
        }
        assert len(models) == 1, events
    assert home.faults(records) == []


def is_refused(answer: Answer) -> bool:
    """Whether a command was refused because another one is at work."""
    if answer.code != 2:
        return False
    (line,) = [line for line in answer.err.splitlines() if line.strip()]
    assert "in use" in line or "busy" in line
    assert answer.out == ""
    return True


@pytest.mark.parametrize("families", cases("logistic", more=["logistic,heuristic"]))
def test_two_runs_of_the_command_line(families: str, copy: Copy, real: Home, records: Path) -> None:
    home = copy(real)
    known = {run["run_id"] for run in home.dagster("runs")}
    first = home.start("run", "--families", "logistic", *SOURCE, "--seed", "3", "--json")
    wait_until(lambda: list((home.path / "audit" / "pending").glob("*.jsonl")), 60, "the first event of the first run")
    second = home.start("run", "--families", families, *SOURCE, "--seed", "4", "--json")
    answers = [second.wait(), first.wait()]
    assert answers[1].code == 0, answers[1].err
    assert is_refused(answers[0]) or answers[0].code == 0, answers[0].err
    runs = [run["run_id"] for run in home.dagster("runs") if run["run_id"] not in known]
    assert len(runs) == sum(answer.code == 0 for answer in answers)
    assert_never_mixed(home, records, runs)


def launch(home: Home, seed: int) -> str:
    """Launch a run of the family as the UI does; its id."""
    # What the command line selected for the same family.
    selection = [{"path": key.split("/")} for key in home.dagster("runs")[0]["assets"]]
    assert selection
    parameters = {
        "selector": {
            "repositoryLocationName": code_location_name(),
            "repositoryName": "__repository__",
            "jobName": "training_cycle",
            "assetSelection": selection,
        },
        "mode": "default",
        "runConfigData": json.dumps(
            {
                "resources": {
                    "cycle": {"config": {"seed": seed}},
                    "data_sources": {"config": {"source": "mirror"}},
                }
            }
        ),
    }
    program = str(Path(sys.executable).parent / "dagster-graphql")
    done = subprocess.run(
        [program, *WORKSPACE, "-t", LAUNCH, "-v", json.dumps({"parameters": parameters})],
        env=_variables(home),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document, _ = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{") :])
    launched: Any = document["data"]["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def _variables(home: Home) -> dict[str, str]:
    return {**home.environment, "DAGSTER_HOME": str(home.path / "dagster")}


@pytest.mark.e2e
def test_a_run_of_the_daemon_and_one_of_the_command_line(copy: Copy, real: Home, records: Path) -> None:
    home = copy(real)
    daemon = [str(Path(sys.executable).parent / "dagster-daemon"), "run", *WORKSPACE]
    with running(daemon, _variables(home), home.folder / "daemon.log"):
        launched = launch(home, 6)

        def state() -> str:
            return next(run["status"] for run in home.dagster("runs") if run["run_id"] == launched)

        wait_until(lambda: state() not in ("QUEUED", "NOT_STARTED", "STARTING"), 90, "the start of the daemon's run")
        ours = home.start("run", "--families", "logistic", *SOURCE, "--seed", "4", "--json")
        wait_until(lambda: state() in ("SUCCESS", "FAILURE", "CANCELED"), 120, "the end of the daemon's run")
        answer = ours.wait()
    assert state() == "SUCCESS", (home.folder / "daemon.log").read_text(encoding="utf-8")[-3000:]
    runs = {run["run_id"]: run for run in home.dagster("runs")}
    assert is_refused(answer) or answer.code == 0, answer.err
    both = [launched] if answer.code else [launched, answer.document["run_id"]]
    assert_never_mixed(home, records, both)
    # What the command line starts is marked as what Dagster launches.
    for run_id in both:
        assert runs[run_id]["origin"] == runs[launched]["origin"]
        assert runs[run_id]["tags"][".dagster/repository"] == runs[launched]["tags"][".dagster/repository"]
