"""Removing models that nobody uses any more.

What belongs here: removing what has expired, each removal recorded before it is made. What does not: what has expired
(``core.models.retention``), or when it is looked for (a schedule, or a person).
"""

from __future__ import annotations

from typing import Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.models.retention import expired_pointers
from nethical_assets.home.changes import remove_pointer
from nethical_assets.home.leases import families_held
from nethical_assets.home.settings import parse_duration
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.sealing import finalize_run
from nethical_assets.stages.training import MODELS

_WAITING_SECONDS = 60.0


def remove_expired(workspace: Workspace, *, archived_too: bool = False) -> list[dict[str, Any]]:
    """Remove candidates that the settings keep no longer, and on request replaced champions; what was removed.

    A family that a run is at work on is waited for.

    Raises:
        BusyError: a run is at work on a family for more than a minute.
        IntegrityError: a pointer, whose dates decide here, is not what was decided.
    """
    retention = workspace.settings.file.model_retention
    with families_held(workspace.home, family_names(), workspace.run_id, waiting_seconds=_WAITING_SECONDS):
        expired = expired_pointers(
            workspace.registry,
            family_names(),
            now=workspace.now(),
            keep_candidates=parse_duration(retention.candidates),
            keep_replaced=parse_duration(retention.production),
            archived_too=archived_too,
        )
        rows = []
        for one in expired:
            workspace.evidence.check_standing(one.pointer, one.stage)
            workspace.act(
                EventType.RETENTION_DELETED,
                {MODELS.record_name(one.pointer.family): one.pointer.model},
                remove_pointer(one.pointer, one.stage),
                payload={"stage": one.stage},
            )
            kept = workspace.registry.manifest_path(one.pointer.model).exists()
            rows.append({**one.pointer.to_json(), "stage": one.stage, "files_deleted": not kept})
        if rows:
            finalize_run(workspace)
        return rows
