"""The append-only log: moving the events of runs into signed chunks.

What belongs here: which leaves become a chunk, when, and what becomes of runs that died. What does not: the writes and
what makes them survive a crash (``writer``), recording events (``recorder``), reading (``reader``), verification by
others (``verify``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.events import Event, EventType, check_run_id
from nethical_assets.core.audit.keys import SigningKeys
from nethical_assets.core.audit.reader import CHECKPOINT, CHECKPOINTS, KEYS, LogReader
from nethical_assets.core.audit.recorder import RunRecorder, discard_finalized
from nethical_assets.core.audit.writer import ACTOR, Clock, LogWriter, utc_now
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.tlog.note import Note, Signature

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
        self._writer = LogWriter(self, self.keys, clock)

    @property
    def key_created(self) -> Path | None:
        """The signing key's file when this object created it (tell the user: back it up); else None."""
        return self.keys.created

    def recorder(self, run_id: str) -> RunRecorder:
        """A recorder for the events of a run."""
        return RunRecorder(self.folder, run_id, self.keys, clock=self.clock)

    def finalize_run(self, run_id: str) -> ChunkReceipt:
        """Move the events of a run into the log as one signed chunk. Finalising again appends nothing.

        Raises:
            AuditError: the run recorded nothing, its write-ahead file or the log was changed on disk, the signing key
                is not the log's, or there is no space (nothing is lost: finalise again).
            BusyError: another writer holds the log for more than five minutes.
        """
        check_run_id(run_id)
        with self._writer.locked(), self.pending.locked():
            view, private = self._writer.open()
            discard_finalized(self, view, run_id)
            read = view.pending(run_id)
            if read.damage:
                raise AuditError(f"{read.damage}; finalise the run as abandoned to log its readable events")
            if read.leaves:
                self._writer.append(view, private, run_id, read.leaves)
            elif view.place(run_id).sequence == 0:
                raise AuditError(f"{self.folder}: run {run_id} recorded no events, there is nothing to finalise")
            self.pending.remove(run_id)
            return self._receipt(run_id)

    def finalize_abandoned(self, is_alive: Callable[[str], bool]) -> list[ChunkReceipt]:
        """Finalise the runs that recorded events and are not alive any more.

        A run that did not record its own end gets a ``run_interrupted`` event. A write-ahead file that was changed on
        disk, or that holds lines that the log's key did not sign, is kept whole among the payloads, named by that
        event, and its events before the damage are logged.

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
        with self._writer.locked():
            note = Note.parse(self.signed_checkpoint(size).encode())
            known = {(one.name, one.key_id) for one in signatures}
            kept = [one for one in note.signatures if (one.name, one.key_id) not in known]
            data = Note(note.text, (*kept, *signatures)).encode()
            head = self.head()
            if head is not None and head.size == size:
                write_atomically(self.folder / CHECKPOINT, data)
            write_atomically(self.folder / CHECKPOINTS / str(size), data)

    def seal_pending(self) -> None:
        """Move what every run recorded so far into the log; the runs may go on. Damaged write-ahead files stay."""
        for run_id in self.pending_runs():
            with self._writer.locked(), self.pending.locked():
                view, private = self._writer.open()
                discard_finalized(self, view, run_id)
                read = view.pending(run_id)
                if read.leaves and not read.damage:
                    self._writer.append(view, private, run_id, read.leaves)
                    self.pending.remove(run_id)

    def _end(self, run_id: str) -> bool:
        """Record that a dead run was interrupted unless it recorded its end; False when it left nothing to finalise."""
        with self._writer.locked():
            with self.pending.locked():
                view, _ = self._writer.open()
                discard_finalized(self, view, run_id)
                if not self.pending.path(run_id).exists():
                    return False
                read = view.pending(run_id)
                subjects = []
                if read.damage:
                    evidence = self.payloads.put(self.pending.bytes_of(run_id))
                    subjects.append({"name": "damaged write-ahead file", "digest": evidence})
                    self.pending.cut(run_id, read.length)
            if subjects or not read.leaves or Event.parse(read.leaves[-1]).type not in _ENDED:
                self.recorder(run_id).append(
                    EventType.RUN_INTERRUPTED, actor=ACTOR, subjects=subjects, payload={"damage": read.damage}
                )
            return True

    def _receipt(self, run_id: str) -> ChunkReceipt:
        """The receipt of the run's newest chunk, from the log."""
        view = self.view()
        found = view.run_chunks(run_id)[-1]
        chunk = found.event.chunk
        if chunk is None:
            raise AuditError(f"{self.folder}: the chunk of run {run_id} is malformed")
        size = found.index + 1
        proof = view.consistency_proof(chunk.first_index, size)
        return ChunkReceipt(
            run_id=run_id,
            first_index=chunk.first_index,
            events=chunk.size,
            size=size,
            root=view.root(size).hex(),
            chunk_root=chunk.root,
            checkpoint=self.signed_checkpoint(size),
            previous_checkpoint=chunk.previous_checkpoint,
            previous_size=chunk.first_index,
            previous_root=view.root(chunk.first_index).hex(),
            consistency_proof=tuple(one.hex() for one in proof),
        )
