"""The inference log of a home: sealing what processes wrote into batches, through the audit log.

What belongs here: which segments are sealed and labels taken, in which order files, leaf and removal come, and what is
told. What does not: the bytes of a segment, or which row becomes which batch (``core.drift``).

Batches are written first, and count for nothing until one leaf of the audit log names them all; the same act removes
the segments. Killed before the leaf, the next pass makes the batches again and removes what was left of these; killed
after it, whoever acts next removes the segments. A pass looks up, whatever happened, which requests the log has.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.core.ground.storage import exclusive_lock, read_json, write_json
from nethical_assets.home.changes import drop_segments
from nethical_assets.home.evidence import BATCH_PREFIX, FEEDBACK_PREFIX, SKETCH_PREFIX
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.sketching import sketch_subjects
from nethical_assets.home.stores import segment_folder
from nethical_assets.home.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from nethical_assets.core.drift.batch_files import Announce
    from nethical_assets.core.drift.given_labels import GivenLabels
    from nethical_assets.core.drift.sealing import Gathered
    from nethical_assets.core.drift.segment_format import SegmentRead
    from nethical_assets.core.drift.segment_groups import SegmentGroup
    from nethical_assets.core.drift.segments import SegmentWriter

_LOGGER = logging.getLogger(__name__)
_WAITING_SECONDS = 120.0
_SUBJECTS_A_LEAF = 150


@dataclass(frozen=True)
class SealedRows:
    """What a sealing pass did.

    Attributes:
        rows, feedback: predictions and labels that entered the log.
        batches: files that they are in.
        segments: files that were sealed and removed.
        again: rows left out because the log has their request.
        torn: bytes of rows that were being written when their writer died.
        missing: rows that were written and cannot be read.
        lost_at_most: rows behind the last readable one of a segment that a power failure may have taken.
        damaged: segments kept aside because something of them cannot be read.
        unreadable: segments left where they are: of another version, or on a disk that does not read them.
    """

    rows: int = 0
    feedback: int = 0
    batches: int = 0
    segments: int = 0
    again: int = 0
    torn: int = 0
    missing: int = 0
    lost_at_most: int = 0
    damaged: int = 0
    unreadable: int = 0

    def __add__(self, other: SealedRows) -> SealedRows:
        return SealedRows(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True)
class _Plan:
    """By what the batches of a pass are known: family, model and occasion, and the occasion of the labels."""

    predictions: tuple[tuple[str, str, str], ...]
    feedback: str


@dataclass(frozen=True)
class TakenLabels:
    """What became of labels that were given at once.

    Attributes:
        labels: how many were given.
        unknown: of requests that no batch has; they count when one has.
        changed: of requests that had another label before; the new one counts.
        taken_before: when the same file was taken before; then nothing was written now.
    """

    labels: int
    unknown: int
    changed: int
    taken_before: datetime | None = None


class InferenceStore:
    """The segments and batches of one home."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._serving = workspace.home / "serving"
        self.segments = segment_folder(workspace.home)

    def writer(self) -> SegmentWriter:
        """A writer for this process, of predictions and labels."""
        from nethical_assets.core.drift.segments import SegmentWriter

        return SegmentWriter(self.segments)

    def seal(self, *, waiting_seconds: float = _WAITING_SECONDS) -> SealedRows:
        """Turn every segment that nobody writes any more into batches, each row once, and remove it. One event of this
        workspace's run for about 250 000 rows names all that they became. Nothing is written where there is none.

        Raises:
            BusyError: another process seals for longer than ``waiting_seconds``.
            AuditError: the event could not be recorded; the segments are still there.
            IntegrityError: a batch of the same time was changed on disk.
            OSError: a batch could not be written; the segments are still there.
        """
        from nethical_assets.core.drift.segment_groups import segment_groups
        from nethical_assets.core.drift.segments import ended_segments

        if not self.segments.exists():
            return SealedRows()
        done = SealedRows()
        with self.held(waiting_seconds):
            # Segments whose leaf was recorded by somebody who died before they were removed.
            self._workspace.acts.settle()
            self._drop_unrecorded()
            for group in segment_groups(ended_segments(self.segments)):
                done += self._seal(group)
        return done

    def take_labels(
        self, labels: GivenLabels, source: str, *, waiting_seconds: float = _WAITING_SECONDS
    ) -> TakenLabels:
        """Have the log know labels that were given at once, all of them or none, as of now.

        They are known by ``source`` (the digest of their file): given again, also by a process that was started anew
        after a kill, they are there once, and a label that was corrected in between stays corrected.

        Raises:
            BusyError: another process seals for longer than ``waiting_seconds``.
            AuditError: the event could not be recorded; the labels count for nothing.
            IntegrityError: a batch was changed on disk.
            OSError: the batch could not be written.
        """
        import pyarrow as pa

        from nethical_assets.core.drift.feedback import EVER, FEEDBACK_SCHEMA, unknown_requests

        workspace, occasion = self._workspace, f"file {source}"
        with self.held(waiting_seconds):
            workspace.acts.settle()
            log = workspace.feedback_log
            unknown = unknown_requests(workspace.inference_log, labels.ids)
            if (before := log.given(occasion)) is not None:
                return TakenLabels(len(labels.ids), unknown, 0, before)
            earlier, _ = log.labels_of(labels.ids, EVER)
            changed = sum(
                old is not None and old != new
                for old, new in zip(earlier.to_pylist(), labels.labels.to_pylist(), strict=True)
            )
            taken = TakenLabels(len(labels.ids), unknown, changed)
            told = {"labels": taken.labels, "unknown": unknown, "changed": changed, "source": source}
            # What a killed process wrote and did not record.
            log.drop_uncounted(occasion)
            now = workspace.now()
            columns = [pa.repeat(pa.scalar(now, FEEDBACK_SCHEMA.types[0]), len(labels.ids)), labels.ids, labels.labels]
            actor = pa.repeat(pa.scalar(f"file:{source.partition(':')[2][:16]}"), len(labels.ids))
            table = pa.table([*columns, actor], schema=FEEDBACK_SCHEMA)
            log.append_table(
                table,
                occasion=occasion,
                when=now,
                record=lambda name, digest: workspace.record_event(
                    EventType.BATCH_SCORED, {f"{FEEDBACK_PREFIX}{name}": digest}, payload={"feedback": told}
                ),
            )
        return taken

    def held(self, waiting_seconds: float = _WAITING_SECONDS) -> AbstractContextManager[None]:
        """Batches do not change but by whoever has this.

        Raises:
            BusyError: another process has it for longer than ``waiting_seconds``.
        """
        return exclusive_lock(self._serving / "sealing.lock", waiting_seconds=waiting_seconds, what="the inference log")

    def _seal(self, group: SegmentGroup) -> SealedRows:
        from nethical_assets.core.drift.sealing import gather_columns

        for line in group.unreadable:
            _LOGGER.warning("inference log: %s", line)
        unreadable = SealedRows(unreadable=len(group.unreadable))
        if not group.columns:
            return unreadable
        reads = group.ended
        gathered = gather_columns(group.columns, self._known)
        # The tables have all of them.
        group.columns.clear()
        batches = self._write(gathered, digest_json(group.sources))
        damaged = [read for read in reads if read.damage]
        for line in (line for read in damaged for line in read.damage):
            _LOGGER.warning("%s; the rows around it are in the log, and the file is kept in damaged/", line)
        sealed = SealedRows(
            rows=gathered.rows,
            feedback=0 if gathered.feedback is None else gathered.feedback.num_rows,
            batches=sum(not name.startswith(SKETCH_PREFIX) for name in batches),
            segments=len(reads),
            again=gathered.again,
            torn=sum(read.torn for read in reads),
            missing=sum(read.missing_rows for read in reads),
            lost_at_most=sum(read.lost_at_most for read in reads),
            damaged=len(damaged),
        )
        if sealed.missing or sealed.lost_at_most:
            _LOGGER.warning(
                "inference log: %d rows are missing and at most %d more were lost", sealed.missing, sealed.lost_at_most
            )
        self._record(batches, gathered, reads, sealed)
        return sealed + unreadable

    def _write(self, gathered: Gathered, source: str) -> dict[str, str]:
        """Write all batches, and beside them their sketches; subject of the leaf -> digest."""
        written: dict[str, str] = {}

        def record(model: str) -> Announce:
            def announce(name: str, digest: str) -> None:
                written[f"{BATCH_PREFIX}{name}"] = digest
                written.update(sketch_subjects(self._workspace, model, {name: digest}))

            return announce

        planned = tuple((one.family, one.model, one.occasion(source)) for one in gathered.predictions)
        write_json(self._plan, to_document(_Plan(planned, source)))
        for one in gathered.predictions:
            self._workspace.inference_log.append_table(
                one.family,
                one.model,
                one.table,
                occasion=one.occasion(source),
                when=one.moment,
                record=record(one.model),
            )
        if gathered.feedback is not None:
            self._workspace.feedback_log.append_table(
                gathered.feedback,
                occasion=source,
                when=_newest(gathered.feedback),
                record=lambda name, digest: written.update({f"{FEEDBACK_PREFIX}{name}": digest}),
            )
        return written

    def _record(
        self, batches: Mapping[str, str], gathered: Gathered, reads: Sequence[SegmentRead], sealed: SealedRows
    ) -> None:
        """One act: the leaf that names the batches, and the removal of the segments that end with them. What does not
        fit into a leaf is named by leaves before it: killed in between, as between the parts of a large segment, the
        next pass finds these rows in the log."""
        removed = [read.path.name for read in reads if not read.damage]
        kept = [read.path.name for read in reads if read.damage]
        told = {name: value for name, value in asdict(sealed).items() if value}
        rows: dict[str, int] = {}
        for one in gathered.predictions:
            rows[one.family] = rows.get(one.family, 0) + one.table.num_rows
        models = sorted({one.model for one in gathered.predictions})
        *before, last = _leaves(batches)
        for subjects in before:
            self._workspace.record_event(EventType.BATCH_SCORED, subjects, parents=models)
        self._workspace.act(
            EventType.BATCH_SCORED,
            last,
            drop_segments(removed, kept),
            parents=models,
            payload={"sealed": told, "rows_by_family": rows},
        )
        self._plan.unlink(missing_ok=True)

    def _known(self, family: str, ids: pa.Array, first: datetime, last: datetime) -> pa.Array:
        horizon = timedelta(hours=self._workspace.settings.file.monitoring.retry_horizon_hours)
        try:
            return self._workspace.inference_log.known(family, ids, first - horizon, last + horizon)
        except IntegrityError as error:
            # Whoever reads the family's window is stopped by it. Other families are not, nor are new rows lost.
            import pyarrow as pa

            _LOGGER.warning("inference log: requests of %s that are sent again are not told: %s", family, error)
            return pa.array([False] * len(ids))

    @property
    def _plan(self) -> Path:
        return self._serving / "sealing.json"

    def _drop_unrecorded(self) -> None:
        """Remove the batches that a killed pass wrote and no leaf names."""
        try:
            plan = from_document(_Plan, read_json(self._plan), str(self._plan))
            for family, model, occasion in plan.predictions:
                self._workspace.inference_log.drop_uncounted(family, model, occasion)
                self._workspace.sketch_log.drop_left(family, model, occasion)
            self._workspace.feedback_log.drop_uncounted(plan.feedback)
        except FileNotFoundError:
            return
        except (DatasetError, IntegrityError) as error:
            # What it would have removed counts for nothing where it stays.
            _LOGGER.warning("inference log: %s", error)
        self._plan.unlink(missing_ok=True)


def seal_segments(settings: Settings) -> SealedRows:
    """A sealing pass by itself, as an errand outside a run: for a server that seals what its workers write.

    Raises:
        NethicalError, OSError: as ``InferenceStore.seal``.
    """
    workspace = Workspace(settings, CycleOptions(), f"seal-{uuid.uuid4()}")
    try:
        return InferenceStore(workspace).seal()
    finally:
        workspace.finish_errand()


def removed_batches(workspace: Workspace, family: str, since: datetime, until: datetime) -> int:
    """How many batches that can have had rows of a family, scored at or after ``since`` and before ``until``, retention
    removed: with any, what is still there of the period is not all of it.

    Raises:
        AuditError: the log is not what was signed.
    """
    from nethical_assets.core.drift.expiry import batches_between

    prefix = f"{BATCH_PREFIX}{family}/"
    names = [name for name in workspace.evidence.removed_batches() if name.startswith(prefix)]
    return len(batches_between(names, since, until))


def _leaves(batches: Mapping[str, str]) -> list[dict[str, str]]:
    names = list(batches)
    return [
        {name: batches[name] for name in names[start : start + _SUBJECTS_A_LEAF]}
        for start in range(0, len(names), _SUBJECTS_A_LEAF)
    ] or [{}]


def _newest(feedback: pa.Table) -> datetime:
    from nethical_assets.core.drift.inference_log import AT

    at_ns = feedback[AT][-1].value
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)
