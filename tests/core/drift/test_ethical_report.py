from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from nethical_assets.core.drift.ethical_report import Cohort, Violation, ethical_drift_report

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def cohort(name, actions, *, toxic=0, privacy=0, severity="medium", risk=0.1):
    violations = [Violation("toxic_content", severity, START)] * toxic + [Violation("privacy", severity, END)] * privacy
    return Cohort.of(name, agent_count=1, risk_scores=np.full(actions, risk), violations=violations)


def report(*cohorts, generated_at=END):
    return ethical_drift_report(cohorts, start_time=START, end_time=END, generated_at=generated_at)


def test_fields_of_the_specification():
    document = json.loads(json.dumps(report(cohort("a", 10, toxic=1), cohort("b", 10)).to_json(), allow_nan=False))
    assert set(document) == {
        "report_id",
        "start_time",
        "end_time",
        "cohorts",
        "drift_metrics",
        "recommendations",
        "generated_at",
    }
    assert document["cohorts"]["a"] == {
        "cohort_id": "a",
        "agent_count": 1,
        "action_count": 10,
        "violation_stats": {
            "total_count": 1,
            "by_severity": {"medium": 1},
            "by_type": {"toxic_content": 1},
            "by_time": {"2026-01-01": 1},
        },
        "avg_risk_score": pytest.approx(0.1),
        "risk_distribution": {"low": 10, "normal": 0, "high": 0, "elevated": 0},
    }
    metrics = document["drift_metrics"]
    assert set(metrics) == {
        "cohort_count",
        "violation_type_drift",
        "severity_drift",
        "risk_score_drift",
        "has_drift",
        "drift_score",
    }
    assert metrics["violation_type_drift"]["toxic_content"] == {
        "max_rate": 0.1,
        "min_rate": 0.0,
        "drift": 0.1,
        "cohort_rates": {"a": 0.1, "b": 0.0},
    }


def test_thresholds_are_exceeded_not_reached():
    assert not report(cohort("a", 10, toxic=1), cohort("b", 10)).drift_metrics["has_drift"]
    assert report(cohort("a", 100, toxic=11), cohort("b", 100)).drift_metrics["has_drift"]
    assert not report(cohort("a", 4, risk=0.25), cohort("b", 4, risk=0.45)).drift_metrics["has_drift"]
    assert report(cohort("a", 4, risk=0.25), cohort("b", 4, risk=0.5)).drift_metrics["has_drift"]


def test_score_is_the_mean_spread_and_recommendations_name_their_cause():
    found = report(cohort("a", 10, toxic=8, severity="high"), cohort("b", 10, privacy=2, risk=0.9))
    assert found.drift_metrics["drift_score"] == pytest.approx((0.8 + 0.2) / 2)
    text = " ".join(found.recommendations)
    for words in ("type toxic_content differ by 80.0%", "type privacy differ by 20.0%", "Mean risk differs by 0.80"):
        assert words in text
    assert "share of high violations" in text and "overall drift score is 0.50" in text
    assert report(cohort("a", 10), cohort("b", 10)).recommendations == ("No ethical drift above the thresholds.",)


def test_risk_tiers():
    counted = Cohort.of("a", agent_count=1, risk_scores=np.array([0.0, 0.25, 0.5, 0.74, 0.75, 1.0]))
    assert counted.risk_distribution == {"low": 1, "normal": 1, "high": 2, "elevated": 2}


def test_fewer_than_two_cohorts_have_nothing_to_compare():
    for cohorts in ((), (cohort("a", 10, toxic=9, risk=0.9),)):
        found = report(*cohorts)
        assert not found.drift_metrics["has_drift"] and found.drift_metrics["drift_score"] == 0.0
        assert "two cohorts" in found.recommendations[0]


def test_a_cohort_without_actions_has_no_rates_and_no_risk():
    found = report(cohort("a", 10, toxic=5, risk=0.9), cohort("b", 0))
    assert found.drift_metrics["violation_type_drift"]["toxic_content"]["cohort_rates"] == {"a": 0.5}
    assert not found.drift_metrics["has_drift"] and found.cohorts["b"]["avg_risk_score"] is None


def test_ids_depend_on_content_alone():
    first, second = cohort("a", 10, toxic=1), cohort("b", 10)
    one = report(first, second)
    assert one.report_id == report(second, first, generated_at=START).report_id
    assert one.report_id != report(first, cohort("b", 11)).report_id
    with pytest.raises(ValueError, match="same cohort_id"):
        report(first, first)
