"""Cohorts: rows of one family that belong together, as whole numbers, and what a report says of each.

What belongs here: the counts, and the figures of one cohort. What does not: where counts come from (``cohort_traffic``,
the stages), or comparing cohorts (``cohort_comparisons``).

The names of the figures are those of the ethical drift report of the specification, so that reports can be read side by
side: a cohort's agents are models, and its actions are the rows that they decided about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.reliability import FIXED_POINT, fixed_point_sums
from nethical_assets.core.evaluation.estimate import Estimate, proportion

CohortKind = Literal["training_run", "time_window", "route", "column", "source"]
ORDERED_KINDS: tuple[CohortKind, ...] = ("training_run", "time_window")
"""Kinds whose cohorts follow each other in time, so that a trend can be told."""
Severity = Literal["low", "medium", "high", "critical", "emergency"]
OTHER, UNNAMED = "other", "not given"
MAXIMUM_COHORTS = 20
"""More routes, or levels of a declared column, than these are not told apart: the rarest are one cohort, ``other``."""
TIERS = ("low", "normal", "high", "elevated")
_TIER_EDGES = (0.25, 0.5, 0.75)
MISSED, FALSE_ALARM = "missed", "false_alarm"
_OWN_SEVERITY: Mapping[str, Severity] = {MISSED: "high", FALSE_ALARM: "medium"}

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def risk_tiers(probabilities: FloatArray) -> npt.NDArray[np.int64]:
    """The tier of each probability, as a position in ``TIERS``: low below .25, normal below .5, high below .75, then
    elevated."""
    return np.searchsorted(np.array(_TIER_EDGES), probabilities, side="right").astype(np.int64)


@dataclass(frozen=True)
class CohortCounts:
    """Whole numbers that add up.

    Attributes:
        rows: scored rows; ``called_positive`` of them.
        labelled: rows whose label is known; ``labelled_positives`` of them are positive by it.
        missed, false_alarms: labelled positives that were called negative, labelled negatives that were called
            positive.
        tiers: rows of each risk tier, in the order of ``TIERS``.
        risk_sum: sum of the probabilities of all rows, in multiples of 2^-30.
        screened, removed: rows that screening looked at before any of them was used, and those that it took away.
        flagged: rows in which screening found personal data or a secret.
    """

    rows: int = 0
    called_positive: int = 0
    labelled: int = 0
    labelled_positives: int = 0
    missed: int = 0
    false_alarms: int = 0
    tiers: tuple[int, int, int, int] = (0, 0, 0, 0)
    risk_sum: int = 0
    screened: int = 0
    removed: int = 0
    flagged: int = 0

    def __add__(self, other: CohortCounts) -> CohortCounts:
        low, normal, high, elevated = (a + b for a, b in zip(self.tiers, other.tiers, strict=True))
        return CohortCounts(
            self.rows + other.rows,
            self.called_positive + other.called_positive,
            self.labelled + other.labelled,
            self.labelled_positives + other.labelled_positives,
            self.missed + other.missed,
            self.false_alarms + other.false_alarms,
            (low, normal, high, elevated),
            self.risk_sum + other.risk_sum,
            self.screened + other.screened,
            self.removed + other.removed,
            self.flagged + other.flagged,
        )

    @classmethod
    def of_test_rows(cls, labels: npt.NDArray[np.int8], probabilities: FloatArray, threshold: float) -> CohortCounts:
        """The counts of labelled predictions, both arrays of shape (rows,); rows whose probability is no number in
        [0, 1] are left out."""
        usable = (probabilities >= 0.0) & (probabilities <= 1.0)
        positive, risk = labels[usable] == 1, probabilities[usable]
        called = risk >= threshold
        low, normal, high, elevated = np.bincount(risk_tiers(risk), minlength=len(TIERS)).tolist()
        return cls(
            rows=len(risk),
            called_positive=int(called.sum()),
            labelled=len(risk),
            labelled_positives=int(positive.sum()),
            missed=int((positive & ~called).sum()),
            false_alarms=int((~positive & called).sum()),
            tiers=(low, normal, high, elevated),
            risk_sum=int(fixed_point_sums(np.zeros(len(risk), dtype=np.int64), risk, 1)[0]),
        )


@dataclass(frozen=True)
class CountedViolation:
    """How often something happened in a cohort that should not have: ``kind`` is what, such as ``low_accuracy``.

    ``of_rows``: whether it is counted at most once a scored row, so that its share of the rows means something.
    """

    kind: str
    severity: Severity
    count: int
    of_rows: bool = False


@dataclass(frozen=True)
class Cohort:
    """The evidence of one cohort.

    Attributes:
        at: when it began (ISO 8601, UTC), where it has a time; cohorts of ordered kinds have one.
        models: how many models decided about its rows.
        effects: measure (``cohort_comparisons.MEASURES``) -> how many of its rows are worth one independent row.
        violations: beside missed positives and false alarms, which the counts have.
        by_time: how many violations of all kinds there were from each moment (ISO 8601) on.
    """

    kind: CohortKind
    name: str
    counts: CohortCounts
    at: str = ""
    models: int = 1
    effects: Mapping[str, float] = field(default_factory=dict)
    violations: tuple[CountedViolation, ...] = ()
    by_time: Mapping[str, int] = field(default_factory=dict)

    def all_violations(self) -> tuple[CountedViolation, ...]:
        """The violations with missed positives and false alarms, those that happened."""
        own = ((MISSED, self.counts.missed), (FALSE_ALARM, self.counts.false_alarms))
        found = (*(CountedViolation(kind, _OWN_SEVERITY[kind], count, True) for kind, count in own), *self.violations)
        return tuple(one for one in found if one.count)


@dataclass(frozen=True)
class ViolationStats:
    """How many violations there were, in all and by each of three ways to divide them."""

    total_count: int
    by_severity: Mapping[str, int]
    by_type: Mapping[str, int]
    by_time: Mapping[str, int]


@dataclass(frozen=True)
class CohortFigures:
    """What a report says of one cohort.

    ``cohort_id``: ``<family>_<time>`` of training runs, else ``<family>_<kind>_<name>``; ``agent_count``: models;
    ``action_count``: rows; ``avg_risk_score``: mean probability, None without rows; ``risk_distribution``: rows of each
    tier; ``accuracy``, ``positive_rate``: shares of the labelled rows and of all rows, with exact 95 % intervals.
    """

    cohort_id: str
    kind: CohortKind
    name: str
    at: str
    agent_count: int
    action_count: int
    violation_stats: ViolationStats
    avg_risk_score: float | None
    risk_distribution: Mapping[str, int]
    labelled_count: int
    accuracy: Estimate
    positive_rate: Estimate


def figures_of(family: str, cohort: Cohort) -> CohortFigures:
    """What a report says of a cohort of a family."""
    counts, found = cohort.counts, cohort.all_violations()
    by_severity: Counter[str] = Counter()
    by_type: Counter[str] = Counter()
    for one in found:
        by_severity[one.severity] += one.count
        by_type[one.kind] += one.count
    total = sum(one.count for one in found)
    return CohortFigures(
        cohort_id=f"{family}_{cohort.at}" if cohort.kind == "training_run" else f"{family}_{cohort.kind}_{cohort.name}",
        kind=cohort.kind,
        name=cohort.name,
        at=cohort.at,
        agent_count=cohort.models,
        action_count=counts.rows,
        violation_stats=ViolationStats(
            total_count=total,
            by_severity=dict(sorted(by_severity.items())),
            by_type=dict(sorted(by_type.items())),
            by_time=dict(cohort.by_time) or ({cohort.at: total} if cohort.at and total else {}),
        ),
        avg_risk_score=mean_risk(counts),
        risk_distribution=dict(zip(TIERS, counts.tiers, strict=True)),
        labelled_count=counts.labelled,
        accuracy=proportion(
            counts.labelled - counts.missed - counts.false_alarms,
            counts.labelled,
            "no label is known",
            cohort.effects.get("wrong", 1.0),
        ),
        positive_rate=proportion(
            counts.called_positive, counts.rows, "no rows", cohort.effects.get("called_positive", 1.0)
        ),
    )


def mean_risk(counts: CohortCounts) -> float | None:
    """The mean probability, None where no rows have a tier."""
    rows = sum(counts.tiers)
    return counts.risk_sum / FIXED_POINT / rows if rows else None


def limited(cohorts: Iterable[Cohort], maximum: int = MAXIMUM_COHORTS) -> tuple[Cohort, ...]:
    """The cohorts of one kind by their names, the rarest together as ``other`` where there are more than ``maximum``.

    Their time and how alike their rows are is not known any more.
    """
    found = sorted(cohorts, key=lambda cohort: (-cohort.counts.rows, cohort.name))
    if len(found) <= maximum:
        return tuple(sorted(found, key=lambda cohort: cohort.name))
    kept = [cohort for cohort in found if cohort.name != OTHER][: maximum - 1]
    rest = [cohort for cohort in found if cohort not in kept]
    return (*sorted(kept, key=lambda cohort: cohort.name), _together(rest))


def _together(cohorts: list[Cohort]) -> Cohort:
    counts, violations = CohortCounts(), Counter[tuple[str, Severity, bool]]()
    by_time: Counter[str] = Counter()
    effects: dict[str, float] = {}
    for cohort in cohorts:
        counts += cohort.counts
        violations.update({(one.kind, one.severity, one.of_rows): one.count for one in cohort.violations})
        by_time.update(cohort.by_time)
        # The most correlated of them bounds the rest.
        effects |= {name: max(effect, effects.get(name, 1.0)) for name, effect in cohort.effects.items()}
    return Cohort(
        kind=cohorts[0].kind,
        name=OTHER,
        counts=counts,
        models=max(cohort.models for cohort in cohorts),
        effects=effects,
        violations=tuple(
            CountedViolation(kind, severity, count, of_rows)
            for (kind, severity, of_rows), count in sorted(violations.items())
        ),
        by_time=dict(sorted(by_time.items())),
    )
