"""Sketches beside sealed batches: a window is added up without reading its rows again.

What belongs here: the file of one batch's sketches, one for each sub-window, and reading a period from such files where
they can be trusted and from the rows where not. What does not: what a sketch counts (``sketches``), or which references
there are (``home.sketching``).

A file is named by its batch, the reference and the length of its sub-windows, so that written twice, or by two
processes, it is the same bytes. It is never needed: one that is missing or damaged, or that the audit log does not
name, is as good as none, and the rows are counted again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from upath import UPath

from nethical_assets.core.drift.batch_files import Announce, BatchFile, Counts, known_by
from nethical_assets.core.drift.feedback import TRUE_LABEL, FeedbackLog, labelled_rows
from nethical_assets.core.drift.inference_log import AT, SPAN, InferenceLog, LoggedPart
from nethical_assets.core.drift.reference import PROBABILITY, SCORE, Reference
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.ground.digests import canonical_json, digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import write_atomically

_MAGIC = b"nethical-batch-sketches 1\n"
_SUFFIX = ".sketches"
_MINUTE_NS = 60_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Sketches = Mapping[datetime, Sketch]
"""The beginning of a sub-window -> its sketch, of those that have rows."""


@dataclass(frozen=True)
class SketchedBy:
    """On which edges, and in sub-windows of which length (a divisor of 60), rows are counted."""

    reference: Reference
    minutes: int

    def file_name(self, batch: BatchFile) -> str:
        """The name of the file beside a batch."""
        reference = self.reference.digest.partition(":")[2][:16]
        return f"{batch.path.name.removesuffix('.parquet')}-{reference}-{self.minutes}{_SUFFIX}"


class SketchLog:
    """The sketches of the batches of an inference log, under ``folder`` (a folder or a URL), in a folder per family.

    Args:
        counts: whether a file below the folder (``family/name``) with bytes of this digest may be trusted.
    """

    def __init__(self, folder: UPath | Path | str, log: InferenceLog, *, counts: Counts) -> None:
        self.folder = UPath(folder)
        self._log = log
        self._counts = counts

    def write(self, name: str, digest: str, by: SketchedBy, record: Announce) -> None:
        """Count a batch (``family/file name``, the digest of its bytes), which need not be recorded yet, and write its
        file; ``record`` is told it, as ``counts`` is.

        Raises:
            DatasetError: the columns of the batch are not those of the reference.
            IntegrityError: the batch was changed on disk.
            OSError: the batch could not be read, or the file not be written.
        """
        family, _, _ = name.partition("/")
        batch, data = self._log.stored(name)
        if digest_bytes(data) != digest:
            raise IntegrityError(f"{batch.path}: was changed while it was recorded; restore it from a backup")
        counted = counted_rows(self._log.parts_of(family, batch, data), by)
        written = _to_bytes(digest, by, counted)
        target = self.folder / family / by.file_name(batch)
        if not target.exists() or target.read_bytes() != written:
            # After a power failure the rows are counted again.
            write_atomically(target, written, durable=False)
        record(f"{family}/{target.name}", digest_bytes(written))

    def read(self, family: str, model: str, by: SketchedBy, since: datetime, until: datetime) -> dict[datetime, Sketch]:
        """The sketches of the sub-windows that have rows of ``model``, scored at or after ``since`` and before
        ``until``.

        Raises:
            DatasetError: a time has no zone, the family's name is malformed, or the columns of a batch are not those of
                the reference.
            IntegrityError: a batch without a trusted file was changed or damaged on disk.
        """
        found: dict[datetime, Sketch] = {}
        seen: set[tuple[str, ...]] = set()
        for batch in self._log.files(family, since, model, until):
            if batch.identity in seen:
                continue
            hour = batch.moment.replace(minute=0, second=0, microsecond=0)
            is_whole = batch.moment >= since and hour + SPAN <= until
            sketches = self._kept(family, batch, by) if is_whole else None
            if sketches is None:
                data = batch.read()
                if not self._log.counts(family, batch, digest_bytes(data)):
                    continue
                sketches = counted_rows(self._log.parts_of(family, batch, data, since, until), by)
            seen.add(batch.identity)
            for start, sketch in sketches.items():
                found[start] = found[start] + sketch if start in found else sketch
        return dict(sorted(found.items()))

    def drop_left(self, family: str, model: str, occasion: str) -> None:
        """Remove the files of batches of this occasion that are gone: a killed writer left them."""
        known = f"-{known_by(model.partition(':')[2], occasion)}-"
        folder = self.folder / family
        for path in folder.iterdir() if folder.exists() else ():
            if known in path.name and not (self._log.folder / family / _batch_name(path.name)).exists():
                path.unlink(missing_ok=True)

    def _kept(self, family: str, batch: BatchFile, by: SketchedBy) -> Sketches | None:
        """What the file of a batch says; None unless the log names it and it is of this batch, which the log names
        too."""
        name = by.file_name(batch)
        try:
            data = (self.folder / family / name).read_bytes()
        except OSError:
            return None
        if not self._counts(f"{family}/{name}", digest_bytes(data)):
            return None
        try:
            digest, sketches = _from_bytes(data, by, name)
        except IntegrityError:
            return None
        is_of_batch = digest.partition(":")[2].startswith(batch.content)
        return sketches if is_of_batch and self._log.counts(family, batch, digest) else None


def counted_rows(parts: Iterator[LoggedPart], by: SketchedBy) -> dict[datetime, Sketch]:
    """Rows by the sub-window that they were scored in.

    Raises:
        DatasetError: their columns are not those of the reference.
    """
    found: dict[datetime, Sketch] = {}
    for part in parts:
        for start, rows in _by_sub_window(part.rows, by.minutes):
            frame = LoggedPart(part.name, part.model, rows).sketch().to_pandas(use_threads=False)
            score = rows[SCORE].to_numpy() if by.reference.column(SCORE) is not None else None
            sketch = Sketch.of(by.reference, rows[PROBABILITY].to_numpy(), score, frame)
            found[start] = found[start] + sketch if start in found else sketch
    return found


def labelled_by_sub_window(
    log: InferenceLog,
    feedback: FeedbackLog,
    family: str,
    model: str,
    by: SketchedBy,
    since: datetime,
    until: datetime,
) -> dict[datetime, Reliability]:
    """The rows of a period whose labels came, by sub-window. Rows are not read where no label came since then.

    Raises:
        DatasetError, IntegrityError: as ``feedback.labelled_rows``; also where a label is neither 0 nor 1.
    """
    found: dict[datetime, Reliability] = {}
    if not feedback.has_any(since):
        return found
    threshold = by.reference.decision_threshold
    for requests in labelled_rows(log, feedback, family, since, model, until, columns=[PROBABILITY]):
        rows = requests.rows.filter(requests.rows[TRUE_LABEL].is_valid())
        for start, some in _by_sub_window(rows, by.minutes):
            labels = some[TRUE_LABEL].to_numpy()
            more = Reliability.of(some[PROBABILITY].to_numpy(), labels, threshold)
            found[start] = found[start] + more if start in found else more
    return found


def _by_sub_window(rows: pa.Table, minutes: int) -> Iterator[tuple[datetime, pa.Table]]:
    width = minutes * _MINUTE_NS
    numbers = rows[AT].cast(pa.int64()).to_numpy() // width
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        start = _EPOCH + timedelta(minutes=number * minutes)
        yield start, rows if inside.all() else rows.filter(pa.array(inside))


def _batch_name(name: str) -> str:
    return f"{name.rsplit('-', 2)[0]}.parquet"


def _to_bytes(batch: str, by: SketchedBy, sketches: Sketches) -> bytes:
    """A line that names the form, a line of canonical JSON that names the batch and the sketches, and these."""
    pieces = [(start, sketch.to_bytes()) for start, sketch in sorted(sketches.items())]
    header = {
        "batch": batch,
        "minutes": by.minutes,
        "reference": by.reference.digest,
        "sub_windows": [[start.isoformat(), len(piece)] for start, piece in pieces],
    }
    return b"".join((_MAGIC, canonical_json(header), b"\n", *(piece for _, piece in pieces)))


def _from_bytes(data: bytes, by: SketchedBy, where: str) -> tuple[str, dict[datetime, Sketch]]:
    """The digest of the batch and its sketches.

    Raises:
        IntegrityError: the bytes are no such file, or of another reference or length.
    """
    line, _, rest = data.removeprefix(_MAGIC).partition(b"\n")
    try:
        header: Any = json.loads(line)
        if not data.startswith(_MAGIC) or (header["reference"], header["minutes"]) != (by.reference.digest, by.minutes):
            raise ValueError
        sketches: dict[datetime, Sketch] = {}
        position = 0
        for start, length in header["sub_windows"]:
            piece = rest[position : position + length]
            sketches[datetime.fromisoformat(start)] = Sketch.from_bytes(piece, by.reference, where)
            position += length
        batch: str = header["batch"]
        if position != len(rest) or not isinstance(batch, str):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise IntegrityError(f"{where}: not the sketches of a batch; it is counted again") from None
    return batch, sketches
