"""Recording the events of a run while it goes on.

What belongs here: ``RunRecorder``. What does not: the write-ahead file's format (``pending``), the log (``log``).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

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
from nethical_assets.core.audit.keys import SigningKeys
from nethical_assets.core.audit.pending import NO_LEAF, Place, pending_line
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.audit.view import SignedView
from nethical_assets.core.audit.writer import Clock, LogWriter, utc_now
from nethical_assets.core.ground.digests import check_digest
from nethical_assets.core.ground.disk import advice
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.tlog.merkle import MerkleTree, hash_leaf


class RunRecorder:
    """Appends the events of one run durably; safe for threads, and for several processes of the same run.

    Every event is on disk (fsync), signed with the log's key, when ``append`` returns; the first event of a new log
    founds the log. The events enter the log when the run is finalised
    (``AuditLog.finalize_run``); a run may go on recording afterwards, which gives it one more chunk.
    """

    def __init__(self, folder: Path, run_id: str, keys: SigningKeys, *, clock: Clock = utc_now) -> None:
        self.run_id = check_run_id(run_id)
        self._reader = LogReader(Path(folder))
        self._writer = LogWriter(self._reader, keys, clock)
        self._clock = clock
        self._guard = threading.Lock()
        self._checkpoint: bytes | None = b""
        self._tree = MerkleTree()
        self._length = 0
        self._previous = NO_LEAF
        self._signer: tuple[Place, Ed25519PrivateKey] | None = None

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
            AuditError: unknown type, a payload that is not JSON, a write-ahead file that was changed on disk, no space,
                a log that was changed, a signing key that is not the log's.
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
            self._found()
            with self._guard, self._reader.pending.locked():
                place, private = self._catch_up()
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
                line = pending_line(leaf, self._previous, place.key.name, private)
                self._length = self._reader.pending.append(self.run_id, line, self._length)
                return self._take([leaf])
        except OSError as error:
            raise AuditError(
                f"{self._reader.folder}: the event {kind} of run {self.run_id} was not recorded ({error.strerror}); "
                f"earlier events are intact: {advice(error)} and try again"
            ) from None

    def prefix_root(self) -> tuple[int, str]:
        """How many events this run recorded so far, and the RFC 6962 root over them (hexadecimal).

        Stored in a card together with the run id, it can be verified against the log later (``verify_prefix_root``).

        Raises:
            AuditError: the write-ahead file was changed on disk.
        """
        with self._guard, self._reader.pending.locked():
            if self._reader.checkpoint_bytes() is not None:
                self._catch_up()
            return self._tree.size, self._tree.root().hex()

    def _found(self) -> None:
        """A log pins its key before anything is signed with it."""
        if self._checkpoint != b"":
            return
        head = self._reader.head()
        if head is None or head.size == 0 or not self._reader.view().state.audit_keys:
            with self._writer.locked():
                self._writer.open()

    def _catch_up(self) -> tuple[Place, Ed25519PrivateKey]:
        """Take in what other processes recorded or finalised since the last call; where the run stands in the log, and
        the key that signs."""
        checkpoint = self._reader.checkpoint_bytes()
        if checkpoint != self._checkpoint or self._signer is None:
            view = self._reader.view()
            self._tree = MerkleTree()
            self._take([leaf for _, leaf in view.run_leaves(self.run_id)])
            self._length = 0
            self._signer = view.place(self.run_id), self._writer.signing_key(view)
            discard_finalized(self._reader, view, self.run_id)
            self._checkpoint = checkpoint
        place, private = self._signer
        here = Place(place.key, self._previous, self._tree.size)
        read = self._reader.pending.read(self.run_id, here, self._length)
        if read.damage:
            raise AuditError(f"{read.damage}; it is kept: start a new run, and finalise this one as abandoned")
        self._take(read.leaves)
        self._length = read.length
        return place, private

    def _take(self, leaves: Sequence[bytes]) -> int:
        """Count leaves in; the sequence number of the last one."""
        self._tree.extend(map(hash_leaf, leaves))
        if leaves:
            self._previous = hash_leaf(leaves[-1])
        elif self._tree.size == 0:
            self._previous = NO_LEAF
        return self._tree.size - 1


def discard_finalized(reader: LogReader, view: SignedView, run_id: str) -> None:
    """Remove a write-ahead file whose events are in the log already: its finaliser died before it could.

    Needs the lock of the pending folder.
    """
    if is_logged(reader, view, run_id):
        reader.pending.remove(run_id)


def is_logged(reader: LogReader, view: SignedView, run_id: str) -> bool:
    """Whether every leaf in a write-ahead file is in the log already."""
    leaves = reader.pending.unchecked_leaves(run_id)
    return bool(leaves) and set(leaves) <= {leaf for _, leaf in view.run_leaves(run_id)}
