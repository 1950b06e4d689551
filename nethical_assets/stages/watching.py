"""The stage of drift reports: what the champion scored in a window, against its reference.

What belongs here: which window, and what is shown of the report. What does not: judging it (``home.watch``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.home.watch import watch_window
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.shown import Bullets, Picture, Shown, Table
from nethical_assets.stages.stage import Plan, Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

_OF_COLUMNS = ("distribution", "cumulative_distribution", "unseen_levels")


def _report(work: Work) -> Result:
    """The report about a window of a family's champion; without champion or traffic it is on hold."""
    workspace, family = work.workspace, work.subject
    hours = workspace.settings.file.monitoring.drift_interval_hours
    facts = watch_window(workspace, family, work.window or Window.at(workspace.now(), hours))
    subjects = {"champion": facts["model"]} if facts["model"] else {}
    return Result(workspace.objects.put(pretty_json(facts)), facts=facts, subjects=subjects)


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    window = facts["window"]
    numbers = {} if facts["drift_score"] is None else {"drift_score": float(facts["drift_score"])}
    of_columns = [one for one in facts["monitors"] if one["kind"] in _OF_COLUMNS]
    of_windows = [one for one in facts["monitors"] if one["kind"] not in _OF_COLUMNS]
    compared = facts["estimates"]["comparisons"]
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
        **_labels(facts),
        "model": facts["model"] or "none",
        "cause": facts["cause"] or "none",
        "reasons": Bullets(facts["reasons"]),
        "what_next": facts["what_next"],
        **_pictures(facts),
        **({"rates": Table(_monitor_rows(of_windows))} if of_windows else {}),
        "estimates": facts["estimates"]["reason"],
        **({"estimates_against_labels": Table(_compared_rows(compared))} if compared else {}),
        **({"columns": Table(_monitor_rows(of_columns))} if of_columns else {}),
    }


def _labels(facts: Mapping[str, Any]) -> dict[str, Shown]:
    """How many labels came, or in words why that is not known; nothing in a report of an older version."""
    return {
        name: f"not known: {facts['labels_not_counted']}" if facts[name] is None else facts[name]
        for name in ("labels_given", "labels_unknown")
        if name in facts
    }


def _in_words(window: Mapping[str, Any]) -> str:
    start, end = (datetime.fromisoformat(window[name]).astimezone(UTC) for name in ("start", "end"))
    until = "" if window["complete"] else ", before its end"
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC{until}"


def _compared_rows(comparisons: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table of estimates beside what labels said, newest first."""
    return [
        {
            "windows": f"{one['start'][:16]} to {one['end'][:16]}",
            **{name: one[name] for name in ("labelled_rows", "estimate", "low", "high", "accuracy")},
            "inside": "yes" if one["held"] else "no",
        }
        for one in reversed(comparisons)
    ]


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
