"""Writing the log: founding it, appending a chunk, keeping the index beside it, completing what a crash left undone.

What belongs here: the one sequence of writes. What does not: which leaves a chunk gets (``log``), recording events
(``recorder``).

Order of writes: tiles, entries and the state (new files only), then the checkpoint by rename - that instant commits the
chunk - then the copy in ``checkpoints/``, then the index, then housekeeping. A crash before the rename leaves files
behind the signed size, which the next writer removes; a crash after it leaves work that the next writer completes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical_assets.core.audit.events import Chunk, Event, EventType, Subject, timestamp
from nethical_assets.core.audit.files import CHECKPOINT, CHECKPOINTS, KEYS, LogFiles
from nethical_assets.core.audit.index import Covered, Row, rows_of
from nethical_assets.core.audit.keyed_tree import DamagedIndexError, lookup, update
from nethical_assets.core.audit.keys import (
    NEXT_KEY_FILE,
    SigningKeys,
    default_origin,
    fingerprint,
    read_private_key,
    write_verifier_key,
)
from nethical_assets.core.audit.state import AUDIT_KEY, LogState
from nethical_assets.core.audit.view import SignedView
from nethical_assets.core.ground.disk import advice
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.storage import exclusive_lock, write_atomically
from nethical_assets.core.tlog.checkpoint import Checkpoint
from nethical_assets.core.tlog.merkle import EMPTY_ROOT, hash_leaf, root_of
from nethical_assets.core.tlog.note import VerifierKey
from nethical_assets.core.tlog.tiles import make_durable_folder

ACTOR = "nethical-assets"
WRITER_LOCK_SECONDS = 300.0
KEY_RUN_PREFIX = "audit-key-"
"""How the run ids of the chunks begin that pin an audit key."""
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


class LogWriter:
    """The right to append to the log in ``folder``; ``keys`` says where its signing key is."""

    def __init__(self, log: LogFiles, keys: SigningKeys, clock: Clock = utc_now) -> None:
        self._log = log
        self._folder: Path = log.folder
        self._keys = keys
        self._clock = clock

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer.

        Raises:
            AuditError: there is no space or no permission; nothing is lost.
            BusyError: another writer holds the log for more than five minutes.
        """
        make_durable_folder(self._folder)
        try:
            with exclusive_lock(
                self._folder / "writer.lock", waiting_seconds=WRITER_LOCK_SECONDS, what="the audit log"
            ):
                yield
        except OSError as error:
            raise AuditError(
                f"{self._folder}: the audit log was not extended ({error.strerror}); nothing was lost: "
                f"{advice(error)} and run again"
            ) from None

    def open(self) -> tuple[SignedView, Ed25519PrivateKey]:
        """The verified newest state and the key that signs next, after completing what a crash may have left undone.
        A log that pins no key yet pins it first. Needs the lock.

        Raises:
            AuditError: the log was changed, or the signing key is not the log's.
        """
        if self._log.checkpoint_bytes() is None:
            self._found(self._keys.load())
        view, private = self._verified()
        self._keep_copy(view.size, view.head.text.encode())
        write_verifier_key(self._folder / KEYS, view.signer)
        self._log.tiles.discard_beyond(view.size)
        self._bring_up(view)
        if not view.state.audit_keys:
            own = fingerprint(VerifierKey.of(view.head.checkpoint.origin, private))
            created = Event(
                run_id=f"{KEY_RUN_PREFIX}{own.partition(':')[2][:16]}",
                sequence=0,
                time=timestamp(self._clock()),
                type=EventType.KEY_CREATED,
                actor=ACTOR,
                subjects=(Subject(AUDIT_KEY, own),),
            )
            self.append(view, private, created.run_id, [created.leaf()])
            view, private = self._verified()
        return view, private

    def append(self, view: SignedView, private: Ed25519PrivateKey, run_id: str, leaves: Sequence[bytes]) -> Checkpoint:
        """Put ``leaves`` behind the state of ``view`` as one signed chunk. Needs the lock."""
        first, size = view.size, view.size + len(leaves) + 1
        if view.found_damage:
            self._rebuild_index(view)
        state = view.state.copy()
        events = [Event.parse(leaf) for leaf in leaves]
        for index, event in enumerate(events, first):
            state.take(index, event)
        try:
            added, removed = _end_run(state, run_id, size - 1, view)
        except DamagedIndexError:
            self._rebuild_index(view)
            added, removed = _end_run(state, run_id, size - 1, view)
        final = Event(
            run_id=run_id,
            sequence=events[-1].sequence + 1,
            time=timestamp(self._clock()),
            type=EventType.CHUNK_FINAL,
            actor=ACTOR,
            payload_digest=self._log.payloads.put(state.to_bytes()),
            chunk=Chunk(
                first_index=first,
                size=len(leaves),
                root=root_of(map(hash_leaf, leaves)).hex(),
                previous_checkpoint=view.head.checkpoint.digest(),
            ),
        )
        entries = [*leaves, final.leaf()]
        self._log.tiles.append(first, entries)
        checkpoint = Checkpoint(view.head.checkpoint.origin, size, self._log.tiles.root(size))
        data = checkpoint.sign(private)
        write_atomically(self._folder / CHECKPOINT, data)
        self._keep_copy(size, data)
        write_verifier_key(self._folder / KEYS, VerifierKey.of(checkpoint.origin, private))
        rows = [row for index, entry in enumerate(entries, first) for row in rows_of(index, entry)]
        self._extend_index(Covered(size, checkpoint.root.hex(), state.runs), added, removed, rows)
        self._log.tiles.discard_superseded_partials(first, size)
        return checkpoint

    def signing_key(self, view: SignedView) -> Ed25519PrivateKey:
        """The private half of the key in force; also where a rotation was not completed in the key's file.

        Raises:
            AuditError: it is not here.
        """
        private = self._keys.load()
        wanted, origin = view.state.audit_keys, view.head.checkpoint.origin
        own = VerifierKey.of(origin, private)
        if not wanted or fingerprint(own) == wanted[-1].digest:
            return private
        path = self._folder / KEYS / NEXT_KEY_FILE
        if path.exists():
            following = read_private_key(path)
            if fingerprint(VerifierKey.of(origin, following)) == wanted[-1].digest:
                return following
        if len(wanted) > 1 and fingerprint(own) in {one.digest for one in wanted}:
            raise AuditError(f"{self._keys.path}: wrong key, it was rotated; use the new key ({wanted[-1].digest})")
        raise AuditError(
            f"{self._keys.path}: wrong key, the log pins {wanted[-1].digest} and this is {fingerprint(own)}; "
            "restore the log's own key"
        )

    def _verified(self) -> tuple[SignedView, Ed25519PrivateKey]:
        private = self._keys.load()
        head = self._log.head()
        origin = default_origin(private) if head is None else head.checkpoint.origin
        view = SignedView(self._log, [VerifierKey.of(origin, private)])
        current = self.signing_key(view)
        following = self._folder / KEYS / NEXT_KEY_FILE
        if self._keys.external is None and following.exists():
            self._complete_rotation(view, current, following)
        return view, current

    def _complete_rotation(self, view: SignedView, current: Ed25519PrivateKey, following: Path) -> None:
        """Put the new key in the place of the old one, once the log names it."""
        origin = view.head.checkpoint.origin
        if VerifierKey.of(origin, read_private_key(following)) == VerifierKey.of(origin, current):
            self._keys.replace(current)
            following.unlink()

    def _found(self, private: Ed25519PrivateKey) -> None:
        if (self._folder / CHECKPOINTS).exists():
            raise AuditError(f"{self._folder / CHECKPOINT}: missing although the log exists; restore it from a copy")
        checkpoint = Checkpoint(default_origin(private), 0, EMPTY_ROOT)
        write_verifier_key(self._folder / KEYS, VerifierKey.of(checkpoint.origin, private))
        write_atomically(self._folder / CHECKPOINT, checkpoint.sign(private))

    def _keep_copy(self, size: int, data: bytes) -> None:
        path = self._folder / CHECKPOINTS / str(size)
        if not path.exists():
            make_durable_folder(path.parent)
            write_atomically(path, data)

    def _bring_up(self, view: SignedView) -> None:
        """Make the index what the log says: by the leaves that it lacks, else from all of them."""
        index, wanted = self._log.index, Covered(view.size, view.head.root, view.state.runs)
        try:
            with index.reading() as session:
                covered = session.covered()
            if covered == wanted:
                return
            if covered.size > view.size or view.root(covered.size).hex() != covered.root:
                raise DamagedIndexError(f"{index.path}: made for another log")
            with index.reading() as session:
                ends, rows = self._collect(covered.size, view.size)
                runs, added, removed = update(covered.runs, ends, session.node)
            if runs != wanted.runs:
                raise DamagedIndexError(f"{index.path}: made for other runs")
            with index.writing() as session:
                session.extend(wanted, added, removed, rows)
        except DamagedIndexError:
            self._rebuild_index(view)

    def _rebuild_index(self, view: SignedView) -> None:
        view.found_damage = False
        nodes = view.replay().nodes
        _, rows = self._collect(0, view.size)
        # A log without an index is slower, not wrong: the next writer tries again.
        with contextlib.suppress(DamagedIndexError):
            self._log.index.replace(Covered(view.size, view.head.root, view.state.runs), nodes, rows)

    def _extend_index(
        self, covered: Covered, added: dict[bytes, bytes], removed: set[bytes], rows: Sequence[Row]
    ) -> None:
        try:
            with self._log.index.writing() as session:
                session.extend(covered, added, removed, rows)
        except DamagedIndexError:
            self._log.index.path.unlink(missing_ok=True)

    def _collect(self, start: int, size: int) -> tuple[dict[str, int], list[Row]]:
        """Where runs end in the leaves from ``start`` on, and what the index holds about these leaves."""
        ends: dict[str, int] = {}
        rows: list[Row] = []
        for index, entry in enumerate(self._log.tiles.entries_between(start, size, size), start):
            rows += rows_of(index, entry)
            event = Event.parse(entry)
            if event.chunk is not None:
                ends[event.run_id] = index
        return ends, rows


def _end_run(state: LogState, run_id: str, index: int, view: SignedView) -> tuple[dict[bytes, bytes], set[bytes]]:
    """Note in ``state`` that the run ends at leaf ``index``; which nodes of its map are new, and which go."""
    with view.nodes() as node:
        state.previous = lookup(state.runs, run_id, node)
        runs, added, removed = update(state.runs, {run_id: index}, node)
    state.runs = runs
    return added, removed
