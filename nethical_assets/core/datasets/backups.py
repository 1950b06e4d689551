"""Backups of snapshots: what was the newest snapshot of a dataset when, and verified copies of it.

What belongs here: noting and copying, rotating, listing and verifying. What does not: making a snapshot the newest
again (``snapshots``), or when a backup is made (``stages.fetching``, ``operations.restoring``).

Whenever other content becomes current, a manifest is written to ``<folder>/<dataset>``, named ``<when>-<first digits of
the data's digest>-<digest of the manifest>.json``. It holds the snapshot and ``before``, the name of the manifest of
what going back from it brings: what was current before or, for content that was brought back, what was current before
that content first. The Parquet bytes lie beside it once for each content, ``<first digits>.parquet``. (In backups of
earlier versions the manifest is the snapshot alone, and the bytes have the manifest's own name.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nethical_assets.core.datasets.snapshots import Snapshot
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import exclusive_lock, write_atomically

_STEM = re.compile(r"(\d{8}T\d{12})Z-([0-9a-f]{16})-([0-9a-f]{64})")
_WHEN = "%Y%m%dT%H%M%S%f"
_LOCK_SECONDS = 600.0
MANIFESTS_KEPT = 50
"""So many times back the order is known in which kept contents were current; a manifest is a few hundred bytes."""


@dataclass(frozen=True)
class Backup:
    """One time at which a content became current: its manifest file; the data lie beside it."""

    manifest: Path

    @property
    def content(self) -> str:
        """The first digits of the digest of its data."""
        return _parts(self.manifest.stem)[1]

    @property
    def data(self) -> Path:
        """The Parquet file."""
        own = self.manifest.with_suffix(".parquet")
        return own if own.exists() else self.manifest.with_name(f"{self.content}.parquet")

    def holds(self, snapshot: Snapshot) -> bool:
        """Whether this is a copy of the snapshot's content, by its name alone."""
        return self.content == _content(snapshot)

    def load(self) -> tuple[Snapshot, bytes]:
        """The snapshot and its Parquet bytes, both verified.

        Raises:
            IntegrityError: a file is missing or was changed; the message names it.
        """
        document = self._document()
        snapshot = Snapshot.from_json(document.get("snapshot", document), refreshed_at="")
        data = _read(self.data)
        if digest_bytes(data) != snapshot.digest:
            raise IntegrityError(f"{self.data}: was changed after the backup was made; use another backup")
        return snapshot, data

    def before(self) -> str | None:
        """The name of the manifest that going back leads to, empty where there is none; None: it does not say.

        Raises:
            IntegrityError: the manifest is missing or was changed.
        """
        document = self._document()
        return str(document["before"]) if "snapshot" in document else None

    def _document(self) -> dict[str, Any]:
        content = _read(self.manifest)
        if digest_bytes(content) != f"sha256:{_parts(self.manifest.stem)[2]}":
            raise IntegrityError(f"{self.manifest}: was changed after the backup was made; use another backup")
        document: dict[str, Any] = json.loads(content)
        return document


class BackupStore:
    """The backups under ``folder``, of at most ``kept`` contents a dataset; 0 makes none and drops none.

    What is current is never dropped, then what going back leads to is kept longest, then what was current last.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder = folder
        self.kept = kept

    def list(self, name: str) -> tuple[Backup, ...]:
        """The backups of a dataset in the order in which they became current; incomplete ones are left out."""
        found = [Backup(path) for path in sorted((self.folder / name).glob("*.json")) if _STEM.fullmatch(path.stem)]
        return tuple(backup for backup in found if backup.data.exists())

    def candidates(self, name: str, current: str | None, *, damaged: bool) -> tuple[Backup, ...]:
        """What could be restored, best first.

        Args:
            current: the digest of the newest snapshot, None where it is not known.
            damaged: whether the newest snapshot is damaged or gone: then its own content comes first, and after what it
                replaced whatever else there is. Otherwise only what was current before it.
        """
        backups = self.list(name)
        if not backups:
            return ()
        own = [one for one in backups if current is not None and one.content == _digits(current)]
        if damaged:
            start = own[-1] if own else backups[-1]
            chain = [start, *self._before(backups, start)]
            return _distinct([*chain, *reversed(backups)])
        if not own or backups[-1].content != own[-1].content:
            # Killed before the newest snapshot was noted, or before a noted one was brought back.
            start = backups[-1]
            return _distinct(one for one in [start, *self._before(backups, start)] if one not in own)
        return _distinct(one for one in self._before(backups, own[-1]) if one not in own)

    def keep(self, snapshot: Snapshot, read: Callable[[], bytes], now: datetime) -> bool:
        """Note that the snapshot is current and back it up, unless it was current already; then drop what is too much.

        Args:
            read: gives the snapshot's Parquet bytes, verified; called only where its content has no backup.

        Returns:
            Whether something was noted.

        Raises:
            IntegrityError: ``read`` found the bytes changed.
            OSError: the disk is full or not writable; the backups that were there still are.
            BusyError: another process is making backups of this dataset.
        """
        if self.kept == 0:
            return False
        with self._locked(snapshot.name):
            backups = self.list(snapshot.name)
            if backups and backups[-1].holds(snapshot):
                return False
            before = backups[-1].manifest.stem if backups else ""
            self._note(snapshot, read, now, before)
            return True

    def note_restored(self, backup: Backup, now: datetime) -> None:
        """Note that the content of ``backup`` is about to be current again; going back leads to what was before it.

        Raises:
            IntegrityError: a file of the backup is missing or was changed.
            OSError: the disk is full or not writable.
            BusyError: another process is making backups of this dataset.
        """
        snapshot, data = backup.load()
        with self._locked(snapshot.name):
            backups = self.list(snapshot.name)
            if backups[-1].content == backup.content:
                return
            earlier = self._before(backups, backup)
            self._note(snapshot, lambda: data, now, earlier[0].manifest.stem if earlier else "")

    def _note(self, snapshot: Snapshot, read: Callable[[], bytes], now: datetime, before: str) -> None:
        folder = self.folder / snapshot.name
        backups = self.list(snapshot.name)
        if not any(backup.holds(snapshot) for backup in backups):
            for incomplete in folder.glob(f"*-{_content(snapshot)}-*.json"):
                incomplete.unlink()
            write_atomically(folder / f"{_content(snapshot)}.parquet", read())
        when = now.astimezone(UTC)
        if backups:
            # The order of names is the order of events, also where a clock was set back.
            when = max(when, _when(backups[-1]) + timedelta(microseconds=1))
        document = pretty_json({"snapshot": snapshot.to_json(), "before": before})
        stem = f"{when:{_WHEN}}Z-{_content(snapshot)}-{digest_bytes(document).partition(':')[2]}"
        # The manifest comes last: without it the data are nobody's.
        write_atomically(folder / f"{stem}.json", document)
        self._rotate(snapshot.name)

    def _rotate(self, name: str) -> None:
        """Keep the contents that are kept, with the newest of their manifests; drop everything else."""
        backups = self.list(name)
        order = _distinct([backups[-1], *self._before(backups, backups[-1]), *reversed(backups)])
        contents = {backup.content for backup in order[: self.kept]}
        stays = [backup for backup in backups if backup.content in contents]
        # What is current is the newest; the last manifest of a content may be older than the limit.
        newest = {backup.content: backup for backup in stays}
        files = {backup.manifest for backup in (*stays[-MANIFESTS_KEPT:], *newest.values())}
        files |= {backup.data for backup in stays}
        for path in sorted((self.folder / name).iterdir(), reverse=True):
            if path not in files and path.suffix in (".json", ".parquet"):
                path.unlink(missing_ok=True)

    def _before(self, backups: Sequence[Backup], backup: Backup) -> Sequence[Backup]:
        """What going back from ``backup`` again and again brings, until the end or a manifest that is gone."""
        by_name = {one.manifest.stem: number for number, one in enumerate(backups)}
        found: list[Backup] = []
        number = by_name.get(backup.manifest.stem)
        while number is not None:
            try:
                before = backups[number].before()
            except IntegrityError:
                before = None
            number = (number - 1 if number else None) if before is None else by_name.get(before)
            if number is not None:
                found.append(backups[number])
        return found

    def _locked(self, name: str) -> AbstractContextManager[None]:
        return exclusive_lock(
            self.folder / f"{name}.lock", waiting_seconds=_LOCK_SECONDS, what=f"the backup folder of {name}"
        )


def _distinct(backups: Iterable[Backup]) -> tuple[Backup, ...]:
    """The first backup of each content."""
    found: dict[str, Backup] = {}
    for backup in backups:
        found.setdefault(backup.content, backup)
    return tuple(found.values())


def _parts(stem: str) -> tuple[str, str, str]:
    found = _STEM.fullmatch(stem)
    if found is None:
        raise IntegrityError(f"{stem}: not the name of a backup")
    return found[1], found[2], found[3]


def _when(backup: Backup) -> datetime:
    return datetime.strptime(_parts(backup.manifest.stem)[0], _WHEN).replace(tzinfo=UTC)


def _content(snapshot: Snapshot) -> str:
    return _digits(snapshot.digest)


def _digits(digest: str) -> str:
    return digest.partition(":")[2][:16]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise IntegrityError(f"{path}: a file of this backup is missing; use another backup") from None
