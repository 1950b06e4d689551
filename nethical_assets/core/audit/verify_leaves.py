"""Verification of what the leaves say: form, order within each run, chunks, keys, the state that chunks name.

What belongs here: what the entries of one log prove about each other. What does not: files and signatures (``verify``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nethical_assets.core.audit.events import Chunk, Event, EventType, Rotation, leaf_fields
from nethical_assets.core.audit.keyed_tree import EMPTY_MAP
from nethical_assets.core.audit.state import STATEFUL, Replay
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.tlog.checkpoint import Checkpoint
from nethical_assets.core.tlog.merkle import HASH_BYTES, MerkleTree, root_of
from nethical_assets.core.tlog.note import VerifierKey
from nethical_assets.core.tlog.verify_tiles import Progress, no_progress

_SPECIAL = STATEFUL | {EventType.RETENTION_DELETED}
_PROGRESS_STEP = 4096


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

    def __init__(
        self, origin: str, entries: Sequence[bytes], tree: MerkleTree, progress: Progress = no_progress
    ) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.chunks: list[ChunkSummary] = []
        self.rotations: list[tuple[int, Rotation]] = []
        """The size at which each rotation was signed, and the rotation."""
        self.lengths: dict[str, int] = {}
        """How many leaves every run has."""
        self.payloads: dict[str, int] = {}
        """Payload digests and the first leaf that names each."""
        self.deleted: set[str] = set()
        """Digests of what retention deleted."""
        self.runs_at: dict[int, bytes] = {0: EMPTY_MAP}
        """The hash of the map of runs after each chunk, by size."""
        self.replay = Replay()
        self._origin = origin
        self._entries = entries
        self._tree = tree
        self._start = 0
        self._new_rotations: list[Rotation] = []
        self._chunk_runs: dict[str, int] = {}
        self._last_time = self._last_end = ""
        self._stateful = False
        self._walk(progress)

    def _walk(self, progress: Progress) -> None:
        for index, entry in enumerate(self._entries):
            fields = leaf_fields(entry)
            if fields is not None and fields[3] not in _SPECIAL:
                self._count(index, *fields[:3], fields[4])
            else:
                self._parse(index, entry)
            if index % _PROGRESS_STEP == 0:
                progress("leaves checked", index, len(self._entries))
        if self._start != len(self._entries):
            self.problems.append(
                f"leaf {self._start}: the log ends without a chunk_final leaf for the leaves from here on"
            )

    def _parse(self, index: int, entry: bytes) -> None:
        try:
            event = Event.parse(entry)
        except AuditError as error:
            self.problems.append(f"leaf {index}: {error}")
            return
        self._count(index, event.run_id, event.sequence, event.time, event.payload_digest or "")
        if event.type is EventType.RETENTION_DELETED:
            self.deleted.update(subject.digest for subject in event.subjects)
        if event.rotation is not None:
            self._rotate(index, event.rotation)
        if event.chunk is not None:
            self._close(index, event, event.chunk)
            return
        fault = self.replay.take(index, event)
        if fault:
            self.problems.append(f"leaf {index}: {fault}")

    def _count(self, index: int, run_id: str, sequence: int, time: str, payload: str) -> None:
        expected = self.lengths.get(run_id, 0)
        if sequence != expected:
            self._misplaced(index, run_id, sequence, expected)
        self.lengths[run_id] = sequence + 1
        self._chunk_runs.setdefault(run_id, index)
        if payload:
            self.payloads.setdefault(payload, index)
        if time < self._last_time:
            self.notes.append(f"leaf {index}: its time {time} is before {self._last_time} of the leaf before it")
        self._last_time = time

    def _misplaced(self, index: int, run_id: str, sequence: int, expected: int) -> None:
        first = self._tree.index_of(self._tree.node(0, index))
        if first is not None and first < index:
            self.problems.append(f"leaf {index}: duplicated leaf, the same as leaf {first}")
        self.problems.append(
            f"leaf {index}: run {run_id} has event {sequence} where event {expected} belongs; "
            "leaves were reordered, removed or inserted"
        )

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

    def _close(self, index: int, final: Event, chunk: Chunk) -> None:
        for run_id, at in self._chunk_runs.items():
            if run_id != final.run_id:
                self.problems.append(f"leaf {at}: run {run_id} inside the chunk of run {final.run_id}")
        if (chunk.first_index, chunk.size) != (self._start, index - self._start):
            self.problems.append(
                f"leaf {index}: chunk_final covers {chunk.size} leaves from {chunk.first_index} on, "
                f"it closes {index - self._start} from {self._start} on"
            )
        leaves = self._tree.nodes(0, self._start, index - self._start)
        root = root_of(leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES)).hex()
        if chunk.root != root:
            self.problems.append(f"leaf {index}: chunk_final states chunk root {chunk.root}, its leaves give {root}")
        previous = Checkpoint(self._origin, self._start, self._tree.root(self._start)).digest()
        if chunk.previous_checkpoint != previous:
            self.problems.append(
                f"leaf {index}: chunk_final follows checkpoint {chunk.previous_checkpoint}, not {previous} "
                f"of size {self._start}"
            )
        self._check_state(index, final)
        size = index + 1
        self.chunks.append(
            ChunkSummary(
                final.run_id, final.time, self._start, index - self._start, size, self._tree.root(size).hex(), root
            )
        )
        self.rotations += [(size, rotation) for rotation in self._new_rotations]
        self._new_rotations = []
        self._start = size
        self._chunk_runs = {}
        if final.time < self._last_end:
            self.notes.append(
                f"leaf {index}: its time {final.time} is before {self._last_end}, when a chunk before ended"
            )
        self._last_end, self._last_time = final.time, ""

    def _check_state(self, index: int, final: Event) -> None:
        """Chunks of older versions name no state; from the first that does on, every one has to name the right one."""
        document = self.replay.close(index, final.run_id)
        self.runs_at[index + 1] = self.replay.state.runs
        if final.payload_digest is None and self._stateful:
            self.problems.append(f"leaf {index}: chunk_final names no state of the log, as the chunks before it do")
        elif final.payload_digest is not None and final.payload_digest != digest_bytes(document):
            self.problems.append(f"leaf {index}: chunk_final names another state of the log than the leaves give")
        self._stateful = self._stateful or final.payload_digest is not None
