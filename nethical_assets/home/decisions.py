"""What people decided about quarantined rows, by the log.

What belongs here: holding the index of the quarantine against the decisions that the log names. What does not: the rows
and the index (``core.governance.quarantine``), or deciding (``operations.quarantine``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.governance.quarantine import RELEASED, QuarantineEntry, QuarantineStore
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.home.acts import ACT_SUBJECT
from nethical_assets.home.evidence import Evidence

_KINDS = (EventType.DATA_RELEASED, EventType.DATA_QUARANTINED)
_RESTORE = "restore data/quarantine from a backup"
_NONE = ""
"""No decision."""


class QuarantineDecisions:
    """The decisions of one home."""

    def __init__(self, log: LogReader, evidence: Evidence, objects: ObjectStore, quarantine: QuarantineStore) -> None:
        self._log = log
        self._evidence = evidence
        self._objects = objects
        self._quarantine = quarantine

    def released(self, family: str) -> frozenset[str]:
        """The rows of ``family`` that were let through, once every row shows what the log says of it.

        Raises:
            IntegrityError: the index shows another decision about a row than the newest of the log, or one that the log
                does not have, or does not have a row that was decided about.
        """
        decisions = self._wanted(family)
        entries = self._quarantine.entries(family)
        for entry in entries:
            self._check(entry, decisions.get(entry.row_id))
        missing = {row for row, wanted in decisions.items() if _NONE not in wanted} - {one.row_id for one in entries}
        for row in sorted(missing):
            raise IntegrityError(
                f"quarantine of {family}: row {row}, which was decided about, is not in the index; {_RESTORE}"
            )
        return frozenset(entry.row_id for entry in entries if entry.status == RELEASED)

    def _check(self, entry: QuarantineEntry, wanted: set[str] | None) -> None:
        if self._quarantine.is_undecided(entry) and (wanted is None or _NONE in wanted):
            return
        row = f"row {entry.row_id} of {entry.family}"
        if wanted is None and not self._is_older(entry):
            raise IntegrityError(
                f"{row} is {entry.status}, but the audit log has no such decision; {_RESTORE}, or decide again: "
                "nethical quarantine release"
            )
        if wanted is not None and entry.decision not in wanted - {_NONE}:
            raise IntegrityError(f"{row}, which was decided about, has another decision in the index; {_RESTORE}")
        self._quarantine.check_decision(entry, self._objects.get(entry.decision))

    def _is_older(self, entry: QuarantineEntry) -> bool:
        """Whether the decision is one of an older version, which recorded it without an act."""
        return bool(entry.decision) and self._evidence.named_by(entry.decision, *_KINDS) is not None

    def _wanted(self, family: str) -> dict[str, set[str]]:
        """Row -> the decisions that the index may show: the newest, and those that wait to be finalised and may not be
        carried out yet."""
        found: dict[str, set[str]] = {}
        for event in self._logged:
            found.update({row: {digest} for row, digest in self._decided(event, family)})
        texts = [b'"type":"%s"' % kind.encode() for kind in _KINDS]
        for event in self._log.pending_events(*texts):
            for row, digest in self._decided(event, family):
                found.setdefault(row, {_NONE}).add(digest)
        return found

    @functools.cached_property
    def _logged(self) -> list[Event]:
        logged = [one for kind in _KINDS for one in self._log.find_events(event_type=kind)]
        return [one.event for one in sorted(logged, key=lambda one: one.index)]

    def _decided(self, event: Event, family: str) -> Iterator[tuple[str, str]]:
        """Row and decision of an event that is a person's decision about a row of ``family``: an act. Other events of
        its type are none."""
        named = {subject.name: subject.digest for subject in event.subjects}
        if event.type in _KINDS and named.pop(ACT_SUBJECT, ""):
            for name, digest in named.items():
                if name.endswith(f"/{family}"):
                    yield str(json.loads(self._objects.get(digest))["row_id"]), digest
