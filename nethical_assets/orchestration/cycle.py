"""One training cycle as one Dagster run in this process, and its summary.

What belongs here: running the training job for some families and reading what became of it. What does not: any stage
(``stages``), the run's place in the instance (``runs``), or how the summary is shown (``command_line.console``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._utils.interrupts import capture_interrupts

from nethical_assets.assets.factory import asset_key, stage_of
from nethical_assets.assets.requests import TRAINING_JOB
from nethical_assets.assets.selections import cycle_assets, family_assets
from nethical_assets.core.alerts.checks import alert_of
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.audit.keys import SigningKeys
from nethical_assets.core.ground.errors import NethicalError, SettingsError
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.home.deliveries import deliver_quietly
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import open_model_keys
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.orchestration.build import build_cycle_defs
from nethical_assets.orchestration.division import divide, steps_of
from nethical_assets.orchestration.executor import single_executor, worker_executor
from nethical_assets.orchestration.instance import open_instance, storage_failures
from nethical_assets.orchestration.run_history import apply_retention
from nethical_assets.orchestration.runs import execute_here
from nethical_assets.resources.platform import IssueTrackerResource
from nethical_assets.sensors.alerts import file_cycle, has_read_all
from nethical_assets.sensors.results import RunEvents, StepFailure
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.graph import FAMILY_CYCLE
from nethical_assets.stages.sealing import AUDIT_ROOTS


@dataclass(frozen=True)
class _Finished:
    """A finished run: its id and outcome, what was materialized, which steps failed and why, and its check results.

    ``issues`` of the ``checks_failed`` are something that somebody should act on.
    """

    run_id: str
    told: RunEvents
    succeeded: bool
    canceled: bool
    materialized: frozenset[dg.AssetKey]
    failures: tuple[StepFailure, ...]
    reasons: Mapping[dg.AssetKey, str]
    checks_passed: int
    checks_failed: int
    issues: int


def run_cycle(
    settings: Settings,
    families: Sequence[str],
    options: CycleOptions,
    said: Callable[[str], None] = lambda line: None,
    *,
    planned: Callable[[Collection[tuple[str, str]]], None] = lambda stages: None,
    workers: int = 1,
) -> dict[str, Any]:
    """Run one cycle and return its summary, the JSON document of ``nethical run``.

    Args:
        said: told what the cycle waits for.
        planned: told the names of the stages, each with its subject, that the cycle goes through.
        workers: in how many processes families may be computed; with 1, everything is done in this one.

    Raises:
        BusyError: another cycle runs in this home.
        KeyboardInterrupt: the run was interrupted; it is marked as cancelled, and its part of the audit log is closed.
        SettingsError: a source was asked for that is not configured, or the home cannot be written.
    """
    if options.source == "mirror" and settings.mirror is None:
        raise SettingsError("--source mirror needs NETHICAL_DATA_MIRROR: a folder with OWNER/NAME/files/ in it")
    if settings.mirror is not None and not settings.mirror.is_dir():
        raise SettingsError(f"NETHICAL_DATA_MIRROR = {str(settings.mirror)!r} is not a folder; unset or correct it")
    started = time.monotonic()
    with (
        storage_failures(settings),
        open_instance(settings) as instance,
        exclusive_lock(settings.home / "cycle.lock", waiting_seconds=0.0, what="the training cycle of this home"),
    ):
        signing_key = SigningKeys(settings.home / "audit" / "keys").path
        had_key = signing_key.exists()
        model_key = open_model_keys(settings.home).path
        had_model_key = model_key.exists()
        apply_retention(settings, instance, now=utc_now())
        planned({stage_of(key) for key in cycle_assets(settings, tuple(families))})
        finished = _execute(settings, tuple(families), options, instance, said, workers)
        workspace = Workspace(settings, options, finished.run_id)
        with capture_interrupts():  # it takes no time, and the log says how the run ended
            _finalize_failed(workspace, finished, instance)
        if finished.canceled:
            # What its checks found is filed by the next cycle or sensor tick: whoever interrupts does not wait.
            raise KeyboardInterrupt
        unfiled, told_elsewhere = _file_results(settings, instance, finished.told)
        audit = _audit_head(workspace)
        audit["key_created"] = None if had_key else str(signing_key)
        audit["model_key_created"] = str(model_key) if model_key.exists() and not had_model_key else None
        summary = _summary(workspace, tuple(families), finished, audit, time.monotonic() - started)
        return {**summary, "unfiled": unfiled, "told_elsewhere": told_elsewhere}


def _file_results(settings: Settings, instance: dg.DagsterInstance, told: RunEvents) -> tuple[str | None, list[str]]:
    """File what the run told with the issue tracker, and tell it to the targets that the environment names. A tracker
    that does not work costs no cycle its summary: one line that says why, and the next cycle or sensor tick files it
    from the event log. A target that does not work is a line as well, and is tried again."""
    try:
        tracker = IssueTrackerResource.of(settings).open(settings)
        file_cycle(instance, tracker, told.run.run_id, told)
    except NethicalError as error:
        return str(error), []
    return None, deliver_quietly(settings.home, tracker) if has_read_all(instance, tracker) else []


def _execute(
    settings: Settings,
    families: tuple[str, ...],
    options: CycleOptions,
    instance: dg.DagsterInstance,
    said: Callable[[str], None],
    workers: int,
) -> _Finished:
    keys_of_step: dict[str, set[dg.AssetKey]] = {}

    def build(workspace: Workspace) -> dg.JobDefinition:
        executor = worker_executor(divide(workspace, families, workers)) if workers > 1 else single_executor()
        definitions = build_cycle_defs(settings, families, executor=executor)
        keys_of_step.update(steps_of(definitions))
        return definitions.resolve_job_def(TRAINING_JOB)

    cycle = {"force": options.force, "samples": options.samples, "seed": -1 if options.seed is None else options.seed}
    run = execute_here(
        settings,
        build,
        instance,
        options=options,
        families=families,
        assets=cycle_assets(settings, families),
        run_config={
            "resources": {
                "cycle": {"config": cycle},
                "data_sources": {"config": {"source": options.source, "download": options.download}},
            },
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        said=said,
    )
    told = RunEvents.read(instance, run)
    failures = tuple(told.failures())
    reasons: dict[dg.AssetKey, str] = {}
    for failure in failures:
        reasons |= dict.fromkeys(keys_of_step.get(failure.step, ()), failure.error)
    results = told.check_results()
    passed = sum(result.passed for result in results)
    return _Finished(
        run_id=run.run_id,
        told=told,
        succeeded=run.is_success,
        canceled=run.status is dg.DagsterRunStatus.CANCELED,
        materialized=told.materialized(),
        failures=failures,
        reasons=reasons,
        checks_passed=passed,
        checks_failed=len(results) - passed,
        issues=sum(alert_of(result) is not None for result in results),
    )


def _finalize_failed(workspace: Workspace, finished: _Finished, instance: dg.DagsterInstance) -> None:
    """A run in which a step failed could not materialize ``audit_roots``: its chunk is finalised here, and reported to
    the asset's history."""
    from nethical_assets.stages.sealing import finalize_run

    if asset_key(AUDIT_ROOTS) not in finished.materialized:
        end = EventType.RUN_INTERRUPTED if finished.canceled else EventType.RUN_FAILED
        facts = finalize_run(workspace, end=end)
        numbers = {key: facts[key] for key in ("size", "events", "root", "chunk_root")}
        instance.report_runless_asset_event(dg.AssetMaterialization(asset_key(AUDIT_ROOTS), metadata=numbers))
    workspace.end()


def _audit_head(workspace: Workspace) -> dict[str, Any]:
    head = workspace.audit_log.head()
    if head is None:
        raise NethicalError(f"{workspace.home / 'audit'}: the audit log has no checkpoint; run: nethical audit verify")
    return {"size": head.size, "root": head.root}


def _summary(
    workspace: Workspace, families: tuple[str, ...], finished: _Finished, audit: dict[str, Any], seconds: float
) -> dict[str, Any]:
    results = {family: _family_result(workspace, family, finished) for family in families}
    broken = any(result["verdict"] == "error" for result in results.values())
    datasets: dict[str, Any] = {}
    for family in families:
        for entry in workspace.settings.catalog.for_family(family):
            record = workspace.records.newest(RAW.name, entry.name)
            if record is not None and asset_key(RAW, entry.name) in finished.materialized:
                datasets[entry.name] = workspace.places.opened(RAW.sums_up(record))
    return {
        "run_id": finished.run_id,
        "status": "success" if finished.succeeded and not broken else "failed",
        "failures": [{"step": failure.step, "error": failure.error} for failure in finished.failures],
        "wall_seconds": round(seconds, 3),
        "sources": _sources_sentence(workspace, results),
        "families": results,
        "datasets": datasets,
        "audit": audit,
        "checks": {"passed": finished.checks_passed, "failed": finished.checks_failed, "issues": finished.issues},
    }


def _family_result(workspace: Workspace, family: str, finished: _Finished) -> dict[str, Any]:
    """What the stages say of a family; every key is there, also when a step failed."""
    empty: dict[str, Any] = {
        "source": None,
        "rows": None,
        "train_rows": None,
        "test_rows": None,
        "metrics": {},
        "model_digest": None,
        "card": None,
    }
    found = dict(empty)
    for stage in FAMILY_CYCLE:
        record = workspace.records.newest(stage.name, family)
        # Of a stage that this run did not reach, it is another run's.
        if record is not None and asset_key(stage, family) in finished.materialized:
            found |= workspace.places.opened(stage.sums_up(record))
    if asset_key(FAMILY_CYCLE[-1], family) in finished.materialized:
        return found
    wanted = family_assets(workspace.settings, family)
    reasons = [finished.reasons[key] for key in wanted if key in finished.reasons]
    said = list(dict.fromkeys(reasons)) or ["a step it depends on failed; the run's log in the UI says why"]
    return {**found, "verdict": "error", "reasons": said}


def _sources_sentence(workspace: Workspace, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the data came from, and why not from anywhere better."""
    used = sorted({str(result["source"]) for result in results.values() if result["source"]})
    choice = workspace.options.source
    if not workspace.options.download:
        return f"{', '.join(used) or 'nowhere'} (no source was asked, as --no-download says)"
    if choice != "auto":
        return f"{', '.join(used) or 'nowhere'} (asked for with --source {choice})"
    if any("synthetic" in source for source in used) and workspace.settings.mirror is None:
        return (
            f"{', '.join(used)}; synthetic data stands in where neither Kaggle nor a mirror folder could serve "
            "(set NETHICAL_DATA_MIRROR or Kaggle credentials)"
        )
    return f"{', '.join(used) or 'nowhere'} (the first of Kaggle, mirror folder and synthetic data that could serve)"
