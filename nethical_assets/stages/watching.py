"""The drift stage: the champion's inference log against its reference window.

What belongs here: finding the window and the reference. What does not: statistics and verdicts (``core.drift``).
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.verdict import compare
from nethical_assets.core.ground.digests import digest_json, pretty_json
from nethical_assets.home.progress import stage
from nethical_assets.home.records import StageRecord
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.stages.sealing import seal

HOLD = "needs_more_data"


def report_drift(workspace: Workspace, family: str) -> StageRecord:
    """The drift report of a family's champion. Without champion or traffic the verdict is "needs more data"."""
    with stage("drift_reports", family):
        champion = workspace.registry.champion(family)
        if champion is None:
            return _record(workspace, family, _hold(f"family {family} has no champion to watch"), model="")
        reference = Reference.from_json(json.loads(workspace.objects.get(champion.reference)))
        monitoring = workspace.settings.file.monitoring
        recent = utc_now() - timedelta(hours=monitoring.drift_window_hours)
        since = max(recent, datetime.fromisoformat(champion.decided_at))
        window = workspace.inference_log.window(family, since=since, model_digest=champion.model)
        if window.rows == 0:
            reason = f"the champion scored nothing in the last {monitoring.drift_window_hours} hours"
            return _record(workspace, family, _hold(reason), champion.model)
        report = compare(
            reference,
            window.probabilities,
            window.sketch,
            window_scores=window.scores,
            threshold=workspace.settings.file.performance_thresholds.drift_alert_threshold,
            alpha=monitoring.drift_false_alarm_rate,
            minimum_rows=monitoring.drift_minimum_rows,
        )
        return _record(workspace, family, report.to_json(), champion.model)


def _hold(reason: str) -> dict[str, Any]:
    return {"verdict": HOLD, "window_rows": 0, "reasons": [reason], "columns": []}


def _record(workspace: Workspace, family: str, report: dict[str, Any], model: str) -> StageRecord:
    score = None if report["verdict"] == HOLD else report["drift_score"]
    facts = {**report, "drift_score": score, "model": model}
    record = StageRecord(
        stage="drift_reports",
        subject=family,
        fingerprint=digest_json(facts),
        digest=workspace.objects.put(pretty_json(facts)),
        inputs={"model": model} if model else {},
        objects={},
        facts=facts,
    )
    workspace.record_event(
        "drift_judged",
        {f"drift_reports/{family}": record.digest},
        parents=[model] if model else [],
        payload={"verdict": report["verdict"], "score": score, "rows": report["window_rows"]},
    )
    seal(workspace)
    return record
