"""One value of every kind that is stored or printed as a document, each field different from its default."""

from __future__ import annotations

from typing import Any

from nethical_assets.core.alerts.tracker import Comment, Issue
from nethical_assets.core.audit.log import ChunkReceipt
from nethical_assets.core.audit.proofs import ProofReport
from nethical_assets.core.audit.verify import VerificationReport
from nethical_assets.core.audit.verify_leaves import ChunkSummary
from nethical_assets.core.datasets.discovery import ColumnFinding, DiscoveryReport, FileFinding
from nethical_assets.core.datasets.snapshots import Snapshot
from nethical_assets.core.drift.budget import Spending
from nethical_assets.core.drift.reference import ColumnSketch, Reference
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.verdict import ColumnDrift, DriftReport, RateShift
from nethical_assets.core.evaluation.estimate import Estimate
from nethical_assets.core.evaluation.gate import GateDecision
from nethical_assets.core.evaluation.metrics import ConfusionMatrix, Evaluation, ReliabilityBin, SourceEvaluation
from nethical_assets.core.evaluation.operating_points import OperatingPoints
from nethical_assets.core.evaluation.regression import Comparison, RegressionReport
from nethical_assets.core.governance.quarantine import QuarantineEntry
from nethical_assets.core.lineage.reproduction import Reproduction
from nethical_assets.core.quality.checks import CheckOutcome
from nethical_assets.core.reading.readers import FileReport, ReadReport
from nethical_assets.core.sources.source import UpstreamState

TIME = "2026-01-02T03:04:05+00:00"
METRICS = {"accuracy": Estimate(0.9, 0.8, 0.95), "roc_auc": Estimate(None, reason="one class only")}

STORED: dict[str, Any] = {
    "evaluation": Evaluation(
        rows=10,
        positives=4,
        decision_threshold=0.5,
        ece_bins=2,
        bootstrap_samples=100,
        seed=7,
        has_probabilities=True,
        confusion=ConfusionMatrix(3, 1, 5, 1),
        metrics=METRICS,
        reliability=(
            ReliabilityBin(0.0, 0.5, 6, 0.25, 1 / 6, 0.01, 0.6),
            ReliabilityBin(0.5, 1.0, 0, None, None, None, None),
        ),
        sources=(SourceEvaluation("source one", 10, 4, METRICS),),
        operating_points=OperatingPoints((0.0, 1.0), (0.0, 1.0), (None, 0.4)),
    ),
    "evaluation_without_probabilities": Evaluation(3, 1, 0.5, 2, 0, 7, False, None, METRICS, (), ()),
    "gate": GateDecision("pass", ("good",), "strict", 10, 4, 5, 0.9, 0.8, 0.95, 0.85, 0.02, 0.08, 0.03, (0.05, 0.1)),
    "gate_without_numbers": GateDecision(
        "fail", ("none", "at all"), "probs_only", 0, 0, 5, None, None, None, 0.85, None, 0.08, None, None
    ),
    "regression": RegressionReport(
        "fail", ("worse",), 10, 0.02, 500, (Comparison("f1", 0.8, 0.9, 0.1, 0.05, 0.15), Comparison("ece", *[None] * 5))
    ),
    "reference": Reference(5, 2, 0.5, (ColumnSketch("score", (0.1, 0.2), (1, 2, 1), 1),)),
    "reference_with_labels": Reference(
        5,
        2,
        0.5,
        (ColumnSketch("score", (0.1, 0.2), (1, 2, 1), 1),),
        (0, 3, 2),
        Reliability((3, 2), (1, 2), (1 << 30, 3 << 29)),
    ),
    "spending": Spending("logistic", TIME, "sha256:00", 2, 0.000125),
    "drift": DriftReport(
        "drift",
        ("score moved",),
        0.4,
        0.15,
        0.01,
        100,
        500,
        200,
        RateShift(0.2, 0.5, 0.2, 0.4),
        (ColumnDrift("score", 0.4, 0.001, 0.002, 0.0, 0.1, True),),
        ("note: not a number",),
    ),
    "drift_of_nothing": DriftReport("needs_more_data", ("no rows",), 0.0, 0.15, 0.01, 100, 500, 0, None, (), ()),
    "check": CheckOutcome(
        "schema",
        "fail",
        "one column is missing",
        {"missing": 1, "share": 0.5, "first": "label"},
        ({"column": "label", "check": "exists", "rows": 3, "share": 0.25},),
        (1, 2),
        TIME,
    ),
    "snapshot": Snapshot(
        name="one",
        slug="owner/one",
        source="mirror",
        licence="CC0",
        digest="sha256:" + "0" * 64,
        rows=3,
        columns=(("text", "string"), ("label", "int64")),
        fetched_at=TIME,
        definition="sha256:" + "1" * 64,
        entry={"name": "one", "files": [{"path": "a.csv", "weight": 0.5}]},
        report={"rows_read": 3},
        upstream=UpstreamState("tag", "yesterday", "3"),
        upstream_date=TIME,
        discovery={"usable_label": True},
    ),
    "quarantined": QuarantineEntry("row", "logistic", ("email", "secret"), "1", "released", TIME, TIME, "me", "why"),
}
"""Written by one version and read by a later one."""

PRINTED: dict[str, Any] = {
    "reading": ReadReport((FileReport("a.csv", 12, 3, 1, 2, "two columns"),), 3, 1, 2, ("b.csv",)),
    "discovery": DiscoveryReport(
        (FileFinding("a.csv", True, "it has a label", (ColumnFinding("y", "int64", "label", "two"),)),), True, "s"
    ),
    "reproduction": Reproduction("sha256:a", "sha256:b", ("library",), ("one file",), 0.125),
    "issue": Issue(
        1, "print", "drift", "logistic", "drift_score", "Drift", "body", ("drift-alert",), "high", "closed", 2, TIME,
        TIME, TIME, "me", "mended", "", "", (Comment(TIME, "me", "text"),),
    ),
    "receipt": ChunkReceipt("run", 1, 2, 4, "aa", "bb", "note", "older note", 1, "cc", ("dd", "ee")),
    "verification": VerificationReport(
        "audit", "origin", 4, "aa", ["key"], "folder", [ChunkSummary("run", TIME, 0, 3, 4, "aa", "bb")], ["w"], ["bad"],
        ["note"],
    ),
    "proof": ProofReport("origin", 1, 4, "aa", "key", {"event_type": "heartbeat", "parents": []}, []),
}  # fmt: skip
"""Written for people and programs; nothing reads them back."""
