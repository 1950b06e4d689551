"""The write-ahead files: ``pending/<run id>.jsonl``, the events of runs that are not in the log yet.

What belongs here: the line format, its signatures, reading what a killed process left, appending durably. What does
not: which sequence number an event gets (``recorder``), moving events into the log (``log``).

A line is the hexadecimal RFC 6962 leaf hash, a space, the hexadecimal Ed25519 signature, a space, and the leaf. What is
signed (``signed_message``) is the log's name, the hash of the leaf before it in the same run (zeros for the first), and
the leaf: a line counts only in its own log, its own run and its own place, and nobody without the log's key can write
one. A last line that breaks off inside its leaf was never acknowledged and does not count; any other damage is an
error, never silently skipped.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from nethical_assets.core.audit.events import Event, check_run_id
from nethical_assets.core.ground.storage import exclusive_lock, sync_folder
from nethical_assets.core.tlog.merkle import HASH_BYTES, hash_leaf
from nethical_assets.core.tlog.note import VerifierKey
from nethical_assets.core.tlog.tiles import make_durable_folder

PENDING = "pending"
SUFFIX = ".jsonl"
LOCK_SECONDS = 60.0
NO_LEAF = bytes(HASH_BYTES)
_SIGNED_PREFIX = b"nethical.local/audit/pending-leaf/v1\n"
_HASH_END = 64
_SIGNATURE_END = _HASH_END + 1 + 128
# More than the events of a cycle, and a few megabytes.
_SIGNATURES_REMEMBERED = 4096


@dataclass(frozen=True)
class Place:
    """Where the lines of a run go on: the verifier key in force, and the last leaf of the run before them.

    ``previous`` is that leaf's hash (``NO_LEAF`` for none), ``sequence`` the number of the run's next leaf.
    """

    key: VerifierKey
    previous: bytes = NO_LEAF
    sequence: int = 0


@dataclass(frozen=True)
class PendingRead:
    """What a write-ahead file holds: complete leaves, how many bytes they take, and the first damage if any."""

    leaves: tuple[bytes, ...]
    length: int
    torn: bool
    damage: str | None


def signed_message(origin: str, previous: bytes, leaf: bytes) -> bytes:
    """What the signature of a line is over; no checkpoint or cosignature begins like it."""
    return b"".join([_SIGNED_PREFIX, origin.encode(), b"\n", previous, leaf])


def pending_line(leaf: bytes, previous: bytes, origin: str, private: Ed25519PrivateKey) -> bytes:
    """The line of a leaf, with its newline."""
    signature = private.sign(signed_message(origin, previous, leaf))
    return b" ".join([hash_leaf(leaf).hex().encode(), signature.hex().encode(), leaf]) + b"\n"


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

    def bytes_of(self, run_id: str, start: int = 0) -> bytes:
        """The write-ahead file from byte ``start`` on, unchecked; empty when there is none."""
        try:
            with open(self.path(run_id), "rb") as stream:
                stream.seek(start)
                return stream.read()
        except FileNotFoundError:
            return b""

    def unchecked_leaves(self, run_id: str) -> list[bytes]:
        """The leaves of complete lines, whoever wrote them: for comparing with leaves that are in the log already."""
        return [line[_SIGNATURE_END + 1 :] for line in self.bytes_of(run_id).split(b"\n")[:-1]]

    def read(self, run_id: str, place: Place, start: int = 0, *, data: bytes | None = None) -> PendingRead:
        """What the write-ahead file holds from byte ``start`` on, where the run goes on from ``place``.

        The leaves are those up to the first line that the key in force did not sign for its place. ``data`` is the
        file from there on where it was read before.
        """
        data = self.bytes_of(run_id, start) if data is None else data
        path = self.path(run_id)
        leaves: list[bytes] = []
        length, previous = start, place.previous
        lines = data.split(b"\n")
        for number, line in enumerate(lines[:-1], 1):
            leaf = line[_SIGNATURE_END + 1 :]
            reason = _fault(line, leaf, previous, place, run_id, place.sequence + len(leaves))
            if reason:
                where = "" if start == 0 else f" after byte {start}"
                return PendingRead(tuple(leaves), length, False, f"{path}: line {number}{where} {reason}")
            leaves.append(leaf)
            previous = hash_leaf(leaf)
            length += len(line) + 1
        tail = lines[-1]
        damage = f"{path}: the last line was changed on disk" if _is_complete(tail) else None
        return PendingRead(tuple(leaves), length, bool(tail), damage)

    def append(self, run_id: str, line: bytes, at: int) -> int:
        """Write one line at byte ``at`` (cutting off a torn line there) and make it durable; return the new length.

        Raises:
            OSError: the disk is full or not writable; what was acknowledged before is intact.
        """
        path = self.path(run_id)
        make_durable_folder(self.folder)
        existed = path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
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
        """Forget a write-ahead file whose events are in the log; if it comes back, it is removed again."""
        self.path(run_id).unlink(missing_ok=True)

    def cut(self, run_id: str, length: int) -> None:
        """Shorten a damaged write-ahead file to its readable lines, once its bytes were kept elsewhere."""
        descriptor = os.open(self.path(run_id), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, length)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@functools.lru_cache(_SIGNATURES_REMEMBERED)
def _is_signed(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a key signed a message. A run looks at all its lines whenever it looks at one: those it saw are not
    computed again, and what is asked is these very bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _fault(line: bytes, leaf: bytes, previous: bytes, place: Place, run_id: str, sequence: int) -> str | None:
    """What is wrong with a line, or None."""
    if line[_HASH_END : _HASH_END + 2] == b" {":
        return (
            "is not signed: an older version wrote it, or another program; it does not count. The next cycle keeps the "
            "file as evidence and goes on"
        )
    if line[:_HASH_END] != hash_leaf(leaf).hex().encode():
        return "was changed on disk"
    try:
        signature = bytes.fromhex(line[_HASH_END + 1 : _SIGNATURE_END].decode())
    except ValueError:
        signature = b""
    if not _is_signed(place.key.public, signature, signed_message(place.key.name, previous, leaf)):
        return "is not signed by the log's key for this place"
    if line[_HASH_END : _SIGNATURE_END + 1] != b" " + signature.hex().encode() + b" ":
        return "was changed on disk"
    event = Event.parse(leaf)
    if (event.run_id, event.sequence) != (run_id, sequence):
        return f"holds event {event.sequence} of run {event.run_id}, event {sequence} of run {run_id} belongs there"
    return None


def _is_complete(tail: bytes) -> bool:
    """Whether a last line without newline goes on behind a whole leaf: not torn then, its newline was changed."""
    leaf = tail[_SIGNATURE_END + 1 :]
    try:
        json.JSONDecoder().raw_decode(leaf.decode(errors="replace"))
    except ValueError:
        return False
    return tail[:_HASH_END] != hash_leaf(leaf).hex().encode()
