"""The cohorts of a family as its stages left them: training runs, traffic, and the levels of a declared column.

What belongs here: finding what the log, the records and the inference log have of each. What does not: counting and
comparing (``core.evaluation``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.stages.canonical import COHORTS, DATASETS
from nethical_assets.stages.checking import CHECKED
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.screening import SCREENED
from nethical_assets.stages.splitting import SPLITS

if TYPE_CHECKING:
    from nethical_assets.core.evaluation.cohort_traffic import TrafficCounts
    from nethical_assets.core.evaluation.cohorts import Cohort, CohortKind, Severity
    from nethical_assets.core.evaluation.ethical_report import FailedCheck
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

MAXIMUM_RUNS = 30
"""So many training runs of a family are compared, the newest."""
_SCREENED_KIND = "screened."
"""Before the kind of what screening found in a run's rows, in the types of violations."""


@dataclass
class CohortEvidence:
    """What a home has of the cohorts of its families, over one period of traffic."""

    workspace: Workspace
    notes: dict[str, list[str]] = field(default_factory=dict)
    damage: dict[str, str] = field(default_factory=dict)

    @cached_property
    def until(self) -> datetime:
        """The end of the period."""
        return self.workspace.now()

    @cached_property
    def since(self) -> datetime:
        """The beginning of the period: as long before its end as drift reports look back."""
        return self.until - timedelta(hours=self.workspace.settings.file.monitoring.drift_window_hours)

    def of_family(self, family: str) -> dict[CohortKind, Sequence[Cohort]]:
        """The cohorts of every kind but sources; what there is none of is noted."""
        from nethical_assets.core.evaluation.cohorts import limited

        traffic = self._traffic(family)
        found: dict[CohortKind, Sequence[Cohort]] = {
            "training_run": self._runs(family),
            "column": limited(self._levels(family)),
        }
        if traffic is not None:
            found["time_window"] = traffic.by_window(self._severity)
            found["route"] = traffic.by_route(self._severity, self._shown)
            if not traffic.labelled:
                self._note(family, "no label came for this traffic, so that its errors by route and window are unknown")
            if not traffic.correlated:
                self._note(family, "rows of traffic count as independent: it is too young to learn how alike they are")
            self._note(family, "traffic is told apart by route and window only: requests say nothing of other cohorts")
        return {kind: cohorts for kind, cohorts in found.items() if cohorts}

    def failed_checks(self, family: str) -> tuple[FailedCheck, ...]:
        """The checks of the family's data that failed when they were last evaluated."""
        from nethical_assets.core.evaluation.ethical_report import FailedCheck
        from nethical_assets.core.quality.checks import CHECKS, stops

        blocking = self.workspace.settings.file.datasets.blocking_checks
        entries = self.workspace.settings.catalog.for_family(family)
        tables = [(RAW, entry.name) for entry in entries] + [(DATASETS, family), (SPLITS, family)]
        return tuple(
            FailedCheck(name, stage.record_name(subject), since, stops(name, CHECKED[stage], blocking))
            for stage, subject in tables
            for name, since in self.workspace.validation_history.failing(stage.name, subject).items()
            if name in CHECKS
        )

    def _note(self, family: str, note: str) -> None:
        self.notes.setdefault(family, []).append(note)

    @cached_property
    def _decided(self) -> list[Event]:
        """Every gate decision, those of runs that did not end yet included, oldest first."""
        log = self.workspace.audit_log
        logged = [found.event for found in log.find_events(event_type=EventType.GATE_DECIDED)]
        waiting = log.pending_events(b'"gate_decided"')
        return sorted(
            (*logged, *(event for event in waiting if event.type is EventType.GATE_DECIDED)),
            key=lambda event: (event.time, event.run_id, event.sequence),
        )

    def _runs(self, family: str) -> list[Cohort]:
        """The training runs whose candidate the gate decided about, oldest first."""
        name = RELEASES.record_name(family)
        events = [event for event in self._decided if any(subject.name == name for subject in event.subjects)]
        found, lost = [], 0
        for event in events[-MAXIMUM_RUNS:]:
            cohort = self._run(family, event, name)
            if cohort is None:
                lost += 1
            else:
                found.append(cohort)
        if lost:
            self._note(family, f"{lost} training runs are left out: what they measured is not kept, or is damaged")
        return found

    def _run(self, family: str, event: Event, name: str) -> Cohort | None:
        from nethical_assets.core.evaluation.cohort_runs import effects_of_run, run_counts
        from nethical_assets.core.evaluation.cohorts import Cohort, CohortCounts, CountedViolation
        from nethical_assets.core.evaluation.ethical_report import counted, gate_violations
        from nethical_assets.core.evaluation.gate import GateDecision
        from nethical_assets.core.evaluation.metrics import Evaluation
        from nethical_assets.core.ground.documents import from_document

        objects = self.workspace.objects
        decision = next(subject.digest for subject in event.subjects if subject.name == name)
        try:
            document = json.loads(objects.get(decision))
            gate = from_document(GateDecision, document["gate"], f"decision {decision}")
            evaluation = Evaluation.from_json(json.loads(objects.get(document["evaluation"])), "evaluation")
        except (IntegrityError, KeyError, ValueError, TypeError):
            return None
        counts = run_counts(evaluation)
        if counts is None:
            return None
        screened = self._screening(family, document["evaluation"])
        removed = _whole(screened.get("quarantined")) if screened else 0
        total = max(_whole(screened.get("records_screened")), removed) if screened else 0
        kinds: Mapping[str, Any] = screened.get("by_kind", {}) if screened else {}
        failing = [check for check in self.failed_checks(family) if check.since <= event.time]
        return Cohort(
            kind="training_run",
            name=event.time,
            counts=counts + CohortCounts(screened=total, removed=removed),
            at=event.time,
            effects=effects_of_run(evaluation),
            violations=(
                *counted(gate_violations(gate)),
                *(
                    CountedViolation(f"{_SCREENED_KIND}{kind}", self._severity(kind), _whole(count))
                    for kind, count in sorted(kinds.items())
                ),
                *(CountedViolation(f"check.{one.name}", "high" if one.stops else "low", 1) for one in failing),
            ),
        )

    def _screening(self, family: str, evaluation: str) -> Mapping[str, Any] | None:
        """What the event about the screening of an evaluation's rows tells, also where an earlier run screened them;
        None where it is not kept. The way there is that of the signed statements."""
        provenance, output = self.workspace.provenance, evaluation
        try:
            for stage, before in ((EVALUATIONS, SPLITS), (SPLITS, SCREENED)):
                statement = provenance.find(stage.name, family, output)
                if statement is None:
                    return None
                output = provenance.open(statement)[0].dependencies[before.record_name(family)]
            event = self.workspace.evidence.named_by(output, EventType.DATA_SCREENED)
            told = None if event is None else self.workspace.audit_log.payload(event)
        except (IntegrityError, KeyError):
            return None
        return told if isinstance(told, dict) else None

    def _traffic(self, family: str) -> TrafficCounts | None:
        """What the champion answered in the period, since it is champion; damage stops this family's traffic only."""
        try:
            return self._count(family)
        except (DatasetError, IntegrityError) as error:
            self.damage[family] = str(error)
            return None

    def _count(self, family: str) -> TrafficCounts | None:
        from nethical_assets.core.evaluation.cohort_traffic import count_traffic

        champion = self.workspace.evidence.champion(family)
        if champion is None:
            return None
        since = max(self.since, datetime.fromisoformat(champion.decided_at))
        return count_traffic(
            self.workspace.inference_log,
            self.workspace.feedback_log,
            family,
            champion.model,
            since,
            max(self.until, since),
            hours=self.workspace.settings.file.monitoring.drift_interval_hours,
        )

    def _levels(self, family: str) -> list[Cohort]:
        """The test rows of each level of the declared columns, as the newest evaluation scored them."""
        from nethical_assets.core.evaluation.cohorts import Cohort, CohortCounts
        from nethical_assets.core.ground.parquet import get_table
        from nethical_assets.core.models.loading import DECISION_THRESHOLD

        declared = [entry.name for entry in self.workspace.settings.catalog.for_family(family) if entry.cohort_column]
        dataset, evaluated = (self.workspace.records.newest(one.name, family) for one in (DATASETS, EVALUATIONS))
        if not declared or dataset is None or evaluated is None:
            return []
        if COHORTS not in dataset.objects:
            self._note(
                family, f"the cohort column of {', '.join(declared)} is not told: a row is made of several records"
            )
            return []
        levels = get_table(self.workspace.objects, dataset.objects[COHORTS])
        scored = get_table(self.workspace.objects, evaluated.objects["predictions"])
        # A row is known by its content, so that those of both tables are the same ones.
        joined = scored.merge(levels, on="row_id", how="inner")
        return [
            Cohort(
                kind="column",
                name=str(level),
                counts=CohortCounts.of_test_rows(
                    rows["label"].to_numpy(), rows["probability"].to_numpy(dtype=float), DECISION_THRESHOLD
                ),
                effects=_grouped_effects(evaluated),
            )
            for level, rows in joined.groupby("level", sort=True)
        ]

    @cached_property
    def _severities(self) -> dict[str, Severity]:
        """The severity of each kind of finding: the highest of its rules."""
        from nethical_assets.core.governance.rules import Severity as RuleSeverity

        worst: dict[str, RuleSeverity] = {}
        for rule in self.workspace.ruleset.all_rules:
            known = worst.get(rule.kind)
            if known is None or rule.severity.rank > known.rank:
                worst[rule.kind] = rule.severity
        return {kind: severity.value for kind, severity in worst.items()}

    def _severity(self, kind: str) -> Severity:
        return self._severities.get(kind, "medium")

    def _shown(self, route: str) -> str:
        """A route by a name that may be shown: a program names it, but nothing else vouches for that."""
        import pandas as pd

        found = self.workspace.screener.screen(pd.Series([route], dtype="str"))
        return self.workspace.pseudonyms.token("ROUTE", route) if len(found) else route


def _grouped_effects(evaluated: StageRecord) -> dict[str, float]:
    from nethical_assets.core.evaluation.cohort_runs import effects_of_run
    from nethical_assets.core.evaluation.metrics import Evaluation

    return effects_of_run(Evaluation.from_json(evaluated.facts["evaluation"]))


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
