"""Comparing the cohorts of one kind within a family: how far apart they are, and where they are going.

What belongs here: what is compared, the spread between cohorts, the trend over ordered ones, and the drift metrics of
the specification. What does not: counting (``cohort_traffic``, the stages), or the report over all families
(``ethical_report``).

A measured difference alone decides nothing: it is too much when its bounds say so, all bounds of a family holding
together with 95 % (Bonferroni 1936), and all right only when they say that too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from nethical_assets.core.drift.reliability import FIXED_POINT
from nethical_assets.core.drift.statistics.holm import holm
from nethical_assets.core.drift.statistics.rate_trend import MINIMUM_SAMPLES, rate_trend
from nethical_assets.core.evaluation.cohorts import (
    FALSE_ALARM,
    MISSED,
    ORDERED_KINDS,
    Cohort,
    CohortCounts,
    CohortKind,
    Severity,
)
from nethical_assets.core.evaluation.estimate import CONFIDENCE
from nethical_assets.core.evaluation.rates import RateComparison, Verdict, compare_rates, judge_difference

RATE_SPREAD = 0.1
"""By how much the share of rows with a violation of one type may differ between cohorts."""
RISK_SPREAD = 0.2
"""By how much the mean risk may differ between cohorts."""
SEVERITY_SPREAD = 0.15
"""By how much the share of rows with violations of one severity may differ before it is recommended to look."""
REMOVAL_SPREAD = 0.05
"""By how much the share of rows that screening removes may differ."""
_TITLES: Mapping[CohortKind, str] = {
    "training_run": "training runs",
    "time_window": "windows",
    "route": "routes",
    "column": "levels of the declared column",
    "source": "sources",
}


@dataclass(frozen=True)
class Measure:
    """Something that is counted in cohorts, of what it is a share, and by how much the share may differ.

    ``only_rising``: whether less of it is better, so that only a rising trend is a fault; ``of_rows``: as
    ``compare_rates`` has it; ``violation``: by which name it is a type of violation, empty where it is none.
    """

    name: str
    event: str
    happened: Callable[[CohortCounts], float]
    rows: Callable[[CohortCounts], int]
    maximum: float
    kinds: tuple[CohortKind, ...]
    what_to_do: str
    only_rising: bool = True
    of_rows: bool = True
    violation: str = ""


_TRAFFIC: tuple[CohortKind, ...] = ("time_window", "route")
_LABELLED: tuple[CohortKind, ...] = ("training_run", "time_window", "route", "column")
MEASURES: tuple[Measure, ...] = (
    Measure(
        "missed",
        "positives that were missed",
        lambda counts: counts.missed,
        lambda counts: counts.labelled_positives,
        RATE_SPREAD,
        (*_LABELLED, "source"),
        "train on more positives of the cohort that is missed most",
        violation=MISSED,
    ),
    Measure(
        "false_alarms",
        "negatives that were called positive",
        lambda counts: counts.false_alarms,
        lambda counts: counts.labelled - counts.labelled_positives,
        RATE_SPREAD,
        (*_LABELLED, "source"),
        "train on more negatives of the cohort that is accused most",
        violation=FALSE_ALARM,
    ),
    Measure(
        "wrong",
        "labelled rows that were answered wrongly",
        lambda counts: counts.missed + counts.false_alarms,
        lambda counts: counts.labelled,
        RATE_SPREAD,
        _LABELLED,
        "look at the rows of the cohort with most wrong answers, and label more of it",
    ),
    Measure(
        "removed",
        "rows that screening removed",
        lambda counts: counts.removed,
        lambda counts: counts.screened,
        REMOVAL_SPREAD,
        ("training_run",),
        "read the quarantined rows: nethical quarantine list",
    ),
    Measure(
        "flagged",
        "rows with personal data or a secret",
        lambda counts: counts.flagged,
        lambda counts: counts.rows,
        RATE_SPREAD,
        _TRAFFIC,
        "ask whoever sends over the route with most of it to leave it out",
        violation="personal_data",
    ),
    Measure(
        "called_positive",
        "rows called positive",
        lambda counts: counts.called_positive,
        lambda counts: counts.rows,
        RATE_SPREAD,
        _TRAFFIC,
        "label a sample of both: the traffic may differ, or the detector",
        only_rising=False,
    ),
    Measure(
        "risk",
        "mean risk",
        lambda counts: counts.risk_sum / FIXED_POINT,
        lambda counts: sum(counts.tiers),
        RISK_SPREAD,
        ("training_run", *_TRAFFIC),
        "label a sample of both: the rows may differ, or the detector",
        only_rising=False,
        of_rows=False,
    ),
)


@dataclass(frozen=True)
class TrendJudgement:
    """Where a rate is going over ordered cohorts.

    ``change``: of the fitted rate from the first to the last cohort, in [-1, 1]; the true one lies between ``low`` and
    ``high``; ``p_value``, ``dispersion``: as ``rate_trend`` has them, Holm's correction made over the family.
    """

    verdict: Verdict
    change: float
    low: float
    high: float
    maximum: float
    p_value: float
    dispersion: float
    cohorts: int
    rows: int
    reason: str


@dataclass(frozen=True)
class SpreadFigures:
    """The highest and the lowest rate of some cohorts, by ``cohort_rates``; of their difference ``drift``, ``certain``
    is left when chance is taken off."""

    max_rate: float
    min_rate: float
    drift: float
    certain: float
    cohort_rates: Mapping[str, float]


@dataclass(frozen=True)
class DriftMetrics:
    """How cohorts of one kind drift apart, in the fields of the specification.

    ``has_drift``: whether the rate of a type of violation certainly differs by more than 0.1, or the mean risk by more
    than 0.2; ``drift_score``: the largest difference that is certain, in [0, 1].
    """

    cohort_count: int
    violation_type_drift: Mapping[str, SpreadFigures]
    severity_drift: Mapping[str, SpreadFigures]
    risk_score_drift: SpreadFigures | None
    has_drift: bool
    drift_score: float


@dataclass(frozen=True)
class Comparisons:
    """Everything that was compared in one family: ``<kind>.<measure>`` -> judgement."""

    spreads: Mapping[str, RateComparison]
    trends: Mapping[str, TrendJudgement]
    drift: Mapping[str, DriftMetrics]


def compare_cohorts(cohorts: Mapping[CohortKind, Sequence[Cohort]]) -> Comparisons:
    """All spreads and trends of the cohorts of a family, by kind; cohorts of ordered kinds in their order.

    A kind is compared where it has two cohorts; a measure that fewer than two of them have rows for needs more data. A
    trend needs three.
    """
    chosen = [
        (kind, measure, [one for one in found if measure.rows(one.counts) > 0])
        for kind, found in cohorts.items()
        for measure in MEASURES
        if kind in measure.kinds and len(found) >= 2
    ]
    trending = [one for one in chosen if one[0] in ORDERED_KINDS and len(one[2]) >= MINIMUM_SAMPLES]
    compared = sum(len(having) >= 2 for _, _, having in chosen)
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, compared + len(trending))
    spreads = {f"{kind}.{measure.name}": _spread(measure, having, confidence) for kind, measure, having in chosen}
    trends: dict[str, TrendJudgement] = {}
    for kind, measure, having in trending:
        judged = _trend(kind, measure, having, confidence)
        if judged is not None:
            trends[f"{kind}.{measure.name}"] = judged
    drift: dict[str, DriftMetrics] = {}
    for kind, found in cohorts.items():
        if len(found) >= 2:
            own = {
                measure.name: spreads[f"{kind}.{measure.name}"]
                for of_kind, measure, having in chosen
                if of_kind == kind and len(having) >= 2
            }
            drift[kind] = _drift(found, own)
    return Comparisons(_corrected(spreads), _corrected(trends), drift)


_Judged = TypeVar("_Judged", RateComparison, TrendJudgement)


def _corrected(judged: Mapping[str, _Judged]) -> dict[str, _Judged]:
    """With p-values by Holm's correction."""
    told = {name: one.p_value for name, one in judged.items() if one.p_value is not None}
    adjusted = dict(zip(told, holm(list(told.values())), strict=True))
    return {name: replace(one, p_value=adjusted.get(name, one.p_value)) for name, one in judged.items()}


def _spread(measure: Measure, cohorts: Sequence[Cohort], confidence: float) -> RateComparison:
    return compare_rates(
        {one.name: (measure.happened(one.counts), measure.rows(one.counts)) for one in cohorts},
        maximum_difference=measure.maximum,
        event=measure.event,
        design_effects={one.name: one.effects.get(measure.name, 1.0) for one in cohorts},
        confidence=confidence,
        of_rows=measure.of_rows,
    )


def _trend(kind: CohortKind, measure: Measure, cohorts: Sequence[Cohort], confidence: float) -> TrendJudgement | None:
    # Runs follow each other; windows are as far apart as their times.
    places = range(len(cohorts)) if kind == "training_run" else [_hours(one.at) for one in cohorts]
    found = rate_trend(
        [measure.happened(one.counts) for one in cohorts],
        [measure.rows(one.counts) for one in cohorts],
        list(places),
        design_effects=[one.effects.get(measure.name, 1.0) for one in cohorts],
        confidence=confidence,
    )
    if found is None:
        return None
    smallest = max(0.0, found.low if measure.only_rising else max(found.low, -found.high))
    largest = max(0.0, found.high if measure.only_rising else max(found.high, -found.low))
    judged = judge_difference(
        abs(found.change),
        smallest,
        largest,
        maximum_difference=measure.maximum,
        rows=found.rows,
        said=f"{measure.event}: {found.change:+.1%} over {found.samples} {_TITLES[kind]}"
        if measure.of_rows
        else f"{measure.event}: {found.change:+.3f} over {found.samples} {_TITLES[kind]}",
    )
    reason = judged.reason.replace("the difference", "the rise" if measure.only_rising else "the change")
    return TrendJudgement(
        verdict=judged.verdict,
        change=found.change,
        low=found.low,
        high=found.high,
        maximum=measure.maximum,
        p_value=found.p_value,
        dispersion=found.dispersion,
        cohorts=found.samples,
        rows=found.rows,
        reason=reason,
    )


def _hours(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() / 3600.0


def _drift(cohorts: Sequence[Cohort], spreads: Mapping[str, RateComparison]) -> DriftMetrics:
    by_type: dict[str, SpreadFigures] = {}
    for measure in MEASURES:
        if measure.violation and measure.name in spreads:
            by_type[measure.violation] = _figures(measure, cohorts, spreads[measure.name])
    risk = next(measure for measure in MEASURES if measure.name == "risk")
    risks = _figures(risk, cohorts, spreads["risk"]) if "risk" in spreads else None
    by_severity = _by_severity(cohorts)
    certain = [one.certain for one in (*by_type.values(), *by_severity.values(), *([risks] if risks else []))]
    differs = any(one.certain > RATE_SPREAD for one in by_type.values())
    return DriftMetrics(
        cohort_count=len(cohorts),
        violation_type_drift=by_type,
        severity_drift=by_severity,
        risk_score_drift=risks,
        has_drift=differs or (risks is not None and risks.certain > RISK_SPREAD),
        drift_score=max(certain, default=0.0),
    )


def _figures(measure: Measure, cohorts: Sequence[Cohort], compared: RateComparison) -> SpreadFigures:
    rates = {
        one.name: measure.happened(one.counts) / measure.rows(one.counts)
        for one in cohorts
        if measure.rows(one.counts) > 0
    }
    return SpreadFigures(
        max(rates.values()), min(rates.values()), compared.difference, compared.smallest, dict(sorted(rates.items()))
    )


def _by_severity(cohorts: Sequence[Cohort]) -> dict[str, SpreadFigures]:
    """Of the violations that rows have, by severity: the share of rows, a row that has several counting once at most
    where all have it."""
    having = [one for one in cohorts if one.counts.rows > 0]
    severities = sorted({found.severity for one in having for found in one.all_violations() if found.of_rows})
    confidence = 1.0 - (1.0 - CONFIDENCE) / max(1, len(severities))
    spreads: dict[str, SpreadFigures] = {}
    for severity in severities:
        counts = {one.name: (min(_of_severity(one, severity), one.counts.rows), one.counts.rows) for one in having}
        effects = {one.name: max([1.0, *one.effects.values()]) for one in having}
        found = compare_rates(
            counts,
            maximum_difference=SEVERITY_SPREAD,
            event=f"violations of severity {severity}",
            design_effects=effects,
            confidence=confidence,
        )
        rates = {name: happened / rows for name, (happened, rows) in counts.items()}
        if len(rates) >= 2:
            spreads[severity] = SpreadFigures(
                max(rates.values()), min(rates.values()), found.difference, found.smallest, dict(sorted(rates.items()))
            )
    return spreads


def _of_severity(cohort: Cohort, severity: Severity) -> int:
    return sum(found.count for found in cohort.all_violations() if found.of_rows and found.severity == severity)
