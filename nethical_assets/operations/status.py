"""The state of the platform at a glance.

What belongs here: reading pointers, records, alerts and the head of the log. What does not: changing any of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from nethical_assets.core.alerts.silence import LOOKED
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.drift.segments import ended_segments, open_segments
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import damaged_segments, segment_folder
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.watching import DRIFT_REPORTS

_LATE = timedelta(minutes=10)
"""The sensors look every minute."""


def read_status(settings: Settings) -> dict[str, Any]:
    """Champions, stages, last drift verdicts, open alerts, the inference log and audit head; nothing is written."""
    workspace = Workspace(settings, CycleOptions(), "status")
    families = {}
    for family in family_names():
        champion = workspace.registry.champion(family)
        drift = workspace.records.newest(DRIFT_REPORTS.name, family)
        families[family] = {
            "champion": champion.model if champion else None,
            "version": champion.version if champion else None,
            "promoted_at": champion.decided_at if champion else None,
            "metrics": dict(champion.metrics) if champion else {},
            "candidates": len(workspace.registry.candidates(family)),
            "archived": len(workspace.registry.archived(family)),
            "drift": drift.facts["verdict"] if drift else None,
            "drift_score": drift.facts["drift_score"] if drift else None,
        }
    head = LogReader(settings.home / "audit").head()
    return {
        "home": str(settings.home),
        "families": families,
        "alerts": _alerts(workspace),
        "inference_log": _segments(settings),
        "audit": {"size": head.size if head else 0, "root": head.root if head else None},
    }


def told_of_looks(looked_at: str | None, now: datetime) -> str:
    """When the sensors of the daemon last looked, in words: nobody alerts of a daemon that is gone.

    Args:
        looked_at: ISO 8601 with a time zone; None where they never did.
    """
    if looked_at is None:
        return "The daemon has not watched this home yet: start it with `nethical ui`"
    when = datetime.fromisoformat(looked_at)
    said = f"The daemon looked last at {when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return said if now - when <= _LATE else f"{said}: nothing is watched until it runs again (`nethical ui`)"


def _alerts(workspace: Workspace) -> dict[str, Any]:
    if not (workspace.home / "alerts").exists():
        return {"open": 0, "held_back": 0, "looked_at": None}
    tracker = workspace.tracker
    return {
        "open": len(tracker.list(state="open")),
        "held_back": len(tracker.held()),
        "looked_at": tracker.position(LOOKED),
    }


def _segments(settings: Settings) -> dict[str, int]:
    """How many segments processes write, wait to be sealed, and were damaged."""
    folder = segment_folder(settings.home)
    return {
        "writing": len(open_segments(folder)),
        "waiting": len(ended_segments(folder)),
        "damaged": len(damaged_segments(settings.home)),
    }
