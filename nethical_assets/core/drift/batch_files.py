"""Immutable batches as Parquet files that are named by time, model, occasion and content.

What belongs here: the names, writing a batch once, and finding and reading what is there. What does not: what a batch
holds (``inference_log``, ``feedback``).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.core.ground.parquet import read_table
from nethical_assets.core.ground.storage import write_atomically

Counts = Callable[[str, str], bool]
"""Whether a file (its name below a store, the digest of its bytes) counts: the audit log names it."""
Announce = Callable[[str, str], None]
"""Told a file as ``Counts`` is."""

_NAME = re.compile(
    r"(\d{8}T\d{6}\.\d{6}Z)(?:-([0-9a-f]{64}))?(?:-([0-9a-f]{16}))?-([0-9a-f]{16})\.parquet",
)
"""Time, model (of predictions), occasion (not in the files of older versions) and content."""
_TIME = "%Y%m%dT%H%M%S.%fZ"
_TIME_LENGTH = len("20261130T120000.000000Z")


@dataclass(frozen=True)
class BatchFile:
    """One file, as its name says; ``model`` is hexadecimal, and empty where the batch is of no model."""

    path: UPath
    moment: datetime
    model: str
    occasion: str | None
    content: str

    @property
    def identity(self) -> tuple[str, ...]:
        """The same for files that hold one batch, which two writers may have appended at the same time."""
        return (self.path.name,) if self.occasion is None else (self.model, self.occasion, self.content)

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            IntegrityError: they are not those that the name says.
        """
        data = self.path.read_bytes()
        if _short_digest(data) != self.content:
            raise IntegrityError(
                f"{self.path}: the batch does not match its name; restore it from a backup or move it away"
            )
        return data


def batch_files(
    folder: UPath, *, since: datetime | None = None, until: datetime | None = None, known: str = ""
) -> Iterator[BatchFile]:
    """The batches in ``folder``, oldest first: those of moments from ``since`` to before ``until``, and of those
    the ones that have ``known`` between their time and content.

    A folder may hold years of batches: by their names alone it is decided which are looked at.
    """
    first, end = name_bounds(since, until)
    part = f"-{known}-" if known else ""
    for name in sorted(name for name in _names(folder) if first <= name < end and part in name):
        if (batch := batch_file(folder / name)) is not None:
            yield batch


def name_bounds(since: datetime | None, until: datetime | None) -> tuple[str, str]:
    """Between which texts (the second excluded) the names of batches are of moments from ``since`` to before ``until``:
    to read the time in a name takes longer than to compare a hundred with these."""
    # Any name is between the empty text and this character.
    return "" if since is None else _in_name(since), chr(sys.maxunicode) if until is None else _in_name(until)


def batch_file(path: UPath) -> BatchFile | None:
    """The batch at ``path``, as its name says; None where that is no name of a batch."""
    parts = _NAME.fullmatch(path.name)
    if parts is None:
        return None
    moment = datetime.strptime(parts[1], _TIME).replace(tzinfo=UTC)
    return BatchFile(path, moment, parts[2] or "", parts[3], parts[4])


def _names(folder: UPath) -> Iterable[str]:
    if not folder.exists():
        return []
    # Of a local folder the names are had without looking at each file.
    if isinstance(folder, os.PathLike):
        return os.listdir(folder)  # noqa: PTH208
    return (one.name for one in folder.iterdir())


def counted_files(
    folder: UPath,
    prefix: str,
    counts: Counts,
    wanted: Callable[[BatchFile], bool] = lambda batch: True,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[tuple[BatchFile, bytes]]:
    """The batches in ``folder`` from ``since`` to before ``until`` that are ``wanted`` and count, each once, with their
    bytes, oldest first.

    ``prefix`` stands before a file's name where ``counts`` is asked.

    Raises:
        IntegrityError: a batch was changed or damaged on disk; the message names the file.
    """
    seen: set[tuple[str, ...]] = set()
    for batch in batch_files(folder, since=since, until=until):
        if batch.identity not in seen and wanted(batch):
            try:
                data = batch.read()
            except FileNotFoundError:
                # Retention removed it since the folder was listed.
                continue
            if counts(prefix + batch.path.name, digest_bytes(data)):
                seen.add(batch.identity)
                yield batch, data


def write_batch(
    folder: UPath,
    table: pa.Table,
    *,
    moment: datetime,
    occasion: str,
    model: str = "",
    counts: Callable[[BatchFile, bytes], bool] = lambda batch, data: False,
) -> tuple[UPath, bytes]:
    """Write a batch, unless the same one is there, or one of the same model and occasion that ``counts``; its file and
    bytes."""
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    data = stream.getvalue()
    known = known_by(model, occasion)
    for batch in batch_files(folder, known=known):
        there = batch.path.read_bytes()
        if there == data or counts(batch, there):
            return batch.path, there
    target = folder / f"{_in_name(moment)}-{known}-{_short_digest(data)}.parquet"
    write_atomically(target, data)
    return target, data


def counted_moment(
    folder: UPath, occasion: str, model: str = "", *, counts: Callable[[BatchFile, bytes], bool]
) -> datetime | None:
    """The time of the first batch of a model and an occasion that counts; None where there is none."""
    known = known_by(model, occasion)
    found = batch_files(folder, known=known)
    return next((batch.moment for batch in found if counts(batch, batch.path.read_bytes())), None)


def drop_uncounted(
    folder: UPath, occasion: str, model: str = "", *, counts: Callable[[BatchFile, bytes], bool]
) -> None:
    """Remove the batches of a model and an occasion that do not count."""
    known = known_by(model, occasion)
    for batch in batch_files(folder, known=known):
        if not counts(batch, batch.path.read_bytes()):
            batch.path.unlink(missing_ok=True)


def _in_name(moment: datetime) -> str:
    """Names in their order are in that of their times."""
    written = moment.astimezone(UTC).strftime(_TIME)
    return written.zfill(_TIME_LENGTH)  # a year before 1000 is written with fewer digits


def known_by(model: str, occasion: str) -> str:
    """What the names of the batches of a model (hexadecimal, or empty) and an occasion have in common."""
    return "-".join([*([model] if model else []), _short_digest(occasion.encode())])


def batch_problems(folder: UPath) -> Iterator[str]:
    """The batches in ``folder`` that are not what their names say, one line each."""
    for batch in batch_files(folder):
        try:
            read_table(batch.read())
        except FileNotFoundError:
            continue
        except (IntegrityError, pa.ArrowInvalid) as error:
            yield str(error)


def in_utc(when: datetime) -> datetime:
    """``when`` in UTC.

    Raises:
        DatasetError: it has no time zone.
    """
    if when.tzinfo is None:
        raise DatasetError(f"{when.isoformat()} has no time zone; give a time in UTC")
    return when.astimezone(UTC)


def _short_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
