"""The metrics of a home, read from its stores: models, records, datasets, drift reports, alerts, the logs.

What belongs here: which figure of which store each metric is. What does not: names and help (``declared_metrics``),
counting the leaves of the log (``log_tally``), writing or sending (``exposition``).

It reads what is small: pointers, records, manifests, the tracker, and the leaves that came since the last time; never
rows. What cannot be read or verified is told, by a metric of its store and by a line, and costs nothing else.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from nethical_assets.core.alerts.kinds import KINDS, Severity
from nethical_assets.core.alerts.silence import LOOKED
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.drift.monitors import MonitorVerdict
from nethical_assets.core.drift.segments import ended_segments, open_segments
from nethical_assets.core.ground.errors import AuditError, IntegrityError, NethicalError
from nethical_assets.core.ground.unexpected import describe_unexpected
from nethical_assets.home.deliveries import targets
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import damaged_segments, segment_folder
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations import declared_metrics as metrics
from nethical_assets.operations.declared_metrics import Collected, Declared, Store
from nethical_assets.operations.log_tally import LogTally, read_tally
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.checking import DATASET_VALIDATION
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.screening import SCREENED
from nethical_assets.stages.stage import PLATFORM, Stage
from nethical_assets.stages.training import MODELS

_MEASUREMENTS = {"accuracy": "measured", "estimated_accuracy": "estimated"}
"""By which names a drift report says which accuracy."""


def collect(settings: Settings, *, verify: bool = False) -> Collected:
    """Every metric of a home that has a value. Nothing is written but what makes the next collection fast.

    Args:
        verify: recompute the whole audit log and hold everything that is kept against it, which takes seconds.
    """
    began, found = time.perf_counter(), Collected()
    workspace = Workspace(settings, CycleOptions(), "metrics")
    for store in get_args(Store):
        if store != metrics.ORCHESTRATOR:
            found.set(metrics.COLLECTION_FAILED, 0, store)
    _limits(settings, found)
    for family in family_names():
        with reading(found, "registry"):
            _models(workspace, family, found)
        for stage, take in _RECORDS.items():
            with reading(found, "records"):
                if (record := _record(workspace, stage, family)) is not None:
                    take(record, found)
    with reading(found, "records"):
        if (report := _record(workspace, DATASET_VALIDATION, PLATFORM)) is not None:
            _each(found, metrics.CHECKS, report.facts["counts"])
    for entry in settings.catalog.dataset:
        with reading(found, "snapshots"):
            _dataset(workspace, entry.name, found)
    with reading(found, "tracker"):
        _alerts(workspace, found)
    with reading(found, "audit"):
        _audit(workspace, found, verify=verify)
    with reading(found, "inference_log"):
        _segments(settings, found)
    found.problems[:] = dict.fromkeys(found.problems)
    found.set(metrics.COLLECTED_AT, workspace.now().timestamp())
    found.set(metrics.COLLECTION_SECONDS, time.perf_counter() - began)
    return found


@contextlib.contextmanager
def reading(found: Collected, store: Store) -> Iterator[None]:
    """Whatever cannot be read of ``store`` is told, and stops nothing else."""
    try:
        yield
    except NethicalError as error:
        found.problems.append(str(error))
    except OSError as error:
        found.problems.append(f"{error.filename or store}: {error.strerror or error}")
    except Exception as error:
        found.problems.append(f"{store}: {describe_unexpected(error)}")
    else:
        return
    found.set(metrics.COLLECTION_FAILED, 1, store)


def _limits(settings: Settings, found: Collected) -> None:
    file = settings.file
    found.set(metrics.ACCURACY_MINIMUM, file.performance_thresholds.accuracy_min)
    found.set(metrics.CALIBRATION_MAXIMUM, file.performance_thresholds.ece_max)
    found.set(metrics.THRESHOLD, file.performance_thresholds.drift_alert_threshold)
    found.set(metrics.REFRESH_SECONDS, file.datasets.refresh_interval_days * 86_400)
    found.set(metrics.BUDGET, file.monitoring.false_alerts_a_year)
    found.set(metrics.WATCH_SECONDS, file.monitoring.drift_interval_hours * 3_600)


def _models(workspace: Workspace, family: str, found: Collected) -> None:
    found.set(metrics.CANDIDATES, len(workspace.registry.candidates(family)), family)
    try:
        champion = workspace.evidence.champion(family)
    except (IntegrityError, AuditError):
        found.set(metrics.CHAMPION_VERIFIED, 0, family)
        raise
    if champion is None:
        return
    found.set(metrics.CHAMPION_VERIFIED, 1, family)
    found.set(metrics.CHAMPION, 1, family, champion.model, champion.version)
    found.set(metrics.PROMOTED_AT, _seconds(champion.decided_at), family)
    _evaluated(found, family, "champion", champion.metrics)


def _record(workspace: Workspace, stage: Stage, subject: str) -> StageRecord | None:
    """The newest record; None where the stage was never carried out.

    Raises:
        IntegrityError, AuditError: it does not verify.
    """
    there = {(path.parent.name, path.stem) for path in workspace.records.all_newest()}
    return workspace.records.load(stage.name, subject, "") if (stage.name, subject) in there else None


def _dataset_of_family(record: StageRecord, found: Collected) -> None:
    found.set(metrics.FAMILY_ROWS, record.facts["rows"], record.subject)
    found.set(metrics.FAMILY_SYNTHETIC, record.facts["synthetic"], record.subject)


def _screened(record: StageRecord, found: Collected) -> None:
    facts, family = record.facts, record.subject
    found.set(metrics.SCREENED, facts["records_screened"], family)
    found.set(metrics.MASKED, facts["rows_masked"], family)
    found.set(metrics.QUARANTINED, facts["quarantined"], family)
    _each(found, metrics.FINDINGS, facts["by_kind"], family)


def _trained(record: StageRecord, found: Collected) -> None:
    facts, family = record.facts, record.subject
    found.set(metrics.TRAINING_ROWS, facts["train_rows"], family)
    found.set(metrics.TRAINED_AT, _seconds(facts["trained_at"]), family)
    if "training_seconds" in facts:  # which records of older versions do not say
        found.set(metrics.TRAINING_SECONDS, facts["training_seconds"], family)


def _newest_evaluation(record: StageRecord, found: Collected) -> None:
    facts, family = record.facts, record.subject
    measured = facts["evaluation"]["metrics"]
    _evaluated(found, family, "newest", {name: one["value"] for name, one in measured.items()})
    found.set(metrics.EVALUATION_ROWS, facts["evaluation"]["rows"], family)
    found.set(metrics.PREDICTIONS_SCREENED, facts["predictions_screened"], family)
    _each(found, metrics.PREDICTION_FINDINGS, facts["prediction_findings"], family)


_RECORDS: Mapping[Stage, Callable[[StageRecord, Collected], None]] = {
    DATASETS: _dataset_of_family,
    SCREENED: _screened,
    MODELS: _trained,
    EVALUATIONS: _newest_evaluation,
}


def _evaluated(found: Collected, family: str, of: str, measured: Mapping[str, float | None]) -> None:
    for name, metric in metrics.EVALUATED.items():
        if (value := measured.get(name)) is not None:
            found.set(metric, value, family, of)


def _dataset(workspace: Workspace, name: str, found: Collected) -> None:
    snapshot = workspace.snapshots.latest(name)
    if snapshot is not None:
        found.set(metrics.REFRESHED_AT, _seconds(snapshot.refreshed_at), name)
        found.set(metrics.DATASET_ROWS, snapshot.rows, name)


def _alerts(workspace: Workspace, found: Collected) -> None:
    opened = Counter((issue.kind, issue.severity) for issue in workspace.tracker.list(state="open"))
    for key in {*opened, *((kind, severity) for kind in KINDS for severity in get_args(Severity))}:
        found.set(metrics.OPEN_ALERTS, opened[key], *key)
    known = workspace.tracker.backlogs()
    # A target that is named no more waits for ever: where the environment names some, only those count.
    named = {target.name for target in targets(problems=[])} or known.keys()
    for target, backlog in known.items():
        if target in named:
            found.set(metrics.UNDELIVERED, backlog.waiting, target)
            found.set(metrics.DELIVERY_FAILURES, backlog.failures, target)
    looked_at = workspace.tracker.position(LOOKED)
    if looked_at:
        found.set(metrics.WATCHED_AT, _seconds(looked_at))


def _audit(workspace: Workspace, found: Collected, *, verify: bool) -> None:
    found.set(metrics.PENDING_RUNS, len(workspace.audit_log.pending_runs()))
    if verify:
        from nethical_assets.operations.verification import verify as verify_all

        problems = verify_all(workspace.settings)["problems"]
        found.set(metrics.AUDIT_PROBLEMS, len(problems))
        found.problems += problems
    try:
        tally = read_tally(workspace.audit_log, workspace.objects, workspace.home / "cache" / "log_tally.json")
    except AuditError:
        found.set(metrics.HEAD_VERIFIED, 0)
        raise
    found.set(metrics.LEAVES, tally.size)
    if tally.size:
        found.set(metrics.HEAD_VERIFIED, 1)
    _each(found, metrics.EVENTS, tally.events)
    _each(found, metrics.EVENT_AT, {kind: _seconds(at) for kind, at in tally.times.items()})
    _decisions(tally, found)
    for family in family_names():
        with reading(found, "reports"):
            _drift(workspace, tally, family, found)
    found.set(metrics.BUDGET_SPENT, tally.spent(workspace.now()))


def _decisions(tally: LogTally, found: Collected) -> None:
    for family, told in tally.families.items():
        _each(found, metrics.DECISIONS, told.decisions, family)
        if told.promoted_share is not None:
            found.set(metrics.PROMOTED_SHARE, told.promoted_share, family)


def _drift(workspace: Workspace, tally: LogTally, family: str, found: Collected) -> None:
    """What the report about the newest window says, of this version or of one before."""
    told = tally.families.get(family)
    if told is None or not told.report:
        return
    found.set(metrics.JUDGED_AT, _seconds(told.judged_at), family)
    found.set(metrics.WINDOW_END, _seconds(told.window_end), family)
    facts: Mapping[str, Any] = json.loads(workspace.objects.get(told.report))
    for verdict in {*get_args(MonitorVerdict), facts["verdict"]}:
        found.set(metrics.VERDICT, verdict == facts["verdict"], family, verdict)
    found.set(metrics.HIGH_PRIORITY, facts.get("priority") == "high", family)
    rows = facts.get("rows", facts.get("window_rows"))
    for metric, value in (
        (metrics.SCORE, facts.get("drift_score")),
        (metrics.WINDOW_ROWS, rows),
        (metrics.LABELLED_ROWS, facts.get("labelled_rows")),
        (metrics.LABELS_GIVEN, facts.get("labels_given")),
        (metrics.LABELS_UNKNOWN, facts.get("labels_unknown")),
    ):
        if value is not None:
            found.set(metric, value, family)
    if compared := facts.get("estimates", {}).get("comparisons"):
        found.set(metrics.ESTIMATES_HELD, sum(one["held"] for one in compared) / len(compared), family)
    _rates(facts.get("rates", ()), family, found)
    _monitors(facts.get("monitors", ()), family, found)


def _rates(rates: Any, family: str, found: Collected) -> None:
    """The newest window that has a rate says it."""
    for one in sorted(rates, key=lambda one: datetime.fromisoformat(one["start"])):
        if one.get("positive_rate") is not None:
            found.set(metrics.POSITIVES, one["positive_rate"], family)
        for name, measurement in _MEASUREMENTS.items():
            if one.get(name) is not None:
                found.set(metrics.ACCURACY, one[name], family, measurement)


def _monitors(monitors: Any, family: str, found: Collected) -> None:
    largest: dict[tuple[str, str], float] = {}
    for one in monitors:
        key = (str(one["kind"]), str(one["period"]))
        if one.get("score") is not None:
            largest[key] = max(largest.get(key, 0.0), one["score"])
    for (kind, period), score in largest.items():
        found.set(metrics.MONITOR_SCORE, score, family, kind, period)
    for (period, outcome), count in Counter((str(one["period"]), str(one["outcome"])) for one in monitors).items():
        found.set(metrics.MONITORS, count, family, period, outcome)


def _segments(settings: Settings, found: Collected) -> None:
    folder = segment_folder(settings.home)
    states: Mapping[str, list[Path]] = {
        "writing": open_segments(folder),
        "waiting": ended_segments(folder),
        "damaged": damaged_segments(settings.home),
    }
    for state, paths in states.items():
        # One that is sealed at this moment is gone.
        stats = [path.stat() for path in paths if path.exists()]
        found.set(metrics.SEGMENTS, len(stats), state)
        found.set(metrics.SEGMENT_BYTES, sum(stat.st_size for stat in stats), state)
        if stats:
            found.set(metrics.SEGMENT_AT, min(stat.st_mtime for stat in stats), state)


def _each(found: Collected, metric: Declared, values: Mapping[str, float], *labels: str) -> None:
    """A value for each key, which is the last label."""
    for key, value in values.items():
        found.set(metric, value, *labels, key)


def _seconds(moment: str) -> float:
    """Seconds since 1970 of an ISO 8601 time."""
    return datetime.fromisoformat(moment).timestamp()
