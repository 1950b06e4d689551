"""What the audit log and the signed statements say about something that was found on disk.

What belongs here: what a statement about a stage record says, whether it verifies and is named by the log, and whether
    the log names a digest. What does not: the log (``core.audit``), statements (``core.lineage``), or verifying
    everything (``operations.verification``)."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.files import digests_of
from nethical_assets.core.delivery.champion import check_champion, missing_champion
from nethical_assets.core.delivery.standing import check_standing
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.lineage.provenance import Statement, statement_name
from nethical_assets.home.records import StageRecord

if TYPE_CHECKING:
    from nethical_assets.core.audit.reader import LogReader
    from nethical_assets.core.lineage.provenance import ProvenanceStore
    from nethical_assets.core.models.registry import ModelPointer, ModelRegistry

RECORD_PARAMETER = "record"
FINGERPRINT_PARAMETER = "fingerprint"
BATCH_PREFIX = "scores/"
"""Before family and file name, in the subjects of events about scored batches."""
FEEDBACK_PREFIX = "labels/"
"""Before the file name of labels that came later, in the subjects of the same events."""
SKETCH_PREFIX = "sketches/"
"""Before family and file name of the sketches of a batch, in the subjects of the same events."""


class Evidence:
    """The evidence of one home. What was found to hold once is not looked up again by the same object."""

    def __init__(self, log: LogReader, provenance: ProvenanceStore, registry: ModelRegistry) -> None:
        self._log = log
        self._registry = registry
        self._provenance = provenance
        self._verified: set[tuple[str, tuple[object, ...]]] = set()
        self._logged: set[tuple[str, str]] = set()

    def check_record(self, record: StageRecord) -> None:
        """Make sure that a signed statement, which a leaf of the log names, says what ``record`` says.

        Raises:
            IntegrityError: it does not; one line that says why and what to do.
        """
        claimed = (
            record.stage,
            record.subject,
            record.output,
            record.digest,
            record.fingerprint,
            tuple(sorted(record.inputs.items())),
        )
        if (record.statement, claimed) in self._verified:
            return
        where = f"record of {record.name}"
        if not record.statement:
            raise IntegrityError(f"{where}: no statement was issued about it; run again")
        statement, _ = self._provenance.open(record.statement)
        said = (
            statement.stage,
            statement.name,
            statement.outputs.get(record.name),
            statement.parameters.get(RECORD_PARAMETER),
            statement.parameters.get(FINGERPRINT_PARAMETER),
            tuple(sorted(_sources(statement).items())),
        )
        if said != claimed:
            raise IntegrityError(f"{where}: its signed statement is about something else; remove it and run again")
        if self.named_by(record.statement, EventType.PROVENANCE_ISSUED) is None:
            raise IntegrityError(f"{where}: the audit log does not name its statement; remove it and run again")
        self._verified.add((record.statement, claimed))

    def is_recorded(self, digest: str) -> bool:
        """Whether a leaf of the log, or a verified pending leaf, names ``digest``."""
        return self.named_by(digest) is not None

    def waits_for_validation(self, name: str, digest: str) -> bool:
        """Whether the content ``digest`` of a dataset was restored and no validation of it passed since."""
        newest = self.named_by(digest, EventType.DATA_RESTORED, EventType.DATA_VALIDATED, EventType.DATA_FETCHED)
        return newest is not None and newest.type is EventType.DATA_RESTORED and digest in _subjects(newest, name)

    def champion(self, family: str) -> ModelPointer | None:
        """The champion that the log promoted last; None where it never promoted one.

        Raises:
            IntegrityError: the pointer is gone, or was moved or edited by something else than a recorded promotion.
            AuditError: the log is not what was signed.
        """
        found = self._registry.champion(family)
        if found is not None:
            check_champion(self._registry, self._log, found)
        elif missing := missing_champion(self._registry, self._log, family):
            raise IntegrityError(missing)
        return found

    def check_standing(self, pointer: ModelPointer, stage: str) -> None:
        """Make sure that a candidate's or a replaced champion's pointer says what was decided, before anything acts on
        it.

        Raises:
            IntegrityError: it does not.
            AuditError: the log is not what was signed.
        """
        check_standing(self._registry, self._log, pointer, stage)

    def named_by(self, digest: str, *kinds: EventType) -> Event | None:
        """The newest leaf of any of ``kinds`` (any kind when none is given) that names ``digest``, or None."""
        waiting = self._log.pending_events(digest.encode())
        found = [event for event in waiting if self._is_wanted(event, digest, kinds)]
        if found:
            return found[-1]
        if self._log.checkpoint_bytes() is None:
            return None
        view = self._log.view()
        logged = [one for one in view.naming(digest) if self._is_wanted(one.event, digest, kinds)]
        return view.event(logged[-1].index).event if logged else None

    def is_logged_batch(self, name: str, digest: str) -> bool:
        """Whether a leaf, also a verified pending one, is about a scored batch (``family/file name``, digest of its
        bytes). Leaves of older versions name the family only."""
        return self._is_logged({BATCH_PREFIX + name, BATCH_PREFIX + name.partition("/")[0]}, digest)

    def is_logged_feedback(self, name: str, digest: str) -> bool:
        """Whether a leaf, also a verified pending one, is about a file of labels."""
        return self._is_logged({FEEDBACK_PREFIX + name}, digest)

    def is_logged_sketch(self, name: str, digest: str) -> bool:
        """Whether a leaf, also a verified pending one, is about the sketches of a batch (``family/file name``)."""
        return self._is_logged({SKETCH_PREFIX + name}, digest)

    def removed_batches(self) -> dict[str, str]:
        """What retention removed of the inference log, by leaves and verified pending leaves: the subject of each batch
        (``scores/family/file name`` or ``labels/file name``) -> the digest of its bytes."""
        events = self._log.pending_events(EventType.RETENTION_DELETED.value.encode())
        if self._log.checkpoint_bytes() is not None:
            found = self._log.find_events(event_type=EventType.RETENTION_DELETED)
            events = [*(one.event for one in found), *events]
        return {
            subject.name: subject.digest
            for event in events
            if event.type is EventType.RETENTION_DELETED
            for subject in event.subjects
            if subject.name.startswith((BATCH_PREFIX, FEEDBACK_PREFIX))
        }

    def _is_logged(self, names: set[str], digest: str) -> bool:
        # A leaf stays; that there is none may change.
        if any((name, digest) in self._logged for name in names):
            return True
        events = self._log.pending_events(digest.encode())
        if self._log.checkpoint_bytes() is not None:
            events = [*events, *(one.event for one in self._log.view().naming(digest))]
        named = {
            (subject.name, subject.digest)
            for event in events
            if event.type is EventType.BATCH_SCORED
            for subject in event.subjects
        }
        self._logged |= named
        return any((name, digest) in named for name in names)

    @staticmethod
    def _is_wanted(event: Event, digest: str, kinds: tuple[EventType, ...]) -> bool:
        return (not kinds or event.type in kinds) and digest in digests_of(event)


def _sources(statement: Statement) -> dict[str, str]:
    """The records that a statement says its result was made from: those whose own statements it cites."""
    cited = statement.dependencies
    return {name: output for name, output in cited.items() if statement_name(*_parts(name)) in cited}


def _parts(name: str) -> tuple[str, str]:
    stage, _, subject = name.partition("/")
    return stage, subject


def _subjects(event: Event, name: str) -> set[str]:
    return {subject.digest for subject in event.subjects if subject.name == name}


def statement_about(
    record: StageRecord,
    sources: Sequence[StageRecord],
    *,
    materials: Mapping[str, str],
    parameters: Mapping[str, Any],
    run_id: str,
) -> Statement:
    """The statement about a finished stage: all that it made, from what, and what it was told.

    Who made a result that was found, and when, is not known here and not said.
    """
    dependencies = dict(materials)
    for source in sources:
        dependencies[source.name] = source.output
        dependencies[statement_name(source.stage, source.subject)] = source.statement
    others = {f"{record.name}/{name}": digest for name, digest in record.objects.items() if digest != record.output}
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Statement(
        stage=record.stage,
        name=record.subject,
        outputs={record.name: record.output, **others},
        dependencies=dependencies,
        parameters={**parameters, FINGERPRINT_PARAMETER: record.fingerprint, RECORD_PARAMETER: record.digest},
        platform={} if record.reused else machine(),
        metadata={} if record.reused else {"invocationId": run_id, "finishedOn": now},
    )


def machine() -> dict[str, str]:
    """What kind of machine this is: same kind, same bytes."""
    return {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
