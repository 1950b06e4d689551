"""Leaves of the audit log, each proven to be under the signed checkpoint.

What belongs here: finding the event of a type that names given digests, and its inclusion proof. What does not:
verifying the log as a whole (``core.audit.verify``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.reader import LoggedEvent, LogReader
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.tlog.checkpoint import open_checkpoint
from nethical_assets.core.tlog.merkle import hash_leaf, inclusion_proof, verify_inclusion
from nethical_assets.core.tlog.note import VerifierKey


class ProvenLeaves:
    """The events of ``log`` under its newest checkpoint, which one of ``keys`` has to have signed.

    Raises:
        AuditError: nothing was signed yet, or by another key.
    """

    def __init__(self, log: LogReader, keys: Sequence[VerifierKey]) -> None:
        data = log.checkpoint_bytes()
        if data is None:
            raise AuditError(f"{log.folder}: there is no signed log here; finish a run first")
        self._log = log
        self._checkpoint = open_checkpoint(data, keys).checkpoint
        self._tree = log.tiles.reader(self._checkpoint.size)

    def find(self, kind: EventType, *digests: str) -> LoggedEvent:
        """The newest event of a type that names all ``digests``, proven.

        Raises:
            AuditError: there is none, or the log does not prove it.
        """
        return self.find_any((kind,), *digests)

    def find_any(self, kinds: Iterable[EventType], *digests: str) -> LoggedEvent:
        """The newest event of any of the types that names all ``digests``, proven.

        Raises:
            AuditError: there is none, or the log does not prove it.
        """
        wanted, kinds = set(digests), tuple(kinds)
        named = self._log.find_events(digest=digests[0])
        found = [one for one in named if one.event.type in kinds and wanted <= _digests(one.event)]
        if not found:
            what = f"{' or '.join(kinds)} event about {digests[0]}"
            waiting = self._log.pending_runs()
            hint = f"; runs {', '.join(waiting)} are not finalised yet" if waiting else ""
            raise AuditError(f"{self._log.folder}: the log has no {what}{hint}")
        newest = found[-1]
        proof = inclusion_proof(newest.index, self._checkpoint.size, self._tree.node)
        leaf = hash_leaf(newest.event.leaf())
        verify_inclusion(newest.index, self._checkpoint.size, leaf, proof, self._checkpoint.root)
        return newest


def _digests(event: Event) -> set[str]:
    return {*event.parents, *(subject.digest for subject in event.subjects)}
