"""The ethical drift report: whether a detector's errors, and what screening takes away, fall on some more than others,
and whether that grows.

What belongs here: the report as a pure function of what the stages of each family recorded. What does not: where the
records come from, comparing cohorts of one kind (``cohort_comparisons``), and statistical drift of single columns
(``core.drift``).

Cohorts are compared within a family and a kind only. Families look at different things, so rates of two families differ
for reasons that are nobody's fault; a route and a training run are not two of a kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nethical_assets.core.evaluation.cohort_comparisons import (
    MEASURES,
    REMOVAL_SPREAD,
    SEVERITY_SPREAD,
    Comparisons,
    DriftMetrics,
    SpreadFigures,
    TrendJudgement,
    compare_cohorts,
)
from nethical_assets.core.evaluation.cohorts import (
    Cohort,
    CohortCounts,
    CohortFigures,
    CohortKind,
    CountedViolation,
    Severity,
    figures_of,
)
from nethical_assets.core.evaluation.drift_facts import TrafficShift
from nethical_assets.core.evaluation.gate import GateDecision
from nethical_assets.core.evaluation.metrics import Evaluation, SourceEvaluation
from nethical_assets.core.evaluation.rates import RateComparison, Verdict, compare_rates, judge_difference
from nethical_assets.core.governance.frames import ALL_ROWS
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.documents import to_document

POSITIVE_RATE_SPREAD = 0.1
"""By how much the share of rows called positive may differ between traffic and test rows."""
SCORE_OF_CONCERN = 0.3
"""Above this drift score it is recommended to look at the whole, whatever single comparisons say."""
LOW_ACCURACY, CALIBRATION_ERROR, FAILED_CHECK = "low_accuracy", "calibration_error", "failed_check"
UNREADABLE = "unreadable_traffic"


@dataclass(frozen=True)
class FailedCheck:
    """A check of data that fails now: of what, since when (ISO 8601), and whether it stops families."""

    name: str
    about: str
    since: str
    stops: bool


@dataclass(frozen=True)
class FamilyEvidence:
    """What the stages of one family recorded.

    ``evaluation``: of the current candidate or champion, with its sources; ``gate``: the decision about it;
    ``removed_by_label``: as ``ScreeningResult`` has it, label -> (rows that screening removed, rows); ``drift``: what
    the newest drift report says of traffic, None without any; ``cohorts``: of every kind but sources, those of ordered
    kinds in their order; ``failed_checks``: of the family's datasets; ``notes``: what cohorts there are none of, and
    why.
    """

    family: str
    evaluation: Evaluation
    gate: GateDecision | None = None
    removed_by_label: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    drift: TrafficShift | None = None
    cohorts: Mapping[CohortKind, Sequence[Cohort]] = field(default_factory=dict)
    failed_checks: tuple[FailedCheck, ...] = ()
    damage: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Violation:
    """A promise that a family did not keep. A check of data that fails and stops nothing is of low severity, and fails
    no report."""

    kind: str
    severity: Severity
    reason: str


@dataclass(frozen=True)
class FamilyReport:
    """One family.

    ``comparisons`` by name: ``missed`` and ``false_alarms`` between sources, ``removed_by_screening`` between labels,
    ``called_positive`` of traffic and test rows, and ``<kind>.<measure>`` between cohorts of a kind; ``trends`` by
    ``<kind>.<measure>``; ``drift`` by kind.
    """

    cohorts: tuple[CohortFigures, ...]
    violations: tuple[Violation, ...]
    comparisons: Mapping[str, RateComparison]
    trends: Mapping[str, TrendJudgement]
    drift: Mapping[str, DriftMetrics]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class EthicalDriftReport:
    """The report over all families.

    ``verdict`` is fail when a comparison or a trend fails or a violation is known, pass when all comparisons and trends
    pass, else needs_more_data. ``start_time`` and ``end_time``: of the cohorts that have a time (ISO 8601, UTC), empty
    without any. ``drift_metrics``: over all families and kinds: of every type of violation the kind that is certainly
    farthest apart, its cohorts by their ids. ``recommendations`` has a sentence for each failure. The id is a digest of
    all the rest.
    """

    report_id: str
    verdict: Verdict
    start_time: str
    end_time: str
    families: Mapping[str, FamilyReport]
    drift_metrics: DriftMetrics
    recommendations: tuple[str, ...]


def ethical_drift_report(
    families: Iterable[FamilyEvidence], *, start_time: str = "", end_time: str = ""
) -> EthicalDriftReport:
    """The report; the same evidence gives the same report, in whatever order it comes.

    Args:
        start_time, end_time: of the period that was looked at (ISO 8601, UTC), where it is known.

    Raises:
        ValueError: two pieces of evidence are of one family.
    """
    ordered = sorted(families, key=lambda evidence: evidence.family)
    reports = {evidence.family: _report(evidence) for evidence in ordered}
    if len(reports) < len(ordered):
        raise ValueError("evidence of a family was given twice")
    judged: list[Verdict] = []
    for one in reports.values():
        judged += [found.verdict for found in one.comparisons.values()]
        judged += [found.verdict for found in one.trends.values()]
    verdict: Verdict = "needs_more_data"
    broken = any(found.severity != "low" for report in reports.values() for found in report.violations)
    if "fail" in judged or broken:
        verdict = "fail"
    elif judged and set(judged) == {"pass"}:
        verdict = "pass"
    times = sorted(cohort.at for report in reports.values() for cohort in report.cohorts if cohort.at)
    metrics = _over_all(reports)
    report = EthicalDriftReport(
        report_id="",
        verdict=verdict,
        start_time=start_time or (times[0] if times else ""),
        end_time=end_time or (times[-1] if times else ""),
        families=reports,
        drift_metrics=metrics,
        recommendations=(
            *(sentence for family, one in reports.items() for sentence in _advice(family, one)),
            *_advice_on_all(metrics),
        ),
    )
    return replace(report, report_id=f"ethical-drift-{digest_json(to_document(report)).partition(':')[2][:16]}")


def _report(evidence: FamilyEvidence) -> FamilyReport:
    sources = tuple(
        cohort for source in evidence.evaluation.sources if (cohort := _of_source(source, evidence.gate)) is not None
    )
    every: dict[CohortKind, Sequence[Cohort]] = {"source": sources, **evidence.cohorts}
    compared = compare_cohorts(every)
    comparisons = {
        **_between_sources(compared),
        "removed_by_screening": compare_rates(
            {f"label {name}": counts for name, counts in evidence.removed_by_label.items() if name != ALL_ROWS},
            maximum_difference=REMOVAL_SPREAD,
            event="rows that screening removed",
        ),
        "called_positive": _traffic(evidence.drift),
        **{name: one for name, one in compared.spreads.items() if not name.startswith("source.")},
    }
    return FamilyReport(
        tuple(figures_of(evidence.family, cohort) for found in every.values() for cohort in found),
        (
            *gate_violations(evidence.gate),
            *_failed_checks(evidence.failed_checks),
            *(
                [Violation(UNREADABLE, "high", f"its traffic cannot be read: {evidence.damage}")]
                if evidence.damage
                else []
            ),
        ),
        comparisons,
        compared.trends,
        compared.drift,
        evidence.notes,
    )


def _between_sources(compared: Comparisons) -> dict[str, RateComparison]:
    """Missed positives and false alarms, also where nothing can be compared: that has to be said too."""
    measures = {measure.name: measure for measure in MEASURES if "source" in measure.kinds}
    return {
        name: compared.spreads.get(f"source.{name}")
        or compare_rates({}, maximum_difference=measure.maximum, event=measure.event)
        for name, measure in measures.items()
    }


def _of_source(source: SourceEvaluation, gate: GateDecision | None) -> Cohort | None:
    """The counts behind a source's accuracy and recall; None where its predictions were not numbers."""
    accuracy, recall = source.metrics["accuracy"].value, source.metrics["recall"].value
    if accuracy is None:
        return None
    missed = 0 if recall is None else round((1.0 - recall) * source.positives)
    wrong = round((1.0 - accuracy) * source.rows)
    alarms = wrong - missed
    return Cohort(
        kind="source",
        name=source.source,
        counts=CohortCounts(
            rows=source.rows,
            called_positive=source.positives - missed + alarms,
            labelled=source.rows,
            labelled_positives=source.positives,
            missed=missed,
            false_alarms=alarms,
        ),
        effects={"missed": source.missed_effect or 1.0, "false_alarms": source.false_alarm_effect or 1.0},
    )


def _traffic(shift: TrafficShift | None) -> RateComparison:
    """The share of rows called positive, traffic beside test rows."""
    if shift is None or shift.difference is None or shift.low is None or shift.high is None:
        rows = 0 if shift is None else shift.rows
        reason = f"rows called positive: {rows} rows of traffic are too few to compare"
        return RateComparison("needs_more_data", 0.0, 0.0, 1.0, POSITIVE_RATE_SPREAD, rows, reason)
    said = f"rows called positive: {shift.difference:+.2%} in traffic against the test rows"
    if shift.window is not None and shift.reference is not None:
        said = f"rows called positive: {shift.window:.2%} of traffic, {shift.reference:.2%} of the test rows"
    return judge_difference(
        abs(shift.difference),
        max(0.0, shift.low, -shift.high),
        max(abs(shift.low), abs(shift.high)),
        maximum_difference=POSITIVE_RATE_SPREAD,
        rows=shift.rows,
        said=said,
    )


def gate_violations(gate: GateDecision | None) -> tuple[Violation, ...]:
    """Accuracy and calibration that the gate refused, with the severities of the specification."""
    if gate is None or gate.verdict != "fail":
        return ()
    found = []
    if gate.accuracy is not None and gate.accuracy < gate.accuracy_min:
        low = gate.accuracy < max(0.7, gate.accuracy_min - 0.15)
        reason = f"accuracy {gate.accuracy:.4f} is below {gate.accuracy_min}"
        found.append(Violation(LOW_ACCURACY, "high" if low else "medium", reason))
    if gate.policy != "disable" and gate.ece is not None and gate.ece > gate.ece_max:
        reason = f"calibration error {gate.ece:.4f} is above {gate.ece_max}"
        found.append(Violation(CALIBRATION_ERROR, "high" if gate.ece > 2 * gate.ece_max else "medium", reason))
    return tuple(found)


def _failed_checks(checks: Iterable[FailedCheck]) -> tuple[Violation, ...]:
    return tuple(
        Violation(
            FAILED_CHECK,
            "high" if check.stops else "low",
            f"the data check {check.name} of {check.about} fails since {check.since[:16].replace('T', ' ')} UTC",
        )
        for check in sorted(checks, key=lambda check: (check.about, check.name))
    )


def _damage(reason: str) -> tuple[Violation, ...]:
    return (Violation(UNREADABLE, "high", f"its traffic cannot be read: {reason}"),) if reason else ()


def counted(violations: Iterable[Violation]) -> tuple[CountedViolation, ...]:
    """Violations as a cohort counts them, each once."""
    return tuple(CountedViolation(found.kind, found.severity, 1) for found in violations)


def _over_all(reports: Mapping[str, FamilyReport]) -> DriftMetrics:
    found = [(family, kind, one) for family, report in reports.items() for kind, one in report.drift.items()]
    ids: dict[tuple[str, str, str], str] = {
        (family, cohort.kind, cohort.name): cohort.cohort_id
        for family, report in reports.items()
        for cohort in report.cohorts
    }

    def named(family: str, kind: str, figures: SpreadFigures) -> SpreadFigures:
        return replace(figures, cohort_rates={ids[family, kind, n]: r for n, r in figures.cohort_rates.items()})

    def worst(given: Iterable[tuple[str, SpreadFigures]]) -> dict[str, SpreadFigures]:
        kept: dict[str, SpreadFigures] = {}
        for name, figures in given:
            known = kept.get(name)
            if known is None or (figures.certain, figures.drift) > (known.certain, known.drift):
                kept[name] = figures
        return dict(sorted(kept.items()))

    risks = worst(
        ("risk", named(f, k, one.risk_score_drift)) for f, k, one in found if one.risk_score_drift is not None
    )
    return DriftMetrics(
        cohort_count=sum(len(report.cohorts) for report in reports.values()),
        violation_type_drift=worst(
            (name, named(f, k, figures)) for f, k, one in found for name, figures in one.violation_type_drift.items()
        ),
        severity_drift=worst(
            (name, named(f, k, figures)) for f, k, one in found for name, figures in one.severity_drift.items()
        ),
        risk_score_drift=risks.get("risk"),
        has_drift=any(one.has_drift for _, _, one in found),
        drift_score=max((one.drift_score for _, _, one in found), default=0.0),
    )


def _advice(family: str, report: FamilyReport) -> list[str]:
    own = {
        "removed_by_screening": "read the quarantined rows: the rules take one class away",
        "called_positive": "label a sample of the traffic and evaluate again",
    }
    of_measures = {measure.name: measure.what_to_do for measure in MEASURES}
    failed = [
        *((name, found.reason) for name, found in report.comparisons.items() if found.verdict == "fail"),
        *((name, found.reason) for name, found in report.trends.items() if found.verdict == "fail"),
    ]
    return [
        *(f"{family}: {violation.reason}." for violation in report.violations),
        *(f"{family}: {reason}; {own.get(name) or of_measures[name.rpartition('.')[2]]}." for name, reason in failed),
    ]


def _advice_on_all(metrics: DriftMetrics) -> list[str]:
    found = [
        f"violations of severity {severity} differ by {figures.drift:.1%} of the rows between cohorts "
        f"(certainly by {figures.certain:.1%}): look at the cohort that has most of them first."
        for severity, figures in metrics.severity_drift.items()
        if figures.certain > SEVERITY_SPREAD
    ]
    if metrics.drift_score > SCORE_OF_CONCERN:
        found.append(
            f"the drift score is {metrics.drift_score:.2f}, above {SCORE_OF_CONCERN}: stop using the detector for the "
            "cohort that is hit hardest until it was trained on rows of it."
        )
    return found
