"""The ethical drift report: whether a detector's errors, and what screening takes away, fall on some more than others.

What belongs here: the report as a pure function of what the stages of each family recorded. What does not: where the
records come from, and statistical drift of single columns (``core.drift``).

Groups are compared within a family only. Families look at different things, so rates of two families differ for reasons
that are nobody's fault; so does the mean risk of two sources with different shares of attacks. What is compared is what
happens to a row *given* what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from nethical_assets.core.drift.verdict import DriftReport
from nethical_assets.core.evaluation.gate import GateDecision
from nethical_assets.core.evaluation.metrics import Evaluation, SourceEvaluation
from nethical_assets.core.evaluation.rates import RateComparison, Verdict, compare_rates, judge_difference
from nethical_assets.core.governance.frames import ALL_ROWS
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.documents import to_document

ERROR_SPREAD = 0.1
"""By how much the share of missed positives, or of false alarms, may differ between the sources of a family."""
REMOVAL_SPREAD = 0.05
"""By how much the share of rows that screening removes may differ between labels."""
POSITIVE_RATE_SPREAD = 0.1
"""By how much the share of rows called positive may differ between traffic and test rows."""

Severity = Literal["medium", "high"]


@dataclass(frozen=True)
class FamilyEvidence:
    """What the stages of one family recorded.

    ``evaluation``: of the current candidate or champion, with its sources; ``gate``: the decision about it;
    ``removed_by_label``: as ``ScreeningResult`` has it, label -> (rows that screening removed, rows); ``drift``: the
    newest report, None without traffic.
    """

    family: str
    evaluation: Evaluation
    gate: GateDecision | None = None
    removed_by_label: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    drift: DriftReport | None = None


@dataclass(frozen=True)
class Violation:
    """A promise that the model of a family did not keep."""

    kind: Literal["low_accuracy", "calibration_error"]
    severity: Severity
    reason: str


@dataclass(frozen=True)
class Cohort:
    """The test rows of one source: how many positives were missed and how many negatives were called positive."""

    source: str
    rows: int
    positives: int
    missed: int
    false_alarms: int


@dataclass(frozen=True)
class FamilyReport:
    """One family: ``comparisons`` by name (missed, false_alarms, removed_by_screening, called_positive)."""

    cohorts: tuple[Cohort, ...]
    violations: tuple[Violation, ...]
    comparisons: Mapping[str, RateComparison]


@dataclass(frozen=True)
class EthicalDriftReport:
    """The report over all families.

    ``verdict`` is fail when a comparison fails or a violation is known, pass when all comparisons pass, else
    needs_more_data. ``recommendations`` has a sentence for each failure. The id is a digest of all the rest.
    """

    report_id: str
    verdict: Verdict
    families: Mapping[str, FamilyReport]
    recommendations: tuple[str, ...]

    def to_markdown(self) -> str:
        """The verdict, and a table of all comparisons."""
        lines = [f"**{self.verdict.replace('_', ' ')}**", "", *(f"- {line}" for line in self.recommendations), ""]
        lines += [
            "| Family | Compared | Verdict | Difference | 95 % bounds | Allowed |",
            "|---|---|---|---:|---:|---:|",
        ]
        for family, report in self.families.items():
            for name, found in report.comparisons.items():
                bounds = f"{found.smallest:.3f} to {found.largest:.3f}"
                verdict = found.verdict.replace("_", " ")
                title = name.replace("_", " ")
                lines.append(
                    f"| {family} | {title} | {verdict} | {found.difference:.3f} | {bounds} | {found.maximum:.2f} |"
                )
        return "\n".join(lines) + "\n"


def ethical_drift_report(families: Iterable[FamilyEvidence]) -> EthicalDriftReport:
    """The report; the same evidence gives the same report, in whatever order it comes.

    Raises:
        ValueError: two pieces of evidence are of one family.
    """
    ordered = sorted(families, key=lambda evidence: evidence.family)
    reports = {evidence.family: _report(evidence) for evidence in ordered}
    if len(reports) < len(ordered):
        raise ValueError("evidence of a family was given twice")
    comparisons = [found for report in reports.values() for found in report.comparisons.values()]
    failed = any(found.verdict == "fail" for found in comparisons)
    verdict: Verdict = "needs_more_data"
    if failed or any(report.violations for report in reports.values()):
        verdict = "fail"
    elif comparisons and all(found.verdict == "pass" for found in comparisons):
        verdict = "pass"
    recommendations = tuple(sentence for family, report in reports.items() for sentence in _advice(family, report))
    unnamed = EthicalDriftReport("", verdict, reports, recommendations)
    digest = digest_json(to_document(unnamed)).partition(":")[2]
    return EthicalDriftReport(f"ethical-drift-{digest[:16]}", verdict, reports, recommendations)


def _report(evidence: FamilyEvidence) -> FamilyReport:
    cohorts = tuple(cohort for source in evidence.evaluation.sources if (cohort := _cohort(source)) is not None)
    comparisons = {
        "missed": compare_rates(
            {cohort.source: (cohort.missed, cohort.positives) for cohort in cohorts},
            maximum_difference=ERROR_SPREAD,
            event="positives that were missed",
            design_effects={source.source: source.missed_effect or 1.0 for source in evidence.evaluation.sources},
        ),
        "false_alarms": compare_rates(
            {cohort.source: (cohort.false_alarms, cohort.rows - cohort.positives) for cohort in cohorts},
            maximum_difference=ERROR_SPREAD,
            event="negatives that were called positive",
            design_effects={source.source: source.false_alarm_effect or 1.0 for source in evidence.evaluation.sources},
        ),
        "removed_by_screening": compare_rates(
            {f"label {name}": counts for name, counts in evidence.removed_by_label.items() if name != ALL_ROWS},
            maximum_difference=REMOVAL_SPREAD,
            event="rows that screening removed",
        ),
        "called_positive": _traffic(evidence.drift),
    }
    return FamilyReport(cohorts, _violations(evidence.gate), comparisons)


def _cohort(source: SourceEvaluation) -> Cohort | None:
    """The counts behind a source's accuracy and recall; None where its predictions were not numbers."""
    accuracy, recall = source.metrics["accuracy"].value, source.metrics["recall"].value
    if accuracy is None:
        return None
    missed = 0 if recall is None else round((1.0 - recall) * source.positives)
    wrong = round((1.0 - accuracy) * source.rows)
    return Cohort(source.source, source.rows, source.positives, missed, wrong - missed)


def _traffic(drift: DriftReport | None) -> RateComparison:
    """The share of rows called positive, traffic beside test rows."""
    if drift is None or drift.positive_rate is None or drift.window_rows < drift.minimum_rows:
        rows = 0 if drift is None else drift.window_rows
        reason = f"rows called positive: {rows} rows of traffic are too few to compare"
        return RateComparison("needs_more_data", 0.0, 0.0, 1.0, POSITIVE_RATE_SPREAD, rows, reason)
    rate = drift.positive_rate
    return judge_difference(
        abs(rate.window - rate.reference),
        max(0.0, rate.low, -rate.high),
        max(abs(rate.low), abs(rate.high)),
        maximum_difference=POSITIVE_RATE_SPREAD,
        rows=drift.window_rows,
        said=f"rows called positive: {rate.window:.2%} of traffic, {rate.reference:.2%} of the test rows",
    )


def _violations(gate: GateDecision | None) -> tuple[Violation, ...]:
    """Accuracy and calibration that the gate refused, with the severities of the specification."""
    if gate is None or gate.verdict != "fail":
        return ()
    found = []
    if gate.accuracy is not None and gate.accuracy < gate.accuracy_min:
        low = gate.accuracy < max(0.7, gate.accuracy_min - 0.15)
        reason = f"accuracy {gate.accuracy:.4f} is below {gate.accuracy_min}"
        found.append(Violation("low_accuracy", "high" if low else "medium", reason))
    if gate.policy != "disable" and gate.ece is not None and gate.ece > gate.ece_max:
        reason = f"calibration error {gate.ece:.4f} is above {gate.ece_max}"
        found.append(Violation("calibration_error", "high" if gate.ece > 2 * gate.ece_max else "medium", reason))
    return tuple(found)


def _advice(family: str, report: FamilyReport) -> list[str]:
    what_to_do = {
        "missed": "train on more positives of the source that is missed most",
        "false_alarms": "train on more negatives of the source that is accused most",
        "removed_by_screening": "read the quarantined rows: the rules take one class away",
        "called_positive": "label a sample of the traffic and evaluate again",
    }
    failed = {name: found for name, found in report.comparisons.items() if found.verdict == "fail"}
    return [
        *(f"{family}: {violation.reason}." for violation in report.violations),
        *(f"{family}: {found.reason}; {what_to_do[name]}." for name, found in failed.items()),
    ]
