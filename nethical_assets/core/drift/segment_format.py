"""The framed file of a segment: what a row, a frame and a commit are, and reading what a writer left.

What belongs here: frames, and telling what of a file is whole, torn, missing or damaged. What does not: the bytes of
rows (``segment_rows``), writing rows as they come (``segments``), or making batches of them (``sealing``).

A segment is a magic number and frames. A frame is a marker, its kind, the length of its payload, how many rows it
holds, the number of its first row in the file, a CRC-32 of all that and of the payload, and the payload (msgpack). Rows
are numbered from 0, so that what is missing between two frames is known by its numbers. A commit frame says up to which
byte the file was safe from a power failure when it was written, and below which number rows may be appended before the
next commit: no row beyond that is written before the commit is on the disk, so that a reader knows how many rows a
power failure can have taken from the end. The marker begins with a byte that no text in UTF-8 has: what a client names
its request cannot look like a frame.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec

from nethical_assets.core.drift.segment_rows import MAXIMUM_PAYLOAD, Row, Stored, decode_rows, decode_stored
from nethical_assets.core.ground.errors import IntegrityError

MAGIC = b"\xffNSEG\x01\r\n"
OPEN_SUFFIX, CLOSED_SUFFIX = ".open", ".segment"
ROWS_PER_FRAME = 4096
_ROWS_AT_ONCE = 8192
_MARKER = b"\xffNF\xfe"
_HEAD = struct.Struct("<4sBxxxIIQ")
_CHECK = struct.Struct("<I")
_HEAD_AND_CHECK = struct.Struct(_HEAD.format + "I")
_PAYLOAD = _HEAD_AND_CHECK.size
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class SegmentHeader(msgspec.Struct, frozen=True):
    """The first frame of a segment.

    Attributes:
        writer, number: who wrote it (hexadecimal digits of its own), and which of its segments this is, from 0.
        started_ns: when it was begun, nanoseconds since 1970.
        boot: which start of the machine it was written under; empty where that is not known.
        promised: as of a commit.
    """

    writer: str
    number: int
    started_ns: int
    boot: str
    promised: int


class Commit(msgspec.Struct, frozen=True, array_like=True):
    """``durable``: bytes of the file that were safe from a power failure; ``promised``: rows with a smaller number may
    have been appended since."""

    durable: int
    promised: int


class Kind(IntEnum):
    """What a frame holds."""

    HEADER = 1
    ROWS = 2
    COMMIT = 3
    END = 4
    """Nothing follows: the segment was closed by its writer."""


_OF_ROWS = int(Kind.ROWS)
_ENCODER = msgspec.msgpack.Encoder()
_HEADER = msgspec.msgpack.Decoder(SegmentHeader)
_COMMIT = msgspec.msgpack.Decoder(Commit)


def encode(value: SegmentHeader | Commit) -> bytes:
    """The payload of a frame that holds no rows."""
    return _ENCODER.encode(value)


def frame(kind: Kind, payload: bytes = b"", *, rows: int = 0, first: int) -> bytes:
    """The bytes of a frame whose first row, or the next one, has the number ``first``."""
    head = _HEAD.pack(_MARKER, kind, len(payload), rows, first)
    return b"".join([head, _CHECK.pack(zlib.crc32(payload, zlib.crc32(head))), payload])


@functools.cache
def boot_id() -> str:
    """Which start of this machine it is; empty where the system does not say. A kernel that still runs has lost
    nothing that was written to it."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


class _Frame(NamedTuple):
    """A whole frame: its kind, where it and its payload begin and where it ends, and the numbers of its rows."""

    kind: int
    start: int
    payload: int
    end: int
    rows: int
    first: int


class _Gap(NamedTuple):
    """Bytes between whole frames, and the numbers of the rows that were there; ``after`` is None at the end."""

    start: int
    end: int
    first: int
    after: int | None


@dataclass(frozen=True)
class SegmentRead:
    """What a segment holds, up to a tear, and around damage; iterating gives its rows in their order.

    Attributes:
        path: the file.
        header: None where it is damaged.
        rows: how many rows can be read.
        torn: bytes at the end that a writer was writing when it, or the machine, died: of rows that nobody was
            answered about, unless a power failure took what was answered (``lost_at_most``).
        missing: numbers (first, last) of rows that were written and cannot be read.
        lost_at_most: how many rows behind the last readable one a power failure, or the loss of the file's end, may
            have taken; 0 where the machine still runs under which it was written, or its writer closed it.
        damage: one line for each place that no kill and no power failure leaves; empty where there is none.
    """

    path: Path
    header: SegmentHeader | None
    rows: int
    torn: int
    missing: tuple[tuple[int, int], ...]
    lost_at_most: int
    damage: tuple[str, ...]
    _data: bytes = field(repr=False)
    _frames: tuple[_Frame, ...] = field(repr=False)

    def __iter__(self) -> Iterator[Row]:
        for one in self._frames:
            try:
                yield from decode_rows(memoryview(self._data)[one.payload : one.end])
            except msgspec.DecodeError:
                raise unknown_rows(self.path) from None

    def stored(self) -> Iterator[Stored]:
        """The rows in their order as they are stored, some of them together.

        Raises:
            IntegrityError: as iterating.
        """
        data = memoryview(self._data)
        for _, frames in groupby(self._frames, key=lambda one: one.first // _ROWS_AT_ONCE):
            try:
                yield from decode_stored([data[one.payload : one.end] for one in frames])
            except msgspec.DecodeError:
                raise unknown_rows(self.path) from None

    def parts(self, rows: int) -> list[SegmentRead]:
        """The rows in their order in parts of at most so many, or of one frame, each; one part at least. Each says of
        the file what this says."""
        parts: list[list[_Frame]] = [[]]
        there = 0
        for one in self._frames:
            if parts[-1] and there + one.rows > rows:
                parts.append([])
                there = 0
            parts[-1].append(one)
            there += one.rows
        return [replace(self, rows=sum(one.rows for one in part), _frames=tuple(part)) for part in parts]

    def without_rows(self) -> SegmentRead:
        """What is known of the file, without its bytes: iterating gives no rows."""
        return replace(self, _data=b"", _frames=())

    @property
    def span(self) -> str:
        """Which rows of which file these are; there is one at least."""
        first, last = self._frames[0], self._frames[-1]
        return f"{self.path.name} {first.first}-{last.first + last.rows - 1}"

    @property
    def size(self) -> int:
        """Bytes of the frames of the rows."""
        return sum(one.end - one.start for one in self._frames)

    @property
    def missing_rows(self) -> int:
        """How many rows were written and cannot be read."""
        return sum(last - first + 1 for first, last in self.missing)


def read_segment(path: Path, *, boot: str | None = None) -> SegmentRead:
    """Read a segment that nobody writes any more, whatever happened to it.

    Args:
        boot: which start of the machine it is now (``boot_id()`` unless another is given).

    Raises:
        OSError: the file cannot be read.
        IntegrityError: it is of a version that this program does not know; iterating may say so too.
    """
    data = path.read_bytes()
    try:
        return _Reading(path, data, boot_id() if boot is None else boot).result()
    except msgspec.DecodeError:
        raise unknown_rows(path) from None


def unknown_rows(path: Path) -> IntegrityError:
    """What is said of a segment whose frames are whole and whose rows are none of this version."""
    return IntegrityError(
        f"{path}: a segment of the inference log that this version cannot read; update, or move it away"
    )


class _Reading:
    """One pass over the bytes of a segment."""

    def __init__(self, path: Path, data: bytes, boot: str) -> None:
        self._path, self._data, self._view = path, data, memoryview(data)
        self._header: SegmentHeader | None = None
        self._frames: list[_Frame] = []
        self._gaps: list[_Gap] = []
        self._next = self._durable = self._promised = 0
        self._ended = False
        self._walk()
        self._closed = path.suffix == CLOSED_SUFFIX or self._ended
        # What is still in the memory of a running kernel is not lost.
        self._survived = self._header is not None and bool(boot) and self._header.boot == boot

    def _walk(self) -> None:
        position = len(MAGIC) if self._data.startswith(MAGIC) else 0
        while position < len(self._data):
            found = self._frame_at(position)
            if found is None:
                following = self._following(position)
                if following is None:
                    self._gaps.append(_Gap(position, len(self._data), self._next, None))
                    return
                self._gaps.append(_Gap(position, following.start, self._next, following.first))
                found = following
            self._take(found)
            position = found.end

    def _take(self, found: _Frame) -> None:
        self._next = found.first + found.rows
        # Nearly all are of rows, and there may be one for each row.
        if found.kind == _OF_ROWS:
            self._frames.append(found)
            return
        payload = self._view[found.payload : found.end]
        match found.kind:
            case Kind.HEADER:
                self._header = _HEADER.decode(payload)
                self._promised = max(self._promised, self._header.promised)
                self._durable = max(self._durable, found.end)
            case Kind.COMMIT:
                commit = _COMMIT.decode(payload)
                self._durable = max(self._durable, commit.durable)
                self._promised = max(self._promised, commit.promised)
            case Kind.END:
                self._ended = True

    def _frame_at(self, position: int, *, behind_gap: bool = False) -> _Frame | None:
        """The frame that begins there, if it is whole and its rows are the next ones, or later ones behind a gap."""
        view, start = self._view, position + _PAYLOAD
        if start > len(view):
            return None
        marker, kind, length, rows, first, check = _HEAD_AND_CHECK.unpack_from(view, position)
        end = start + length
        if marker != _MARKER or length > MAXIMUM_PAYLOAD or end > len(view):
            return None
        if first < self._next or (first > self._next and not behind_gap):
            return None
        if zlib.crc32(view[start:end], zlib.crc32(view[position : start - _CHECK.size])) != check:
            return None
        return _Frame(kind, position, start, end, rows, first)

    def _following(self, position: int) -> _Frame | None:
        """The next whole frame from there on."""
        while (position := self._data.find(_MARKER, position)) >= 0:
            found = self._frame_at(position, behind_gap=True)
            if found is not None:
                return found
            position += 1
        return None

    def result(self) -> SegmentRead:
        """What was found."""
        torn, damage, missing = 0, [], []
        for gap in self._gaps:
            if gap.after is not None and gap.after > gap.first:
                missing.append((gap.first, gap.after - 1))
            at_end = gap.after is None
            if at_end and not self._closed and gap.start >= self._durable and self._is_torn(gap.start):
                torn += gap.end - gap.start
            elif self._closed or self._survived or gap.start < self._durable or self._header is None:
                damage.append(f"{self._path}: damaged at byte {gap.start} ({gap.end - gap.start} bytes)")
            elif at_end:
                torn += gap.end - gap.start
        if self._header is None and not damage:
            damage.append(f"{self._path}: damaged at byte 0 (its header is missing)")
        elif not self._data.startswith(MAGIC):
            damage.append(f"{self._path}: damaged at byte 0 (its magic number)")
        cut = self._path.suffix == CLOSED_SUFFIX and not self._ended
        if cut and not damage:
            damage.append(f"{self._path}: damaged at byte {len(self._data)} (its end is missing)")
        spoilt_end = bool(damage) and any(gap.after is None for gap in self._gaps)
        kept = (self._survived or self._closed) and not cut and not spoilt_end
        return SegmentRead(
            path=self._path,
            header=self._header,
            rows=sum(one.rows for one in self._frames),
            torn=torn,
            missing=tuple(missing),
            lost_at_most=0 if kept else max(self._promised - self._next, 0),
            damage=tuple(damage),
            _data=self._data,
            _frames=tuple(self._frames),
        )

    def _is_torn(self, start: int) -> bool:
        """Whether the bytes from there on are the beginning of a frame."""
        rest = self._data[start : start + _PAYLOAD]
        if len(rest) < _PAYLOAD:
            return rest[: len(_MARKER)] == _MARKER[: len(rest)]
        marker, _, length, _, _ = _HEAD.unpack_from(rest)
        return bool(marker == _MARKER) and length <= MAXIMUM_PAYLOAD and start + _PAYLOAD + length > len(self._data)
