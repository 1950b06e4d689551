"""Recovery: bringing back a dataset from a backup or the mirror, and validating it before anything trains on it.

What belongs here: which copy is restored, and what is remembered of it until it is validated. What does not: verifying
bytes (``core.datasets.backups``, ``core.datasets.snapshots``), or the checks (``quality``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nethical_assets.core.datasets.refresh import refresh_dataset
from nethical_assets.core.datasets.snapshots import timestamp
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, SourceUnavailableError
from nethical_assets.core.ground.storage import exclusive_lock, read_json, write_json
from nethical_assets.core.quality.checks import CheckOutcome
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.home.records import StageRecord
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.stages.fetching import downloads_folder, raw_record

if TYPE_CHECKING:
    from nethical_assets.core.datasets.backups import Backup
    from nethical_assets.core.datasets.snapshots import Snapshot

Origin = Literal["backup", "mirror"]
_WAITING_SECONDS = 600.0


def restore(workspace: Workspace, entry: DatasetEntry, origin: Origin | None = None) -> StageRecord:
    """Make an older or undamaged copy of ``entry`` the newest snapshot; it counts as not validated.

    From a backup: the newest intact one where the present snapshot is damaged or gone; else the newest one that was
    made before the present snapshot's. From the mirror: its files, read anew. Without ``origin``: a backup if there is
    a suitable one, else the mirror.

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
    write_json(
        _marker(workspace, entry.name),
        {"snapshot": snapshot.digest, "from": origin, "restored_at": timestamp(utc_now())},
    )
    record = raw_record(entry, snapshot, status="restored", reason=reason)
    workspace.save_record(record)
    workspace.record_event(
        "data_restored",
        {f"raw/{entry.name}": snapshot.digest},
        payload={"slug": entry.slug, "from": origin, "rows": snapshot.rows, "reason": reason},
    )
    return record


def blocking_failures(workspace: Workspace, outcomes: Sequence[CheckOutcome]) -> list[CheckOutcome]:
    """The outcomes that stop a family by the settings."""
    blocking = workspace.settings.file.datasets.blocking_checks
    return [outcome for outcome in outcomes if outcome.name in blocking and outcome.status == "fail"]


def settle_restored(workspace: Workspace, name: str, snapshot: Snapshot, outcomes: Sequence[CheckOutcome]) -> None:
    """Note the validation of a dataset: a restored snapshot that no blocking check fails may be used from now on."""
    if is_pending(workspace, name, snapshot.digest) and not blocking_failures(workspace, outcomes):
        _marker(workspace, name).unlink(missing_ok=True)
        workspace.record_event(
            "data_validated",
            {f"raw/{name}": snapshot.digest},
            payload={"restored": True, **{outcome.name: outcome.status for outcome in outcomes}},
        )


def validate_restored(workspace: Workspace, entries: Iterable[DatasetEntry]) -> None:
    """Validate those of ``entries`` whose newest snapshot was restored and not validated since.

    Raises:
        DatasetError: a blocking check fails; one line says which and what to do.
    """
    from nethical_assets.stages.checking import assess_raw

    for entry in entries:
        if not is_restored(workspace, entry.name):
            continue
        for failed in blocking_failures(workspace, assess_raw(workspace, entry)):
            raise DatasetError(
                f"dataset {entry.name} was restored and its check {failed.name} fails: {failed.message}; restore "
                f"another copy (nethical data restore {entry.name}) or fetch it (nethical data fetch {entry.name} "
                "--force)"
            )


def is_restored(workspace: Workspace, name: str) -> bool:
    """Whether the newest snapshot of the dataset was restored and waits for its validation."""
    record = workspace.load_record("raw", name)
    return record is not None and is_pending(workspace, name, record.objects.get("snapshot", ""))


def is_pending(workspace: Workspace, name: str, digest: str) -> bool:
    """Whether the snapshot ``digest`` was restored and waits for its validation."""
    try:
        document: Any = read_json(_marker(workspace, name))
    except FileNotFoundError:
        return False
    except IntegrityError:
        return True
    return not isinstance(document, dict) or document.get("snapshot") == digest


def _from_backup(workspace: Workspace, entry: DatasetEntry) -> tuple[Snapshot, str]:
    with exclusive_lock(
        downloads_folder(workspace) / f"{entry.name}.lock",
        waiting_seconds=_WAITING_SECONDS,
        what=f"the refresh of {entry.name}",
    ):
        present = _intact_snapshot(workspace, entry.name)
        problems: list[str] = []
        for backup in reversed(_candidates(workspace.backups.list(entry.name), present)):
            try:
                snapshot, data = backup.load()
            except IntegrityError as error:
                problems.append(str(error))
                continue
            restored = workspace.snapshots.reinstate(snapshot, data)
            skipped = "".join(f"; {problem}" for problem in problems)
            return restored, f"backup of the snapshot of {snapshot.fetched_at} from {snapshot.source}{skipped}"
    if present is None:
        problems.append("there is no intact backup: name --from mirror, or run nethical data fetch --force")
    else:
        problems.append(f"the snapshot of {present.fetched_at} is intact and there is no older backup of it")
    raise IntegrityError(f"dataset {entry.name}: {'; '.join(problems)}")


def _candidates(backups: Sequence[Backup], present: Snapshot | None) -> Sequence[Backup]:
    """The backups that were made before that of the present snapshot; all where it has none."""
    own = [number for number, backup in enumerate(backups) if present is not None and backup.holds(present)]
    return backups[: own[0]] if own else backups


def _from_mirror(workspace: Workspace, entry: DatasetEntry) -> tuple[Snapshot, str]:
    from nethical_assets.core.sources.mirror_source import MirrorSource

    if workspace.settings.mirror is None:
        raise SourceUnavailableError("--from mirror needs NETHICAL_DATA_MIRROR: a folder laid out <owner>/<slug>/files")
    outcome = refresh_dataset(
        entry,
        [MirrorSource(workspace.settings.mirror)],
        workspace.snapshots,
        now=utc_now(),
        work_folder=downloads_folder(workspace),
        maximum_rows=workspace.settings.file.datasets.maximum_rows,
        seed=workspace.settings.file.training.seed,
        force=True,
    )
    if outcome.snapshot is None or outcome.stale:
        raise SourceUnavailableError(f"dataset {entry.name} cannot be restored from the mirror: {outcome.reason}")
    return outcome.snapshot, outcome.reason


def _intact_snapshot(workspace: Workspace, name: str) -> Snapshot | None:
    try:
        latest = workspace.snapshots.latest(name)
    except IntegrityError:
        return None
    return latest if latest is not None and workspace.snapshots.is_intact(latest) else None


def _marker(workspace: Workspace, name: str) -> Path:
    return workspace.home / "data" / "validation" / "restored" / f"{name}.json"
