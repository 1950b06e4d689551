"""Snapshots: datasets as they were read at one time, immutable and named by the digest of their bytes.

What belongs here: storing, finding and verifying snapshots and their manifests. What does not: deciding whether a new
one is needed (``refresh``).
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upath import UPath

from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.parquet import read_table
from nethical_assets.core.ground.storage import ObjectStore, read_json, write_atomically, write_json
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.sources.source import UpstreamState

if TYPE_CHECKING:
    import pyarrow as pa

_COMPRESSION_LEVEL = 3
_ROW_GROUP_ROWS = 1 << 17


@dataclass(frozen=True)
class Snapshot:
    """The manifest of one snapshot.

    Attributes:
        name, slug, source, licence: which dataset, and where this copy came from.
        digest: of the Parquet bytes; the data version.
        rows, columns: its size; columns are (name, Arrow type) in order.
        fetched_at: when it was fetched, ISO 8601 in UTC.
        refreshed_at: when a source last confirmed or delivered it; freshness counts from here. Kept outside the
            manifest, which never changes.
        upstream, upstream_date: what the source said about the state it delivered.
        definition: digest of the catalog entry and the parameters it was read with.
        entry: the catalog entry it was read by, its layout filled in where that was discovered.
        report: what reading met (``ReadReport.to_json``).
        discovery: what was found about an unknown layout (``DiscoveryReport.to_json``).
    """

    name: str
    slug: str
    source: str
    licence: str
    digest: str
    rows: int
    columns: tuple[tuple[str, str], ...]
    fetched_at: str
    definition: str
    entry: Mapping[str, Any]
    report: Mapping[str, Any]
    upstream: UpstreamState = field(default_factory=UpstreamState)
    upstream_date: str | None = None
    discovery: Mapping[str, Any] | None = None
    refreshed_at: str = ""

    @property
    def dataset_entry(self) -> DatasetEntry:
        """The catalog entry this snapshot was read by."""
        return DatasetEntry.model_validate_json(json.dumps(self.entry))

    def to_json(self) -> dict[str, Any]:
        """The manifest document: everything but ``refreshed_at``."""
        document = to_document(self)
        del document["refreshed_at"]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any], refreshed_at: str) -> Snapshot:
        """The inverse of :meth:`to_json`.

        Raises:
            IntegrityError: keys are missing or unknown, or a value has another type.
        """
        return replace(from_document(cls, document, "snapshot manifest"), refreshed_at=refreshed_at)


class SnapshotStore:
    """Snapshots under ``base`` (a folder or a URL): immutable objects, and one pointer file a dataset.

    The pointer lists the manifests, oldest first, and when the newest was last confirmed. It is replaced as a whole;
    two writers of one dataset have to take turns (``refresh_dataset`` does).
    """

    def __init__(self, base: UPath | Path | str) -> None:
        self.base = UPath(base)
        self.objects = ObjectStore(self.base / "objects")

    def latest(self, name: str) -> Snapshot | None:
        """The newest snapshot of the dataset, or nothing.

        Raises:
            IntegrityError: the pointer or the manifest was damaged; the message names the file.
        """
        pointer = self._pointer(name)
        return self._snapshot(name, pointer, pointer["manifests"][-1]) if pointer["manifests"] else None

    def history(self, name: str) -> tuple[Snapshot, ...]:
        """All snapshots of the dataset, oldest first. ``refreshed_at`` of all but the newest is when it was fetched.

        Raises:
            IntegrityError: as for :meth:`latest`.
        """
        pointer = self._pointer(name)
        return tuple(self._snapshot(name, pointer, manifest) for manifest in pointer["manifests"])

    def load(self, snapshot: Snapshot) -> pa.Table:
        """The snapshot's table.

        Raises:
            IntegrityError: its bytes are missing or were changed; the message names the file.
        """
        return read_table(self.objects.get(snapshot.digest))

    def is_intact(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot's bytes are there and match its digest."""
        try:
            self.objects.get(snapshot.digest)
        except IntegrityError:
            return False
        return True

    def store_table(self, table: pa.Table, manifest: Snapshot, now: datetime) -> Snapshot:
        """Store ``table`` as a snapshot of ``manifest.name``, which becomes the newest by :meth:`set_newest` only.

        ``manifest`` says everything but digest, rows, columns and dates, which are filled in.

        Raises:
            OSError: the disk is full or not writable.
        """
        data = table_bytes(table)
        stored = replace(
            manifest,
            digest=digest_bytes(data),
            rows=table.num_rows,
            columns=tuple((column.name, str(column.type)) for column in table.schema),
            fetched_at=timestamp(now),
            refreshed_at=timestamp(now),
        )
        self.store(data)
        self.store_manifest(stored)
        return stored

    def store_manifest(self, snapshot: Snapshot) -> str:
        """Store the manifest of a snapshot; its digest."""
        return self.store(pretty_json(snapshot.to_json()))

    def manifest(self, digest: str, refreshed_at: str) -> Snapshot:
        """The snapshot of a stored manifest.

        Raises:
            IntegrityError: it is missing, or was changed.
        """
        return Snapshot.from_json(json.loads(self.objects.get(digest)), refreshed_at)

    def set_newest(self, snapshot: Snapshot) -> None:
        """Make a stored snapshot the newest of its dataset; a damaged pointer is replaced.

        Raises:
            OSError: the disk is full or not writable; the snapshot before it is still the newest.
        """
        self._make_newest(snapshot.name, self.store_manifest(snapshot), snapshot.refreshed_at)

    def set_confirmed(self, snapshot: Snapshot) -> None:
        """Note that a source confirmed at ``snapshot.refreshed_at`` that it is current; nothing where another one is
        the newest by now."""
        pointer = self._pointer(snapshot.name)
        if self.newest_digest(snapshot.name) == snapshot.digest:
            self._write_pointer(snapshot.name, pointer["manifests"], snapshot.refreshed_at)

    def repair(self, snapshot: Snapshot, data: bytes) -> None:
        """Store a snapshot's bytes and manifest anew where they are missing or damaged; what is the newest stays so.

        Raises:
            IntegrityError: ``data`` are not the bytes that the snapshot names.
        """
        if digest_bytes(data) != snapshot.digest:
            raise IntegrityError(f"dataset {snapshot.name}: the bytes to restore are not those of {snapshot.digest}")
        self.store(data)
        self.store_manifest(snapshot)

    def newest_digest(self, name: str) -> str | None:
        """The digest of the newest snapshot's data, damaged or not; None where it cannot be told."""
        try:
            newest = self.latest(name)
        except (IntegrityError, OSError):
            return None
        return None if newest is None else newest.digest

    def was_fetched(self, name: str) -> bool:
        """Whether the dataset ever had a snapshot, damaged or not."""
        return bool(self.pointer_path(name).exists())

    def store(self, data: bytes) -> str:
        """Store the bytes of a snapshot, without making it the newest; damaged ones of the same content are
        replaced."""
        return self.objects.put(data)

    def pointer_path(self, name: str) -> UPath:
        """The file that says which snapshots of a dataset there are."""
        return self.base / "datasets" / f"{name}.json"

    def _pointer(self, name: str) -> dict[str, Any]:
        path = self.pointer_path(name)
        try:
            document = read_json(path)
        except FileNotFoundError:
            return {"manifests": [], "refreshed_at": ""}
        if not (
            isinstance(document, dict)
            and isinstance(document.get("refreshed_at"), str)
            and isinstance(document.get("manifests"), list)
        ):
            raise IntegrityError(f"{path}: not a snapshot pointer; remove it and fetch the dataset again")
        return document

    def _make_newest(self, name: str, newest: str, refreshed_at: str) -> None:
        """Put ``newest`` at the end of the manifests that can be read; what is left of the others is set aside, where
        nobody takes it for a stored object."""
        try:
            known = self._pointer(name)["manifests"]
        except IntegrityError:
            known = []
        kept: list[str] = []
        for digest in known:
            with contextlib.suppress(IntegrityError):
                self.objects.get(digest)
                kept.append(digest)
        self._write_pointer(name, [*(digest for digest in kept if digest != newest), newest], refreshed_at)
        for digest in set(known) - set(kept) - {newest}:
            damaged = self.objects.path(digest)
            if damaged.exists():
                write_atomically(self.base / "damaged" / damaged.name, damaged.read_bytes())
                damaged.unlink()

    def _write_pointer(self, name: str, manifests: list[str], refreshed_at: str) -> None:
        write_json(self.pointer_path(name), {"name": name, "manifests": manifests, "refreshed_at": refreshed_at})

    def _snapshot(self, name: str, pointer: Mapping[str, Any], digest: str) -> Snapshot:
        document = json.loads(self.objects.get(digest))
        newest = digest == pointer["manifests"][-1]
        snapshot = Snapshot.from_json(document, pointer["refreshed_at"] if newest else document.get("fetched_at", ""))
        if snapshot.name != name:
            raise IntegrityError(f"{self.pointer_path(name)}: points to a snapshot of {snapshot.name}; remove it")
        return snapshot


def table_bytes(table: pa.Table) -> bytes:
    """The table as Parquet (zstd): the same bytes for the same rows, however they are chunked in memory."""
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(
        table.combine_chunks().replace_schema_metadata(None),
        buffer,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        row_group_size=_ROW_GROUP_ROWS,
    )
    return buffer.getvalue()


def timestamp(when: datetime) -> str:
    """ISO 8601 in UTC, with the fraction of the second: two arrivals of one content within a second are two."""
    return when.astimezone(UTC).isoformat()
