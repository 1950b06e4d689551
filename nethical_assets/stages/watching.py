"""The stage of drift reports: what the champion scored, against its reference window.

What belongs here: finding the window and the reference. What does not: statistics and verdicts (``core.drift``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import digest_json, pretty_json
from nethical_assets.home.inference import InferenceStore
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.shown import Bullets, Picture, Shown, Table
from nethical_assets.stages.stage import Plan, Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.core.drift.inference_log import LoggedWindow
    from nethical_assets.core.drift.reference import Reference
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

HOLD = "needs_more_data"
_OF_COLUMNS = ("distribution", "cumulative_distribution", "unseen_levels")


def _report(work: Work) -> Result:
    """The report about a family's champion in one window. Without champion or traffic the verdict is "needs more
    data"."""
    workspace, family = work.workspace, work.subject
    window = work.window or Window.at(workspace.now(), workspace.settings.file.monitoring.drift_interval_hours)
    # What was answered up to now is judged too, also by a server that was killed.
    InferenceStore(workspace).seal()
    champion = workspace.evidence.champion(family)
    if champion is None:
        return _result(workspace, window, _hold(f"family {family} has no champion to watch"), model="")
    from nethical_assets.core.drift.reference import Reference
    from nethical_assets.core.drift.verdict import compare

    reference = Reference.from_json(json.loads(workspace.objects.get(champion.reference)))
    monitoring = workspace.settings.file.monitoring
    promoted = datetime.fromisoformat(champion.decided_at)
    since = max(window.start, promoted)
    if since >= window.end:
        said = f"the champion was promoted at {champion.decided_at[:16]} UTC, after the window"
        return _result(workspace, window, _hold(said), champion.model)
    rows = workspace.inference_log.window(family, since=since, until=window.end, model_digest=champion.model)
    if rows.rows == 0:
        said = f"the champion scored nothing from {since:%Y-%m-%d %H:%M} to {window.end:%H:%M} UTC"
        return _result(workspace, window, _hold(said), champion.model)
    report = compare(
        reference,
        rows.probabilities,
        rows.sketch,
        window_scores=rows.scores,
        threshold=workspace.settings.file.performance_thresholds.drift_alert_threshold,
        alpha=monitoring.drift_false_alarm_rate,
        minimum_rows=monitoring.drift_minimum_rows,
    ).to_json()
    return _result(workspace, window, {**report, "histograms": _histograms(reference, rows)}, champion.model)


def _hold(reason: str) -> dict[str, Any]:
    return {"verdict": HOLD, "window_rows": 0, "reasons": [reason], "columns": []}


def _result(workspace: Workspace, window: Window, report: dict[str, Any], model: str) -> Result:
    score = None if report["verdict"] == HOLD else report["drift_score"]
    drifted = sorted(column["name"] for column in report["columns"] if column["drifted"])
    rate = report.get("positive_rate")
    thresholds = workspace.settings.file.performance_thresholds
    facts = {
        "histograms": {},
        **report,
        "threshold": thresholds.drift_alert_threshold,
        "accuracy_drop": thresholds.accuracy_drop_alert,
        "reference": "",
        "level": 0.0,
        "look": 0,
        "periods": [],
        "drift_score": score,
        "model": model,
        "priority": "normal" if report["verdict"] == "drift" else "none",
        "window": {
            "start": window.start.isoformat(),
            "end": window.end.isoformat(),
            "complete": window.end <= workspace.now(),
        },
        "rows": report["window_rows"],
        "labelled_rows": 0,
        "cause": digest_json({"model": model, "monitors": drifted}) if report["verdict"] == "drift" else "",
        "what_next": _WHAT_NEXT[report["verdict"]],
        "monitors": [
            {
                "kind": "positive_rate" if column["name"] == "positive_rate" else "distribution",
                "name": column["name"],
                "period": "window",
                "statistic": column["effect"],
                "low": None,
                "high": None,
                "score": column["effect"],
                "adjusted_p_value": column["adjusted_p_value"],
                "outcome": "drifted" if column["drifted"] else "unremarkable",
            }
            for column in report["columns"]
        ],
        "rates": [
            {
                "start": window.start.isoformat(),
                "rows": report["window_rows"],
                "positive_rate": None if rate is None else rate["window"],
                "accuracy": None,
                "estimated_accuracy": None,
            }
        ],
    }
    return Result(workspace.objects.put(pretty_json(facts)), facts=facts, subjects={"champion": model} if model else {})


_WHAT_NEXT = {
    "drift": "An alert is filed and retraining is asked for, once for this cause.",
    "stable": "Nothing needs to be done. An open alert about drift of this family closes.",
    HOLD: "Nothing is decided: the next window adds rows. Open alerts stay open.",
}


def _histograms(reference: Reference, rows: LoggedWindow) -> dict[str, Any]:
    """The shares of rows by bin of every column."""
    values = {"score": rows.scores, "probability": rows.probabilities}
    values |= {str(name): rows.sketch[name].to_numpy(dtype="float64") for name in rows.sketch.columns}
    found = {}
    for column in reference.columns:
        if column.name in values:
            own, counts = column.own_histogram(), column.histogram(values[column.name])
            found[column.name] = {
                "edges": list(column.edges),
                "reference": (own / max(int(own.sum()), 1)).tolist(),
                "window": (counts / max(int(counts.sum()), 1)).tolist(),
            }
    return found


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    window = facts["window"]
    numbers = {} if facts["drift_score"] is None else {"drift_score": float(facts["drift_score"])}
    of_columns = [one for one in facts["monitors"] if one["kind"] in _OF_COLUMNS]
    of_windows = [one for one in facts["monitors"] if one["kind"] not in _OF_COLUMNS]
    return {
        **numbers,
        "verdict": facts["verdict"],
        "priority": facts["priority"],
        "window": _in_words(window),
        "window_start": window["start"],
        "window_end": window["end"],
        "complete": window["complete"],
        "rows": facts["rows"],
        "labelled_rows": facts["labelled_rows"],
        "model": facts["model"] or "none",
        "cause": facts["cause"] or "none",
        "reasons": Bullets(facts["reasons"]),
        "what_next": facts["what_next"],
        **_pictures(facts),
        **({"rates": Table(_monitor_rows(of_windows))} if of_windows else {}),
        **({"columns": Table(_monitor_rows(of_columns))} if of_columns else {}),
    }


def _in_words(window: Mapping[str, Any]) -> str:
    start, end = (datetime.fromisoformat(window[name]).astimezone(UTC) for name in ("start", "end"))
    until = "" if window["complete"] else ", before its end"
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC{until}"


def _monitor_rows(monitors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table of monitors, in words."""
    return [
        {
            "monitor": one["name"] if one["name"] == one["kind"] else f"{one['name']}: {one['kind']}".replace("_", " "),
            "period": one["period"],
            "outcome": one["outcome"].replace("_", " "),
            "score": one["score"],
            "value": one["statistic"],
            "low": one["low"],
            "high": one["high"],
            "adjusted_p_value": one["adjusted_p_value"],
        }
        for one in monitors
    ]


def _pictures(facts: Mapping[str, Any]) -> dict[str, Shown]:
    """The pictures of what there is to draw; their titles say in words what they show."""
    from nethical_assets.core.drift.pictures import COLUMNS_DRAWN, columns_png, rates_png

    found: dict[str, Shown] = {}
    if facts["histograms"]:
        scores: dict[str, float] = {}
        for one in facts["monitors"]:
            if one["kind"] in _OF_COLUMNS and one["score"] is not None:
                scores[one["name"]] = max(scores.get(one["name"], 0.0), one["score"])
        most = min(COLUMNS_DRAWN, len(facts["histograms"]))
        title = f"Share of rows by bin, window beside reference, of the {most} columns that moved most"
        found["window_against_reference"] = Picture(title, columns_png(facts["histograms"], scores))
    if any(one["rows"] for one in facts["rates"]):
        title = "Share of rows called positive and accuracy over the windows up to this one, and their rows"
        found["rates_over_time"] = Picture(title, rates_png(facts["rates"]))
    return found


DRIFT_REPORTS = Stage(
    name=subjects.DRIFT_REPORTS,
    scope="family",
    description="What the champion scored in one window, against the reference stored at its promotion: scores, rates, "
    "inputs, and accuracy and calibration where labels came. One partition a window of the watch; a window that is "
    "judged again, because labels came later or by a backfill, is a new materialization. No traffic is never stable.",
    owner="team:on-call",
    follows=(RELEASES,),
    run=_report,
    plan=lambda work: Plan({} if work.window is None else {"window": work.window.key}, lookup=False),
    event=EventType.DRIFT_JUDGED,
    tells=lambda record: {
        "verdict": record.facts["verdict"],
        "score": record.facts["drift_score"],
        "rows": record.facts["rows"],
        "window": record.facts["window"]["start"],
    },
    shows=_shown,
    # A report that is missed once is late; one that is missed twice is a watch that stopped.
    fresh_for=lambda settings: timedelta(hours=2 * settings.file.monitoring.drift_interval_hours),
    in_cycle=False,
    seals=True,
    in_windows=True,
)
