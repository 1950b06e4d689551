"""Backups of snapshots: copies beside the snapshot store, verified by digest when they are restored.

What belongs here: making, rotating, listing and verifying copies. What does not: making a snapshot the newest again
(``snapshots``), or when a backup is made (``nethical_assets.pipeline``).

A backup is two files in ``<folder>/<dataset>``: the manifest
``<when>-<first digits of the data's digest>-<digest of the manifest>.json``, and the Parquet bytes that it names by
their digest, with the same stem.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nethical_assets.core.datasets.snapshots import Snapshot
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import write_atomically

_STEM = re.compile(r"\d{8}T\d{12}Z-([0-9a-f]{16})-([0-9a-f]{64})")


@dataclass(frozen=True)
class Backup:
    """One copy: its manifest file; the data lie beside it."""

    manifest: Path

    @property
    def data(self) -> Path:
        """The Parquet file."""
        return self.manifest.with_suffix(".parquet")

    def holds(self, snapshot: Snapshot) -> bool:
        """Whether this is a copy of the snapshot's content, by its name alone."""
        return f"-{_content(snapshot)}-" in self.manifest.stem

    def load(self) -> tuple[Snapshot, bytes]:
        """The manifest and the Parquet bytes, both verified.

        Raises:
            IntegrityError: a file is missing or was changed; the message names it.
        """
        found = _STEM.fullmatch(self.manifest.stem)
        document = _read(self.manifest)
        if found is None or digest_bytes(document) != f"sha256:{found[2]}":
            raise IntegrityError(f"{self.manifest}: was changed after the backup was made; use another backup")
        snapshot = Snapshot.from_json(json.loads(document), refreshed_at="")
        data = _read(self.data)
        if digest_bytes(data) != snapshot.digest:
            raise IntegrityError(f"{self.data}: was changed after the backup was made; use another backup")
        return snapshot, data


class BackupStore:
    """The backups under ``folder``; at most ``kept`` a dataset; 0 makes none and drops none."""

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder = folder
        self.kept = kept

    def list(self, name: str) -> tuple[Backup, ...]:
        """The backups of a dataset, oldest first; one without data is incomplete and left out."""
        found = [Backup(path) for path in sorted((self.folder / name).glob("*.json")) if _STEM.fullmatch(path.stem)]
        return tuple(backup for backup in found if backup.data.exists())

    def keep(self, snapshot: Snapshot, read: Callable[[], bytes], now: datetime) -> bool:
        """Back up the snapshot unless its content is backed up already, then drop the oldest backups above the limit.

        Args:
            read: gives the snapshot's Parquet bytes, verified; called only when a backup is made.

        Returns:
            Whether a backup was made.

        Raises:
            IntegrityError: ``read`` found the bytes changed.
            OSError: the disk is full or not writable; the backups that were there still are.
        """
        if self.kept == 0 or any(backup.holds(snapshot) for backup in self.list(snapshot.name)):
            return False
        data, document = read(), pretty_json(snapshot.to_json())
        stem = f"{now.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{_content(snapshot)}-{digest_bytes(document).partition(':')[2]}"
        backup = Backup(self.folder / snapshot.name / f"{stem}.json")
        # The data come last: without them the backup does not count.
        write_atomically(backup.manifest, document)
        write_atomically(backup.data, data)
        for old in self.list(snapshot.name)[: -self.kept]:
            old.data.unlink(missing_ok=True)
            old.manifest.unlink(missing_ok=True)
        return True


def _content(snapshot: Snapshot) -> str:
    return snapshot.digest.partition(":")[2][:16]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError(f"{path}: a file of this backup is missing; use another backup") from None
