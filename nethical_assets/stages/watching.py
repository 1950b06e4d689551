"""The stage of drift reports: what the champion scored, against its reference window.

What belongs here: finding the window and the reference. What does not: statistics and verdicts (``core.drift``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.home.inference import InferenceStore
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.shown import Bullets, Shown, Table
from nethical_assets.stages.stage import Plan, Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

HOLD = "needs_more_data"


def _report(work: Work) -> Result:
    """The report about a family's champion. Without champion or traffic the verdict is "needs more data"."""
    workspace, family = work.workspace, work.subject
    # What was answered up to now is judged too, also by a server that was killed.
    InferenceStore(workspace).seal()
    champion = workspace.evidence.champion(family)
    if champion is None:
        return _result(workspace, _hold(f"family {family} has no champion to watch"), model="")
    from nethical_assets.core.drift.reference import Reference
    from nethical_assets.core.drift.verdict import compare

    reference = Reference.from_json(json.loads(workspace.objects.get(champion.reference)))
    monitoring = workspace.settings.file.monitoring
    recent = workspace.now() - timedelta(hours=monitoring.drift_window_hours)
    since = max(recent, datetime.fromisoformat(champion.decided_at))
    window = workspace.inference_log.window(family, since=since, model_digest=champion.model)
    if window.rows == 0:
        hours = monitoring.drift_window_hours
        said = f"the champion scored nothing in the last {hours} hours"
        if since > recent:
            said = f"the champion scored nothing since it was promoted at {champion.decided_at[:16]} UTC"
        return _result(workspace, _hold(said), champion.model)
    report = compare(
        reference,
        window.probabilities,
        window.sketch,
        window_scores=window.scores,
        threshold=workspace.settings.file.performance_thresholds.drift_alert_threshold,
        alpha=monitoring.drift_false_alarm_rate,
        minimum_rows=monitoring.drift_minimum_rows,
    )
    return _result(workspace, report.to_json(), champion.model)


def _hold(reason: str) -> dict[str, Any]:
    return {"verdict": HOLD, "window_rows": 0, "reasons": [reason], "columns": []}


def _result(workspace: Workspace, report: dict[str, Any], model: str) -> Result:
    score = None if report["verdict"] == HOLD else report["drift_score"]
    facts = {**report, "drift_score": score, "model": model}
    return Result(workspace.objects.put(pretty_json(facts)), facts=facts, subjects={"champion": model} if model else {})


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    numbers = {} if facts["drift_score"] is None else {"drift_score": float(facts["drift_score"])}
    return {
        **numbers,
        "verdict": facts["verdict"],
        "rows": facts["window_rows"],
        "model": facts["model"] or "none",
        "reasons": Bullets(facts["reasons"]),
        "columns": Table(facts["columns"]),
    }


DRIFT_REPORTS = Stage(
    name=subjects.DRIFT_REPORTS,
    scope="family",
    description="Scores, positive rate and inputs of the inference log against the reference stored at promotion. "
    "Three verdicts: drift, stable, needs more data; no traffic is never stable.",
    owner="team:on-call",
    follows=(RELEASES,),
    run=_report,
    plan=lambda work: Plan(lookup=False),
    event=EventType.DRIFT_JUDGED,
    tells=lambda record: {
        "verdict": record.facts["verdict"],
        "score": record.facts["drift_score"],
        "rows": record.facts["window_rows"],
    },
    shows=_shown,
    # A report that is missed once is late; one that is missed twice is a watch that stopped.
    fresh_for=lambda settings: timedelta(hours=2 * settings.file.monitoring.drift_interval_hours),
    in_cycle=False,
    seals=True,
)
