"""What ended runs tell: check results, failures and successes of runs, promotions, as alerts and resolutions.

What belongs here: reading Dagster's events of a run. What does not: which runs are read and when (``alerts``), what is
a problem or how issues live (``core.alerts``).
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from nethical_assets.assets.requests import FAMILY_TAG, REASON_TAG, TRIGGER_TAG, families_of
from nethical_assets.core.alerts import Alert, Resolution
from nethical_assets.core.alerts.checks import (
    KIND_OF_CHAMPION_CHECK,
    KIND_OF_MODEL_CHECK,
    WINDOW_END,
    CheckResult,
    alert_of,
    resolution_of,
)
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.sealing import AUDIT_ROOTS
from nethical_assets.stages.watching import DRIFT_REPORTS

ACTOR = "check sensor"

_TOLD = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
}
_CHECK_FAILURE = "DagsterAssetCheckFailedError"
_INTERRUPTIONS = (dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__)
_WORDS_OF_CHECKS = {(AUDIT_ROOTS.name, "log_verifies"): "the audit log does NOT verify"}


@dataclass(frozen=True)
class StepFailure:
    """A failed step: its name, and one line that says why and holds nothing from data."""

    step: str
    error: str


@dataclass(frozen=True)
class RunEvents:
    """The events of a run that tell of problems, oldest first, with their numbers."""

    run: dg.DagsterRun
    events: Sequence[tuple[int, dg.EventLogEntry]]

    @classmethod
    def read(cls, instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunEvents:
        """From the event log."""
        records = instance.get_records_for_run(run.run_id, of_type=_TOLD, ascending=True).records
        return cls(run, [(record.storage_id, record.event_log_entry) for record in records])

    def of(self, kind: dg.DagsterEventType) -> list[tuple[int, dg.EventLogEntry, dg.DagsterEvent]]:
        """The events of one type."""
        found = [(number, entry, entry.get_dagster_event()) for number, entry in self.events if entry.is_dagster_event]
        return [one for one in found if one[2].event_type is kind]

    def check_results(self) -> list[CheckResult]:
        """The evaluations of checks."""
        evaluations = self.of(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        return [_check_result(number, entry) for number, entry, _ in evaluations]

    def failures(self) -> list[StepFailure]:
        """The failed steps in the order in which they failed."""
        failed = [result for result in self.check_results() if not result.passed]
        return [
            StepFailure(str(event.step_key), _step_error(event, failed))
            for _, _, event in self.of(dg.DagsterEventType.STEP_FAILURE)
        ]

    def materialized(self) -> frozenset[dg.AssetKey]:
        """The assets that were made."""
        events = self.of(dg.DagsterEventType.ASSET_MATERIALIZATION)
        return frozenset(event.asset_key for _, _, event in events if event.asset_key is not None)

    def results(self) -> list[Alert | Resolution]:
        """Everything the run tells the issue tracker."""
        checks = self.check_results()
        found: list[Alert | Resolution | None] = [alert_of(result) for result in checks]
        found += [resolution_of(result, ACTOR) for result in checks]
        return [*(one for one in found if one is not None), *self._failed(), *self._succeeded(), *self._promoted()]

    def _failed(self) -> list[Alert]:
        ended = self.of(dg.DagsterEventType.RUN_FAILURE)
        if self.run.status is not dg.DagsterRunStatus.FAILURE or not ended:
            return []
        number, entry, event = ended[-1]
        by_subject: dict[str, list[StepFailure]] = {}
        for failure in self.failures():
            by_subject.setdefault(self._subject(failure.step), []).append(failure)
        if not by_subject:
            error = (event.message or "it ended without saying why").partition("\n")[0]
            by_subject[self._subject("")] = [StepFailure("", error)]
        run = self.run
        return [
            Alert(
                kind="run_failure",
                subject=subject,
                check=run.job_name,
                summary=_failure_summary(run.job_name, failures),
                when=_when(entry),
                event=number,
                occurrence=run.run_id,
                details={
                    "run": run.run_id,
                    "job": run.job_name,
                    "step": failures[0].step or None,
                    "trigger": run.tags.get(TRIGGER_TAG),
                    "reason": run.tags.get(REASON_TAG),
                },
            )
            for subject, failures in by_subject.items()
        ]

    def _succeeded(self) -> list[Resolution]:
        """A successful run ends the failures of the same job for everything it dealt with."""
        ended = self.of(dg.DagsterEventType.RUN_SUCCESS)
        if self.run.status is not dg.DagsterRunStatus.SUCCESS or not ended:
            return []
        number, entry, _ = ended[-1]
        job = self.run.job_name
        subjects = {job, *families_of(self.run), *(_subject_of_asset(key) for key in self._planned())}
        reason = f"{job} succeeded later, in run {self.run.run_id}"
        return [
            Resolution("run_failure", subject, job, reason, _when(entry), ACTOR, number) for subject in sorted(subjects)
        ]

    def _promoted(self) -> list[Resolution]:
        """Another model that was promoted ends what was said of the model before it."""
        found: list[Resolution] = []
        for number, entry, event in self.of(dg.DagsterEventType.ASSET_MATERIALIZATION):
            key = event.asset_key
            if key is None or key.path[0] != RELEASES.name or len(key.path) != 2:
                continue
            release = Release.of(event.step_materialization_data.materialization)
            if release.verdict == "promoted" and not release.is_same_model:
                reason = f"version {release.version} was promoted in its place"
                said = {DRIFT_REPORTS: KIND_OF_MODEL_CHECK, RELEASES: KIND_OF_CHAMPION_CHECK}
                found += [
                    Resolution(kind, stage.record_name(key.path[1]), check, reason, _when(entry), ACTOR, number)
                    for stage, kinds in said.items()
                    for check, kind in kinds.items()
                ]
        return found

    def _planned(self) -> list[dg.AssetKey]:
        events = self.of(dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        return [event.asset_key for _, _, event in events if event.asset_key is not None]

    def _subject(self, step: str) -> str:
        """The family of a run for one family; else the family or dataset whose step it is; else the job."""
        if FAMILY_TAG in self.run.tags:
            return self.run.tags[FAMILY_TAG]
        names = {"__".join(key.path): key for key in self._planned()}
        owners = [name for name in names if step == name or step.startswith(f"{name}_")]
        return _subject_of_asset(names[max(owners, key=len)]) if owners else self.run.job_name


@dataclass(frozen=True)
class Release:
    """What a materialization of ``releases/<family>`` says; ``champion`` is the model in place after it, or empty."""

    verdict: str
    model: str
    champion_before: str
    version: str
    champion: str

    @classmethod
    def of(cls, materialization: dg.AssetMaterialization) -> Release:
        """From the metadata that the asset shows."""
        shown = {name: str(value.value) for name, value in materialization.metadata.items()}
        model, before = shown.get("model", ""), shown.get("champion_before", "none")
        before = "" if before == "none" else before
        champion = model if shown.get("stage") == "current" else before
        return cls(shown.get("verdict", ""), model, before, shown.get("version", ""), champion)

    @property
    def is_same_model(self) -> bool:
        """Whether the model is the one that was in place before."""
        return self.verdict == "unchanged" or self.model == self.champion_before


def _check_result(number: int, entry: dg.EventLogEntry) -> CheckResult:
    """A check evaluation event as core sees it."""
    evaluation = entry.get_dagster_event().asset_check_evaluation_data
    metadata = {name: value.value for name, value in evaluation.metadata.items()}
    return CheckResult(
        asset=evaluation.asset_key.to_user_string(),
        check=evaluation.check_name,
        passed=evaluation.passed,
        warning=evaluation.severity is dg.AssetCheckSeverity.WARN,
        undecided=metadata.get("verdict") in ("needs_more_data", "hold"),
        summary=evaluation.description or f"check {evaluation.check_name} did not pass",
        when=_when(entry),
        occurrence=entry.run_id,
        numbers=_numbers(metadata),
        event=number,
    )


def _step_error(event: dg.DagsterEvent, failed_checks: Iterable[CheckResult]) -> str:
    """Why a step failed. An expected error is its own one line; of any other only the kind is told, because its words
    may quote data."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return " ".join(str(data.user_failure_data.description).split())
    if data.error is None:
        return "the step failed without an error; its log in the UI says more"
    if data.error.cls_name == _CHECK_FAILURE:
        blocking = [result for result in failed_checks if not result.warning and _is_named(result, data.error.message)]
        if blocking:
            return "; ".join(_check_error(result) for result in blocking)
    cause = data.error
    while cause.cause is not None:
        cause = cause.cause
    if cause.cls_name in _INTERRUPTIONS:
        return "interrupted; what was finished is kept, start it again to go on"
    if _is_system_error(str(cause.cls_name)):
        return " ".join(f"{cause.cls_name}: {cause.message.partition(':')[2] or cause.message}".split())
    return f"{cause.cls_name or 'an unexpected error'}; its log in the UI says more"


def _check_error(result: CheckResult) -> str:
    words = _WORDS_OF_CHECKS.get((result.asset, result.check), f"check {result.check} of {result.asset} failed")
    return f"{words}: {' '.join(result.summary.split())}"


def _is_named(result: CheckResult, message: str) -> bool:
    lines = [line.partition(": ") for line in message.splitlines()]
    return any(asset == result.asset and result.check in checks.split(",") for asset, _, checks in lines)


def _is_system_error(name: str) -> bool:
    """Whether the words of this error are the operating system's."""
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, OSError | MemoryError)


def _failure_summary(job: str, failures: Sequence[StepFailure]) -> str:
    first, more = failures[0], len(failures) - 1
    where = f" at step {first.step}" if first.step else ""
    rest = f" ({more} more steps failed)" if more else ""
    return f"{job} failed{where}: {first.error}{rest}"


def _subject_of_asset(key: dg.AssetKey) -> str:
    """The family that an asset belongs to; else the asset, such as ``raw/nslkdd``."""
    return key.path[1] if len(key.path) == 2 and key.path[0] != RAW.name else key.to_user_string()


def _when(entry: dg.EventLogEntry) -> datetime:
    return datetime.fromtimestamp(entry.timestamp, UTC)


def _numbers(metadata: Mapping[str, Any]) -> dict[str, str | int | float | bool | None]:
    """Numbers, and the end of the window; other texts may quote data."""
    found: dict[str, str | int | float | bool | None] = {
        name: value for name, value in metadata.items() if isinstance(value, bool | int | float)
    }
    end = metadata.get(WINDOW_END)
    return {**found, WINDOW_END: end} if isinstance(end, str) else found
