"""A job whose steps meet, fail, die and wait, for the tests of the worker executor; ``python -m`` runs it.

Every step finds the folder it works in through ``WORKER_JOB_FOLDER``.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.orchestration.executor import Division, worker_executor

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Ended:
    success: bool
    events: list[dg.DagsterEvent]


def folder() -> Path:
    return Path(os.environ["WORKER_JOB_FOLDER"])


def meet(own: str, other: str) -> None:
    """End only when the other step is at work too."""
    (folder() / own).write_text(str(os.getpid()))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (folder() / other).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{own} did not meet {other}")
        time.sleep(0.02)


@dg.op
def first_half() -> None:
    meet("first", "second")


@dg.op
def second_half() -> None:
    meet("second", "first")


@dg.op(out={"result": dg.Out(dg.Nothing)})
def refusing() -> None:
    raise DatasetError("the file has no rows; give another one")


@dg.op(ins={"before": dg.In(dg.Nothing)})
def after_refusal() -> None:
    (folder() / "after_refusal").touch()


@dg.op(out={"result": dg.Out(dg.Nothing)})
def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dg.op
def still_run() -> None:
    (folder() / "still_run").touch()


@dg.op
def waiting() -> None:
    (folder() / "waiting").write_text(str(os.getpid()))
    time.sleep(10 * PATIENCE_SECONDS)


@dg.op(out={"result": dg.Out(dg.Nothing)})
def first_of_all() -> None:
    (folder() / "first_of_all").write_text(str(os.getpid()))


@dg.op(ins={"before": dg.In(dg.Nothing)})
def second_of_all() -> None:
    (folder() / "second_of_all").write_text(str(os.getpid()))


@dg.graph
def after_another() -> None:
    second_of_all(first_of_all())


@dg.graph
def meeting() -> None:
    first_half()
    second_half()


@dg.graph
def failing() -> None:
    after_refusal(refusing())
    killed()
    still_run()


@dg.graph
def long() -> None:
    waiting()


GRAPHS = {"meeting": meeting, "failing": failing, "long": long, "after_another": after_another}


def rebuild(name: str) -> dg.JobDefinition:
    return GRAPHS[name].to_job()


def run(name: str, **division: Any) -> Ended:
    executor = worker_executor(Division(functools.partial(rebuild, name), **division))
    job = GRAPHS[name].to_job(executor_def=executor)
    with dg.DagsterInstance.local_temp(str(folder())) as instance:
        config = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        run = instance.create_run_for_job(job, run_config=config)
        for _ in execute_run_iterator(InMemoryJob(job), run, instance):
            pass
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        entries = [entry for entry in instance.all_logs(run.run_id) if entry.is_dagster_event]
        return Ended(ended.is_success, [entry.get_dagster_event() for entry in entries])


if __name__ == "__main__":
    # Workers do not run the program's file again: what they need is in a module.
    importlib.import_module("tests.worker_job").run("long")
