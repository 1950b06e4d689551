"""Comparing cohorts: a difference has to be certain, noise is none, and what gets better is no fault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.drift.reliability import FIXED_POINT
from nethical_assets.core.evaluation.cohort_comparisons import MEASURES, compare_cohorts
from nethical_assets.core.evaluation.cohorts import (
    MAXIMUM_COHORTS,
    OTHER,
    TIERS,
    Cohort,
    CohortCounts,
    CohortKind,
    CountedViolation,
    figures_of,
    limited,
    risk_tiers,
)

START = datetime(2026, 3, 1, tzinfo=UTC)


def cohort(
    number: int = 0,
    kind: CohortKind = "route",
    *,
    rows: int = 1000,
    positives: int = 500,
    risk: float = 0.5,
    **given: Any,
) -> Cohort:
    """A labelled cohort; what is given are its counts."""
    at = (START + number * timedelta(hours=6)).isoformat()
    fields: dict[str, Any] = {
        "rows": rows,
        "labelled": rows,
        "labelled_positives": positives,
        "tiers": (0, 0, rows, 0),
        "risk_sum": round(risk * rows * FIXED_POINT),
        **given,
    }
    return Cohort(kind, f"{kind} {number}", CohortCounts(**fields), at="" if kind in ("route", "column") else at)


@pytest.mark.parametrize(
    ("fault", "name", "kind"),
    [
        ({"missed": 200}, "missed", "route"),
        ({"false_alarms": 200}, "false_alarms", "route"),
        ({"missed": 130, "false_alarms": 130}, "wrong", "column"),
        ({"called_positive": 300}, "called_positive", "route"),
        ({"flagged": 300}, "flagged", "time_window"),
        ({"screened": 1000, "removed": 200}, "removed", "training_run"),
        ({"risk": 0.9}, "risk", "training_run"),
    ],
)
def test_what_falls_on_one_cohort_is_found(fault: dict[str, Any], name: str, kind: CohortKind) -> None:
    screened = {"screened": 1000} if kind == "training_run" else {}
    fair = [cohort(number, kind, **screened) for number in range(4)]
    hit = [*fair[:2], cohort(2, kind, **{**screened, **fault}), fair[3]]
    assert {one.verdict for one in compare_cohorts({kind: fair}).spreads.values()} == {"pass"}
    found = compare_cohorts({kind: hit})
    failed = {key for key, one in found.spreads.items() if one.verdict == "fail"}
    assert f"{kind}.{name}" in failed
    assert found.spreads[f"{kind}.{name}"].p_value is not None
    assert found.spreads[f"{kind}.{name}"].p_value < 1e-6
    violations = {measure.name for measure in MEASURES if measure.violation} | {"risk"}
    assert found.drift[kind].has_drift == bool({key.partition(".")[2] for key in failed} & violations)


def test_the_drift_metrics_are_those_of_the_specification() -> None:
    one, other = cohort(0, missed=50, false_alarms=20), cohort(1, missed=250, false_alarms=25, risk=0.8)
    drift = compare_cohorts({"route": [one, other]}).drift["route"]
    missed = drift.violation_type_drift["missed"]
    assert (missed.max_rate, missed.min_rate, missed.drift) == (0.5, 0.1, pytest.approx(0.4))
    assert missed.cohort_rates == {"route 0": 0.1, "route 1": 0.5}
    assert 0.25 < missed.certain < 0.4
    assert drift.severity_drift["high"].cohort_rates == {"route 0": 0.05, "route 1": 0.25}
    assert drift.risk_score_drift is not None
    assert drift.risk_score_drift.drift == pytest.approx(0.3)
    assert drift.has_drift
    assert drift.drift_score == missed.certain
    assert compare_cohorts({"route": [one]}).drift == {}


def test_few_rows_are_neither_fair_nor_unfair() -> None:
    little = [cohort(number, rows=20, positives=10, missed=missed) for number, missed in enumerate((0, 4))]
    found = compare_cohorts({"route": little})
    assert found.spreads["route.missed"].verdict == "needs_more_data"
    assert not found.drift["route"].has_drift


def test_what_nothing_is_known_of_needs_more_data() -> None:
    silent = [cohort(number, labelled=0, labelled_positives=0) for number in range(2)]
    found = compare_cohorts({"route": silent})
    unknown = {name for name, one in found.spreads.items() if one.verdict == "needs_more_data"}
    assert unknown == {"route.missed", "route.false_alarms", "route.wrong"}
    assert found.drift["route"].violation_type_drift.keys() == {"personal_data"}


@pytest.mark.parametrize("kind", ["route", "training_run"])
def test_noise_raises_no_alarm(kind: CohortKind) -> None:
    """Cohorts of all sizes with one rate each of everything: nothing may fail."""
    generator = np.random.default_rng(11)
    for _ in range(60):
        found = compare_cohorts(
            {
                kind: [
                    cohort(
                        number,
                        kind,
                        rows=2 * size,
                        positives=size,
                        missed=int(generator.binomial(size, 0.2)),
                        false_alarms=int(generator.binomial(size, 0.1)),
                        called_positive=int(generator.binomial(2 * size, 0.4)),
                    )
                    for number, size in enumerate(generator.integers(3, 400, 12).tolist())
                ]
            }
        )
        judged = {**found.spreads, **found.trends}
        assert {name for name, one in judged.items() if one.verdict == "fail"} == set()
        assert not any(one.has_drift for one in found.drift.values())


def test_a_rate_that_rises_fails_and_one_that_falls_does_not() -> None:
    rising = [cohort(number, "time_window", missed=20 + 15 * number) for number in range(12)]
    falling = [cohort(11 - number, "time_window", missed=20 + 15 * number) for number in range(12)][::-1]
    up, down = (compare_cohorts({"time_window": one}).trends["time_window.missed"] for one in (rising, falling))
    assert (up.verdict, down.verdict) == ("fail", "pass")
    assert up.change == pytest.approx(-down.change)
    assert up.p_value < 1e-6 and down.p_value < 1e-6
    assert "over 12 windows; the rise is certainly more than 10%" in up.reason
    # Of rows called positive neither is better.
    fewer = [cohort(number, "time_window", called_positive=400 - 30 * number) for number in range(12)]
    assert compare_cohorts({"time_window": fewer}).trends["time_window.called_positive"].verdict == "fail"


def test_a_slow_rise_is_a_trend_before_it_is_a_spread_of_note() -> None:
    runs = [
        cohort(number, "training_run", rows=200_000, positives=100_000, missed=2000 + 1000 * number)
        for number in range(8)
    ]
    found = compare_cohorts({"training_run": runs})
    trend = found.trends["training_run.missed"]
    assert (trend.verdict, found.spreads["training_run.missed"].verdict) == ("pass", "pass")
    assert trend.p_value < 1e-9
    assert trend.low > 0.06


def test_kinds_and_unordered_cohorts_are_not_mixed() -> None:
    found = compare_cohorts({"route": [cohort(0), cohort(1), cohort(2)], "training_run": [cohort(0, "training_run")]})
    assert found.trends == {}
    assert {name.partition(".")[0] for name in found.spreads} == {"route"}


def test_figures_have_the_fields_of_the_specification() -> None:
    one = cohort(3, "training_run", missed=5, false_alarms=2)
    one = Cohort(**{**vars(one), "violations": (CountedViolation("low_accuracy", "high", 1),)})
    figures = figures_of("logistic", one)
    assert figures.cohort_id == f"logistic_{one.at}"
    assert (figures.agent_count, figures.action_count) == (1, 1000)
    assert figures.violation_stats.total_count == 8
    assert figures.violation_stats.by_severity == {"high": 6, "medium": 2}
    assert figures.violation_stats.by_type == {"false_alarm": 2, "low_accuracy": 1, "missed": 5}
    assert figures.violation_stats.by_time == {one.at: 8}
    assert figures.avg_risk_score == pytest.approx(0.5)
    assert figures.risk_distribution == {"low": 0, "normal": 0, "high": 1000, "elevated": 0}
    assert figures.accuracy.value == pytest.approx(0.993)
    assert figures_of("logistic", Cohort("route", "v1", CohortCounts())).accuracy.reason


def test_the_tiers_are_those_of_the_specification() -> None:
    edges = np.array([0.0, 0.2499, 0.25, 0.4999, 0.5, 0.7499, 0.75, 1.0])
    told = [TIERS[tier] for tier in risk_tiers(edges)]
    assert told == ["low", "low", "normal", "normal", "high", "high", "elevated", "elevated"]


def test_test_rows_are_counted_as_they_were_decided() -> None:
    labels = np.array([1, 1, 0, 0, 1], dtype=np.int8)
    counts = CohortCounts.of_test_rows(labels, np.array([0.9, 0.1, 0.5, 0.2, np.nan]), 0.5)
    assert (counts.rows, counts.labelled_positives, counts.missed, counts.false_alarms) == (4, 2, 1, 1)
    assert counts.tiers == (2, 0, 1, 1)
    assert counts.risk_sum / FIXED_POINT == pytest.approx(1.7)


@given(st.lists(st.integers(1, 50), max_size=60))
def test_rare_cohorts_are_one_and_no_row_is_lost(sizes: list[int]) -> None:
    cohorts = [Cohort("route", f"r{number}", CohortCounts(rows=size)) for number, size in enumerate(sizes)]
    found = limited(cohorts)
    assert len(found) <= MAXIMUM_COHORTS
    assert sum(one.counts.rows for one in found) == sum(sizes)
    assert limited(reversed(cohorts)) == found
    if len(sizes) > MAXIMUM_COHORTS:
        assert found[-1].name == OTHER
