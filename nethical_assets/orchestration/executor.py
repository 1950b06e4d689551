"""An executor that runs the steps of one run here, or in a few lasting processes where families can overlap.

What belongs here: which step goes where, and what becomes of it when a worker or a person ends it. What does not: the
workers themselves (``step_workers``), what is worth a worker (``cycle``), or any stage.

The first steps run in this process; what they found decides about the others. A step is run by one process from start
to end, and a step begins when what it needs is recorded: so every family goes through the same steps on the same inputs
wherever they run. Steps of one subject stay with the worker that knows its rows. Only the order of events between
families differs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection

import dagster as dg
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable
from dagster._core.execution.context.system import PlanExecutionContext, PlanOrchestrationContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.execute_plan import dagster_event_sequence_for_step
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.base import Executor
from dagster._core.executor.in_process import InProcessExecutor
from dagster._utils.error import serializable_error_info_from_exc_info
from dagster_shared.error import SerializableErrorInfo

from nethical_assets.home.leases import LentLocks
from nethical_assets.home.progress import announce
from nethical_assets.orchestration.step_workers import Finished, Job, Progressed, StepWorker, WorkerEndedError

_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Division:
    """How the steps of a run may be divided.

    Attributes:
        rebuild: makes the run's job anew in a worker; it is pickled.
        locks: the locks that this process holds for the run.
        subject_of: step key -> what it is about (a family): steps about one thing go to one worker where that costs
            nothing.
        weight_of: subject -> how much there is to do about it; what is most begins first.
        is_first: step key -> whether the step runs here before anything is decided.
        expected: asked at the start: whether the others will probably be worth more processes than this one. These are
            started then, while the first steps run.
        pays: asked once when the first steps are done: whether the others are worth more processes.
        workers: how many processes.
    """

    rebuild: Callable[[], dg.JobDefinition]
    locks: Callable[[], LentLocks] = field(default=lambda: LentLocks({}))
    subject_of: Callable[[str], str] = field(default=lambda key: key)
    weight_of: Callable[[str], int] = field(default=lambda subject: 0)
    is_first: Callable[[str], bool] = field(default=lambda key: False)
    expected: Callable[[], bool] = field(default=lambda: False)
    pays: Callable[[], bool] = field(default=lambda: True)
    workers: int = 2


class WorkerExecutor(Executor):
    """Runs steps here and in worker processes; see the module."""

    def __init__(self, division: Division) -> None:
        self._division = division

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

        def steps(job_context: PlanExecutionContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
            return self._steps(plan_context, job_context, execution_plan)

        yield DagsterEvent.engine_event(
            plan_context,
            f"Executing steps in process (pid: {os.getpid()})",
            event_specific_data=EngineEventData.in_process(os.getpid(), keys),
        )
        with _cancelled_when_interrupted(plan_context):
            yield from ExecuteRunWithPlanIterable(
                execution_plan=execution_plan,
                iterator=steps,
                execution_context_manager=PlanExecutionContextManager(
                    job=plan_context.job,
                    retry_mode=self.retries,
                    execution_plan=execution_plan,
                    run_config=plan_context.run_config,
                    dagster_run=plan_context.dagster_run,
                    instance=plan_context.instance,
                    raise_on_error=plan_context.raise_on_error,
                    output_capture=plan_context.output_capture,
                ),
            )

    def _steps(
        self, plan_context: PlanOrchestrationContext, job_context: PlanExecutionContext, plan: ExecutionPlan
    ) -> Iterator[DagsterEvent]:
        with ExitStack() as stack:
            concurrency = stack.enter_context(
                InstanceConcurrencyContext(plan_context.instance, plan_context.dagster_run)
            )
            active = stack.enter_context(
                ActiveExecution(plan, retry_mode=self.retries, instance_concurrency_context=concurrency)
            )
            workers = self._start(plan_context, stack) if self._division.expected() else []
            decided = False
            while not active.is_complete:
                step = active.get_next_step()
                yield from active.concurrency_event_iterator(plan_context)
                if step is None:
                    active.sleep_til_ready()
                    continue
                if not decided and not self._division.is_first(step.key):
                    decided = True
                    if self._division.pays():
                        workers = workers or self._start(plan_context, stack)
                        yield DagsterEvent.engine_event(
                            plan_context,
                            f"Executing the other steps in {len(workers)} worker processes (pid: {os.getpid()})",
                            event_specific_data=EngineEventData(),
                        )
                        yield from _Driven(self, plan_context, active, workers, self._division).until_complete([step])
                        return
                    for worker in workers:
                        worker.end()
                yield from self._here(job_context, active, step)

    def _here(
        self, job_context: PlanExecutionContext, active: ActiveExecution, step: ExecutionStep
    ) -> Iterator[DagsterEvent]:
        for event in dagster_event_sequence_for_step(job_context.for_step(step, active.get_known_state())):
            yield event
            active.handle_event(event)
        active.verify_complete(job_context, step.key)
        yield from active.plan_events_iterator(job_context)

    def _start(self, plan_context: PlanOrchestrationContext, stack: ExitStack) -> list[StepWorker]:
        job = Job(
            rebuild=self._division.rebuild,
            locks=self._division.locks(),
            instance=plan_context.instance.get_ref(),
            run=plan_context.dagster_run,
            run_config=plan_context.run_config,
            environment=dict(os.environ),
        )
        workers = []
        for _ in range(self._division.workers):
            workers.append(StepWorker(job))
            stack.callback(workers[-1].end)
        return workers


class SingleExecutor(InProcessExecutor):
    """Dagster's own executor of one process, in which a run that is interrupted is cancelled."""

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        """Yield the events of all steps until none is left.

        Raises:
            DagsterExecutionInterruptedError: the run was interrupted, and its step has ended.
        """
        with _cancelled_when_interrupted(plan_context):
            yield from super().execute(plan_context, execution_plan)


@contextmanager
def _cancelled_when_interrupted(plan_context: PlanOrchestrationContext) -> Iterator[None]:
    """To Dagster a run that is interrupted is a failed one, unless somebody asked for its end before: so ask for it."""
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        plan_context.instance.report_run_canceling(plan_context.dagster_run, "Interrupted from the command line.")
        raise


class _Driven:
    """The steps of a run that its workers are at."""

    def __init__(
        self,
        executor: Executor,
        plan_context: PlanOrchestrationContext,
        active: ActiveExecution,
        workers: list[StepWorker],
        division: Division,
    ) -> None:
        self._executor = executor
        self._plan_context = plan_context
        self._active = active
        self._workers = workers
        self._division = division
        self._at_work: dict[StepWorker, Progressed] = {}

    def until_complete(self, waiting: list[ExecutionStep]) -> Iterator[DagsterEvent]:
        active, stopping = self._active, False
        while not active.is_complete or any(worker.busy for worker in self._workers):
            if not stopping and active.check_for_interrupts():
                stopping = True
                active.mark_interrupted()
                keys = [worker.step_key for worker in self._workers if worker.step_key is not None]
                yield DagsterEvent.engine_event(
                    self._plan_context,
                    "Interrupted: ending the steps at work",
                    event_specific_data=EngineEventData.interrupted(keys),
                )
                for worker in self._workers:
                    worker.interrupt()
            if not stopping:
                waiting += active.get_steps_to_execute()
                yield from active.concurrency_event_iterator(self._plan_context)
                self._hand_out(waiting)
            elif not any(worker.busy for worker in self._workers):
                break
            yield from self._collect()
            if not stopping:
                yield from active.plan_events_iterator(self._plan_context)
        # Workers may have been told by whoever told this process, and have ended every step before it looked.
        if stopping or active.check_for_interrupts():
            raise dg.DagsterExecutionInterruptedError

    def _hand_out(self, waiting: list[ExecutionStep]) -> None:
        for worker in self._workers:
            if worker.busy or not waiting:
                continue
            taken = {other.subject for other in self._workers if other.busy}

            def place(step: ExecutionStep, own: str = worker.subject, taken: set[str] = taken) -> tuple[int, int]:
                subject = self._division.subject_of(step.key)
                distance = 0 if subject == own else 2 if subject in taken else 1
                return distance, -self._division.weight_of(subject)

            step = min(waiting, key=place)
            waiting.remove(step)
            worker.run(step.key, self._division.subject_of(step.key), self._active.get_known_state())

    def _collect(self) -> Iterator[DagsterEvent]:
        busy = {worker.connection: worker for worker in self._workers if worker.busy}
        if not busy:
            # Only a retry that waits for its time, or a slot of a pool, leaves every worker idle.
            self._active.sleep_til_ready()
            return
        for ready in connection.wait(list(busy), timeout=_POLL_SECONDS):
            worker = busy[ready]  # type: ignore[index]
            key = str(worker.step_key)
            try:
                message = worker.receive()
            except WorkerEndedError:
                error = serializable_error_info_from_exc_info(sys.exc_info())
                yield self._failed(key, error)
                worker.restart()
                if (begun := self._at_work.pop(worker, None)) is not None:
                    announce("failed", begun.stage, begun.subject)
                self._active.verify_complete(self._plan_context, key)
                continue
            match message:
                case Progressed():
                    if message.event == "started":
                        self._at_work[worker] = message
                    else:
                        self._at_work.pop(worker, None)
                    announce(message.event, message.stage, message.subject)
                case DagsterEvent():
                    yield message
                    self._active.handle_event(message)
                case Finished():
                    if message.error is not None:
                        yield self._failed(key, message.error)
                    self._active.verify_complete(self._plan_context, key)

    def _failed(self, key: str, error: SerializableErrorInfo) -> DagsterEvent:
        """The failure (or retry) of a step that could not say so itself."""
        context = self._plan_context.for_step(self._active.get_step_by_key(key))
        event = self._executor.log_failure_or_retry_event_after_error(context, error, self._active.get_known_state())
        self._active.handle_event(event)
        return event


def default_workers() -> int:
    """One process a core, two at most: a third family at work would cost memory and gain little."""
    return min(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def worker_executor(division: Division) -> dg.ExecutorDefinition:
    """The executor as Dagster takes it; the instance must be on disk."""

    @dg.executor(name="workers", requirements=[dg.ExecutorRequirement.NON_EPHEMERAL_INSTANCE])
    def build(_: dg.InitExecutorContext) -> WorkerExecutor:
        return WorkerExecutor(division)

    return build


def single_executor() -> dg.ExecutorDefinition:
    """The executor of one process as Dagster takes it."""

    @dg.executor(name="in_process")
    def build(_: dg.InitExecutorContext) -> SingleExecutor:
        return SingleExecutor(RetryMode.ENABLED)

    return build
