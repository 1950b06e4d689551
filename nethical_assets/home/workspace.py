"""The workspace: every store under one home, the options of one cycle, and the audit record of one run.

What belongs here: where state is. What does not: what is done with it.
"""

from __future__ import annotations

import functools
import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.code import loaded_code
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.places import Places
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.core.lineage.provenance import stage_of_statement, statement_name
from nethical_assets.home.acts import ACT_SUBJECT, Acts, Change
from nethical_assets.home.changes import apply_change
from nethical_assets.home.evidence import BATCH_PREFIX, Evidence, statement_about
from nethical_assets.home.issues import IssueJournal
from nethical_assets.home.leases import end_run, hold_family, hold_run, is_alive, is_lent
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.records import StageRecord, StageRecords
from nethical_assets.home.settings import Settings
from nethical_assets.home.sketching import sketch_subjects
from nethical_assets.home.stores import inhibition_by, open_audit_log, open_model_keys, open_registry, tracker_path

if TYPE_CHECKING:
    from nethical_assets.core.alerts import LocalIssueTracker
    from nethical_assets.core.audit import AuditLog, ChunkReceipt, RunRecorder
    from nethical_assets.core.datasets.backups import BackupStore
    from nethical_assets.core.datasets.snapshots import SnapshotStore
    from nethical_assets.core.drift.batch_sketches import SketchLog
    from nethical_assets.core.drift.feedback import FeedbackLog
    from nethical_assets.core.drift.inference_log import InferenceLog
    from nethical_assets.core.governance.pseudonyms import Pseudonyms
    from nethical_assets.core.governance.quarantine import QuarantineStore
    from nethical_assets.core.governance.rules import Ruleset
    from nethical_assets.core.governance.screener import Screener
    from nethical_assets.core.lineage.provenance import ProvenanceStore
    from nethical_assets.core.models.registry import ModelRegistry
    from nethical_assets.core.quality.history import ValidationHistory
    from nethical_assets.core.sources.source import Source
    from nethical_assets.home.decisions import QuarantineDecisions

_LOGGER = logging.getLogger(__name__)
ACTOR = "nethical"
FAMILY_WAITING_SECONDS = 4 * 3600.0
"""As long as the orchestrator lets a run go on."""
FINDINGS_KEY_VARIABLE = "NETHICAL_FINDINGS_KEY"
"""A secret with which findings carry a keyed hash of what was matched, so that two findings can be compared."""


@dataclass(frozen=True)
class Workspace:
    """Stores, options and recorder of one run; cheap to make, everything is opened on first use."""

    settings: Settings
    options: CycleOptions
    run_id: str
    _chunks: list[ChunkReceipt] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def sealed(self) -> bool:
        """Whether something of this run entered the log through this object."""
        return bool(self._chunks)

    @property
    def home(self) -> Path:
        """The folder that holds all state."""
        return self.settings.home

    @property
    def seed(self) -> int:
        """The seed of this cycle."""
        return self.settings.file.training.seed if self.options.seed is None else self.options.seed

    @functools.cached_property
    def places(self) -> Places:
        """The folders of this machine that no evidence may name: records and leaves say the variable instead."""
        named = {"NETHICAL_HOME": self.home, "NETHICAL_DATA_MIRROR": self.settings.mirror}
        return Places({name: folder for name, folder in named.items() if folder is not None})

    @functools.cached_property
    def objects(self) -> ObjectStore:
        """Immutable tables and documents of all stages."""
        return ObjectStore(self.home / "data" / "objects")

    @functools.cached_property
    def evidence(self) -> Evidence:
        """What the log and the signed statements say about results that are found here."""
        return Evidence(self.audit_log, self.provenance, self.registry)

    @functools.cached_property
    def records(self) -> StageRecords:
        """Finished stages; those whose statement does not verify are not there."""
        return StageRecords(self.home / "data", self.evidence.check_record)

    def code_digest(
        self, *roots: Callable[..., Any], family: str | None = None, without: frozenset[str] = frozenset()
    ) -> str:
        """The digest of the code that ``roots`` reach, and the detector of ``family`` where one is named."""
        from nethical_assets.core.detectors.registry import family_module

        return loaded_code().digest(*roots, *((family_module(family),) if family else ()), without=without)

    @property
    def in_force_path(self) -> Path:
        """Where it stands which settings, rules and catalog the newest run had."""
        return self.home / "data" / "records" / "in_force.json"

    @functools.cached_property
    def acts(self) -> Acts:
        """The one way in which state is changed."""
        return Acts(
            self.home / "acts",
            is_recorded=self.evidence.is_recorded,
            apply=lambda change: apply_change(self, change),
        )

    @functools.cached_property
    def snapshots(self) -> SnapshotStore:
        """Raw datasets as they were fetched."""
        from nethical_assets.core.datasets.snapshots import SnapshotStore

        return SnapshotStore(self.home / "data" / "snapshots")

    @functools.cached_property
    def backups(self) -> BackupStore:
        """Copies of the newest snapshots of every dataset."""
        from nethical_assets.core.datasets.backups import BackupStore

        return BackupStore(self.home / "data" / "backups", self.settings.file.datasets.backups_kept)

    @functools.cached_property
    def validation_history(self) -> ValidationHistory:
        """Since when checks of datasets fail."""
        from nethical_assets.core.quality.history import ValidationHistory

        return ValidationHistory(self.home / "data" / "validation" / "history")

    @functools.cached_property
    def registry(self) -> ModelRegistry:
        """Models and their stages."""
        return open_registry(self.home, lambda: self.recorder)

    @functools.cached_property
    def provenance(self) -> ProvenanceStore:
        """Signed statements of what every stage made from what."""
        from nethical_assets.core.lineage.provenance import ProvenanceStore

        keys = open_model_keys(self.home, lambda: self.recorder)
        return ProvenanceStore(self.home / "data" / "provenance", self.objects, keys)

    @functools.cached_property
    def inference_log(self) -> InferenceLog:
        """What champions were asked to score."""
        from nethical_assets.core.drift.inference_log import InferenceLog

        return InferenceLog(self.home / "serving" / "inference", counts=self.evidence.is_logged_batch)

    @functools.cached_property
    def feedback_log(self) -> FeedbackLog:
        """What became known of requests after they were answered."""
        from nethical_assets.core.drift.feedback import FeedbackLog

        return FeedbackLog(self.home / "serving" / "feedback", counts=self.evidence.is_logged_feedback)

    @functools.cached_property
    def sketch_log(self) -> SketchLog:
        """The sketches of what champions scored."""
        from nethical_assets.core.drift.batch_sketches import SketchLog

        return SketchLog(self.home / "serving" / "sketches", self.inference_log, counts=self.evidence.is_logged_sketch)

    def record_batch(self, name: str, digest: str, model: str, told: Mapping[str, Any]) -> None:
        """Have the log know a scored batch of ``model``, once, with its sketches and what was counted when it was
        scored."""
        if not self.evidence.is_logged_batch(name, digest):
            batch = {f"{BATCH_PREFIX}{name}": digest, **sketch_subjects(self, model, {name: digest})}
            self.record_event(EventType.BATCH_SCORED, batch, parents=[model], payload=told)

    @functools.cached_property
    def audit_log(self) -> AuditLog:
        """The transparency log."""
        return open_audit_log(self.home)

    @functools.cached_property
    def recorder(self) -> RunRecorder:
        """Where this run's events go until its chunk is finalised. The run counts as alive from here on."""
        hold_run(self.home, self.run_id)
        # What a killed run recorded comes first: the newest of a kind is the last one in the log.
        self.finalize_abandoned()
        self._mend_keys()
        recorder = self.audit_log.recorder(self.run_id)
        if recorder.prefix_root()[0] == 0:
            # A run that changes nothing is an event too, and a card that it issues has something to refer to.
            recorder.append(EventType.RUN_STARTED, actor=ACTOR)
        return recorder

    def _mend_keys(self) -> None:
        try:
            mended = open_model_keys(self.home).mend()
        except AuditError:
            # Whoever reads or writes the log says so.
            return
        if mended is not None:
            _LOGGER.warning("%s was damaged or missing; written anew from the private key that the log pins", mended)

    @functools.cached_property
    def tracker(self) -> LocalIssueTracker:
        """The issue tracker; what it opens, reopens or closes is an act of a run of its own."""
        from nethical_assets.core.alerts import LocalIssueTracker

        inhibition = inhibition_by(self.settings.catalog)
        return LocalIssueTracker(tracker_path(self.home), IssueJournal(self._for_issues), inhibition)

    def _for_issues(self) -> Workspace:
        return replace(self, run_id=f"alert-{uuid.uuid4()}")

    @functools.cached_property
    def screener(self) -> Screener:
        """The screening rules, compiled."""
        from nethical_assets.core.governance.memo import memo_of
        from nethical_assets.core.governance.screener import Screener

        key = os.environ.get(FINDINGS_KEY_VARIABLE, "").encode() or None
        return Screener(self.ruleset, hash_key=key, memo=memo_of(self.ruleset.digest, key))

    @functools.cached_property
    def ruleset(self) -> Ruleset:
        """The screening rules."""
        folder = self.settings.screening_rules
        stamps = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in folder.glob("*.toml"))
        return _ruleset(folder, stamps)

    @functools.cached_property
    def pseudonyms(self) -> Pseudonyms:
        """What stands for personal data by which rows belong together."""
        from nethical_assets.core.governance.pseudonyms import Pseudonyms

        return Pseudonyms(self.home / "data" / "pseudonyms.key")

    @functools.cached_property
    def quarantine(self) -> QuarantineStore:
        """The rows that screening kept out, encrypted where NETHICAL_QUARANTINE_KEY is set."""
        from nethical_assets.core.governance.quarantine import QuarantineStore, quarantine_key

        return QuarantineStore(self.home / "data" / "quarantine", quarantine_key())

    def released_rows(self, family: str) -> frozenset[str]:
        """The quarantined rows of ``family`` that a person let through.

        Raises:
            IntegrityError: the index does not show the decisions that the log has.
        """
        return self._decisions.released(family)

    @functools.cached_property
    def _decisions(self) -> QuarantineDecisions:
        from nethical_assets.home.decisions import QuarantineDecisions

        return QuarantineDecisions(self.audit_log, self.evidence, self.objects, self.quarantine)

    def now(self) -> datetime:
        """The time now, in UTC."""
        return utc_now()

    def sources(self) -> list[Source]:
        """The sources this cycle may ask, best first."""
        from nethical_assets.core.sources.kaggle_source import KaggleSource
        from nethical_assets.core.sources.mirror_source import MirrorSource

        found: list[Source] = []
        if self.options.source in ("auto", "kaggle"):
            found.append(KaggleSource())
        if self.options.source in ("auto", "mirror") and self.settings.mirror is not None:
            found.append(MirrorSource(self.settings.mirror))
        return found

    def record_event(
        self,
        kind: str,
        subjects: Mapping[str, str],
        *,
        parents: Sequence[str] = (),
        payload: Mapping[str, Any] | None = None,
        actor: str = ACTOR,
    ) -> None:
        """Append one event to this run's part of the audit log; ``subjects`` is name -> digest."""
        self.recorder.append(
            kind,
            actor=actor,
            subjects=[{"name": name, "digest": digest} for name, digest in subjects.items()],
            parents=list(parents),
            payload=self.places.named(payload),
        )

    def act(
        self,
        kind: str,
        subjects: Mapping[str, str],
        change: Change,
        *,
        parents: Sequence[str] = (),
        payload: Mapping[str, Any] | None = None,
        actor: str = ACTOR,
    ) -> None:
        """Record one event, then make ``change``: a kill between the two is completed by the next process.

        The payload of the leaf holds the change too, so that what was changed can be held against the log later.

        Raises:
            AuditError: the event could not be recorded; nothing changed.
            BusyError: another process acts for more than two minutes.
        """
        told = {**(payload or {}), "change": {"kind": change.kind, **change.document}}

        def record(intent: str) -> None:
            self.record_event(kind, {**subjects, ACT_SUBJECT: intent}, parents=parents, payload=told, actor=actor)

        self.acts.act(change, record)

    def attest(
        self,
        record: StageRecord,
        sources: Sequence[StageRecord],
        *,
        materials: Mapping[str, str],
        parameters: Mapping[str, Any],
    ) -> StageRecord:
        """Issue the signed statement about a finished stage, unless the same one was issued before, and record its
        leaf; the record with the statement's digest.

        Args:
            sources: the records that it was made from; their statements are cited.
            materials: name -> digest of what else it was made from: code, rules, limits.
            parameters: what it was told.
        """
        statement = statement_about(record, sources, materials=materials, parameters=parameters, run_id=self.run_id)

        def announce(digest: str, signer: str) -> None:
            from nethical_assets.core.signing.keys import key_digest

            self.record_event(
                EventType.PROVENANCE_ISSUED,
                {statement_name(record.stage, record.subject): digest, "model signing key": key_digest(signer)},
                parents=[record.output],
            )

        return replace(record, statement=self.provenance.issue(statement, record.output, announce))

    def hold_family(self, family: str, *, said: Callable[[str], None] | None = None) -> None:
        """Keep ``family`` for this run until it ends; waits while another run has it.

        Raises:
            BusyError: the other run goes on for hours.
        """
        hold_family(self.home, family, self.run_id, waiting_seconds=FAMILY_WAITING_SECONDS, said=said)

    def end(self) -> None:
        """Let go of what this run holds, and drop what only its own stages needed; not in a worker of the run, which
        ends before the run does."""
        if is_lent(self.home, self.run_id):
            return
        end_run(self.home, self.run_id)
        self.records.forget_run(self.run_id)

    def seal(self) -> ChunkReceipt:
        """Append what this run recorded so far to the log as a signed chunk; the run may go on recording."""
        self._complete_statements(lambda run_id: run_id == self.run_id)
        self._chunks.append(self.audit_log.finalize_run(self.run_id))
        return self._chunks[-1]

    @property
    def recorded(self) -> bool:
        """Whether this run recorded something that has not entered the log yet."""
        return self.run_id in self.audit_log.pending_runs()

    def finish_errand(self) -> None:
        """Append what a command outside a run recorded, if it recorded anything."""
        if self.recorded:
            self.record_event(EventType.RUN_COMPLETED, {})
            self.seal()
        self.end()

    def finalize_abandoned(self) -> list[str]:
        """Append the events of runs whose process died; the run ids."""

        def lives(run_id: str) -> bool:
            return run_id == self.run_id or is_alive(self.home, run_id)

        self._complete_statements(lambda run_id: not lives(run_id))
        return [receipt.run_id for receipt in self.audit_log.finalize_abandoned(lives)]

    def _complete_statements(self, ended: Callable[[str], bool]) -> None:
        """Enter the statements that were announced by runs that ended, by a kill or an interruption, before that."""
        for event in self.audit_log.pending_events(b'"provenance_issued"'):
            for subject in event.subjects if event.parents and ended(event.run_id) else ():
                about = stage_of_statement(subject.name)
                if about is not None:
                    self.provenance.complete(*about, event.parents[0], subject.digest)


@functools.lru_cache(maxsize=2)
def _ruleset(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> Ruleset:
    """The rules in ``folder``, read again when a file changed; every stage of a cycle asks for them."""
    from nethical_assets.core.governance.rules import load_ruleset

    return load_ruleset(folder)


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)
