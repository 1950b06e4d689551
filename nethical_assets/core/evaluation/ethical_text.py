"""The ethical drift report for people: what it found, in words and tables.

What belongs here: layout. What does not: comparing (``ethical_report``), or pictures (``cohort_plots``).
"""

from __future__ import annotations

from nethical_assets.core.evaluation.cohorts import CohortFigures
from nethical_assets.core.evaluation.estimate import Estimate
from nethical_assets.core.evaluation.ethical_report import EthicalDriftReport

_MEANING = {
    "fail": "**fail**: something falls on some more than on others by more than is allowed, grows, or a promise is "
    "broken. What to do:",
    "pass": "**pass**: nothing differs or grows by more than is allowed, as far as there was something to compare.",
    "needs_more_data": "**needs more data**: nothing is known to be wrong, and not everything is known to be right. "
    "More labelled rows, of traffic too, would tell.",
}
_SHOWN = 40
"""So many cohorts of a family are listed, the newest of those that have a time; the document has all of them."""


def render_ethical_report(report: EthicalDriftReport) -> str:
    """Markdown: the verdict and what to do, then what was compared, where it is going, and every cohort."""
    lines = [_MEANING[report.verdict], "", *(f"- {line}" for line in report.recommendations), ""]
    metrics = report.drift_metrics
    drifts = "cohorts drift apart" if metrics.has_drift else "no drift between cohorts is certain"
    lines += [f"{metrics.cohort_count} cohorts; drift score {metrics.drift_score:.3f}: {drifts}.", ""]
    lines += [
        "| Family | Compared | Verdict | Difference | Bounds | Allowed | p-value |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for family, one in report.families.items():
        for name, found in one.comparisons.items():
            bounds = f"{found.smallest:.3f} to {found.largest:.3f}"
            chance = "" if found.p_value is None else f"{found.p_value:.3g}"
            lines.append(
                f"| {family} | {_title(name)} | {_words(found.verdict)} | {found.difference:.3f} | {bounds} "
                f"| {found.maximum:.2f} | {chance} |"
            )
    trends = [(family, name, found) for family, one in report.families.items() for name, found in one.trends.items()]
    if trends:
        lines += [
            "",
            "| Family | Trend of | Verdict | Change | Bounds | Allowed | p-value | Cohorts |",
            "|---|---|---|---:|---:|---:|---:|---:|",
        ]
        for family, name, trend in trends:
            lines.append(
                f"| {family} | {_title(name)} | {_words(trend.verdict)} | {trend.change:+.3f} "
                f"| {trend.low:+.3f} to {trend.high:+.3f} | {trend.maximum:.2f} | {trend.p_value:.3g} "
                f"| {trend.cohorts} |"
            )
    lines += [
        "",
        "| Cohort | Models | Rows | Called positive | Labelled | Accuracy | Mean risk | Violations |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for one in report.families.values():
        lines += [_row(cohort) for cohort in one.cohorts[-_SHOWN:]]
    notes = [f"- {family}: {note}" for family, one in report.families.items() for note in one.notes]
    return "\n".join([*lines, "", *notes]).rstrip() + "\n"


def cohort_row(cohort: CohortFigures) -> dict[str, str | int | float]:
    """One cohort as a row of a table."""
    return {
        "cohort": cohort.cohort_id,
        "rows": cohort.action_count,
        "called_positive": _share(cohort.positive_rate),
        "labelled": cohort.labelled_count,
        "accuracy": _share(cohort.accuracy),
        "mean_risk": "" if cohort.avg_risk_score is None else f"{cohort.avg_risk_score:.3f}",
        "violations": _violations(cohort),
    }


def _row(cohort: CohortFigures) -> str:
    row = cohort_row(cohort)
    cells = [row["cohort"], cohort.agent_count, *list(row.values())[1:]]
    return f"| {' | '.join(str(cell).replace('|', chr(0x2F)) for cell in cells)} |"


def _share(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})"


def _violations(cohort: CohortFigures) -> str:
    return ", ".join(f"{count} {_title(kind)}" for kind, count in cohort.violation_stats.by_type.items())


def _title(name: str) -> str:
    kind, point, measure = name.partition(".")
    return _words(f"{measure} by {kind}" if point and kind in _KINDS else name.replace(".", ": "))


_KINDS = ("training_run", "time_window", "route", "column")


def _words(name: str) -> str:
    return name.replace("_", " ")
