"""The stage of the ethical drift report: whether errors and removals fall on some more than on others, in every family.

What belongs here: collecting what the stages of each family recorded. What does not: the comparisons and their limits
(``core.evaluation.ethical_report``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.home.inference import InferenceStore
from nethical_assets.stages.cohort_evidence import CohortEvidence
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.screening import SCREENED
from nethical_assets.stages.shown import Bullets, Markdown, Picture, Shown, Table
from nethical_assets.stages.stage import Plan, Result, Stage, Work
from nethical_assets.stages.watching import DRIFT_REPORTS

if TYPE_CHECKING:
    from nethical_assets.core.evaluation.ethical_report import FamilyEvidence
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace


def _judge(work: Work) -> Result:
    """The report over the families that were evaluated."""
    from nethical_assets.core.evaluation.cohort_plots import cohort_trends_png
    from nethical_assets.core.evaluation.ethical_report import ethical_drift_report
    from nethical_assets.core.evaluation.ethical_text import render_ethical_report
    from nethical_assets.core.ground.documents import to_document

    workspace = work.workspace
    # What was answered up to now is counted too, also by a server that was killed.
    InferenceStore(workspace).seal()
    cohorts = CohortEvidence(workspace)
    found = [one for family in family_names() if (one := _evidence(workspace, family, cohorts)) is not None]
    period = (cohorts.since, cohorts.until)
    start, end = (moment.isoformat(timespec="seconds") for moment in period)
    report = ethical_drift_report(found, start_time=start, end_time=end)
    document = {**to_document(report), "generated_at": end}
    # matplotlib keeps a cache of fonts, by default in the user's home, where nothing of ours belongs.
    os.environ.setdefault("MPLCONFIGDIR", str(workspace.home / "cache" / "matplotlib"))
    objects = {
        "report": workspace.objects.put(render_ethical_report(report).encode()),
        "trends": workspace.objects.put(cohort_trends_png(report)),
    }
    return Result(workspace.objects.put(pretty_json(document)), objects, document)


def _evidence(workspace: Workspace, family: str, cohorts: CohortEvidence) -> FamilyEvidence | None:
    from nethical_assets.core.evaluation.drift_facts import traffic_shift
    from nethical_assets.core.evaluation.ethical_report import FamilyEvidence
    from nethical_assets.core.evaluation.gate import GateDecision
    from nethical_assets.core.evaluation.metrics import Evaluation
    from nethical_assets.core.ground.documents import from_document

    evaluated = workspace.records.newest(EVALUATIONS.name, family)
    if evaluated is None:
        return None
    release = workspace.records.newest(RELEASES.name, family)
    screened = workspace.records.newest(SCREENED.name, family)
    drift = workspace.records.newest(DRIFT_REPORTS.name, family)
    removed = {} if screened is None else screened.facts["removed_by_label"]
    return FamilyEvidence(
        family=family,
        evaluation=Evaluation.from_json(evaluated.facts["evaluation"]),
        gate=None if release is None else from_document(GateDecision, release.facts["gate"], release.name),
        removed_by_label={label: (counts[0], counts[1]) for label, counts in removed.items()},
        drift=None if drift is None else traffic_shift(drift.facts),
        cohorts=cohorts.of_family(family),
        failed_checks=cohorts.failed_checks(family),
        damage=cohorts.damage.get(family, ""),
        notes=tuple(cohorts.notes.get(family, ())),
    )


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    from nethical_assets.core.evaluation.cohorts import CohortFigures
    from nethical_assets.core.evaluation.ethical_text import cohort_row
    from nethical_assets.core.ground.documents import from_document

    facts = record.facts
    cohorts = [cohort for family in facts["families"].values() for cohort in family["cohorts"]]
    return {
        "verdict": facts["verdict"],
        "has_drift": facts["drift_metrics"]["has_drift"],
        "drift_score": float(facts["drift_metrics"]["drift_score"]),
        "families": len(facts["families"]),
        "recommendations": Bullets(facts["recommendations"]),
        "cohorts": Table([cohort_row(from_document(CohortFigures, one, record.name)) for one in cohorts]),
        "trends": Picture("Training runs and traffic over time", workspace.objects.get(record.objects["trends"])),
        "report": Markdown(workspace.objects.get(record.objects["report"]).decode()),
    }


ETHICAL_DRIFT_REPORT = Stage(
    name="ethical_drift_report",
    scope="platform",
    description="Whether missed positives, false alarms and what screening takes away fall on some training runs, "
    "windows, routes, sources or declared cohorts more than on others, or grow over time, within each family. Three "
    "verdicts, each with its sample size and bounds.",
    owner="team:on-call",
    follows=(RELEASES, DRIFT_REPORTS),
    run=_judge,
    plan=lambda work: Plan(lookup=False),
    event=EventType.DRIFT_JUDGED,
    tells=lambda record: {
        "verdict": record.facts["verdict"],
        "families": len(record.facts["families"]),
        "has_drift": record.facts["drift_metrics"]["has_drift"],
    },
    shows=_shown,
    kinds=frozenset({"json", "markdown"}),
    group=DRIFT_REPORTS.name,
    in_cycle=False,
    seals=True,
)
