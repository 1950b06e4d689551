"""An executor that runs the steps of one run in a few lasting processes, so that families overlap.

What belongs here: which step goes to which worker, and what becomes of it when a worker or a person ends it. What does
not: the workers themselves (``step_workers``), or any stage.

A step is run by one worker from start to end, and a step begins when what it needs is recorded: so every family goes
through the same steps on the same inputs as in one process. Steps of one subject stay with the worker that knows its
rows. Only the order of events between families differs from a run in one process.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing import connection

import dagster as dg
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.base import Executor
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster._utils.interrupts import capture_interrupts
from dagster_shared.error import SerializableErrorInfo

from nethical_assets.orchestration.step_workers import Finished, Job, Progressed, StepWorker, WorkerEndedError

Subject = Callable[[str], str]
"""Step key -> what it is about (a family): steps about one thing go to one worker where that costs nothing."""

_POLL_SECONDS = 0.25


class WorkerExecutor(Executor):
    """Runs steps in ``workers`` processes; see the module."""

    def __init__(self, workers: int, subject_of: Subject, progressed: Callable[[Progressed], None]) -> None:
        """``progressed`` is called in this process for every stage that a worker starts or ends."""
        self._workers = workers
        self._subject_of = subject_of
        self._progressed = progressed

    @property
    def retries(self) -> RetryMode:
        """As the policy of each step says."""
        return RetryMode.ENABLED

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Yield the events of all steps until none is left.

        Raises:
            DagsterExecutionInterruptedError: the run was interrupted, and its steps have ended.
        """
        keys = execution_plan.step_keys_to_execute
        yield DagsterEvent.engine_event(
            plan_context,
            f"Executing steps in {self._workers} worker processes (pid: {os.getpid()})",
            event_specific_data=EngineEventData.multiprocess(os.getpid(), step_keys_to_execute=keys),
        )
        job = Job(
            job=plan_context.reconstructable_job,
            instance=plan_context.instance.get_ref(),
            run=plan_context.dagster_run,
            run_config=plan_context.run_config,
            environment=dict(os.environ),
        )
        with ExitStack() as stack:
            stack.enter_context(capture_interrupts())
            concurrency = InstanceConcurrencyContext(plan_context.instance, plan_context.dagster_run)
            active = stack.enter_context(
                ActiveExecution(
                    execution_plan,
                    retry_mode=self.retries,
                    instance_concurrency_context=stack.enter_context(concurrency),
                )
            )
            workers = [StepWorker(job) for _ in range(min(self._workers, max(len(keys), 1)))]
            for worker in workers:
                stack.callback(worker.end)
            yield from self._drive(plan_context, active, workers)

    def _drive(
        self, plan_context: PlanOrchestrationContext, active: ActiveExecution, workers: list[StepWorker]
    ) -> Iterator[DagsterEvent]:
        waiting: list[ExecutionStep] = []
        stopping = False
        while not active.is_complete or any(worker.busy for worker in workers):
            if not stopping and active.check_for_interrupts():
                stopping = True
                active.mark_interrupted()
                keys = [worker.step_key for worker in workers if worker.step_key is not None]
                yield DagsterEvent.engine_event(
                    plan_context,
                    "Interrupted: ending the steps at work",
                    event_specific_data=EngineEventData.interrupted(keys),
                )
                for worker in workers:
                    worker.interrupt()
            if not stopping:
                waiting += active.get_steps_to_execute()
                yield from active.concurrency_event_iterator(plan_context)
                self._hand_out(waiting, workers, active)
            elif not any(worker.busy for worker in workers):
                break
            yield from self._collect(plan_context, active, workers)
            if not stopping:
                yield from active.plan_events_iterator(plan_context)
        if stopping:
            raise dg.DagsterExecutionInterruptedError

    def _hand_out(self, waiting: list[ExecutionStep], workers: list[StepWorker], active: ActiveExecution) -> None:
        for worker in workers:
            if worker.busy or not waiting:
                continue
            taken = {other.subject for other in workers if other.busy}
            step = min(waiting, key=functools.partial(self._distance, worker.subject, taken))
            waiting.remove(step)
            worker.run(step.key, self._subject_of(step.key), active.get_known_state())

    def _distance(self, own: str, taken: set[str], step: ExecutionStep) -> int:
        """How little a worker that last looked at ``own`` should take a step, while others are at ``taken``."""
        subject = self._subject_of(step.key)
        return 0 if subject == own else 2 if subject in taken else 1

    def _collect(
        self, plan_context: PlanOrchestrationContext, active: ActiveExecution, workers: list[StepWorker]
    ) -> Iterator[DagsterEvent]:
        busy = {worker.connection: worker for worker in workers if worker.busy}
        if not busy:
            # Only a retry that waits for its time, or a slot of a pool, leaves every worker idle.
            active.sleep_til_ready()
            return
        for ready in connection.wait(list(busy), timeout=_POLL_SECONDS):
            worker = busy[ready]  # type: ignore[index]
            key = str(worker.step_key)
            try:
                message = worker.receive()
            except WorkerEndedError:
                error = serializable_error_info_from_exc_info(sys.exc_info())
                yield self._failed(plan_context, active, key, error)
                worker.restart()
                active.verify_complete(plan_context, key)
                continue
            match message:
                case Progressed():
                    self._progressed(message)
                case DagsterEvent():
                    yield message
                    active.handle_event(message)
                case Finished():
                    if message.error is not None:
                        yield self._failed(plan_context, active, key, message.error)
                    active.verify_complete(plan_context, key)

    def _failed(
        self, plan_context: PlanOrchestrationContext, active: ActiveExecution, key: str, error: SerializableErrorInfo
    ) -> DagsterEvent:
        """The failure (or retry) of a step that could not say so itself."""
        context = plan_context.for_step(active.get_step_by_key(key))
        event = self.log_failure_or_retry_event_after_error(context, error, active.get_known_state())
        active.handle_event(event)
        return event


def default_workers() -> int:
    """One process a core, two at most: a third family at work would cost memory and gain little."""
    return min(2, multiprocessing.cpu_count())


def worker_executor(
    subject_of: Subject, progressed: Callable[[Progressed], None], workers: int | None = None
) -> dg.ExecutorDefinition:
    """The executor as Dagster takes it; jobs must be reconstructable, the instance on disk."""

    @dg.executor(
        name="workers",
        requirements=[dg.ExecutorRequirement.RECONSTRUCTABLE_JOB, dg.ExecutorRequirement.NON_EPHEMERAL_INSTANCE],
    )
    def build(_: dg.InitExecutorContext) -> WorkerExecutor:
        return WorkerExecutor(workers or default_workers(), subject_of, progressed)

    return build
