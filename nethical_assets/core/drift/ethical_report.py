"""The ethical drift report: how violations and risk differ between cohorts of agents over time.

What belongs here: cohorts as plain values and the report as a pure function of them. What does not: where cohorts come
from, and statistical drift of predictions (``verdict``). The spreads are descriptive, as the specification defines
them; they are not tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from nethical_assets.core.ground.digests import digest_json

TYPE_SPREAD = 0.1
RISK_SPREAD = 0.2
SEVERITY_SPREAD = 0.15
HIGH_DRIFT_SCORE = 0.3

RISK_TIERS = ("low", "normal", "high", "elevated")
"""Risk below 0.25, 0.5, 0.75, and from there on."""


@dataclass(frozen=True)
class Violation:
    """One violation: its type, severity, and when it happened (UTC; counted by day)."""

    kind: str
    severity: str
    when: datetime


@dataclass(frozen=True)
class Cohort:
    """One cohort (for example a family's decisions in one period), already counted.

    ``avg_risk_score`` is None when nothing was scored; the three violation counts each add up to the same total.
    """

    cohort_id: str
    agent_count: int
    action_count: int
    violations_by_severity: Mapping[str, int] = field(default_factory=dict)
    violations_by_type: Mapping[str, int] = field(default_factory=dict)
    violations_by_time: Mapping[str, int] = field(default_factory=dict)
    avg_risk_score: float | None = None
    risk_distribution: Mapping[str, int] = field(default_factory=dict)

    @property
    def violation_count(self) -> int:
        """All violations."""
        return sum(self.violations_by_severity.values())

    @classmethod
    def of(
        cls,
        cohort_id: str,
        *,
        agent_count: int,
        risk_scores: npt.NDArray[np.float64],
        violations: Iterable[Violation] = (),
    ) -> Cohort:
        """Count one cohort: an action per risk score (in [0, 1])."""
        listed = list(violations)
        tiers = np.bincount(np.digitize(risk_scores, (0.25, 0.5, 0.75)), minlength=len(RISK_TIERS))
        return cls(
            cohort_id=cohort_id,
            agent_count=agent_count,
            action_count=len(risk_scores),
            violations_by_severity=Counter(violation.severity for violation in listed),
            violations_by_type=Counter(violation.kind for violation in listed),
            violations_by_time=Counter(violation.when.date().isoformat() for violation in listed),
            avg_risk_score=float(risk_scores.mean()) if len(risk_scores) else None,
            risk_distribution=dict(zip(RISK_TIERS, tiers.tolist(), strict=True)),
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object with the specification's field names."""
        return {
            "cohort_id": self.cohort_id,
            "agent_count": self.agent_count,
            "action_count": self.action_count,
            "violation_stats": {
                "total_count": self.violation_count,
                "by_severity": dict(self.violations_by_severity),
                "by_type": dict(self.violations_by_type),
                "by_time": dict(self.violations_by_time),
            },
            "avg_risk_score": self.avg_risk_score,
            "risk_distribution": dict(self.risk_distribution),
        }


@dataclass(frozen=True)
class EthicalDriftReport:
    """The report; times are ISO 8601, ``cohorts`` maps cohort ids to ``Cohort.to_json``."""

    report_id: str
    start_time: str
    end_time: str
    cohorts: Mapping[str, Any]
    drift_metrics: Mapping[str, Any]
    recommendations: tuple[str, ...]
    generated_at: str

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self) | {"recommendations": list(self.recommendations)}


def ethical_drift_report(
    cohorts: Iterable[Cohort], *, start_time: datetime, end_time: datetime, generated_at: datetime
) -> EthicalDriftReport:
    """The report on cohorts between two moments.

    The id is a digest of cohorts and period: the same input has the same id, whenever it is generated. With fewer than
    two cohorts there is nothing to compare and no drift.

    Raises:
        ValueError: two cohorts have the same id.
    """
    ordered = sorted(cohorts, key=lambda cohort: cohort.cohort_id)
    documents = {cohort.cohort_id: cohort.to_json() for cohort in ordered}
    if len(documents) < len(ordered):
        raise ValueError("two cohorts have the same cohort_id")
    period = {"start_time": start_time.isoformat(), "end_time": end_time.isoformat()}
    digest = digest_json({**period, "cohorts": documents}).partition(":")[2]
    metrics = _drift_metrics(ordered)
    return EthicalDriftReport(
        report_id=f"ethical-drift-{digest[:16]}",
        **period,
        cohorts=documents,
        drift_metrics=metrics,
        recommendations=_recommendations(metrics),
        generated_at=generated_at.isoformat(),
    )


def _drift_metrics(cohorts: list[Cohort]) -> dict[str, Any]:
    metrics: dict[str, Any] = {
        "cohort_count": len(cohorts),
        "violation_type_drift": {},
        "severity_drift": {},
        "risk_score_drift": {},
        "has_drift": False,
        "drift_score": 0.0,
    }
    if len(cohorts) < 2:
        return metrics
    of_types = {cohort.cohort_id: (cohort.violations_by_type, cohort.action_count) for cohort in cohorts}
    of_severities = {cohort.cohort_id: (cohort.violations_by_severity, cohort.violation_count) for cohort in cohorts}
    metrics["violation_type_drift"] = _spreads(of_types)
    metrics["severity_drift"] = _spreads(of_severities)
    risks = [cohort.avg_risk_score for cohort in cohorts if cohort.avg_risk_score is not None]
    if risks:
        metrics["risk_score_drift"] = {
            "max_risk": max(risks),
            "min_risk": min(risks),
            "drift": max(risks) - min(risks),
            "avg_risk": sum(risks) / len(risks),
        }
    type_drifts = [spread["drift"] for spread in metrics["violation_type_drift"].values()]
    metrics["has_drift"] = (
        max(type_drifts, default=0.0) > TYPE_SPREAD or metrics["risk_score_drift"].get("drift", 0.0) > RISK_SPREAD
    )
    metrics["drift_score"] = sum(type_drifts) / len(type_drifts) if type_drifts else 0.0
    return metrics


def _spreads(counted: Mapping[str, tuple[Mapping[str, int], int]]) -> dict[str, dict[str, Any]]:
    """Per key, the rates of the cohorts that have a total, and how far apart they are."""
    keys = sorted({key for counts, _ in counted.values() for key in counts})
    spreads = {}
    for key in keys:
        rates = {cohort: counts.get(key, 0) / total for cohort, (counts, total) in counted.items() if total > 0}
        if rates:
            highest, lowest = max(rates.values()), min(rates.values())
            spreads[key] = {"max_rate": highest, "min_rate": lowest, "drift": highest - lowest, "cohort_rates": rates}
    return spreads


def _recommendations(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    if metrics["cohort_count"] < 2:
        return ("Fewer than two cohorts: nothing to compare yet.",)
    found = [
        f"Violations of type {kind} differ by {spread['drift']:.1%} of actions between cohorts; review their policies."
        for kind, spread in metrics["violation_type_drift"].items()
        if spread["drift"] > TYPE_SPREAD
    ]
    risk = metrics["risk_score_drift"].get("drift", 0.0)
    if risk > RISK_SPREAD:
        found.append(f"Mean risk differs by {risk:.2f} between cohorts; consider thresholds per cohort.")
    found += [
        f"The share of {severity} violations differs by {spread['drift']:.1%} between cohorts; find out why."
        for severity, spread in metrics["severity_drift"].items()
        if spread["drift"] > SEVERITY_SPREAD
    ]
    if metrics["drift_score"] > HIGH_DRIFT_SCORE:
        found.append(f"The overall drift score is {metrics['drift_score']:.2f}; audit fairness across all cohorts.")
    return tuple(found) or ("No ethical drift above the thresholds.",)
