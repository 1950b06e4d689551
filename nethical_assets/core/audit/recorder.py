"""Recording the events of a run while it goes on.

What belongs here: ``RunRecorder``. What does not: the write-ahead file's format (``pending``), the log (``log``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.events import (
    Event,
    EventType,
    Rotation,
    Subject,
    check_run_id,
    event_type,
    payload_bytes,
    subjects_of,
    timestamp,
)
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.digests import check_digest
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.tlog.merkle import MerkleTree, hash_leaf

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


class RunRecorder:
    """Appends the events of one run durably; safe for threads, and for several processes of the same run.

    Every event is on disk (fsync) when ``append`` returns. The events enter the log when the run is finalised
    (``AuditLog.finalize_run``); a run may go on recording afterwards, which gives it one more chunk.
    """

    def __init__(self, folder: Path, run_id: str, *, clock: Clock = utc_now) -> None:
        self.run_id = check_run_id(run_id)
        self._reader = LogReader(Path(folder))
        self._clock = clock
        self._guard = threading.Lock()
        self._checkpoint: bytes | None = b""
        self._tree = MerkleTree()
        self._length = 0

    def append(
        self,
        type: EventType | str,  # noqa: A002 - the name of the field in the leaf
        *,
        actor: str,
        subjects: Iterable[Subject | Mapping[str, str]] = (),
        parents: Sequence[str] = (),
        payload: Any = None,
        rotation: Rotation | None = None,
    ) -> int:
        """Record one event and return its sequence number in the run (0, 1, ...).

        ``subjects`` and ``parents`` name things by digest; ``payload`` is any JSON value (floats become decimal text)
        and must hold no personal data; ``rotation`` belongs to ``key_rotated`` only.

        Raises:
            AuditError: unknown type, a payload that is not JSON, a write-ahead file that was changed on disk, no space.
            IntegrityError: a digest is malformed.
        """
        kind = event_type(type)
        if kind is EventType.CHUNK_FINAL:
            raise AuditError("chunk_final events are written by finalize_run only")
        named = subjects_of(subjects)
        origins = tuple(check_digest(parent) for parent in parents)
        document = None if payload is None else payload_bytes(payload)
        try:
            payload_digest = None if document is None else self._reader.payloads.put(document)
            with self._guard, self._reader.pending.locked():
                self._catch_up()
                event = Event(
                    run_id=self.run_id,
                    sequence=self._tree.size,
                    time=timestamp(self._clock()),
                    type=kind,
                    actor=actor,
                    subjects=named,
                    parents=origins,
                    payload_digest=payload_digest,
                    rotation=rotation,
                )
                leaf = event.leaf()
                Event.parse(leaf)
                self._length = self._reader.pending.append(self.run_id, leaf, self._length)
                return self._tree.append(hash_leaf(leaf))
        except OSError as error:
            raise AuditError(
                f"{self._reader.folder}: the event {kind} of run {self.run_id} was not recorded ({error.strerror}); "
                "earlier events are intact: make space and try again"
            ) from None

    def prefix_root(self) -> tuple[int, str]:
        """How many events this run recorded so far, and the RFC 6962 root over them (hexadecimal).

        Stored in a card together with the run id, it can be verified against the log later (``verify_prefix_root``).

        Raises:
            AuditError: the write-ahead file was changed on disk.
        """
        with self._guard, self._reader.pending.locked():
            self._catch_up()
            return self._tree.size, self._tree.root().hex()

    def _catch_up(self) -> None:
        """Take in what other processes recorded or finalised since the last call."""
        checkpoint = self._reader.checkpoint_bytes()
        if checkpoint != self._checkpoint:
            self._tree = MerkleTree()
            self._tree.extend(map(hash_leaf, self._reader.run_leaves(self.run_id)))
            self._length = 0
            discard_finalized(self._reader, self.run_id, self._tree.size)
            self._checkpoint = checkpoint
        read = self._reader.pending.read(self.run_id, self._length)
        if read.damage:
            raise AuditError(f"{read.damage}; it is kept: start a new run, and finalise this one as abandoned")
        self._tree.extend(map(hash_leaf, read.leaves))
        self._length = read.length


def discard_finalized(reader: LogReader, run_id: str, logged: int) -> None:
    """Remove a write-ahead file whose events are in the log already: its finaliser died before it could.

    Needs the lock of the pending folder. ``logged`` is how many leaves the run has in the log.
    """
    leaves = reader.pending.read(run_id).leaves
    if leaves and Event.parse(leaves[0]).sequence < logged:
        reader.pending.remove(run_id)
