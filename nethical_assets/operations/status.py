"""The state of the platform at a glance.

What belongs here: reading pointers, records, alerts and the head of the log. What does not: changing any of it.
"""

from __future__ import annotations

from typing import Any

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.drift.segments import ended_segments, open_segments
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import damaged_segments, segment_folder
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.watching import DRIFT_REPORTS


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
    open_alerts = workspace.tracker.list(state="open") if (settings.home / "alerts").exists() else []
    return {
        "home": str(settings.home),
        "families": families,
        "alerts": {"open": len(open_alerts)},
        "inference_log": _segments(settings),
        "audit": {"size": head.size if head else 0, "root": head.root if head else None},
    }


def _segments(settings: Settings) -> dict[str, int]:
    """How many segments processes write, wait to be sealed, and were damaged."""
    folder = segment_folder(settings.home)
    return {
        "writing": len(open_segments(folder)),
        "waiting": len(ended_segments(folder)),
        "damaged": len(damaged_segments(settings.home)),
    }
