"""The workspace: every store under one home, the options of one cycle, and the audit record of one run.

What belongs here: where state is. What does not: what is done with it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import filelock

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore, read_json, write_json
from nethical_assets.home.records import StageCache, StageRecord
from nethical_assets.home.settings import Settings

if TYPE_CHECKING:
    from nethical_assets.core.alerts import LocalIssueTracker
    from nethical_assets.core.audit import AuditLog, RunRecorder
    from nethical_assets.core.datasets.backups import BackupStore
    from nethical_assets.core.datasets.snapshots import SnapshotStore
    from nethical_assets.core.drift.inference_log import InferenceLog
    from nethical_assets.core.governance import Screener
    from nethical_assets.core.governance.quarantine import QuarantineStore
    from nethical_assets.core.lineage.provenance import ProvenanceStore
    from nethical_assets.core.models.registry import ModelRegistry
    from nethical_assets.core.quality.history import ValidationHistory
    from nethical_assets.core.signing.keys import ModelKeys
    from nethical_assets.core.sources.source import Source

SourceChoice = Literal["auto", "kaggle", "mirror", "synthetic"]
ACTOR = "nethical"
FINDINGS_KEY_VARIABLE = "NETHICAL_FINDINGS_KEY"
"""A secret with which findings carry a keyed hash of what was matched, so that two findings can be compared."""
_run_locks: dict[Path, filelock.BaseFileLock] = {}


@dataclass(frozen=True)
class CycleOptions:
    """What a person may ask of one cycle.

    Attributes:
        source: where data may come from; ``auto`` takes the first of Kaggle, mirror and synthetic that can serve.
        force: train again although nothing changed.
        download: False uses the snapshots that are there and asks no source.
        samples: at most this many rows a family; 0 leaves it to the settings.
        seed: overrides the seed of the settings.
    """

    source: SourceChoice = "auto"
    force: bool = False
    download: bool = True
    samples: int = 0
    seed: int | None = None


@dataclass(frozen=True)
class Workspace:
    """Stores, options and recorder of one run; cheap to make, everything is opened on first use."""

    settings: Settings
    options: CycleOptions
    run_id: str

    @property
    def home(self) -> Path:
        """The folder that holds all state."""
        return self.settings.home

    @property
    def seed(self) -> int:
        """The seed of this cycle."""
        return self.settings.file.training.seed if self.options.seed is None else self.options.seed

    @functools.cached_property
    def objects(self) -> ObjectStore:
        """Immutable tables and documents of all stages."""
        return ObjectStore(self.home / "data" / "objects")

    @functools.cached_property
    def cache(self) -> StageCache:
        """Finished stages by what they were computed from."""
        return StageCache(self.home / "data" / "stages", self.objects)

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
        return open_registry(self.home)

    @functools.cached_property
    def provenance(self) -> ProvenanceStore:
        """Signed statements of what every stage made from what."""
        from nethical_assets.core.lineage.provenance import ProvenanceStore

        return ProvenanceStore(self.home / "data" / "provenance", self.objects, open_model_keys(self.home))

    @functools.cached_property
    def inference_log(self) -> InferenceLog:
        """What champions were asked to score."""
        from nethical_assets.core.drift.inference_log import InferenceLog

        return InferenceLog(self.home / "serving" / "inference")

    @functools.cached_property
    def audit_log(self) -> AuditLog:
        """The transparency log."""
        return open_audit_log(self.home)

    @functools.cached_property
    def recorder(self) -> RunRecorder:
        """Where this run's events go until its chunk is finalised. The run counts as alive from here on."""
        from nethical_assets.core.audit import RunRecorder

        _hold_run_lock(self.home, self.run_id)
        return RunRecorder(self.home / "audit", self.run_id)

    @functools.cached_property
    def tracker(self) -> LocalIssueTracker:
        """The issue tracker."""
        from nethical_assets.core.alerts import LocalIssueTracker

        return LocalIssueTracker(self.home / "alerts" / "issues.sqlite")

    @functools.cached_property
    def screener(self) -> Screener:
        """The screening rules, compiled."""
        from nethical_assets.core.governance import Screener, load_ruleset

        key = os.environ.get(FINDINGS_KEY_VARIABLE, "")
        return Screener(load_ruleset(self.settings.screening_rules), hash_key=key.encode() or None)

    @functools.cached_property
    def quarantine(self) -> QuarantineStore:
        """The rows that screening kept out, encrypted where NETHICAL_QUARANTINE_KEY is set."""
        from nethical_assets.core.governance.quarantine import QuarantineStore, quarantine_key

        return QuarantineStore(self.home / "data" / "quarantine", quarantine_key())

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
            payload=payload,
        )

    def save_record(self, record: StageRecord) -> None:
        """Remember ``record`` as the newest of its stage and subject."""
        write_json(self._record_path(record.stage, record.subject), record.to_json())

    def load_record(self, stage: str, subject: str) -> StageRecord | None:
        """The newest record of a stage; None when it never finished or its record was damaged (then it runs again)."""
        try:
            return StageRecord.from_json(read_json(self._record_path(stage, subject)))
        except (FileNotFoundError, IntegrityError):
            return None

    def _record_path(self, stage: str, subject: str) -> Path:
        return self.home / "data" / "records" / stage / f"{subject}.json"


def open_audit_log(home: Path) -> AuditLog:
    """The audit log of a home; its signing key is created when there is none."""
    from nethical_assets.core.audit import AuditLog

    return AuditLog(home / "audit")


def open_model_keys(home: Path) -> ModelKeys:
    """The keys that sign models and provenance; the signing key is created when it is first needed."""
    from nethical_assets.core.signing.keys import ModelKeys

    return ModelKeys(home / "models" / "keys")


def open_registry(home: Path) -> ModelRegistry:
    """The models of a home, their signatures made and verified."""
    from nethical_assets.core.models.registry import ModelRegistry
    from nethical_assets.core.signing.signatures import ModelSignatures

    models = home / "models"
    return ModelRegistry(models, signatures=ModelSignatures(models / "signatures", open_model_keys(home)))


def run_lock_path(home: Path, run_id: str) -> Path:
    """The lock file that a process holds while it records events of a run."""
    return home / "runs" / f"{run_id}.lock"


def _hold_run_lock(home: Path, run_id: str) -> None:
    """Hold the run's lock until this process ends; another process of the same run may hold it already."""
    path = run_lock_path(home, run_id)
    if path in _run_locks:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    with contextlib.suppress(filelock.Timeout):
        lock.acquire(timeout=0)
        _run_locks[path] = lock


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)
