"""The stage of raw data: the newest snapshot of one dataset of the catalog.

What belongs here: asking the sources, and what is recorded about a dataset that was had, could not be had, or is
    damaged. What does not: how sources fetch and files are read (``core.datasets.refresh``), or checking the rows
    (``checking``)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from nethical_assets.stages.shown import COLUMN_SCHEMA, ROW_COUNT, Columns, Shown
from nethical_assets.stages.stage import Plan, Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.core.datasets.availability import Cause
    from nethical_assets.core.datasets.snapshots import Snapshot
    from nethical_assets.core.rows.catalog import DatasetEntry
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.settings import Settings
    from nethical_assets.home.workspace import Workspace

SKIPPED = "skipped"
DAMAGED = "damaged"
SNAPSHOT = "snapshot"
"""By which name a record of raw data names its snapshot; a dataset that could not be had has none."""


def downloads_folder(workspace: Workspace) -> Path:
    """Where downloads are while they are incomplete, and the locks of refreshes."""
    return workspace.home / "data" / "downloads"


def _fetch(work: Work) -> Result:
    """The newest snapshot. A dataset that cannot be had is a recorded skip, never an error."""
    from nethical_assets.core.datasets.refresh import refresh_dataset

    workspace = work.workspace
    entry = workspace.settings.catalog.entry(work.subject)
    before = workspace.snapshots.newest_digest(entry.name)

    def announce(snapshot: Snapshot) -> None:
        if snapshot.digest != before or not _is_known(workspace, snapshot):
            workspace.record_event(
                EventType.DATA_FETCHED,
                {RAW.record_name(entry.name): snapshot.digest},
                payload={"slug": entry.slug, "source": snapshot.source, "rows": snapshot.rows},
            )

    outcome = refresh_dataset(
        entry,
        workspace.sources() if workspace.options.download else [],
        workspace.snapshots,
        now=workspace.now(),
        work_folder=downloads_folder(workspace),
        maximum_rows=workspace.settings.file.datasets.maximum_rows,
        seed=workspace.settings.file.training.seed,
        force=workspace.options.force_download,
        announce=announce,
    )
    if workspace.options.source == "synthetic":
        return raw_result(entry, None, status=SKIPPED, reason="synthetic data was asked for", cause="not_asked")
    if outcome.snapshot is not None and not _is_known(workspace, outcome.snapshot):
        where = workspace.snapshots.objects.path(outcome.snapshot.digest)
        reason = f"{where}: the audit log knows of no fetch or restore of it; fetch the dataset again with --force"
        return raw_result(entry, None, status=DAMAGED, reason=reason, cause="damaged", had_data=True)
    had_data = outcome.had_data or bool(workspace.backups.list(entry.name))
    reason = outcome.reason + ("" if outcome.snapshot is None else _back_up(workspace, outcome.snapshot))
    return raw_result(
        entry, outcome.snapshot, status=outcome.status, reason=reason, cause=outcome.cause, had_data=had_data
    )


def _is_known(workspace: Workspace, snapshot: Snapshot) -> bool:
    """Whether the log says that the content of a snapshot was fetched or restored."""
    kinds = (EventType.DATA_FETCHED, EventType.DATA_RESTORED)
    return workspace.evidence.named_by(snapshot.digest, *kinds) is not None


def raw_result(
    entry: DatasetEntry,
    snapshot: Snapshot | None,
    *,
    status: str,
    reason: str,
    cause: Cause | None = None,
    had_data: bool = False,
) -> Result:
    """What is recorded of a fetched or restored dataset, or of one that could not be had, with the cause."""
    facts: dict[str, Any] = {"status": status, "reason": reason, "slug": entry.slug, "licence": entry.licence}
    facts |= {"cause": cause, "had_data": had_data}
    if snapshot is None:
        return Result(digest_json({status: entry.name}), facts=facts, reused=True)
    facts |= {"source": snapshot.source, "rows": snapshot.rows, "snapshot": snapshot.digest}
    return Result(snapshot.digest, {SNAPSHOT: snapshot.digest}, facts, reused=status != "new")


def _back_up(workspace: Workspace, snapshot: Snapshot) -> str:
    """Back up a snapshot; a backup that cannot be made is said, and stops nothing."""
    try:
        workspace.backups.keep(snapshot, lambda: workspace.snapshots.objects.get(snapshot.digest), workspace.now())
    except (OSError, IntegrityError, BusyError) as error:
        return f"; no backup was made: {error}"
    return ""


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    from nethical_assets.core.datasets.raw_rows import find_snapshot

    shown: dict[str, Shown] = {key: value for key, value in record.facts.items() if isinstance(value, str | int)}
    if SNAPSHOT in record.objects:
        shown[ROW_COUNT] = shown.pop("rows")
        columns = find_snapshot(workspace.snapshots, record.subject, record.objects[SNAPSHOT]).columns
        shown[COLUMN_SCHEMA] = Columns(columns)
    return shown


def _description(settings: Settings, name: str) -> str:
    entry = settings.catalog.entry(name)
    users = ", ".join((*entry.families, *entry.evaluation_families)) or "no family (validated only)"
    return f"{entry.title} (`{entry.slug}`, licence: {entry.licence}). Used by: {users}. {entry.notes}"


def refresh_interval(settings: Settings) -> timedelta:
    """After which time a dataset has to be confirmed or fetched again."""
    return timedelta(days=settings.file.datasets.refresh_interval_days)


RAW = Stage(
    name="raw",
    scope="dataset",
    description=_description,
    owner="team:data-stewards",
    known_by_object=False,
    run=_fetch,
    plan=lambda work: Plan(lookup=False),
    shows=_shown,
    sums_up=lambda record: {name: record.facts.get(name) for name in ("status", "source", "rows", "reason")},
    fresh_for=refresh_interval,
    kinds=frozenset({"parquet"}),
    in_chain=True,
)
