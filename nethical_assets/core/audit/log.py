"""The append-only log: moving the events of runs into signed chunks.

What belongs here: the one writer, and what makes it survive a crash at any instant. What does not: recording events
(``recorder``), reading (``reader``), verification by others (``verify``).

Order of writes: tiles and entries (new files only), then the checkpoint by rename - that instant commits the chunk -
then the copy in ``checkpoints/``, then housekeeping. A crash before the rename leaves files behind the signed size,
which the next writer removes; a crash after it leaves work that the next writer completes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical_assets.core.audit.events import Chunk, Event, EventType, Rotation, check_run_id, timestamp
from nethical_assets.core.audit.keys import (
    NEXT_KEY_FILE,
    SigningKeys,
    default_origin,
    read_private_key,
    write_verifier_key,
)
from nethical_assets.core.audit.reader import CHECKPOINT, CHECKPOINTS, KEYS, Head, LogReader
from nethical_assets.core.audit.recorder import Clock, RunRecorder, discard_finalized, utc_now
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.storage import exclusive_lock, write_atomically
from nethical_assets.core.tlog.checkpoint import Checkpoint, open_checkpoint
from nethical_assets.core.tlog.merkle import EMPTY_ROOT, consistency_proof, hash_leaf, root_of
from nethical_assets.core.tlog.note import Note, Signature, VerifierKey
from nethical_assets.core.tlog.tiles import make_durable_folder

ACTOR = "nethical-assets"
WRITER_LOCK_SECONDS = 300.0
_ENDED = {EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_INTERRUPTED}


@dataclass(frozen=True)
class ChunkReceipt:
    """What finalising a run put into the log; roots are hexadecimal.

    ``size`` is the size of the tree after the chunk, ``events`` how many events the chunk holds (its ``chunk_final``
    leaf not counted); ``consistency_proof`` leads from ``previous_root`` at ``previous_size`` to ``root`` at ``size``.
    """

    run_id: str
    first_index: int
    events: int
    size: int
    root: str
    chunk_root: str
    checkpoint: str
    previous_checkpoint: str
    previous_size: int
    previous_root: str
    consistency_proof: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The receipt as a JSON object."""
        return to_document(self)


class AuditLog(LogReader):
    """The log in ``folder`` with the right to append to it. ``keys`` says where its signing key is."""

    def __init__(self, folder: Path, keys: SigningKeys | None = None, *, clock: Clock = utc_now) -> None:
        super().__init__(folder)
        self.keys = keys or SigningKeys(self.folder / KEYS)
        self.clock = clock

    @property
    def key_created(self) -> Path | None:
        """The signing key's file when this object created it (tell the user: back it up); else None."""
        return self.keys.created

    def recorder(self, run_id: str) -> RunRecorder:
        """A recorder for the events of a run."""
        return RunRecorder(self.folder, run_id, clock=self.clock)

    def finalize_run(self, run_id: str) -> ChunkReceipt:
        """Move the events of a run into the log as one signed chunk. Finalising again appends nothing.

        Raises:
            AuditError: the run recorded nothing, its write-ahead file or the log was changed on disk, the signing key
                is not the log's, or there is no space (nothing is lost: finalise again).
            BusyError: another writer holds the log for more than five minutes.
        """
        check_run_id(run_id)
        with self._writing(), self.pending.locked():
            head, private = self._open()
            logged = len(self.run_leaves(run_id))
            discard_finalized(self, run_id, logged)
            read = self.pending.read(run_id)
            if read.damage:
                raise AuditError(f"{read.damage}; finalise the run as abandoned to log its readable events")
            if read.leaves:
                self._append_chunk(head, private, run_id, read.leaves, logged + len(read.leaves))
            elif not logged:
                raise AuditError(f"{self.folder}: run {run_id} recorded no events, there is nothing to finalise")
            self.pending.remove(run_id)
            return self._receipt(run_id)

    def finalize_abandoned(self, is_alive: Callable[[str], bool]) -> list[ChunkReceipt]:
        """Finalise the runs that recorded events and are not alive any more.

        A run that did not record its own end gets a ``run_interrupted`` event. A write-ahead file that was changed on
        disk is kept whole among the payloads, named by that event, and its readable events are logged.

        Raises:
            AuditError: as ``finalize_run``.
        """
        receipts = []
        for run_id in self.pending_runs():
            if not is_alive(run_id) and self._end(run_id):
                receipts.append(self.finalize_run(run_id))
        return receipts

    def heartbeat(self, run_id: str, *, actor: str = ACTOR, payload: Any = None) -> ChunkReceipt:
        """Log a heartbeat as a chunk of its own, so that silence is visible; ``run_id`` must be new."""
        self.recorder(run_id).append(EventType.HEARTBEAT, actor=actor, payload=payload)
        return self.finalize_run(run_id)

    def attach_cosignatures(self, size: int, signatures: Sequence[Signature]) -> None:
        """Add witnesses' signature lines to the checkpoint of ``size`` leaves; lines that are there already stay once.

        Raises:
            AuditError: no checkpoint of that size was signed, or there is no space.
        """
        with self._writing():
            note = Note.parse(self.signed_checkpoint(size).encode())
            known = {(one.name, one.key_id) for one in signatures}
            kept = [one for one in note.signatures if (one.name, one.key_id) not in known]
            data = Note(note.text, (*kept, *signatures)).encode()
            head = self.head()
            if head is not None and head.size == size:
                write_atomically(self.folder / CHECKPOINT, data)
            write_atomically(self.folder / CHECKPOINTS / str(size), data)

    def _end(self, run_id: str) -> bool:
        """Record that a dead run was interrupted unless it recorded its end; False when it left nothing to finalise."""
        with self._writing():
            with self.pending.locked():
                discard_finalized(self, run_id, len(self.run_leaves(run_id)))
                if not self.pending.path(run_id).exists():
                    return False
                read = self.pending.read(run_id)
                subjects = []
                if read.damage:
                    evidence = self.payloads.put(self.pending.path(run_id).read_bytes())
                    subjects.append({"name": "damaged write-ahead file", "digest": evidence})
                    self.pending.cut(run_id, read.length)
            if subjects or not read.leaves or Event.parse(read.leaves[-1]).type not in _ENDED:
                self.recorder(run_id).append(
                    EventType.RUN_INTERRUPTED, actor=ACTOR, subjects=subjects, payload={"damage": read.damage}
                )
            return True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        make_durable_folder(self.folder)
        try:
            with exclusive_lock(self.folder / "writer.lock", waiting_seconds=WRITER_LOCK_SECONDS, what="the audit log"):
                yield
        except OSError as error:
            raise AuditError(
                f"{self.folder}: the audit log was not extended ({error.strerror}); nothing was lost: "
                "make space and finalise again"
            ) from None

    def _open(self) -> tuple[Head, Ed25519PrivateKey]:
        """The verified head and the key that signs next, after completing what a crash may have left undone."""
        private = self.keys.load()
        head = self.head()
        if head is None:
            head = self._found(private)
        origin = head.checkpoint.origin
        own = VerifierKey.of(origin, private)
        rotation = self._last_rotation(head)
        if rotation is not None and str(own) != rotation.new:
            private = self._complete_rotation(rotation)
            own = VerifierKey.of(origin, private)
        signer = own if rotation is None else VerifierKey.parse(rotation.old)
        open_checkpoint(head.text.encode(), [signer])
        computed = self.tiles.root(head.size)
        if computed != head.checkpoint.root:
            raise AuditError(
                f"{self.folder}: the tiles give root {computed.hex()}, the checkpoint signs {head.root} for size "
                f"{head.size}; the log was changed: verify it and restore it from a copy"
            )
        self._keep_copy(head)
        write_verifier_key(self.folder / KEYS, signer)
        self.tiles.discard_beyond(head.size)
        return head, private

    def _found(self, private: Ed25519PrivateKey) -> Head:
        if (self.folder / CHECKPOINTS).exists():
            raise AuditError(f"{self.folder / CHECKPOINT}: missing although the log exists; restore it from a copy")
        checkpoint = Checkpoint(default_origin(private), 0, EMPTY_ROOT)
        data = checkpoint.sign(private)
        write_verifier_key(self.folder / KEYS, VerifierKey.of(checkpoint.origin, private))
        write_atomically(self.folder / CHECKPOINT, data)
        return Head(checkpoint, data.decode())

    def _keep_copy(self, head: Head) -> None:
        path = self.folder / CHECKPOINTS / str(head.size)
        if not path.exists():
            make_durable_folder(path.parent)
            write_atomically(path, head.text.encode())

    def _last_rotation(self, head: Head) -> Rotation | None:
        """The key rotation in the newest chunk: the checkpoint over it is the last one by the old key."""
        if head.size == 0:
            return None
        final = next(self.entries(head.size - 1)).event
        first = final.chunk.first_index if final.chunk else head.size
        rotations = [found.event.rotation for found in self.find_events(event_type=EventType.KEY_ROTATED, start=first)]
        return rotations[-1] if rotations else None

    def _complete_rotation(self, rotation: Rotation) -> Ed25519PrivateKey:
        path = self.folder / KEYS / NEXT_KEY_FILE
        if path.exists():
            private = read_private_key(path)
            if str(VerifierKey.of(VerifierKey.parse(rotation.new).name, private)) == rotation.new:
                self.keys.replace(private)
                path.unlink()
                return private
        raise AuditError(f"{self.keys.path}: the signing key was rotated; use the new key ({rotation.new[:60]}...)")

    def _append_chunk(
        self, head: Head, private: Ed25519PrivateKey, run_id: str, leaves: tuple[bytes, ...], sequence: int
    ) -> None:
        final = Event(
            run_id=run_id,
            sequence=sequence,
            time=timestamp(self.clock()),
            type=EventType.CHUNK_FINAL,
            actor=ACTOR,
            chunk=Chunk(
                first_index=head.size,
                size=len(leaves),
                root=root_of(map(hash_leaf, leaves)).hex(),
                previous_checkpoint=head.checkpoint.digest(),
            ),
        )
        size = self.tiles.append(head.size, [*leaves, final.leaf()])
        checkpoint = Checkpoint(head.checkpoint.origin, size, self.tiles.root(size))
        data = checkpoint.sign(private)
        write_atomically(self.folder / CHECKPOINT, data)
        self._keep_copy(Head(checkpoint, data.decode()))
        write_verifier_key(self.folder / KEYS, VerifierKey.of(checkpoint.origin, private))
        self.tiles.discard_superseded_partials(head.size, size)

    def _receipt(self, run_id: str) -> ChunkReceipt:
        """The receipt of the run's newest chunk, from the log."""
        found = list(self.find_events(run_id=run_id, event_type=EventType.CHUNK_FINAL))[-1]
        chunk = found.event.chunk
        head = self.head()
        if chunk is None or head is None:
            raise AuditError(f"{self.folder}: the chunk of run {run_id} is malformed")
        size = found.index + 1
        nodes = self.tiles.reader(head.size).node
        proof = consistency_proof(chunk.first_index, size, nodes)
        return ChunkReceipt(
            run_id=run_id,
            first_index=chunk.first_index,
            events=chunk.size,
            size=size,
            root=self.tiles.root(size).hex(),
            chunk_root=chunk.root,
            checkpoint=self.signed_checkpoint(size),
            previous_checkpoint=chunk.previous_checkpoint,
            previous_size=chunk.first_index,
            previous_root=self.tiles.root(chunk.first_index).hex(),
            consistency_proof=tuple(one.hex() for one in proof),
        )
