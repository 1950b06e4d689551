"""A job whose steps meet, fail, die and wait, for the tests of the worker executor; ``python -m`` runs it.

Every step finds the folder it works in through ``WORKER_JOB_FOLDER``.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import dagster as dg

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.orchestration.executor import worker_executor

PATIENCE_SECONDS = 120.0


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


def rebuild(name: str) -> dg.JobDefinition:
    executor = worker_executor(lambda step_key: step_key, lambda progress: None, workers=2)
    graphs = {"meeting": meeting, "failing": failing, "long": long}
    return graphs[name].to_job(executor_def=executor)


def run(name: str) -> dg.JobExecutionResult:
    job = dg.build_reconstructable_job("tests.worker_job", "rebuild", (name,))
    with dg.DagsterInstance.local_temp(str(folder())) as instance:
        return dg.execute_job(
            job, instance=instance, run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        )


if __name__ == "__main__":
    run("long")
