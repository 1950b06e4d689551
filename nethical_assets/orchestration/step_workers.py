"""Processes that run steps of one run one after another, and keep what they imported.

What belongs here: starting a worker, talking to it, and making sure that it ends. What does not: which step it runs
(``executor``).

Workers come from a fork server: a process without threads that imports the heavy libraries once. A worker reads from a
pipe that only its parent holds, and ends at once when the parent does, however that ended. What a terminal
tells all processes of the run is for the parent: it says when to stop, and a step then fails as it does in one process.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, NoReturn

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.errors import raise_execution_interrupts
from dagster._core.events import DagsterEvent
from dagster._core.execution.api import ExecuteRunWithPlanIterable, create_execution_plan
from dagster._core.execution.context.system import PlanExecutionContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import dagster_event_sequence_for_step
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.state import KnownExecutionState
from dagster._core.execution.retries import RetryMode
from dagster._core.instance import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.dagster_run import DagsterRun
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_shared.error import SerializableErrorInfo
from sqlalchemy.exc import SQLAlchemyError

from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.home.leases import LentLocks
from nethical_assets.home.progress import Event, observed_by
from nethical_assets.orchestration.unwritten import held_back

PRELOADED = (
    "nethical_assets.orchestration.step_workers",
    "nethical_assets.orchestration.build",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.linear_model",
    "sklearn.ensemble",
)
"""What the fork server imports, so that no worker has to."""

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_SECONDS_TO_END = 10.0
_FOR_THE_PARENT = [signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
"""Signals that a terminal sends to all processes of a command, of which the parent tells its workers."""


class WorkerEndedError(NethicalError):
    """A worker process ended in the middle of a step."""


@dataclass(frozen=True)
class Job:
    """What every worker of a run needs to know of it.

    ``rebuild`` makes the run's job anew; ``locks`` are those that the run holds, and ``environment`` is that of the
    process that runs it.
    """

    rebuild: Callable[[], dg.JobDefinition]
    locks: LentLocks
    instance: InstanceRef
    run: DagsterRun
    run_config: Mapping[str, Any]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Progressed:
    """A stage started or ended in a worker."""

    event: Event
    stage: str
    subject: str


@dataclass(frozen=True)
class Finished:
    """The step is over; ``error`` where it ended without an event that says how."""

    error: SerializableErrorInfo | None


class StepWorker:
    """One process, seen from its parent."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.subject = ""
        self.step_key: str | None = None
        self._listens = False
        self._start()

    @property
    def busy(self) -> bool:
        """Whether it works on a step."""
        return self.step_key is not None

    def run(self, step_key: str, subject: str, known_state: KnownExecutionState) -> None:
        """Begin a step; its events arrive through ``connection``."""
        self.step_key, self.subject = step_key, subject
        # A worker that has died meanwhile is noticed when its answer is read.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send((step_key, known_state))

    def receive(self) -> DagsterEvent | Progressed | Finished:
        """The next message of the step at work; ``Finished`` is its last one.

        Raises:
            WorkerEndedError: the process ended before the step did.
        """
        try:
            message: DagsterEvent | Progressed | Finished = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(_SECONDS_TO_END)
            code = self._process.exitcode
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            hint = " (the machine may have run out of memory)" if code == -signal.SIGKILL else ""
            raise WorkerEndedError(f"the process that ran {self.step_key} ended with {how}{hint}; run again") from None
        self._listens = True
        if isinstance(message, Finished):
            self.step_key = None
        return message

    def interrupt(self) -> None:
        """Have the step at work fail at its next safe point; a process without one ends."""
        if self._process.is_alive():
            self._process.terminate()

    def restart(self) -> None:
        """A fresh process in place of one that ended."""
        self.end()
        self._listens = False
        self._start()

    def end(self) -> None:
        """End the process: at once when it is idle, by force when it does not answer."""
        if self.connection.closed:
            return
        self.connection.close()
        # One that waits for a step sees the pipe closed; one that is still being made looks at nothing for seconds.
        if self.busy or not self._listens:
            self._process.terminate()
        self._process.join(_SECONDS_TO_END)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.step_key = None

    def _start(self) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        with _one_thread_each(), _undisturbed():
            forkserver.ensure_running()
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, self._job), daemon=True)
        try:
            # It waits for the fork server to have imported everything: an interruption does not.
            with _without_main(), raise_execution_interrupts():
                self._process.start()
        except BaseException:
            _kill_fork_server()
            raise
        theirs.close()


def _kill_fork_server() -> None:
    """End a fork server that is still importing: it would notice the end of its parent only after that."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Linear algebra on one thread in whatever is started here: as many processes as cores, and sums in one order."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """What is started here is born deaf to signals, as are its children; a worker hears them from its first line on."""
    # The tracker of shared resources hears all signals again when it is started: it has to be there before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*_FOR_THE_PARENT, signal.SIGTERM])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Whatever program this is, a worker does not begin by running its file again: nothing that it needs is there."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def work(pipe: Connection, job: Job) -> None:
    """What a worker process does: run the steps it is asked for until its parent closes the pipe or ends."""
    try:
        _work(pipe, job)
    except (BrokenPipeError, KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        _end_at_once()
    except (SQLAlchemyError, OSError):
        # No space is left for events: the parent cannot write any either, and says so.
        sys.exit(1)


def _work(pipe: Connection, job: Job) -> None:
    # Dagster puts handlers of its own in place; what is blocked reaches none.
    signal.pthread_sigmask(signal.SIG_SETMASK, _FOR_THE_PARENT)
    # The fork server keeps the environment of the moment it was started.
    kept = {name: os.environ[name] for name in _ONE_THREAD if name in os.environ}
    os.environ.clear()
    os.environ.update({**job.environment, **kept})
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(event: Event, stage: str, subject: str) -> None:
        pipe.send(Progressed(event, stage, subject))

    job.locks.keep()
    whole = job.rebuild().get_subset(
        op_selection=job.run.op_selection,
        asset_selection=job.run.asset_selection,
        asset_check_selection=job.run.asset_check_selection,
    )
    plan = create_execution_plan(job=whole, run_config=job.run_config)
    with DagsterInstance.from_ref(job.instance) as instance, observed_by(tell), held_back():
        context = PlanExecutionContextManager(
            job=InMemoryJob(whole),
            retry_mode=RetryMode.ENABLED,
            execution_plan=plan,
            run_config=job.run_config,
            dagster_run=job.run,
            instance=instance,
        )
        # What it prepares for all of its steps is of no interest to the run.
        for _ in ExecuteRunWithPlanIterable(plan, functools.partial(_serve, pipe), context):
            pass


def _serve(
    pipe: Connection, job_context: PlanExecutionContext, execution_plan: ExecutionPlan
) -> Iterator[DagsterEvent]:
    """Run the steps that the pipe names, each from start to end, until it is closed."""
    while True:
        try:
            step_key, known_state = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        error, told = None, False
        try:
            step = job_context.for_step(execution_plan.get_executable_step_by_key(step_key), known_state)
            for event in dagster_event_sequence_for_step(step):
                pipe.send(event)
                told = told or event.is_step_failure or event.is_step_up_for_retry
                yield event
        except BrokenPipeError:
            _end_at_once()
        except BaseException:  # whatever it is, the run has to hear of it once, and the worker goes on
            error = None if told else serializable_error_info_from_exc_info(sys.exc_info())
        pipe.send(Finished(error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        _end_at_once()


def _end_at_once() -> NoReturn:
    """The parent is gone or gave up on this worker, and nobody is left to be told. No clean-up: it could wait for what
    the parent held, and a kill at any instant is safe."""
    os._exit(1)
