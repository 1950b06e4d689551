"""The stage of the ethical drift report: whether errors and removals fall on some more than on others, in every family.

What belongs here: collecting what the stages of each family recorded. What does not: the comparisons and their limits
(``core.evaluation.ethical_report``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.screening import SCREENED
from nethical_assets.stages.shown import Markdown, Shown
from nethical_assets.stages.stage import Plan, Result, Stage, Work
from nethical_assets.stages.watching import DRIFT_REPORTS

if TYPE_CHECKING:
    from nethical_assets.core.drift.verdict import DriftReport
    from nethical_assets.core.evaluation.ethical_report import FamilyEvidence
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace


def _judge(work: Work) -> Result:
    """The report over the families that were evaluated."""
    from nethical_assets.core.evaluation.ethical_report import ethical_drift_report
    from nethical_assets.core.ground.documents import to_document

    workspace = work.workspace
    found = [evidence for family in family_names() if (evidence := _evidence(workspace, family)) is not None]
    report = ethical_drift_report(found)
    document = to_document(report)
    markdown = workspace.objects.put(report.to_markdown().encode())
    return Result(workspace.objects.put(pretty_json(document)), {"report": markdown}, document)


def _evidence(workspace: Workspace, family: str) -> FamilyEvidence | None:
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
        drift=None if drift is None else _traffic(workspace, drift.facts),
    )


def _traffic(workspace: Workspace, facts: Mapping[str, Any]) -> DriftReport | None:
    """How often the trailing period was called positive; None where nothing was scored. Reports of older versions say
    no rates."""
    from nethical_assets.core.drift.verdict import DriftReport, RateShift

    rates = [rate for rate in facts.get("rates", []) if rate["rows"]]
    rows = sum(rate["rows"] for rate in rates)
    if not rows:
        return None
    newest = facts["periods"][-1]["report"]
    measured = {one["monitor"]["kind"]: one["monitor"]["measurement"] for one in newest["outcomes"]}["positive_rate"]
    shift = None
    if measured["statistic"] is not None:
        rate = sum(rate["rows"] * rate["positive_rate"] for rate in rates) / rows
        shift = RateShift(rate - measured["statistic"], rate, measured["low"], measured["high"])
    return DriftReport(
        verdict="stable",
        reasons=(),
        drift_score=facts["drift_score"] or 0.0,
        threshold=facts["threshold"],
        alpha=facts["level"],
        minimum_rows=workspace.settings.file.monitoring.drift_minimum_rows,
        reference_rows=measured["reference_rows"],
        window_rows=rows,
        positive_rate=shift,
        columns=(),
        not_compared=(),
    )


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    return {
        "verdict": record.facts["verdict"],
        "families": len(record.facts["families"]),
        "report": Markdown(workspace.objects.get(record.objects["report"]).decode()),
    }


ETHICAL_DRIFT_REPORT = Stage(
    name="ethical_drift_report",
    scope="platform",
    description="Whether missed positives, false alarms and what screening takes away fall on some sources or labels "
    "more than on others, within each family. Three verdicts, each with its sample size and bounds.",
    owner="team:on-call",
    follows=(RELEASES, DRIFT_REPORTS),
    run=_judge,
    plan=lambda work: Plan(lookup=False),
    event=EventType.DRIFT_JUDGED,
    tells=lambda record: {"verdict": record.facts["verdict"], "families": len(record.facts["families"])},
    shows=_shown,
    kinds=frozenset({"json", "markdown"}),
    group=DRIFT_REPORTS.name,
    in_cycle=False,
    seals=True,
)
