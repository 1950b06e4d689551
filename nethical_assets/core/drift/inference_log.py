"""The append-only log of what champions scored: the windows that drift is judged on.

What belongs here: writing and reading immutable batches of predictions and numeric sketches. What does not: judging
them (``verdict``). Inputs themselves, texts above all, are never written.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from nethical_assets.core.drift.reference import PROBABILITY, SCORE, FloatArray, prediction_columns
from nethical_assets.core.ground.digests import check_digest, digest_bytes
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.core.ground.parquet import read_table
from nethical_assets.core.ground.storage import write_atomically

if TYPE_CHECKING:
    import pandas as pd

_FAMILY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_BATCH = re.compile(r"(\d{8}T\d{6}\.\d{6}Z)-([0-9a-f]{64})(?:-([0-9a-f]{16}))?-([0-9a-f]{16})\.parquet")
"""Time, model, occasion (not in the files of older versions) and content."""
_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class _Batch:
    """One file, as its name says."""

    path: UPath
    moment: datetime
    model: str
    occasion: str | None
    content: str

    @property
    def identity(self) -> tuple[str, ...]:
        """The same for files that hold one batch, which two writers may have appended at the same time."""
        return (self.path.name,) if self.occasion is None else (self.model, self.occasion, self.content)


@dataclass(frozen=True)
class LoggedWindow:
    """The batches of one family in a period, oldest first; arrays of shape (rows,), ``sketch`` with as many rows."""

    batches: int
    first: datetime | None
    last: datetime | None
    probabilities: FloatArray
    scores: FloatArray
    sketch: pd.DataFrame

    @property
    def rows(self) -> int:
        """Scored rows in the window."""
        return len(self.probabilities)


class InferenceLog:
    """Scored batches under ``folder`` (a folder or a URL): one Parquet file each, in a folder per family.

    A batch is known by its model, its content and the occasion its caller names, never by the clock: appending it
    again, as a retry does minutes later, leaves the first one and its time. Files are written atomically and never
    changed.

    Args:
        counts: whether a file below the folder (``family/name``) with bytes of this digest counts. One that was put
            there by somebody else, or whose writer was killed before it recorded it, does not.
    """

    def __init__(self, folder: UPath | Path | str, *, counts: Callable[[str, str], bool] = lambda name, digest: True):
        self.folder = UPath(folder)
        self._counts = counts

    def append(
        self,
        family: str,
        model_digest: str,
        probabilities: FloatArray,
        scores: FloatArray,
        sketch: pd.DataFrame,
        *,
        occasion: str,
        when: datetime,
        record: Callable[[str, str], None] = lambda name, digest: None,
    ) -> UPath | None:
        """Write one batch and return its file, or the file of the same batch that is there already; None for an empty
        batch, which leaves no trace.

        Args:
            model_digest: of the model that scored it.
            probabilities, scores: shape (rows,).
            sketch: numeric columns, one row a prediction (``Detector.sketch``).
            occasion: what the caller knows this act of scoring by, such as a request id or the digest of a scored file:
                the same for a retry, another one for equal predictions that were made anew. Only its digest is kept.
            when: moment of scoring, with a time zone.
            record: told the batch, as ``counts`` is, when it is on the disk, and also when it was there already: its
                first writer may have been killed before it recorded it.

        Raises:
            DatasetError: lengths differ, a sketch column is not numeric, the family's name is malformed or ``when`` has
                no time zone.
            IntegrityError: the model digest is malformed.
            OSError: the batch could not be written; nothing of it is left.
        """
        columns = prediction_columns(scores, probabilities, sketch)
        model = check_digest(model_digest).partition(":")[2]
        moment = _utc(when).strftime(_TIME)
        folder = self._folder(family)
        if len(probabilities) == 0:
            return None
        stream = io.BytesIO()
        pq.write_table(pa.table(columns), stream, compression="zstd")
        data = stream.getvalue()
        batch = f"{model}-{_content(occasion.encode())}-{_content(data)}.parquet"
        target = next(iter(folder.glob(f"*-{batch}")) if folder.exists() else iter(()), None)
        if target is None:
            target = folder / f"{moment}-{batch}"
            write_atomically(target, data)
        record(f"{family}/{target.name}", digest_bytes(data))
        return target

    def window(
        self, family: str, since: datetime, model_digest: str | None = None, until: datetime | None = None
    ) -> LoggedWindow:
        """The batches of a family that count, scored at or after ``since`` and before ``until``, of one model or all.

        Raises:
            DatasetError: a time has no zone or the family's name is malformed.
            IntegrityError: a batch was changed or damaged on disk; the message names the file.
        """
        import pandas as pd

        start, end = _utc(since), None if until is None else _utc(until)
        model = None if model_digest is None else check_digest(model_digest).partition(":")[2]
        found: dict[tuple[str, ...], tuple[_Batch, bytes]] = {}
        for batch in self._batches(family):
            if batch.moment >= start and (end is None or batch.moment < end) and model in (None, batch.model):
                data = _read(batch)
                if self._counts(f"{family}/{batch.path.name}", digest_bytes(data)):
                    found.setdefault(batch.identity, (batch, data))
        chosen = [batch for batch, _ in found.values()]
        if not chosen:
            nothing = np.empty(0)
            return LoggedWindow(0, None, None, nothing, nothing, pd.DataFrame())
        frame = pd.concat([read_table(data).to_pandas() for _, data in found.values()], ignore_index=True)
        return LoggedWindow(
            batches=len(chosen),
            first=chosen[0].moment,
            last=chosen[-1].moment,
            probabilities=frame[PROBABILITY].to_numpy(dtype=np.float64),
            scores=frame[SCORE].to_numpy(dtype=np.float64),
            sketch=frame.drop(columns=[PROBABILITY, SCORE]),
        )

    def problems(self) -> list[str]:
        """The batches that are not what their names say, one line each."""
        found = []
        for batch in self._all_batches():
            try:
                read_table(_read(batch))
            except (IntegrityError, pa.ArrowInvalid) as error:
                found.append(str(error))
        return found

    def batch_digests(self) -> dict[str, str]:
        """Every batch (``family/name``) with the digest of its bytes."""
        return {
            f"{batch.path.parent.name}/{batch.path.name}": digest_bytes(batch.path.read_bytes())
            for batch in self._all_batches()
        }

    def _all_batches(self) -> Iterator[_Batch]:
        folders = sorted(self.folder.iterdir(), key=lambda path: path.name) if self.folder.exists() else []
        for folder in folders:
            if folder.is_dir():
                yield from self._batches(folder.name)

    def _folder(self, family: str) -> UPath:
        if not _FAMILY.fullmatch(family):
            raise DatasetError(f"family {family!r}: a name is up to 64 of a-z, 0-9, _ and -")
        return self.folder / family

    def _batches(self, family: str) -> Iterator[_Batch]:
        folder = self._folder(family)
        for path in sorted(folder.iterdir(), key=lambda path: path.name) if folder.exists() else ():
            if parts := _BATCH.fullmatch(path.name):
                moment = datetime.strptime(parts[1], _TIME).replace(tzinfo=UTC)
                yield _Batch(path, moment, parts[2], parts[3], parts[4])


def _read(batch: _Batch) -> bytes:
    data = batch.path.read_bytes()
    if _content(data) != batch.content:
        raise IntegrityError(
            f"{batch.path}: the batch does not match its name; restore it from a backup or move it away"
        )
    return data


def _content(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _utc(when: datetime) -> datetime:
    if when.tzinfo is None:
        raise DatasetError(f"{when.isoformat()} has no time zone; give a time in UTC")
    return when.astimezone(UTC)
