"""Removing models that nobody uses any more, and batches of the inference log that are too old.

What belongs here: removing what has expired, each removal recorded before it is made. What does not: what has expired
(``core.models.retention``, ``core.drift.expiry``), or when it is looked for (a schedule, or a person).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.models.retention import Expired, expired_pointers
from nethical_assets.home.changes import drop_batches, remove_pointer
from nethical_assets.home.evidence import BATCH_PREFIX, FEEDBACK_PREFIX
from nethical_assets.home.inference import InferenceStore
from nethical_assets.home.leases import families_held
from nethical_assets.home.settings import parse_duration
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.sealing import finalize_run
from nethical_assets.stages.training import MODELS

_WAITING_SECONDS = 60.0
_BATCHES_AN_ACT = 150
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


@dataclass(frozen=True)
class RemovedBatches:
    """How many batches of predictions and of labels were removed."""

    predictions: int
    labels: int


def remove_expired_batches(workspace: Workspace) -> RemovedBatches:
    """Remove the batches of the inference log that the settings keep no longer; each act names those that it removes.

    As with models, the log must have no later time from before a batch was recorded. One that the log does not name, or
    not yet, stays. What is recorded waits to be finalised by the caller.

    Raises:
        BusyError: another process seals for minutes.
        AuditError: the log is not what was signed, or takes no event; what was not recorded is still there.
        OSError: a file could not be read, or not be removed: whoever acts next goes on.
    """
    serving = workspace.home / "serving"
    if not any((serving / store).exists() for store in ("inference", "feedback")):
        return RemovedBatches(0, 0)
    kept_for = timedelta(days=workspace.settings.file.monitoring.inference_retention_days)
    with InferenceStore(workspace).held():
        workspace.acts.settle()
        expired = _expired_batches(workspace, serving, kept_for)
        for start in range(0, len(expired), _BATCHES_AN_ACT):
            names = sorted(expired)[start : start + _BATCHES_AN_ACT]
            workspace.act(
                EventType.RETENTION_DELETED,
                {name: expired[name] for name in names},
                drop_batches(_without(BATCH_PREFIX, names), _without(FEEDBACK_PREFIX, names)),
                payload={"kept_days": kept_for.days},
            )
    predictions = len(_without(BATCH_PREFIX, expired))
    return RemovedBatches(predictions, len(expired) - predictions)


def _expired_batches(workspace: Workspace, serving: Path, kept_for: timedelta) -> dict[str, str]:
    """The subject of each batch that is there and too old -> its digest, as the log has it."""
    from nethical_assets.core.drift.expiry import batches_between

    before = workspace.now() - kept_for
    there = {f"{BATCH_PREFIX}{path.parent.name}/{path.name}": path for path in serving.glob("inference/*/*.parquet")}
    there |= {f"{FEEDBACK_PREFIX}{path.name}": path for path in serving.glob("feedback/*.parquet")}
    old = {name: there[name] for name in batches_between(there, None, before, whole=True)}
    if not old:
        return {}
    # Leaves of older versions name the family only.
    families = {(name.rpartition("/")[0], digest_bytes(path.read_bytes())): name for name, path in old.items()}
    recorded: dict[str, tuple[str, int]] = {}
    log = workspace.audit_log
    for found in log.find_events(event_type=EventType.BATCH_SCORED) if log.checkpoint_bytes() is not None else ():
        for subject in found.event.subjects:
            name = subject.name if subject.name in old else families.get((subject.name, subject.digest))
            if name is not None:
                recorded[name] = subject.digest, found.index
    times = log.latest_times({index for _, index in recorded.values()}, workspace.now())
    return {name: digest for name, (digest, index) in recorded.items() if times[index] < before}


def _without(prefix: str, names: Iterable[str]) -> list[str]:
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
