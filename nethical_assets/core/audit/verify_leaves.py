"""Verification of what the leaves say: form, order within each run, chunks, key rotations.

What belongs here: what the entries of one log prove about each other. What does not: files and signatures (``verify``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nethical_assets.core.audit.events import Chunk, Event, EventType, Rotation
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.tlog.checkpoint import Checkpoint
from nethical_assets.core.tlog.merkle import MerkleTree, hash_leaf, root_of
from nethical_assets.core.tlog.note import VerifierKey


@dataclass(frozen=True)
class ChunkSummary:
    """One verified chunk: ``size`` is the size of the tree after it, roots are hexadecimal."""

    run_id: str
    time: str
    first_index: int
    events: int
    size: int
    root: str
    chunk_root: str


class LeafVerification:
    """Walks the entries of a log of ``origin`` whose tree was recomputed; ``problems`` has one line a defect."""

    def __init__(self, origin: str, entries: Sequence[bytes], tree: MerkleTree) -> None:
        self.problems: list[str] = []
        self.chunks: list[ChunkSummary] = []
        self.rotations: list[tuple[int, Rotation]] = []
        """The size at which each rotation was signed, and the rotation."""
        self.lengths: dict[str, int] = {}
        """How many leaves every run has."""
        self.payloads: dict[str, int] = {}
        """Payload digests and the first leaf that names each."""
        self.deleted: set[str] = set()
        """Digests of what retention deleted."""
        self._origin = origin
        self._entries = entries
        self._tree = tree
        self._start = 0
        self._new_rotations: list[Rotation] = []
        self._walk()

    def _walk(self) -> None:
        seen: dict[bytes, int] = {}
        chunk_events: list[tuple[int, Event]] = []
        for index, entry in enumerate(self._entries):
            if entry in seen:
                self.problems.append(f"leaf {index}: duplicated leaf, the same as leaf {seen[entry]}")
            seen.setdefault(entry, index)
            try:
                event = Event.parse(entry)
            except AuditError as error:
                self.problems.append(f"leaf {index}: {error}")
                continue
            self._take(index, event)
            chunk_events.append((index, event))
            if event.chunk is not None:
                self._close(index, event, event.chunk, chunk_events)
                chunk_events = []
        if self._start != len(self._entries):
            self.problems.append(
                f"leaf {self._start}: the log ends without a chunk_final leaf for the leaves from here on"
            )

    def _take(self, index: int, event: Event) -> None:
        expected = self.lengths.get(event.run_id, 0)
        if event.sequence != expected:
            self.problems.append(
                f"leaf {index}: run {event.run_id} has event {event.sequence} where event {expected} belongs; "
                "leaves were reordered, removed or inserted"
            )
        self.lengths[event.run_id] = event.sequence + 1
        if event.payload_digest is not None:
            self.payloads.setdefault(event.payload_digest, index)
        if event.type is EventType.RETENTION_DELETED:
            self.deleted.update(subject.digest for subject in event.subjects)
        if event.rotation is not None:
            self._rotate(index, event.rotation)

    def _rotate(self, index: int, rotation: Rotation) -> None:
        try:
            names = {VerifierKey.parse(key).name for key in (rotation.old, rotation.new)}
        except (AuditError, AttributeError):
            self.problems.append(f"leaf {index}: malformed key rotation")
            return
        previous = self.rotations[-1][1].new if self.rotations else rotation.old
        if names != {self._origin} or rotation.old != previous or self._new_rotations:
            self.problems.append(f"leaf {index}: key rotation from a key that was not in force, or of another log")
            return
        self._new_rotations.append(rotation)

    def _close(self, index: int, final: Event, chunk: Chunk, events: Sequence[tuple[int, Event]]) -> None:
        for at, event in events:
            if event.run_id != final.run_id:
                self.problems.append(f"leaf {at}: run {event.run_id} inside the chunk of run {final.run_id}")
        if (chunk.first_index, chunk.size) != (self._start, index - self._start):
            self.problems.append(
                f"leaf {index}: chunk_final covers {chunk.size} leaves from {chunk.first_index} on, "
                f"it closes {index - self._start} from {self._start} on"
            )
        root = root_of(map(hash_leaf, self._entries[self._start : index])).hex()
        if chunk.root != root:
            self.problems.append(f"leaf {index}: chunk_final states chunk root {chunk.root}, its leaves give {root}")
        previous = Checkpoint(self._origin, self._start, self._tree.root(self._start)).digest()
        if chunk.previous_checkpoint != previous:
            self.problems.append(
                f"leaf {index}: chunk_final follows checkpoint {chunk.previous_checkpoint}, not {previous} "
                f"of size {self._start}"
            )
        size = index + 1
        self.chunks.append(
            ChunkSummary(
                final.run_id, final.time, self._start, index - self._start, size, self._tree.root(size).hex(), root
            )
        )
        self.rotations += [(size, rotation) for rotation in self._new_rotations]
        self._new_rotations = []
        self._start = size
