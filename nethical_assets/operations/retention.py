"""Removing models that nobody uses any more.

What belongs here: removing what has expired, each removal recorded before it is made. What does not: what has expired
(``core.models.retention``), or when it is looked for (a schedule, or a person).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.models.retention import Expired, expired_pointers
from nethical_assets.home.changes import remove_pointer
from nethical_assets.home.leases import families_held
from nethical_assets.home.settings import parse_duration
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.sealing import finalize_run
from nethical_assets.stages.training import MODELS

_WAITING_SECONDS = 60.0
_PUT_THERE_BY = {"candidates": EventType.GATE_DECIDED, "archived": EventType.MODEL_ARCHIVED}


def remove_expired(workspace: Workspace, *, archived_too: bool = False) -> list[dict[str, Any]]:
    """Remove candidates that the settings keep no longer, and on request replaced champions; what was removed.

    A family that a run is at work on is waited for. Nothing goes by its own date alone, which a clock that was set back
    may have made too early: the log must have no later time from before it was put there.

    Raises:
        BusyError: a run is at work on a family for more than a minute.
        IntegrityError: a pointer, whose dates decide here, is not what was decided.
    """
    retention = workspace.settings.file.model_retention
    kept_for = {
        "candidates": parse_duration(retention.candidates),
        "archived": parse_duration(retention.production),
    }
    with families_held(workspace.home, family_names(), workspace.run_id, waiting_seconds=_WAITING_SECONDS):
        expired = expired_pointers(
            workspace.registry,
            family_names(),
            now=workspace.now(),
            keep_candidates=kept_for["candidates"],
            keep_replaced=kept_for["archived"],
            archived_too=archived_too,
        )
        rows = []
        for one, put_there in zip(expired, _put_there(workspace, expired), strict=True):
            workspace.evidence.check_standing(one.pointer, one.stage)
            if workspace.now() - put_there <= kept_for[one.stage]:
                continue
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


def _put_there(workspace: Workspace, expired: Sequence[Expired]) -> list[datetime]:
    """For each pointer the time before which the log says that it was not put where it is; now, if that is not
    finalised yet."""
    log, now = workspace.audit_log, workspace.now()
    leaves = [
        [found.index for found in log.find_events(event_type=_PUT_THERE_BY[one.stage], digest=one.pointer.model)]
        for one in expired
    ]
    times = log.latest_times({found[-1] for found in leaves if found}, now)
    return [times[found[-1]] if found else now for found in leaves]
