"""The ethical drift report: errors and removals that fall on one group are named, too little data is said to be so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nethical_assets.core.evaluation import evaluate
from nethical_assets.core.evaluation.cohort_plots import cohort_trends_png
from nethical_assets.core.evaluation.cohorts import Cohort, CohortCounts, CohortKind
from nethical_assets.core.evaluation.drift_facts import TrafficShift
from nethical_assets.core.evaluation.ethical_report import (
    EthicalDriftReport,
    FailedCheck,
    FamilyEvidence,
    ethical_drift_report,
)
from nethical_assets.core.evaluation.ethical_text import render_ethical_report
from nethical_assets.core.evaluation.gate import decide
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.documents import from_document, to_document

FAIR = {"0": (10, 5000), "1": (12, 5000), "all": (22, 10_000)}
TRAFFIC = TrafficShift(900, 0.01, -0.03, 0.05, 0.41, 0.4)


def evidence(rows: int = 4000, *, missed: float = 0.05, accused: float = 0.05, **changes: Any) -> FamilyEvidence:
    """Two sources: the detector misses 5 % of a's positives and accuses 5 % of a's negatives; of b's what is given."""
    labels = np.tile([1, 1, 0, 0], rows // 4).astype(np.int8)
    sources = np.tile(["a", "b"], rows // 2).astype(object)
    wrong = np.zeros(rows, dtype=bool)
    for source, label, share in (("a", 1, 0.05), ("a", 0, 0.05), ("b", 1, missed), ("b", 0, accused)):
        chosen = np.flatnonzero((sources == source) & (labels == label))
        wrong[chosen[: round(share * len(chosen))]] = True
    probability = np.where(wrong, 1 - labels, labels) * 0.9 + 0.05
    found = evaluate(labels, probability, probability, sources=sources, ece_bins=5, bootstrap_samples=2, seed=0)
    return replace(FamilyEvidence("logistic", found, removed_by_label=FAIR, drift=TRAFFIC), **changes)


def verdicts(report: EthicalDriftReport, family: str = "logistic") -> dict[str, str]:
    return {name: found.verdict for name, found in report.families[family].comparisons.items()}


def test_a_fair_family_passes() -> None:
    report = ethical_drift_report([evidence()])
    assert set(verdicts(report).values()) == {"pass"}
    assert (report.verdict, report.recommendations) == ("pass", ())
    cohort = report.families["logistic"].cohorts[0]
    assert (cohort.cohort_id, cohort.action_count, cohort.labelled_count) == ("logistic_source_a", 2000, 2000)
    assert cohort.violation_stats.by_type == {"missed": 50, "false_alarm": 50}
    assert cohort.violation_stats.by_severity == {"high": 50, "medium": 50}


@pytest.mark.parametrize(
    ("unfair", "name"),
    [
        ({"missed": 0.4}, "missed"),
        ({"accused": 0.4}, "false_alarms"),
        ({"removed_by_label": {"0": (10, 5000), "1": (900, 5000), "all": (910, 10_000)}}, "removed_by_screening"),
        ({"drift": TrafficShift(900, 0.3, 0.25, 0.35, 0.7, 0.4)}, "called_positive"),
        ({"drift": TrafficShift(900, -0.3, -0.35, -0.25)}, "called_positive"),
    ],
)
def test_what_falls_on_one_group_fails_and_nothing_else_does(unfair: dict[str, Any], name: str) -> None:
    report = ethical_drift_report([evidence(**unfair)])
    assert {key for key, verdict in verdicts(report).items() if verdict == "fail"} == {name}
    assert report.verdict == "fail"
    assert len(report.recommendations) == 1
    assert report.recommendations[0].startswith("logistic: ")
    assert f"| logistic | {name.replace('_', ' ')} | fail |" in render_ethical_report(report)


@pytest.mark.parametrize(
    ("little", "name"),
    [
        ({"rows": 40}, "missed"),
        ({"rows": 40}, "false_alarms"),
        ({"removed_by_label": {}}, "removed_by_screening"),
        ({"removed_by_label": {"0": (0, 10), "1": (1, 10)}}, "removed_by_screening"),
        ({"drift": None}, "called_positive"),
        ({"drift": TrafficShift(99)}, "called_positive"),
    ],
)
def test_too_little_data_is_neither_good_nor_bad(little: dict[str, Any], name: str) -> None:
    report = ethical_drift_report([evidence(**little)])
    assert verdicts(report)[name] == "needs_more_data"
    assert report.verdict == "needs_more_data"
    assert ethical_drift_report([]).verdict == "needs_more_data"


def test_families_are_judged_by_themselves() -> None:
    other = replace(evidence(missed=0.5), family="anomaly")
    report = ethical_drift_report([evidence(), other])
    assert verdicts(report)["missed"] == "pass"
    assert verdicts(report, "anomaly")["missed"] == "fail"
    with pytest.raises(ValueError, match="twice"):
        ethical_drift_report([evidence(), evidence()])


@pytest.mark.parametrize(
    ("limits", "kinds"),
    [
        ({"accuracy_min": 0.97, "ece_max": 1.0}, {("low_accuracy", "medium")}),
        ({"accuracy_min": 0.5, "ece_max": 0.0001}, {("calibration_error", "high")}),
        ({"accuracy_min": 0.5, "ece_max": 0.0001, "policy": "disable"}, set()),
        ({"accuracy_min": 0.5, "ece_max": 1.0}, set()),
    ],
)
def test_what_the_gate_refused_is_a_violation(limits: dict[str, Any], kinds: set[tuple[str, str]]) -> None:
    judged = evidence(missed=0.08, accused=0.08)
    report = ethical_drift_report([replace(judged, gate=decide(judged.evaluation, **limits))])
    assert {(found.kind, found.severity) for found in report.families["logistic"].violations} == kinds
    assert report.verdict == ("fail" if kinds else "pass")


def test_a_very_low_accuracy_is_severe() -> None:
    judged = evidence(missed=0.9, accused=0.9)
    report = ethical_drift_report([replace(judged, gate=decide(judged.evaluation, accuracy_min=0.85, ece_max=1.0))])
    assert report.families["logistic"].violations[0].severity == "high"


def test_a_source_without_usable_predictions_is_left_out() -> None:
    labels, sources = np.array([0, 1] * 20, dtype=np.int8), np.array(["a", "b"] * 20, dtype=object)
    bad = np.full(40, np.nan)
    found = evaluate(labels, bad, bad, sources=sources, ece_bins=5, bootstrap_samples=2, seed=0)
    report = ethical_drift_report([FamilyEvidence("logistic", found)])
    assert report.families["logistic"].cohorts == ()
    assert verdicts(report)["missed"] == "needs_more_data"


def test_the_report_is_a_document_named_by_its_content_in_any_order() -> None:
    both = [evidence(), replace(evidence(accused=0.3), family="anomaly")]
    report = ethical_drift_report(both)
    assert report == ethical_drift_report(reversed(both))
    document = json.loads(pretty_json(to_document(report)))
    assert from_document(EthicalDriftReport, document, "here") == report
    assert ethical_drift_report(both[:1]).report_id != report.report_id


def routes(*missed: int) -> dict[CohortKind, Sequence[Cohort]]:
    tiers = (0, 0, 1000, 0)
    counts = [CohortCounts(1000, labelled=1000, labelled_positives=500, missed=one, tiers=tiers) for one in missed]
    return {"route": [Cohort("route", f"v{number}", one) for number, one in enumerate(counts)]}


def test_cohorts_of_a_kind_are_compared_and_named_by_their_ids() -> None:
    report = ethical_drift_report([evidence(cohorts=routes(20, 250)), replace(evidence(), family="anomaly")])
    assert verdicts(report)["route.missed"] == "fail"
    assert report.verdict == "fail"
    assert report.drift_metrics.has_drift
    assert report.drift_metrics.cohort_count == 6
    assert report.drift_metrics.violation_type_drift["missed"].cohort_rates == {
        "logistic_route_v0": 0.04,
        "logistic_route_v1": 0.5,
    }
    assert report.drift_metrics.severity_drift["high"].drift == pytest.approx(0.23)
    heads = [line.partition(":")[0] for line in report.recommendations]
    assert heads[:2] == ["logistic", "logistic"]
    assert heads[2].startswith(
        "violations of severity high differ by 23.0% of the rows between cohorts (certainly by 18"
    )
    assert heads[3] == f"the drift score is {report.drift_metrics.drift_score:.2f}, above 0.3"
    assert len(heads) == 4
    fair = ethical_drift_report([evidence(cohorts=routes(20, 22))])
    assert (fair.verdict, fair.recommendations, fair.drift_metrics.has_drift) == ("pass", (), False)


def test_too_few_labels_over_a_route_keep_the_report_from_passing() -> None:
    counts = CohortCounts(rows=1000, labelled=5, labelled_positives=3)
    cohorts = [Cohort("route", name, counts) for name in ("v1", "v2")]
    report = ethical_drift_report([evidence(cohorts={"route": cohorts})])
    assert verdicts(report)["route.missed"] == "needs_more_data"
    assert report.verdict == "needs_more_data"
    assert not report.drift_metrics.has_drift


def test_failed_checks_of_data_are_violations_by_what_they_stop() -> None:
    since = "2026-03-01T08:00:00.000000Z"
    warned = FailedCheck("freshness", "raw/nslkdd", since, stops=False)
    stopped = FailedCheck("schema", "raw/nslkdd", since, stops=True)
    report = ethical_drift_report([evidence(failed_checks=(stopped, warned))])
    found = report.families["logistic"].violations
    assert [(one.kind, one.severity) for one in found] == [("failed_check", "low"), ("failed_check", "high")]
    assert report.verdict == "fail"
    assert "the data check freshness of raw/nslkdd fails since 2026-03-01 08:00 UTC" in report.recommendations[0]
    assert ethical_drift_report([evidence(failed_checks=(warned,))]).verdict == "pass"


def test_traffic_that_cannot_be_read_is_no_absence_of_it() -> None:
    report = ethical_drift_report([evidence(damage="x.parquet: damaged")])
    assert report.verdict == "fail"
    assert report.families["logistic"].violations[0].kind == "unreadable_traffic"


def test_the_report_is_drawn_and_written() -> None:
    report = ethical_drift_report([evidence(cohorts=routes(20, 250), notes=("nothing is known of windows",))])
    text = render_ethical_report(report)
    assert "| logistic | missed by route | fail |" in text
    assert (
        "| logistic_route_v1 | 1 | 1000 | 0.0% (0.0% to 0.4%) | 1000 | 75.0% (72.2% to 77.7%) | 0.000 | 250 missed |"
        in text
    )
    assert "- logistic: nothing is known of windows" in text
    for one in (report, ethical_drift_report([])):
        assert cohort_trends_png(one).startswith(b"\x89PNG")
    assert "needs more data" in render_ethical_report(ethical_drift_report([]))
