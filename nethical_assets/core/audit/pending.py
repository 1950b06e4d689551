"""The write-ahead files: ``pending/<run id>.jsonl``, the events of runs that are not in the log yet.

What belongs here: the line format, reading what a killed process left, appending durably. What does not: which
sequence number an event gets (``recorder``), moving events into the log (``log``).

A line is the hexadecimal RFC 6962 leaf hash, a space, and the leaf. A last line that breaks off inside its leaf was
never acknowledged and does not count; any other damage is an error, never silently skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nethical_assets.core.audit.events import check_run_id
from nethical_assets.core.ground.storage import exclusive_lock, sync_folder
from nethical_assets.core.tlog.merkle import hash_leaf
from nethical_assets.core.tlog.tiles import make_durable_folder

PENDING = "pending"
SUFFIX = ".jsonl"
LOCK_SECONDS = 60.0
_HASH_DIGITS = 64


@dataclass(frozen=True)
class PendingRead:
    """What a write-ahead file holds: complete leaves, how many bytes they take, and the first damage if any."""

    leaves: tuple[bytes, ...]
    length: int
    torn: bool
    damage: str | None


class PendingFolder:
    """The write-ahead files below a log's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / PENDING
        self._lock = folder / "pending.lock"

    def path(self, run_id: str) -> Path:
        """The write-ahead file of a run."""
        return self.folder / f"{check_run_id(run_id)}{SUFFIX}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold off every other appender and finaliser of this log."""
        with exclusive_lock(self._lock, waiting_seconds=LOCK_SECONDS, what="the audit log's pending folder"):
            yield

    def run_ids(self) -> list[str]:
        """The runs that have a write-ahead file, sorted."""
        return sorted(path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"*{SUFFIX}"))

    def read(self, run_id: str, start: int = 0) -> PendingRead:
        """What the write-ahead file holds from byte ``start`` on; nothing when there is no file."""
        path = self.path(run_id)
        try:
            with open(path, "rb") as stream:
                stream.seek(start)
                data = stream.read()
        except FileNotFoundError:
            return PendingRead((), 0, False, None)
        return _parse(data, start, path)

    def append(self, run_id: str, leaf: bytes, at: int) -> int:
        """Write one line at byte ``at`` (cutting off a torn line there) and make it durable; return the new length.

        Raises:
            OSError: the disk is full or not writable; what was acknowledged before is intact.
        """
        path = self.path(run_id)
        make_durable_folder(self.folder)
        existed = path.exists()
        line = hash_leaf(leaf).hex().encode() + b" " + leaf + b"\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, at)
            os.lseek(descriptor, at, os.SEEK_SET)
            try:
                written = 0
                while written < len(line):
                    written += os.write(descriptor, line[written:])
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, at)
                raise
        finally:
            os.close(descriptor)
        if not existed:
            sync_folder(self.folder)
        return at + len(line)

    def remove(self, run_id: str) -> None:
        """Forget a write-ahead file whose events are in the log."""
        self.path(run_id).unlink(missing_ok=True)
        if self.folder.is_dir():
            sync_folder(self.folder)

    def cut(self, run_id: str, length: int) -> None:
        """Shorten a damaged write-ahead file to its readable lines, once its bytes were kept elsewhere."""
        descriptor = os.open(self.path(run_id), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, length)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _parse(data: bytes, start: int, path: Path) -> PendingRead:
    leaves: list[bytes] = []
    length = start
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        leaf = line[_HASH_DIGITS + 1 :]
        if line[: _HASH_DIGITS + 1] != hash_leaf(leaf).hex().encode() + b" ":
            where = "" if start == 0 else f" after byte {start}"
            return PendingRead(tuple(leaves), length, False, f"{path}: line {number}{where} was changed on disk")
        leaves.append(leaf)
        length += len(line) + 1
    tail = lines[-1]
    damage = f"{path}: the last line was changed on disk" if _is_complete(tail) else None
    return PendingRead(tuple(leaves), length, bool(tail), damage)


def _is_complete(tail: bytes) -> bool:
    """Whether a last line without newline goes on behind a whole leaf: not torn then, its newline was changed."""
    leaf = tail[_HASH_DIGITS + 1 :]
    try:
        json.JSONDecoder().raw_decode(leaf.decode(errors="replace"))
    except ValueError:
        return False
    return tail[:_HASH_DIGITS] != hash_leaf(leaf).hex().encode()
