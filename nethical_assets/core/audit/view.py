"""The log under its newest signed checkpoint: whatever this gives is proven against it, in O(log n).

What belongs here: reading the state and single leaves with their proofs, and where a run goes on. What does not:
verifying the whole log (``verify``), writing it (``writer``).

The index beside the log says where to look, never what is there. What it does not answer rightly, a replay of the whole
log answers instead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.files import KEYS, Head, LogFiles, LoggedEvent, digests_of
from nethical_assets.core.audit.keyed_tree import DamagedIndexError, NodeReader, lookup
from nethical_assets.core.audit.keys import VERIFIER_KEY_FILE, fingerprint, origin_of, read_verifier_keys
from nethical_assets.core.audit.pending import PendingRead, Place
from nethical_assets.core.audit.state import LogState, Named, Replay
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import AuditError, IntegrityError
from nethical_assets.core.tlog.checkpoint import open_checkpoint
from nethical_assets.core.tlog.merkle import (
    consistency_proof,
    hash_leaf,
    inclusion_proof,
    root_from_nodes,
    root_of,
    verify_inclusion,
)
from nethical_assets.core.tlog.note import VerifierKey


class SignedView:
    """One signed state of ``log``. ``keys`` are verifier keys to try beside the published one: a key is trusted
    because the log pins its fingerprint (a log that pins none: because its name is made of it).

    Raises:
        AuditError: nothing was signed yet, the tiles or the state are not what was signed, or the checkpoint is not
            signed by the key that the log pins.
    """

    def __init__(self, log: LogFiles, keys: Iterable[VerifierKey] = ()) -> None:
        head = log.head()
        if head is None:
            raise AuditError(f"{log.folder}: there is no signed log here; finish a run first")
        self.head: Head = head
        self._log = log
        self._tree = log.tiles.reader(head.size)
        self._last: LoggedEvent | None = None
        self._replay: Replay | None = None
        self._newest_chunks: dict[str, int | None] = {}
        self.found_damage = False
        """Whether the index did not answer rightly, so that a writer has to write it anew."""
        computed = root_from_nodes(head.size, self._tree.node)
        if computed != head.checkpoint.root:
            raise AuditError(
                f"{log.folder}: the tiles give root {computed.hex()}, the checkpoint signs {head.root} for size "
                f"{head.size}; the log was changed: verify it and restore it from a copy"
            )
        self.final = None if head.size == 0 else self.event(head.size - 1).event
        self.state = self._state()
        self._keys = self._candidates(keys)
        open_checkpoint(head.text.encode(), [self.signer])

    @property
    def size(self) -> int:
        """How many leaves are signed."""
        return self.head.size

    @property
    def has_state(self) -> bool:
        """Whether the newest chunk names the state; a log of an older version does not."""
        return self.final is not None and self.final.payload_digest is not None

    @property
    def key(self) -> VerifierKey:
        """The verifier key that signs next.

        Raises:
            AuditError: it is not here; the message says which is missing.
        """
        return self._key(self.state.audit_keys)

    @property
    def signer(self) -> VerifierKey:
        """The verifier key that had to sign the newest checkpoint: the one before the rotation that it contains."""
        pinned = self.state.audit_keys
        first = 0 if self.final is None or self.final.chunk is None else self.final.chunk.first_index
        return self._key(pinned[:-1] if len(pinned) > 1 and pinned[-1].leaf >= first else pinned)

    def root(self, size: int) -> bytes:
        """The root over the first ``size`` leaves."""
        return root_from_nodes(size, self._tree.node)

    def event(self, index: int) -> LoggedEvent:
        """Leaf ``index``, proven.

        Raises:
            AuditError: there is none, or it is not the one that was signed.
        """
        if self._last is not None and self._last.index == index:
            return self._last
        entry = next(self._log.tiles.entries_between(index, index + 1, self.size))
        verify_inclusion(index, self.size, hash_leaf(entry), self.inclusion_proof(index), self.head.checkpoint.root)
        self._last = LoggedEvent(index, Event.parse(entry))
        return self._last

    def inclusion_proof(self, index: int) -> list[bytes]:
        """The audit path of leaf ``index``.

        Raises:
            ProofError: there is no such leaf.
        """
        return inclusion_proof(index, self.size, self._tree.node)

    def consistency_proof(self, first: int, second: int) -> list[bytes]:
        """That the tree over ``second`` leaves begins with the one over ``first``.

        Raises:
            ProofError: the first is larger than the second, or negative.
        """
        return consistency_proof(first, second, self._tree.node)

    def rotations(self) -> list[LoggedEvent]:
        """The key rotations, in order."""
        pinned = self.state.audit_keys
        # A single pinned key was never rotated.
        found = [self.event(index) for index in sorted({named.leaf for named in pinned})] if len(pinned) > 1 else []
        return [one for one in found if one.event.rotation is not None]

    def newest(self, kind: str, subject: str) -> LoggedEvent | None:
        """The newest event of a kind (``state``) about a subject; None is proven as well."""
        named = self.state.find(kind, subject)
        return None if named is None else self.event(named.leaf)

    def run_chunks(self, run_id: str) -> list[LoggedEvent]:
        """The ``chunk_final`` leaves of a run in order, each proven; an empty list is proven as well."""
        found: list[LoggedEvent] = []
        index = self._newest_chunk(run_id)
        while index is not None:
            final = self.event(index)
            chunk = final.event.chunk
            if chunk is None or final.event.run_id != run_id:
                raise AuditError(
                    f"{self._log.folder}: leaf {index} does not end a chunk of run {run_id}; verify the log"
                )
            found.insert(0, final)
            index = self._chunk_before(final) if final.event.sequence > chunk.size else None
        return found

    def run_leaves(self, run_id: str) -> list[tuple[int, bytes]]:
        """Index and bytes of every leaf of a run, in order, proven by the roots of its chunks.

        Raises:
            AuditError: a leaf is not the one that was signed.
        """
        leaves: list[tuple[int, bytes]] = []
        for final in self.run_chunks(run_id):
            chunk = final.event.chunk
            if chunk is None:
                continue
            stop = chunk.first_index + chunk.size
            entries = list(self._log.tiles.entries_between(chunk.first_index, stop, self.size))
            if root_of(map(hash_leaf, entries)).hex() != chunk.root:
                raise AuditError(
                    f"{self._log.folder}: the leaves from {chunk.first_index} on do not have the signed chunk root; "
                    "verify the log and restore it from a copy"
                )
            leaves += [*enumerate(entries, chunk.first_index), (final.index, final.event.leaf())]
        return leaves

    def place(self, run_id: str) -> Place:
        """Where the lines of a run go on."""
        index = self._newest_chunk(run_id)
        if index is None:
            return Place(self.key)
        event = self.event(index).event
        return Place(self.key, hash_leaf(event.leaf()), event.sequence + 1)

    def pending(self, run_id: str, data: bytes | None = None) -> PendingRead:
        """What the write-ahead file of a run proves; ``data`` is the file where it was read before this view was made
        (so that a run that is finalised in between is seen in the one place or the other)."""
        return self._log.pending.read(run_id, self.place(run_id), data=data)

    def naming(self, digest: str) -> Iterator[LoggedEvent]:
        """Every event that names a digest, in order, each proven. That there is none is the answer of a whole scan."""
        try:
            with self._log.index.reading() as session:
                covered = session.covered()
                if covered.size <= self.size and self.root(covered.size).hex() != covered.root:
                    raise DamagedIndexError(f"{self._log.index.path}: made for another log")
                candidates = [leaf for leaf in session.leaves(digest) if 0 <= leaf < min(covered.size, self.size)]
        except DamagedIndexError:
            yield from self._log.scan(digest=digest)
            return
        empty = True
        for index in candidates:
            found = self.event(index)
            if digest in digests_of(found.event):
                empty = False
                yield found
        if empty or covered.size < self.size:
            yield from self._log.scan(digest=digest, start=0 if empty else covered.size)

    @contextlib.contextmanager
    def nodes(self) -> Iterator[NodeReader]:
        """The nodes of the map of runs, from the index or, once the log was replayed, from that.

        Raises:
            DamagedIndexError: the index is missing or cannot be read.
        """
        if self._replay is not None:
            yield self._replay.node
        else:
            with self._log.index.reading() as session:
                yield session.node

    def replay(self) -> Replay:
        """The state and the map of runs from all leaves, compared with what the newest chunk names.

        Raises:
            AuditError: they differ: the state was forged when it was signed.
        """
        if self._replay is not None:
            return self._replay
        replay, document = Replay(), LogState().to_bytes()
        for index, entry in enumerate(self._log.tiles.all_entries(self.size)):
            event = Event.parse(entry)
            if event.type is EventType.CHUNK_FINAL:
                document = replay.close(index, event.run_id)
            else:
                replay.take(index, event)
        if self.has_state and self.final is not None and digest_bytes(document) != self.final.payload_digest:
            raise AuditError(
                f"{self._log.folder}: the newest chunk names another state than its leaves give; verify it"
            )
        self._replay = replay
        return replay

    def _state(self) -> LogState:
        if self.final is None:
            return LogState()
        if self.final.payload_digest is not None:
            try:
                return LogState.parse(self._log.payloads.get(self.final.payload_digest))
            except IntegrityError:
                pass
        return self.replay().state

    def _newest_chunk(self, run_id: str) -> int | None:
        if run_id not in self._newest_chunks:
            self._newest_chunks[run_id] = self._find_chunk(run_id)
        return self._newest_chunks[run_id]

    def _find_chunk(self, run_id: str) -> int | None:
        if self._replay is None:
            try:
                with self._log.index.reading() as session:
                    return lookup(self.state.runs, run_id, session.node)
            except DamagedIndexError:
                self.found_damage = True
        return lookup(self.state.runs, run_id, self.replay().node)

    def _chunk_before(self, final: LoggedEvent) -> int | None:
        if final.event.payload_digest is not None:
            try:
                return LogState.parse(self._log.payloads.get(final.event.payload_digest)).previous
            except IntegrityError:
                pass
        chunks = self._log.scan(run_id=final.event.run_id, event_type=EventType.CHUNK_FINAL)
        return max((found.index for found in chunks if found.index < final.index), default=None)

    def _candidates(self, keys: Iterable[VerifierKey]) -> list[VerifierKey]:
        found = list(keys)
        path = self._log.folder / KEYS / VERIFIER_KEY_FILE
        try:
            found += read_verifier_keys(path)
        except AuditError:
            if not found and not self.state.audit_keys:
                raise
        for one in self.rotations():
            if one.event.rotation is not None:
                found += [VerifierKey.parse(one.event.rotation.old), VerifierKey.parse(one.event.rotation.new)]
        return found

    def _key(self, pinned: Sequence[Named]) -> VerifierKey:
        origin = self.head.checkpoint.origin
        for key in self._keys:
            if key.name == origin and (
                fingerprint(key) == pinned[-1].digest if pinned else origin_of(key.public) == origin
            ):
                return key
        wanted = pinned[-1].digest if pinned else f"the one that the name {origin} is made of"
        raise AuditError(
            f"{self._log.folder / KEYS / VERIFIER_KEY_FILE}: not the verifier key that the log pins ({wanted}); "
            "wrong key: restore the file from a copy"
        )
