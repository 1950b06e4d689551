"""A home in which every store has something to measure, made without training anything.

What belongs here: records with the facts that stages record, concluded as stages are, and what other stores hold. What
does not: fixtures. That stages do record such facts is tried by ``test_collecting`` with a real family.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nethical_assets.core.alerts import Alert
from nethical_assets.core.alerts.silence import LOOKED
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.datasets.snapshots import Snapshot
from nethical_assets.core.drift.segments import LoggedRow, SegmentWriter
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.stores import segment_folder
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.checking import DATASET_VALIDATION
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.screening import SCREENED
from nethical_assets.stages.sealing import finalize_run
from nethical_assets.stages.stage import PLATFORM, Act, Plan, Result, Stage, Work, conclude, perform
from nethical_assets.stages.training import MODELS
from nethical_assets.stages.watching import DRIFT_REPORTS
from tests.orchestration import environment_of

FAMILY = "logistic"
MEASURED = {"accuracy": 0.93, "precision": 0.9, "recall": 0.95, "f1": 0.92, "ece": 0.03, "brier": 0.05, "roc_auc": 0.97}


@dataclass(frozen=True)
class MeasuredHome:
    """A home and the variables by which a process finds it."""

    settings: Settings
    environment: dict[str, str]

    def workspace(self, run_id: str = "more") -> Workspace:
        return Workspace(self.settings, CycleOptions(), run_id)


def conclude_with(workspace: Workspace, stage: Stage, subject: str, facts: Mapping[str, Any]) -> None:
    """Have a stage end with ``facts``, recorded, attested and published as it would be."""
    output = workspace.objects.put(pretty_json(facts))
    untold = replace(stage, tells=lambda record: {})  # what is told of facts is not looked at
    record = conclude(Work(workspace, untold, subject, {}), Plan(lookup=False), Result(output, facts=facts))
    workspace.records.publish(record, workspace.run_id)


def decide(workspace: Workspace, family: str, verdict: str) -> None:
    """One decision of the gate, in the log."""
    subjects = {RELEASES.record_name(family): digest_bytes(verdict.encode())}
    perform(workspace, Act(EventType.GATE_DECIDED, subjects, payload={"verdict": verdict, "reasons": []}))


def drift_facts(end: datetime, start: datetime, **changes: Any) -> dict[str, Any]:
    """What a report about one window says."""
    monitor = {"name": "score", "period": "window", "statistic": 0.1, "low": None, "high": None, "score": 0.1}
    facts = {
        "verdict": "drift",
        "priority": "high",
        "drift_score": 0.31,
        "threshold": 0.15,
        "accuracy_drop": 0.05,
        "window": {"start": start.isoformat(), "end": end.isoformat(), "complete": True},
        "model": "",
        "rows": 500,
        "labelled_rows": 120,
        "labels_given": 40,
        "labels_unknown": 3,
        "reasons": [],
        "what_next": "",
        "level": 6.8e-05,
        "look": 1,
        "cause": "",
        "monitors": [
            {**monitor, "kind": "distribution", "adjusted_p_value": 0.5, "outcome": "unremarkable"},
            {**monitor, "kind": "distribution", "name": "x", "score": 0.31, "outcome": "drifted"},
            {**monitor, "kind": "accuracy", "period": "trailing", "score": None, "outcome": "needs_more_data"},
        ],
        "rates": [
            {
                "start": start.isoformat(),
                "rows": 500,
                "positive_rate": 0.4,
                "accuracy": None,
                "estimated_accuracy": 0.9,
            },
            {"start": "2026-01-01T00:00:00+00:00", "rows": 9, "positive_rate": 0.1, "accuracy": 0.8},
        ],
        "estimates": {
            "trust": "held",
            "reason": "",
            "comparisons": [{"held": held} for held in (True, True, False, True)],
        },
    }
    return {**facts, **changes}


def build(folder: Path, served: Path) -> None:
    """The home below ``folder``, from one with champions."""
    shutil.copytree(served / "state", folder, symlinks=True)
    settings = load_settings(environment_of(folder))
    workspace = Workspace(settings, CycleOptions(), "measured")
    conclude_with(workspace, DATASETS, FAMILY, {"rows": 1500, "synthetic": True})
    screened = {"records_screened": 1500, "columns_screened": 6, "rows_masked": 12, "quarantined": 3}
    conclude_with(workspace, SCREENED, FAMILY, {**screened, "by_kind": {"EMAIL": 12}})
    trained = {"train_rows": 1000, "trained_at": "2026-11-29T10:00:00+00:00", "training_seconds": 1.5}
    conclude_with(workspace, MODELS, FAMILY, {**trained, "code": "", "seed": 42})
    rows = {name: {"value": value, "low": None, "high": None, "reason": ""} for name, value in MEASURED.items()}
    evaluated = {"evaluation": {"metrics": rows, "rows": 300}, "predictions_screened": 300}
    conclude_with(workspace, EVALUATIONS, FAMILY, {**evaluated, "prediction_findings": {"EMAIL": 1}})
    conclude_with(workspace, DATASET_VALIDATION, PLATFORM, {"counts": {"passed": 9, "warned": 1, "failed": 2}})
    for verdict in ("candidate", "promoted", "candidate", "candidate"):
        decide(workspace, FAMILY, verdict)
    _snapshot(workspace)
    finalize_run(workspace)
    workspace.end()
    when = datetime(2026, 11, 29, 12, tzinfo=UTC)
    alert = Alert("drift", DRIFT_REPORTS.record_name(FAMILY), "drift", "it drifted", when, "run-1")
    workspace.tracker.outbox("webhook 1234").state()
    workspace.tracker.file(alert)
    workspace.tracker.record([], reader=LOOKED, position=when.isoformat())
    writer = SegmentWriter(segment_folder(settings.home))
    writer.append([LoggedRow(1, "logistic-1", FAMILY, digest_bytes(b"m"), "v1/score", 1, 0.9, 2.0, {"x": 1.0}, 5, {})])
    writer.close()


def _snapshot(workspace: Workspace) -> None:
    store, entry = workspace.snapshots, workspace.settings.catalog.dataset[0]
    store.set_newest(
        Snapshot(
            name=entry.name,
            slug=entry.slug,
            source="mirror",
            licence="",
            digest=store.store(b"rows"),
            rows=1234,
            columns=(),
            fetched_at="2026-11-01T00:00:00+00:00",
            definition="",
            entry={},
            report={},
            refreshed_at="2026-11-20T00:00:00+00:00",
        )
    )


def copied(built: Path, folder: Path) -> MeasuredHome:
    """A copy of the home, below ``folder``."""
    shutil.copytree(built / "state", folder, symlinks=True)
    environment = environment_of(folder)
    return MeasuredHome(load_settings(environment), environment)


def samples(document: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    """Name and values of the labels -> value, of a document of ``exposition.to_json``."""
    return {
        (metric["name"], *sample["labels"].values()): sample["value"]
        for metric in json.loads(json.dumps(document))["metrics"]
        for sample in metric["samples"]
    }
