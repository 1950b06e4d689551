"""Refreshing one dataset: from the catalog entry to the newest usable snapshot, or a recorded skip.

What belongs here: which source is used, whether a snapshot is still good, and what is said about it. What does not:
how sources fetch, how files are read, how snapshots are stored.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from nethical_assets.core.datasets.availability import Cause, cause_of, gravest
from nethical_assets.core.datasets.snapshots import Snapshot, SnapshotStore, timestamp
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.disk import advice, is_out_of_room
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, NethicalError, SourceUnavailableError
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.core.reading.version import READING_VERSION
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.file_names import plain_files, private_files, with_plain_files
from nethical_assets.core.sources.source import UNPACKED_PREFIX, FetchedFiles, Source, Unchanged

if TYPE_CHECKING:
    from nethical_assets.core.datasets.discovery import DiscoveryReport

Status = Literal["new", "unchanged", "skipped", "damaged"]
_LOCK_SECONDS = 3600.0
_PRESENTATION_FIELDS = {
    "title",
    "notes",
    "families",
    "evaluation_families",
    "constant_labels",
    "mapping",
    "token_prefix",
    "test_from",
}


@dataclass(frozen=True)
class RefreshOutcome:
    """What became of one dataset.

    Attributes:
        snapshot: the snapshot to use, or nothing.
        status: ``new`` content, ``unchanged`` content (confirmed, or stale), ``skipped``: there is nothing to use,
            or ``damaged``: there was a snapshot, its stored bytes are damaged, and no source could replace it.
        source: where the snapshot came from.
        reason: one line; names every source that was asked.
        downloaded: whether files were fetched and read.
        stale: no source could confirm the snapshot; it is the last good one.
        entry: the entry the snapshot was read by: layout filled in, and without families where a discovered dataset
            has no usable label. The given entry when there is no snapshot.
        cause: why no source could serve or confirm it, the gravest of several; None where one did.
        had_data: whether there ever was a snapshot of it.
    """

    snapshot: Snapshot | None
    status: Status
    source: str | None
    reason: str
    downloaded: bool
    stale: bool
    entry: DatasetEntry
    cause: Cause | None
    had_data: bool


class Keeper(Protocol):
    """Who moves the pointer to the newest snapshot of a dataset."""

    def arrive(self, snapshot: Snapshot) -> None:
        """Make a stored snapshot the newest of its dataset."""

    def confirm(self, snapshot: Snapshot) -> None:
        """Note that a source confirmed the newest snapshot at its ``refreshed_at``."""


def refresh_dataset(
    entry: DatasetEntry,
    sources: Sequence[Source],
    snapshots: SnapshotStore,
    *,
    now: datetime,
    work_folder: Path,
    maximum_rows: int,
    seed: int,
    keeper: Keeper,
    private_names: Callable[[Sequence[str]], frozenset[str]],
    force: bool = False,
) -> RefreshOutcome:
    """Bring the newest snapshot of ``entry`` up to date through the first source that can.

    Nothing is downloaded when the source says that nothing changed and the entry and the reading parameters are those
    of the snapshot, unless ``force``. Whatever is wrong with one dataset (sources, content, disk, store) ends in the
    outcome and not in an exception; the previous snapshot, when there is one that fits the entry, is then used as it
    is. ``work_folder`` holds downloads while they are incomplete; ``keeper`` is told what is to become the
    newest snapshot, or is confirmed. Names of columns that are personal data, which ``private_names`` says, are
    replaced and never an input."""
    folder = work_folder / entry.name
    try:
        with exclusive_lock(
            work_folder / f"{entry.name}.lock", waiting_seconds=_LOCK_SECONDS, what=f"the refresh of {entry.name}"
        ):
            _remove_leftovers(folder)
            refresh = _Refresh(
                entry,
                snapshots=snapshots,
                now=now,
                folder=folder,
                maximum_rows=maximum_rows,
                seed=seed,
                force=force,
                keeper=keeper,
                private_names=private_names,
            )
            return refresh.run(sources)
    except (NethicalError, OSError) as error:
        return RefreshOutcome(
            None,
            "skipped",
            None,
            _one_line(error),
            downloaded=False,
            stale=False,
            entry=entry,
            cause=cause_of(error),
            had_data=snapshots.was_fetched(entry.name),
        )


def reading_definition(entry: DatasetEntry, *, maximum_rows: int, seed: int) -> str:
    """The digest of everything, the files aside, that a snapshot's content depends on."""
    return digest_json(
        {
            "entry": entry.model_dump(mode="json", exclude=_PRESENTATION_FIELDS),
            "maximum_rows": maximum_rows,
            "seed": seed,
            "reading_version": READING_VERSION,
        }
    )


class _Refresh:
    """One refresh: the snapshot that is there, and what was tried so far."""

    def __init__(
        self,
        entry: DatasetEntry,
        *,
        snapshots: SnapshotStore,
        now: datetime,
        folder: Path,
        maximum_rows: int,
        seed: int,
        force: bool,
        keeper: Keeper,
        private_names: Callable[[Sequence[str]], frozenset[str]],
    ) -> None:
        self.entry = entry
        self.snapshots = snapshots
        self.now = now
        self.folder = folder
        self.maximum_rows = maximum_rows
        self.seed = seed
        self.force = force
        self.keeper = keeper
        self.private_names = private_names
        self.definition = reading_definition(entry, maximum_rows=maximum_rows, seed=seed)
        self.problems: list[str] = []
        self.causes: list[Cause] = []
        self.downloaded = False
        self.damaged = False
        self.had_data = snapshots.was_fetched(entry.name)
        self.latest = self._usable_latest()

    def run(self, sources: Sequence[Source]) -> RefreshOutcome:
        for source in sources:
            try:
                return self._through(source)
            except (NethicalError, OSError) as error:
                problem = _one_line(error, self.folder)
                self.problems.append(problem if problem.startswith(source.name) else f"{source.name}: {problem}")
                self.causes.append(cause_of(error))
        return self._without_source(asked=bool(sources))

    def _usable_latest(self) -> Snapshot | None:
        """The newest snapshot if every byte of it is as it was stored; what is damaged stays until it is replaced."""
        try:
            latest = self.snapshots.latest(self.entry.name)
            if latest is None or self.snapshots.is_intact(latest):
                return latest
            damage = (
                f"{self.snapshots.objects.path(latest.digest)} was damaged (nethical data restore {self.entry.name} "
                "brings back a backup)"
            )
        except (IntegrityError, OSError) as error:
            damage = _one_line(error)
        self.damaged = True
        self.problems.append(f"stored snapshot: {damage}")
        return None

    def _through(self, source: Source) -> RefreshOutcome:
        latest = self.latest
        comparable = latest is not None and latest.source == source.name and latest.definition == self.definition
        known = latest.upstream if latest is not None and comparable and not self.force else None
        fetched = source.fetch(self.entry, self.folder, known)
        if isinstance(fetched, Unchanged):
            if latest is None:
                raise SourceUnavailableError(
                    "it says that nothing changed, and there is no snapshot; fetch with --force"
                )
            confirmed = replace(latest, refreshed_at=timestamp(self.now))
            self.keeper.confirm(confirmed)
            return self._outcome(confirmed, "unchanged", f"{source.name}: unchanged")
        self.downloaded = True
        try:
            stored = self._read_and_store(source, fetched)
        finally:
            if fetched.temporary:
                shutil.rmtree(fetched.folder, ignore_errors=True)
        if latest is not None and latest.digest == stored.digest:
            return self._outcome(stored, "unchanged", f"{source.name}: read again, the content is the same")
        notes = [f"{file['path']}: {note}" for file in stored.report["files"] for note in file.get("notes", ())]
        return self._outcome(stored, "new", "; ".join([f"{source.name}: {stored.rows} rows", *notes]))

    def _read_and_store(self, source: Source, fetched: FetchedFiles) -> Snapshot:
        from nethical_assets.core.governance.names import with_plain_names
        from nethical_assets.core.reading.readers import list_files, read_dataset

        names = list_files(fetched.folder)
        plain = plain_files(names, private_files(self.entry, names, self.private_names))
        entry, discovery = self._layout(fetched.folder, plain)
        raw = read_dataset(entry, fetched.folder, maximum_rows=self.maximum_rows, seed=self.seed, plain=plain)
        entry = with_plain_files(entry, plain)
        manifest = Snapshot(
            name=entry.name,
            slug=entry.slug,
            source=source.name,
            licence=fetched.licence or entry.licence,
            digest="",
            rows=0,
            columns=(),
            fetched_at="",
            definition=self.definition,
            entry=entry.model_dump(mode="json"),
            report=raw.report.to_json(),
            upstream=fetched.upstream,
            upstream_date=fetched.upstream_date,
            discovery=None if discovery is None else discovery.to_json(),
        )
        private = self.private_names(raw.table.column_names) - self._declared
        stored = self.snapshots.store_table(with_plain_names(raw.table, private), manifest, self.now)
        self.keeper.arrive(stored)
        return stored

    @property
    def _declared(self) -> frozenset[str]:
        """What the catalog declares was written by who runs this, and is how the columns are found."""
        return frozenset([*self.entry.read_columns(), *(name for file in self.entry.files for name in file.columns)])

    def _layout(self, folder: Path, plain: Mapping[str, str]) -> tuple[DatasetEntry, DiscoveryReport | None]:
        if not self.entry.discover:
            return self.entry, None
        from nethical_assets.core.datasets.discovery import discover

        found, discovery = discover(self.entry, folder, seed=self.seed, private_names=self.private_names, plain=plain)
        if found is None:
            raise DatasetError(f"dataset {self.entry.name}: {discovery.summary}")
        return found, discovery

    def _without_source(self, *, asked: bool) -> RefreshOutcome:
        if not asked:
            self.problems.append("no source was asked")
        tried = "; ".join(self.problems)
        latest = self.latest
        if self.damaged:
            return self._outcome(None, "damaged", tried, cause="damaged")
        if latest is None:
            return self._outcome(None, "skipped", tried, cause=gravest(self.causes))
        if latest.definition != self.definition:
            try:
                self._check_fit(latest)
            except NethicalError as error:
                reason = f"{tried}; the stored snapshot does not fit: {error}"
                return self._outcome(None, "skipped", reason, cause=gravest([*self.causes, "unusable"]))
        return self._outcome(
            latest,
            "unchanged",
            f"{tried}; using the snapshot of {latest.fetched_at} from {latest.source}",
            stale=asked,
            cause=gravest(self.causes),
        )

    def _check_fit(self, latest: Snapshot) -> None:
        """Whether a snapshot read by another definition has what the entry now declares, and names no person.

        Snapshots of older versions have the names of columns that the files had.
        """
        from nethical_assets.core.reading.readers import check_columns
        from nethical_assets.core.rows.labels import check_labels

        private = self.private_names([name for name, _ in latest.columns]) - self._declared
        if private:
            raise DatasetError(
                f"names of {len(private)} of its columns are personal data, which are replaced when it is read again; "
                f"when a source answers, run: nethical data fetch {self.entry.name}"
            )
        if not self.entry.discover:
            table = self.snapshots.load(latest)
            check_columns(self.entry, table)
            check_labels(self.entry, table)

    def _outcome(
        self,
        snapshot: Snapshot | None,
        status: Status,
        reason: str,
        *,
        stale: bool = False,
        cause: Cause | None = None,
    ) -> RefreshOutcome:
        if snapshot is not None and not stale:
            reason = "; ".join([*self.problems, reason])
        if snapshot is not None and snapshot.discovery is not None:
            reason = f"{reason}; {snapshot.discovery['summary']}"
        return RefreshOutcome(
            snapshot=snapshot,
            status=status,
            source=None if snapshot is None else snapshot.source,
            reason=reason,
            downloaded=self.downloaded,
            stale=stale,
            entry=self._effective_entry(snapshot),
            cause=cause,
            had_data=self.had_data or snapshot is not None,
        )

    def _effective_entry(self, snapshot: Snapshot | None) -> DatasetEntry:
        """The entry as it is now, with the layout the snapshot was read by where that was discovered."""
        if snapshot is None or not self.entry.discover:
            return self.entry
        found = snapshot.dataset_entry
        presentation = {key: getattr(self.entry, key) for key in _PRESENTATION_FIELDS}
        if not (snapshot.discovery or {}).get("usable_label"):
            presentation |= {"families": (), "evaluation_families": ()}
        return found.model_copy(update=presentation)


def _remove_leftovers(folder: Path) -> None:
    """Unpacked files of a process that died; incomplete archives stay, to be resumed."""
    for left in folder.glob(f"{UNPACKED_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)


def _one_line(error: Exception, folder: Path | None = None) -> str:
    """What is wrong, of an error while files were put into ``folder``: the system says what was named, such as a file
    that was to be opened, and not what was open when its disk was full."""
    if isinstance(error, OSError):
        where = error.filename or (folder if is_out_of_room(error) else None)
        name = "" if where is None else f"{where}: "
        return f"{name}{error.strerror or error}; {advice(error)} and run again"
    return str(error)
