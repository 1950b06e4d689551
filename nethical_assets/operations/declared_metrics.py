"""The metrics of everything but the gateway: what each is called, and what it says.

What belongs here: one declaration a metric, and the values that one collection gave them. What does not: reading the
stores (``collecting``), writing or sending (``exposition``), or the gateway's own metrics (``serving.metrics``).

Names follow the conventions of Prometheus: base units, and ``_total`` for what only grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Store = Literal["registry", "records", "snapshots", "reports", "tracker", "audit", "inference_log", "orchestrator"]
ORCHESTRATOR: Store = "orchestrator"
"""Read only where it is asked for."""

_PREFIX = "nethical_"


@dataclass(frozen=True)
class Declared:
    """One metric: its name without the prefix, its help, the names of its labels, and whether it only grows."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    grows: bool = False


_METRICS: list[Declared] = []


def _gauge(name: str, said: str, *labels: str) -> Declared:
    _METRICS.append(Declared(f"{_PREFIX}{name}", said, labels))
    return _METRICS[-1]


def _counter(name: str, said: str, *labels: str) -> Declared:
    _METRICS.append(Declared(f"{_PREFIX}{name}", said, labels, grows=True))
    return _METRICS[-1]


COLLECTED_AT = _gauge("collection_timestamp_seconds", "When this was collected.")
COLLECTION_SECONDS = _gauge("collection_duration_seconds", "How long it took to collect this.")
COLLECTION_FAILED = _gauge("collection_failed", "1 where something of this store could not be read.", "store")

CHAMPION = _gauge("champion_info", "1 for the champion of a family.", "family", "model", "version")
CHAMPION_VERIFIED = _gauge(
    "champion_verified", "1 where the champion is the one that the audit log promoted, 0 where it is not.", "family"
)
PROMOTED_AT = _gauge("champion_promoted_timestamp_seconds", "When the champion was promoted.", "family")
CANDIDATES = _gauge("candidates", "Models that were not promoted and are kept.", "family")
DECISIONS = _counter("release_decisions", "Decisions of the gate.", "family", "verdict")
PROMOTED_SHARE = _gauge(
    "promotion_success_ratio", "The share of the newest decisions of the gate (at most 20) that promoted.", "family"
)

EVALUATED = {
    name: _gauge(f"evaluation_{shown}", f"{said} on test rows, of the newest model or of the champion.", "family", "of")
    for name, shown, said in (
        ("accuracy", "accuracy_ratio", "Accuracy"),
        ("precision", "precision_ratio", "Precision"),
        ("recall", "recall_ratio", "Recall"),
        ("f1", "f1_score", "Harmonic mean of precision and recall"),
        ("ece", "expected_calibration_error", "Expected calibration error"),
        ("brier", "brier_score", "Brier score"),
        ("roc_auc", "roc_area", "Area under the receiver operating characteristic"),
    )
}
"""By the names that evaluations use."""
EVALUATION_ROWS = _gauge("evaluation_rows", "Test rows of the newest evaluation.", "family")
ACCURACY_MINIMUM = _gauge("gate_accuracy_minimum_ratio", "The least accuracy that the gate lets pass.")
CALIBRATION_MAXIMUM = _gauge(
    "gate_expected_calibration_error_maximum", "The largest expected calibration error that the gate lets pass."
)

TRAINED_AT = _gauge("training_timestamp_seconds", "When the newest model was fitted.", "family")
TRAINING_SECONDS = _gauge("training_duration_seconds", "How long fitting the newest model took.", "family")
TRAINING_ROWS = _gauge("training_rows", "Rows that the newest model was fitted on.", "family")
FAMILY_ROWS = _gauge("family_dataset_rows", "Rows of the family's joined dataset.", "family")
FAMILY_SYNTHETIC = _gauge("family_dataset_synthetic", "1 where synthetic rows stand in for real ones.", "family")

SCREENED = _gauge("screened_records", "Records that the newest screening looked at.", "family")
FINDINGS = _gauge("screening_findings", "What the newest screening found in records.", "family", "kind")
MASKED = _gauge("screening_masked_rows", "Rows in which the newest screening masked something.", "family")
QUARANTINED = _gauge("screening_quarantined_rows", "Rows that the newest screening kept out.", "family")
PREDICTIONS_SCREENED = _gauge("predictions_screened", "Predictions of the newest evaluation, screened.", "family")
PREDICTION_FINDINGS = _gauge("prediction_findings", "What screening found in these predictions.", "family", "kind")

REFRESHED_AT = _gauge("dataset_refreshed_timestamp_seconds", "When a source last confirmed a dataset.", "dataset")
DATASET_ROWS = _gauge("dataset_rows", "Rows of the newest snapshot of a dataset.", "dataset")
REFRESH_SECONDS = _gauge("dataset_refresh_interval_seconds", "After which age a dataset is stale.")
CHECKS = _gauge("dataset_checks", "Checks of the newest validation report, by outcome.", "outcome")

JUDGED_AT = _gauge("drift_report_timestamp_seconds", "When a window was judged last.", "family")
WINDOW_END = _gauge("drift_window_end_timestamp_seconds", "When the newest window that was judged ended.", "family")
WATCH_SECONDS = _gauge("drift_report_interval_seconds", "How often a window is judged.")
VERDICT = _gauge("drift_verdict", "1 for the verdict on the newest window, 0 for the others.", "family", "verdict")
HIGH_PRIORITY = _gauge("drift_high_priority", "1 where accuracy fell by more than the settings allow.", "family")
SCORE = _gauge("drift_score", "The largest significant change of the newest window, from 0 to 1.", "family")
THRESHOLD = _gauge("drift_score_threshold", "Above which score drift is alerted about.")
WINDOW_ROWS = _gauge("drift_window_rows", "Predictions in the newest window.", "family")
LABELLED_ROWS = _gauge("drift_window_labelled_rows", "Of these, those whose label became known.", "family")
LABELS_GIVEN = _gauge("drift_labels_given", "Labels that came while the newest window lasted.", "family")
LABELS_UNKNOWN = _gauge("drift_labels_unknown", "Of these, those of no request that was logged.", "family")
POSITIVES = _gauge("drift_positive_ratio", "Share of positive predictions in the newest window with traffic.", "family")
ACCURACY = _gauge(
    "drift_accuracy_ratio",
    "Accuracy in the newest window that has one: measured, or estimated.",
    "family",
    "measurement",
)
ESTIMATES_HELD = _gauge(
    "drift_estimates_held_ratio",
    "Share of the estimates of accuracy that labels which came later agree with.",
    "family",
)
MONITOR_SCORE = _gauge(
    "drift_monitor_score", "The largest score of the monitors of a kind, from 0 to 1.", "family", "kind", "period"
)
MONITORS = _gauge("drift_monitors", "Monitors of the newest window, by outcome.", "family", "period", "outcome")
BUDGET = _gauge("false_alert_budget", "How many false alerts a year the settings allow, of all families together.")
BUDGET_SPENT = _gauge(
    "false_alert_budget_spent", "Expected false alerts that the windows of the last year were given, of all families."
)

OPEN_ALERTS = _gauge("alerts_open", "Open issues.", "kind", "severity")
UNDELIVERED = _gauge("alerts_undelivered", "Changes of issues that a target was not told yet.", "target")
DELIVERY_FAILURES = _gauge("alert_delivery_failures", "Attempts in a row to tell a target that failed.", "target")
WATCHED_AT = _gauge("monitors_watched_timestamp_seconds", "When it was looked last whether the monitors work.")

LEAVES = _gauge("audit_leaves", "Signed leaves of the audit log.")
HEAD_VERIFIED = _gauge(
    "audit_head_verified", "1 where the newest state of the audit log is signed by its key and has that root, else 0."
)
AUDIT_PROBLEMS = _gauge("audit_problems", "What a whole verification found; only where one was asked for.")
PENDING_RUNS = _gauge("audit_pending_runs", "Runs whose events are not in the audit log yet.")
EVENTS = _counter("audit_events", "Leaves of the audit log.", "type")
EVENT_AT = _gauge("audit_event_timestamp_seconds", "When the newest event of a type happened.", "type")

SEGMENTS = _gauge("inference_segments", "Files of the inference log that are not sealed, by state.", "state")
SEGMENT_BYTES = _gauge("inference_segment_bytes", "Their size.", "state")
SEGMENT_AT = _gauge("inference_segment_oldest_timestamp_seconds", "When the oldest was last written to.", "state")

HEARTBEAT_AT = _gauge(
    "daemon_heartbeat_timestamp_seconds", "When a part of the daemon last said that it lives.", "daemon"
)
TICK_AT = _gauge("tick_timestamp_seconds", "When a schedule or sensor looked last.", "name")

METRICS = tuple(_METRICS)
"""Every metric that a collection may give a value."""


@dataclass
class Collected(Collector):
    """The values of one collection, and one line for each thing that could not be read, verified or found good."""

    values: dict[Declared, dict[tuple[str, ...], float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def set(self, metric: Declared, value: float, *labels: str) -> None:
        """Give a metric a value; ``labels`` in the order of the declaration."""
        self.values.setdefault(metric, {})[labels] = float(value)

    def collect(self) -> Iterator[Metric]:
        """The metrics that have a value, in the order of their declarations."""
        for metric in METRICS:
            if metric in self.values:
                kind = CounterMetricFamily if metric.grows else GaugeMetricFamily
                family = kind(metric.name, metric.help, labels=metric.labels)
                for labels, value in sorted(self.values[metric].items()):
                    family.add_metric(labels, value)
                yield family
