"""The stage of raw data: the newest snapshot of one dataset of the catalog.

What belongs here: asking the sources, and what is recorded about a dataset that was had, could not be had, or is
    damaged. What does not: how sources fetch and files are read (``core.datasets.refresh``), or checking the rows
    (``checking``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from nethical_assets.home.changes import arrive_snapshot, confirm_snapshot
from nethical_assets.stages.shown import COLUMN_SCHEMA, ROW_COUNT, ColumnTypes, Shown
from nethical_assets.stages.stage import Plan, Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.core.datasets.availability import Cause
    from nethical_assets.core.datasets.snapshots import Snapshot
    from nethical_assets.core.rows.catalog import DatasetEntry
    from nethical_assets.home.acts import Change
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.settings import Settings
    from nethical_assets.home.workspace import Workspace

ARRIVALS = (EventType.DATA_FETCHED, EventType.DATA_RESTORED)
"""By which events content becomes the newest of its dataset."""
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
    from nethical_assets.core.governance.names import private_names

    workspace = work.workspace
    entry = workspace.settings.catalog.entry(work.subject)
    outcome = refresh_dataset(
        entry,
        workspace.sources() if workspace.options.download else [],
        workspace.snapshots,
        now=workspace.now(),
        work_folder=downloads_folder(workspace),
        maximum_rows=workspace.settings.file.datasets.maximum_rows,
        seed=workspace.settings.file.training.seed,
        force=workspace.options.force_download,
        keeper=RecordedArrivals(workspace, entry, _arrival),
        private_names=lambda names: private_names(names, workspace.screener),
    )
    if workspace.options.source == "synthetic":
        return raw_result(entry, None, status=SKIPPED, reason="synthetic data was asked for", cause="not_asked")
    if outcome.snapshot is not None and not _is_known(workspace, outcome.snapshot.digest):
        where = workspace.snapshots.objects.path(outcome.snapshot.digest)
        reason = f"{where}: the audit log knows of no fetch or restore of it; fetch the dataset again with --force"
        return raw_result(entry, None, status=DAMAGED, reason=reason, cause="damaged", had_data=True)
    had_data = outcome.had_data or bool(workspace.backups.list(entry.name))
    reason = outcome.reason + ("" if outcome.snapshot is None else _back_up(workspace, outcome.snapshot))
    return raw_result(
        entry, outcome.snapshot, status=outcome.status, reason=reason, cause=outcome.cause, had_data=had_data
    )


def _arrival(workspace: Workspace, snapshot: Snapshot) -> EventType:
    """What is recorded of fetched content: the same as before only confirms it."""
    same = snapshot.digest == workspace.snapshots.newest_digest(snapshot.name)
    return EventType.DATA_CONFIRMED if same and _is_known(workspace, snapshot.digest) else EventType.DATA_FETCHED


def _is_known(workspace: Workspace, digest: str) -> bool:
    """Whether the log says that the content of a snapshot was fetched or restored."""
    return workspace.evidence.named_by(digest, *ARRIVALS) is not None


@dataclass(frozen=True)
class RecordedArrivals:
    """Implements ``core.datasets.refresh.Keeper``: what becomes the newest snapshot, and what is confirmed, is an act.

    Attributes:
        event: which event the arrival of a snapshot is.
        told: what else its payload says.
    """

    workspace: Workspace
    entry: DatasetEntry
    event: Callable[[Workspace, Snapshot], EventType]
    told: Mapping[str, Any] = field(default_factory=dict)

    def arrive(self, snapshot: Snapshot) -> None:
        """Record the arrival, and make the snapshot, which is stored, the newest."""
        payload = {"slug": self.entry.slug, "source": snapshot.source, "rows": snapshot.rows, **self.told}
        self._act(self.event(self.workspace, snapshot), snapshot, arrive_snapshot, payload)

    def confirm(self, snapshot: Snapshot) -> None:
        """Record that a source confirmed the snapshot, and note when."""
        self._act(EventType.DATA_CONFIRMED, snapshot, confirm_snapshot, {})

    def _act(
        self, kind: EventType, snapshot: Snapshot, change: Callable[..., Change], payload: Mapping[str, Any]
    ) -> None:
        manifest = self.workspace.snapshots.store_manifest(snapshot)
        self.workspace.act(
            kind,
            {RAW.record_name(self.entry.name): snapshot.digest},
            change(self.entry.name, manifest, snapshot.refreshed_at),
            payload=payload,
        )


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
        shown[COLUMN_SCHEMA] = ColumnTypes(columns)
    return shown


def _description(settings: Settings, name: str) -> str:
    entry = settings.catalog.entry(name)
    users = ", ".join((*entry.families, *entry.evaluation_families)) or "no family (validated only)"
    return f"{entry.title} (`{entry.slug}`, licence: {entry.licence}). Used by: {users}. {entry.notes}"


def refresh_interval(settings: Settings) -> timedelta:
    """After which time a dataset has to be confirmed or fetched again."""
    return timedelta(days=settings.file.datasets.refresh_interval_days)


RAW = Stage(
    name=subjects.RAW,
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
