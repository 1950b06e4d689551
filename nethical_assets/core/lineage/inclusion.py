"""Leaves of the audit log, each proven to be under the signed checkpoint.

What belongs here: finding the event of a type that names given digests, and its inclusion proof. What does not:
verifying the log as a whole (``core.audit.verify``).
"""

from __future__ import annotations

from collections.abc import Iterable

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.reader import LoggedEvent, LogReader
from nethical_assets.core.ground.errors import AuditError


class ProvenLeaves:
    """The events of ``log`` under its newest checkpoint, which the key that the log pins has to have signed.

    Raises:
        AuditError: nothing was signed yet, by another key, or something else than is there.
    """

    def __init__(self, log: LogReader) -> None:
        self._log = log
        self._view = log.view()

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
        named = self._view.naming(digests[0])
        found = [one for one in named if one.event.type in kinds and wanted <= _digests(one.event)]
        if not found:
            what = f"{' or '.join(kinds)} event about {digests[0]}"
            waiting = self._log.pending_runs()
            hint = f"; runs {', '.join(waiting)} are not finalised yet" if waiting else ""
            raise AuditError(f"{self._log.folder}: the log has no {what}{hint}")
        return self._view.event(found[-1].index)


def _digests(event: Event) -> set[str]:
    return {*event.parents, *(subject.digest for subject in event.subjects)}
