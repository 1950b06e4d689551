"""Writing rows of the inference log as they come: an append-only segment a process, made durable in groups.

What belongs here: ``SegmentWriter``, and which files of a folder are still written. What does not: the bytes of a
segment and reading them (``segment_format``), or making batches of segments (``sealing``).

A row is in the kernel when ``append`` returns: killing the process loses none. It is safe from a power failure at most
``sync_seconds`` later. The file is locked while its writer lives and is called ``*.open``; closed by its writer, it is
called ``*.segment``.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from nethical_assets.core.drift.segment_format import (
    CLOSED_SUFFIX,
    MAGIC,
    OPEN_SUFFIX,
    ROWS_PER_FRAME,
    Commit,
    Kind,
    SegmentHeader,
    SegmentRead,
    boot_id,
    encode,
    frame,
    read_segment,
)
from nethical_assets.core.drift.segment_rows import FeedbackRow, LoggedRow, LoggedRows, Row, encode_rows, part_of
from nethical_assets.core.ground.disk import advice
from nethical_assets.core.ground.errors import SegmentError
from nethical_assets.core.ground.storage import lock_file, sync_folder, temporary_prefix

__all__ = [
    "FeedbackRow",
    "LoggedRow",
    "LoggedRows",
    "Row",
    "SegmentRead",
    "SegmentWriter",
    "ended_segments",
    "read_segment",
]

SEGMENT_NAME = re.compile(
    rf"\d{{8}}T\d{{6}}\.\d{{6}}Z-[0-9a-f]{{16}}-\d{{6}}(?:{re.escape(OPEN_SUFFIX)}|{re.escape(CLOSED_SUFFIX)})"
)
"""When it was begun, its writer, and which of the writer's segments it is."""
_LEAST_PROMISE = 256
_ROTATE_BYTES = 16 << 20
_datasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


def ended_segments(folder: Path) -> list[Path]:
    """The segments in ``folder`` that nobody writes any more, oldest first: closed, or their writer is dead."""
    paths = sorted(path for path in folder.glob("*") if SEGMENT_NAME.fullmatch(path.name))
    return [path for path in paths if path.suffix == CLOSED_SUFFIX or not _is_written(path)]


def open_segments(folder: Path) -> list[Path]:
    """The segments in ``folder`` that a living process writes."""
    paths = sorted(path for path in folder.glob(f"*{OPEN_SUFFIX}") if SEGMENT_NAME.fullmatch(path.name))
    return [path for path in paths if _is_written(path)]


def _is_written(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        # Closed at this moment: it is found by its new name at the next look.
        return True
    try:
        # Closed between the two, it has another name by now, and is found by that at the next look.
        return not lock_file(descriptor) or not _is_named(path, descriptor)
    finally:
        os.close(descriptor)


def _is_named(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


class _Segment:
    """The file that is written: nothing here is safe for threads."""

    def __init__(self, folder: Path, writer: str, number: int, promised: int) -> None:
        now = time.time_ns()
        moment = datetime.fromtimestamp(now // 1000 / 1e6, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.path = folder / f"{moment}-{writer}-{number:06d}{OPEN_SUFFIX}"
        self.begun = time.monotonic()
        self.promised = promised
        self.rows = self.committed = 0
        header = encode(SegmentHeader(writer, number, now, boot_id(), promised))
        data = MAGIC + frame(Kind.HEADER, header, first=0)
        temporary = folder / f"{temporary_prefix()}{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        self.descriptor = os.open(temporary, flags, 0o666)
        self.size, self.broken = 0, False
        self.left = False
        try:
            # Nobody sees the file by its name before it is locked and its header safe.
            lock_file(self.descriptor)
            self.write(data)
            os.fsync(self.descriptor)
            os.replace(temporary, self.path)
            sync_folder(folder)
        except BaseException:
            os.close(self.descriptor)
            for path in (temporary, self.path):
                path.unlink(missing_ok=True)
            raise
        self.durable = self.size

    def write(self, data: bytes, rows: int = 0) -> None:
        """Append all of ``data``, which holds so many rows, or, where that fails, nothing of it.

        ``broken`` stays set where the file may now end in something else: after an interruption in the middle, or
        where it could not be shortened. Nothing may be appended behind that.
        """
        done, self.broken = 0, True
        try:
            done = os.write(self.descriptor, data)
            while done < len(data):
                done += os.write(self.descriptor, memoryview(data)[done:])
        except OSError:
            if done:
                os.ftruncate(self.descriptor, self.size)
            self.broken = False
            raise
        self.size += len(data)
        self.rows += rows
        self.broken = False

    def commit(self, promised: int) -> None:
        """Write that more rows may follow, and how much is safe already."""
        self.write(frame(Kind.COMMIT, encode(Commit(self.durable, promised)), first=self.rows))

    def close(self) -> None:
        """Close the file for good and give it the name of those that are."""
        try:
            self.write(frame(Kind.END, first=self.rows))
            ended = True
        except OSError:
            # Without room for an end, what is there is made safe all the same; it is left as by a writer that died.
            ended = False
        os.fsync(self.descriptor)
        if ended:
            os.replace(self.path, self.path.with_suffix(CLOSED_SUFFIX))
            sync_folder(self.path.parent)
        os.close(self.descriptor)


class SegmentWriter:
    """Appends rows to segments in ``folder``, one file at a time; safe for threads, not to be called in the handler of
    a signal. A child that is forked writes a file of its own.

    A thread, started with the first row, makes what was appended safe at most ``sync_seconds`` later, and ends a
    segment that is ``rotate_seconds`` old, or has grown to ``rotate_bytes``, so that it can be sealed. Where far more
    rows come than in the seconds before, ``append`` waits once until the disk has heard that they may.

    Attributes:
        rows: how many rows were appended.
        durable_rows: how many of them are safe from a power failure.
        failures: how often rows were refused, or could not be made safe.
    """

    def __init__(
        self,
        folder: Path,
        *,
        sync_seconds: float = 1.0,
        rotate_seconds: float = 300.0,
        rotate_bytes: int = _ROTATE_BYTES,
    ) -> None:
        self.folder = Path(folder)
        self._sync_seconds, self._rotate_seconds, self._rotate_bytes = sync_seconds, rotate_seconds, rotate_bytes
        self.rows = self.durable_rows = self.failures = 0
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        """As a process begins that has written nothing."""
        self._writer = secrets.token_hex(8)
        self._number = 0
        self._segment: _Segment | None = None
        self._full: list[_Segment] = []
        self._failure: SegmentError | None = None
        self._guard = threading.Lock()
        self._syncing = threading.Lock()
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.rows = self.durable_rows = 0

    def append(self, rows: Sequence[Row] | LoggedRows) -> None:
        """Write ``rows`` behind all earlier ones: they are in the kernel when this returns.

        Raises:
            DatasetError: a row is not what it is declared to be; nothing was written.
            SegmentError: the disk is full, not writable or does not keep what it is given; nothing of these rows is
                in the log. The line says what to do; the next call tries again.
        """
        if not rows:
            return
        starts = range(0, len(rows), ROWS_PER_FRAME)
        payloads = [encode_rows(part_of(rows, start, start + ROWS_PER_FRAME)) for start in starts]
        while not self._appended(payloads, len(rows)):
            self._commit(room=len(rows))
        if not self._wake.is_set():
            self._wake.set()

    def _appended(self, payloads: Sequence[bytes], rows: int) -> bool:
        """Append frames of ``rows`` rows, unless the disk has to hear first that so many may come."""
        with self._guard:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._segment is not None and self._segment.broken:
                self._abandon(self._segment)
            try:
                segment = self._segment = self._segment or self._begin(rows)
                if segment.rows + rows > segment.promised:
                    return False
                segment.write(_frames(payloads, rows, segment.rows), rows)
            except OSError as error:
                raise self._failed(error, "the rows were not logged") from None
            self.rows += rows
            if segment.size >= self._rotate_bytes:
                self._segment = None
                self._full.append(segment)
            return True

    def _begin(self, rows: int) -> _Segment:
        if self._stop.is_set():
            raise SegmentError(f"{self.folder}: rows came for the inference log after its writer was closed")
        self.folder.mkdir(parents=True, exist_ok=True)
        segment = _Segment(self.folder, self._writer, self._number, max(_LEAST_PROMISE, 2 * rows))
        self._number += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_durable, name="inference-log", daemon=True)
            self._thread.start()
        return segment

    def sync(self) -> None:
        """Make all that was appended safe from a power failure, and end a segment that is old enough.

        Raises:
            SegmentError: the disk does not keep what it was given.
        """
        self._commit()

    def close(self) -> None:
        """Make everything safe and end the segment. Nothing may be appended afterwards.

        Raises:
            SegmentError: the disk does not keep what it was given.
        """
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._commit(ending=True)
        if self._failure is not None:
            raise self._failure

    def _commit(self, *, room: int = 0, ending: bool = False) -> None:
        """Have everything on the disk, and the promise that ``room`` more rows may come."""
        with self._syncing:
            with self._guard:
                segment, full = self._segment, self._full
                self._full = []
                if segment is not None and (ending or time.monotonic() - segment.begun >= self._rotate_seconds):
                    full.append(segment)
                    segment = self._segment = None
            for position, one in enumerate(full):
                try:
                    self._end(one)
                except OSError as error:
                    self._full[:0] = full[position + 1 :]
                    self._abandon(one)
                    raise self._failed(error, f"rows of {one.path.name} may not outlast a power failure") from None
            if segment is not None:
                self._sync(segment, room)

    def _end(self, segment: _Segment) -> None:
        if segment.broken:
            self._abandon(segment)
            return
        unsafe = segment.rows - segment.committed
        segment.close()
        with self._guard:
            self.durable_rows += unsafe

    def _sync(self, segment: _Segment, room: int) -> None:
        with self._guard:
            if segment.broken:
                self._abandon(segment)
                return
            new = segment.rows - segment.committed
            if new == 0 and segment.rows + room <= segment.promised:
                return
            promised = segment.rows + max(_LEAST_PROMISE, 2 * new, 2 * room)
            try:
                segment.commit(promised)
            except OSError as error:
                if room:
                    raise self._failed(error, "the rows were not logged") from None
                # Without room for a promise, what is there is made safe all the same.
                promised = segment.promised
            rows, size = segment.rows, segment.size
            # One of its own: whoever appends may leave the segment, and the number be that of another file, meanwhile.
            descriptor = os.dup(segment.descriptor)
        try:
            _datasync(descriptor)
        except OSError as error:
            # A kernel that could not write a page forgets that it is unwritten: no later sync of the file can be
            # believed.
            with self._guard:
                self._abandon(segment)
            raise self._failed(error, f"rows of {segment.path.name} may not outlast a power failure") from None
        finally:
            os.close(descriptor)
        with self._guard:
            self.durable_rows += rows - segment.committed
            segment.committed, segment.durable, segment.promised = rows, size, promised

    def _abandon(self, segment: _Segment) -> None:
        """Leave a segment to whoever seals those of the dead, and go on in another. Once: its descriptor may be that of
        another file by then."""
        if not segment.left:
            segment.left = True
            with contextlib.suppress(OSError):
                os.close(segment.descriptor)
        if self._segment is segment:
            self._segment = None

    def _failed(self, error: OSError, what: str) -> SegmentError:
        self.failures += 1
        return SegmentError(
            f"{self.folder}: {what} ({error.strerror or error}); {advice(error)}: earlier rows are intact"
        )

    def _keep_durable(self) -> None:
        while not self._stop.is_set():
            segment = self._segment
            left = None if segment is None else max(segment.begun + self._rotate_seconds - time.monotonic(), 0.0)
            if self._wake.wait(left) and self._stop.wait(self._sync_seconds):
                return
            self._wake.clear()
            try:
                self._commit()
            except SegmentError as error:
                # Told to whoever appends next.
                with self._guard:
                    self._failure = error


def _frames(payloads: Sequence[bytes], rows: int, first: int) -> bytes:
    """The frames of so many rows, all but the last full."""
    return b"".join(
        frame(Kind.ROWS, payload, rows=min(rows - before, ROWS_PER_FRAME), first=first + before)
        for before, payload in zip(range(0, rows, ROWS_PER_FRAME), payloads, strict=True)
    )


_writers: weakref.WeakSet[SegmentWriter] = weakref.WeakSet()
_forking: list[SegmentWriter] = []


def _before_fork() -> None:
    _forking[:] = list(_writers)
    for writer in _forking:
        writer._guard.acquire()


def _after_fork_here() -> None:
    for writer in _forking:
        writer._guard.release()
    _forking.clear()


def _after_fork_in_child() -> None:
    """A child that kept the files of its parent open would keep their locks too, after the parent died."""
    for writer in _forking:
        for segment in (*writer._full, *((writer._segment,) if writer._segment else ())):
            with contextlib.suppress(OSError):
                os.close(segment.descriptor)
        writer._reset()
    _forking.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_here, after_in_child=_after_fork_in_child)
