"""Bringing back a dataset from a backup or the mirror.

What belongs here: which copy is restored. What does not: verifying bytes (``core.datasets.backups``,
``core.datasets.snapshots``), or the checks that a restored copy has to pass before anything trains on it (``stages``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.datasets.refresh import refresh_dataset
from nethical_assets.core.ground.errors import IntegrityError, SourceUnavailableError
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.home.records import StageRecord
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.stages.fetching import ARRIVALS, RAW, RecordedArrivals, downloads_folder, raw_result
from nethical_assets.stages.stage import Work, conclude

if TYPE_CHECKING:
    from nethical_assets.core.datasets.snapshots import Snapshot

Origin = Literal["backup", "mirror"]
_WAITING_SECONDS = 600.0


def restore(workspace: Workspace, entry: DatasetEntry, origin: Origin | None = None) -> StageRecord:
    """Make an older or undamaged copy of ``entry`` the newest snapshot; it counts as not validated.

    From a backup: where the present snapshot is damaged or gone, its own content, else what was current before it;
    where it is intact, what was current before it. Older damaged snapshots that have a backup are repaired too. From
    the mirror: its files, read anew. Without ``origin``: a backup if there is a suitable one, else the mirror.

    The event is recorded before the copy becomes the newest snapshot, and a copy that an event names as restored waits
    for its validation: whoever was killed meanwhile restores again.

    Raises:
        IntegrityError: no backup can be used; the message names the damaged files.
        SourceUnavailableError: the mirror cannot serve the dataset.
        BusyError: a refresh of the dataset takes too long.
    """
    if origin is None:
        try:
            return restore(workspace, entry, "backup")
        except IntegrityError:
            if workspace.settings.mirror is None:
                raise
            return restore(workspace, entry, "mirror")
    snapshot, reason = _from_backup(workspace, entry) if origin == "backup" else _from_mirror(workspace, entry)
    work = Work(workspace, RAW, entry.name, {})
    record = conclude(work, RAW.plan(work), raw_result(entry, snapshot, status="restored", reason=reason))
    workspace.records.publish(record, workspace.run_id)
    return record


def _from_backup(workspace: Workspace, entry: DatasetEntry) -> tuple[Snapshot, str]:
    with exclusive_lock(
        downloads_folder(workspace) / f"{entry.name}.lock",
        waiting_seconds=_WAITING_SECONDS,
        what=f"the refresh of {entry.name}",
    ):
        present = _intact_snapshot(workspace, entry.name)
        current = workspace.snapshots.newest_digest(entry.name)
        problems: list[str] = []
        _repair_older(workspace, entry.name)
        for backup in workspace.backups.candidates(entry.name, current, damaged=present is None):
            try:
                snapshot, data = backup.load()
            except IntegrityError as error:
                problems.append(str(error))
                continue
            if not _is_known(workspace, snapshot.digest):
                problems.append(
                    f"the backup of {snapshot.fetched_at} has content {snapshot.digest}, of which the audit log knows "
                    "no fetch"
                )
                continue
            workspace.backups.note_restored(backup, utc_now())
            workspace.snapshots.repair(snapshot, data)
            skipped = "".join(f"; {problem}" for problem in problems)
            reason = f"backup of the snapshot of {snapshot.fetched_at} from {snapshot.source}{skipped}"
            # Its age counts from when it was fetched.
            snapshot = replace(snapshot, refreshed_at=snapshot.fetched_at)
            _arrivals(workspace, entry, {"from": "backup", "reason": reason}).arrive(snapshot)
            return snapshot, reason
    if present is None:
        problems.append("there is no intact backup: name --from mirror, or run nethical data fetch --force")
    else:
        problems.append(f"the snapshot of {present.fetched_at} is intact and there is no older backup of it")
    raise IntegrityError(f"dataset {entry.name}: {'; '.join(problems)}")


def _is_known(workspace: Workspace, digest: str) -> bool:
    """Whether the log knows that this content arrived; a home that lost its log has nothing to hold it against."""
    log = workspace.audit_log
    return log.checkpoint_bytes() is None or workspace.evidence.named_by(digest, *ARRIVALS) is not None


def _repair_older(workspace: Workspace, name: str) -> None:
    """Store bytes and manifest of every snapshot that has an intact backup and is damaged itself."""
    for backup in workspace.backups.list(name):
        with contextlib.suppress(IntegrityError):
            workspace.snapshots.repair(*backup.load())


def _from_mirror(workspace: Workspace, entry: DatasetEntry) -> tuple[Snapshot, str]:
    from nethical_assets.core.governance.names import private_names
    from nethical_assets.core.sources.mirror_source import MirrorSource

    if workspace.settings.mirror is None:
        raise SourceUnavailableError("--from mirror needs NETHICAL_DATA_MIRROR: a folder with OWNER/NAME/files/ in it")

    outcome = refresh_dataset(
        entry,
        [MirrorSource(workspace.settings.mirror)],
        workspace.snapshots,
        now=utc_now(),
        work_folder=downloads_folder(workspace),
        maximum_rows=workspace.settings.file.datasets.maximum_rows,
        seed=workspace.settings.file.training.seed,
        force=True,
        keeper=_arrivals(workspace, entry, {"from": "mirror"}),
        private_names=lambda names: private_names(names, workspace.screener),
    )
    if outcome.snapshot is None or outcome.stale:
        raise SourceUnavailableError(f"dataset {entry.name} cannot be restored from the mirror: {outcome.reason}")
    return outcome.snapshot, outcome.reason


def _arrivals(workspace: Workspace, entry: DatasetEntry, told: Mapping[str, str]) -> RecordedArrivals:
    return RecordedArrivals(workspace, entry, lambda *_: EventType.DATA_RESTORED, told)


def _intact_snapshot(workspace: Workspace, name: str) -> Snapshot | None:
    try:
        latest = workspace.snapshots.latest(name)
    except IntegrityError:
        return None
    return latest if latest is not None and workspace.snapshots.is_intact(latest) else None
