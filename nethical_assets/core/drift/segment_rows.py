"""A row of the inference log: what it is, and its bytes in a frame.

What belongs here: the kinds of rows and their bytes (msgpack). What does not: frames and the file that they are in
(``segment_format``), or the tables that rows become (``row_columns``).

Rows that were answered together are stored together, a column an array of bytes: what is the same for all of them is
there once. Read, they are the same rows as if each had been stored by itself.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, cast

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from nethical_assets.core.ground.errors import DatasetError

MAXIMUM_PAYLOAD = 1 << 26
FAMILY_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
_LONGEST_ID = 256
_LEAST_TOGETHER = 16
"""Fewer rows take no less room as columns."""
_RESERVED = frozenset({"probability", "score"})
"""What no drift report takes for a column of a sketch (``reference``)."""
_NUMBER, _LABEL = np.dtype("<f8"), np.dtype("i1")

Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Label = Annotated[int, Meta(ge=-128, le=127)]
RequestId = Annotated[str, Meta(min_length=1, max_length=_LONGEST_ID)]
Family = Annotated[str, Meta(pattern=rf"^{FAMILY_NAME}$")]
Model = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Route = Annotated[str, Meta(max_length=64)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Numbers = npt.NDArray[np.float64]


class LoggedRow(msgspec.Struct, frozen=True, array_like=True, tag="scored", gc=False):
    """One answered request.

    Attributes:
        at_ns: when it was answered, nanoseconds since 1970 (UTC).
        request_id: by which feedback names it, and a retry is known as one; 1 to 256 characters.
        family, model: the detector family, and the digest of the model that answered.
        route: by which way it was asked, such as ``v1``.
        label, probability, score: the answer.
        sketch: the numeric description of the input (``Detector.sketch_one``); never the input.
        latency_us: microseconds from the request's arrival to its answer.
        findings: kind -> how many findings of screening were masked in the input.
    """

    at_ns: Count
    request_id: RequestId
    family: Family
    model: Model
    route: Route
    label: Label
    probability: Probability
    score: float
    sketch: dict[str, float]
    latency_us: Count
    findings: dict[str, Count]


class StoredRow(msgspec.Struct, frozen=True, array_like=True, tag="scored", gc=False):
    """A ``LoggedRow`` whose sketch is the bytes that are stored."""

    at_ns: Count
    request_id: RequestId
    family: Family
    model: Model
    route: Route
    label: Label
    probability: Probability
    score: float
    sketch: msgspec.Raw
    latency_us: Count
    findings: dict[str, Count]


class LoggedRows(msgspec.Struct, frozen=True, array_like=True, tag="scored together", gc=False):
    """Requests that were asked and answered together, as columns: what is no column is the same for all of them.

    Attributes:
        request, first: row n has the request id ``<request>-<first + n>``.
        findings: of the request as a whole; they are with its first row.
        label: int8 a row.
        probability, score, sketch: float64, the smallest byte first, a row.

    Raises:
        ValueError: columns of unequal lengths, ids that are too long, or a probability that is none.
    """

    at_ns: Count
    request: RequestId
    first: Count
    family: Family
    model: Model
    route: Route
    latency_us: Count
    findings: dict[str, Count]
    label: bytes
    probability: bytes
    score: bytes
    sketch: dict[str, bytes]

    def __post_init__(self) -> None:
        size = len(self.label) * _NUMBER.itemsize
        if any(len(column) != size for column in (self.probability, self.score, *self.sketch.values())):
            raise ValueError("columns of unequal lengths")
        if len(self.request) + len(str(self.first + len(self))) + 1 > _LONGEST_ID:
            raise ValueError(f"request ids of more than {_LONGEST_ID} characters")
        probability = numbers_in(self.probability)
        if not ((probability >= 0.0) & (probability <= 1.0)).all():
            raise ValueError("a probability is not between 0 and 1")

    def __len__(self) -> int:
        return len(self.label)

    def part(self, start: int, end: int) -> LoggedRows:
        """The rows from ``start`` to before ``end``."""
        numbers = slice(start * _NUMBER.itemsize, end * _NUMBER.itemsize)
        return msgspec.structs.replace(
            self,
            first=self.first + start,
            findings={} if start else self.findings,
            label=self.label[start:end],
            probability=self.probability[numbers],
            score=self.score[numbers],
            sketch={name: column[numbers] for name, column in self.sketch.items()},
        )

    def __iter__(self) -> Iterator[LoggedRow]:
        labels = labels_in(self.label).tolist()
        predictions = [numbers_in(column).tolist() for column in (self.probability, self.score)]
        columns = [numbers_in(column).tolist() for column in self.sketch.values()]
        for n, (label, probability, score) in enumerate(zip(labels, *predictions, strict=True)):
            yield LoggedRow(
                self.at_ns,
                f"{self.request}-{self.first + n}",
                self.family,
                self.model,
                self.route,
                label,
                probability,
                score,
                {name: column[n] for name, column in zip(self.sketch, columns, strict=True)},
                self.latency_us,
                {} if n else self.findings,
            )


class FeedbackRow(msgspec.Struct, frozen=True, array_like=True, tag="feedback", gc=False):
    """What became known about a request: its true ``label``, when (nanoseconds since 1970, UTC) and from whom."""

    at_ns: Count
    request_id: RequestId
    label: Label
    actor: Annotated[str, Meta(max_length=256)]


Row = LoggedRow | FeedbackRow
Stored = StoredRow | LoggedRows | FeedbackRow


def numbers_in(column: bytes) -> Numbers:
    """The numbers of a column of ``LoggedRows``, float64 of shape (rows,)."""
    return np.frombuffer(column, dtype=_NUMBER)


def labels_in(column: bytes) -> npt.NDArray[np.int8]:
    """The labels of ``LoggedRows``, int8 of shape (rows,)."""
    return np.frombuffer(column, dtype=_LABEL)


def number_bytes(numbers: npt.ArrayLike) -> bytes:
    """Numbers as a column of ``LoggedRows``."""
    return np.asarray(numbers, dtype=_NUMBER).tobytes()


def label_bytes(labels: npt.ArrayLike) -> bytes:
    """Labels as the column of ``LoggedRows``."""
    return np.asarray(labels).astype(_LABEL, casting="safe").tobytes()


def _plain(value: Any) -> Any:
    """A number of numpy as a number."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no number")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_READABLE = msgspec.msgpack.Decoder(list[LoggedRow | LoggedRows | FeedbackRow])
_STORED = msgspec.msgpack.Decoder(list[StoredRow | LoggedRows | FeedbackRow])
_SKETCH = msgspec.msgpack.Decoder(dict[str, float])


def part_of(rows: Sequence[Row] | LoggedRows, start: int, end: int) -> Sequence[Row] | LoggedRows:
    """The rows from ``start`` to before ``end``, at most those that there are."""
    if start == 0 and end >= len(rows):
        return rows
    return rows.part(start, min(end, len(rows))) if isinstance(rows, LoggedRows) else rows[start:end]


def encode_rows(rows: Sequence[Row] | LoggedRows) -> bytes:
    """The payload of a frame of rows.

    Raises:
        DatasetError: a field of a row is not what it is declared to be, or they are too large for one frame. Such a row
            would stop every later reader, so it is read back here. The line names the field and never a value.
    """
    if isinstance(rows, LoggedRows):
        rows = cast("Sequence[Any]", [rows] if len(rows) >= _LEAST_TOGETHER else list(rows))
    try:
        payload = _ENCODER.encode(rows)
        _READABLE.decode(payload)
    except msgspec.ValidationError as error:
        raise DatasetError(f"a row for the inference log is not what it should be: {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"a row for the inference log holds what cannot be written ({type(error).__name__})"
        ) from None
    if any(isinstance(row, LoggedRow | LoggedRows) and not _RESERVED.isdisjoint(row.sketch) for row in rows):
        raise DatasetError(
            "a row for the inference log has a sketch column named as a prediction is; rename the column"
        )
    if len(payload) > MAXIMUM_PAYLOAD:
        raise DatasetError(f"rows for the inference log take {len(payload)} bytes, at most {MAXIMUM_PAYLOAD} at once")
    return payload


def decode_rows(payload: memoryview) -> Iterator[Row]:
    """The rows of a payload, one by one.

    Raises:
        msgspec.DecodeError: they are none that this version knows.
    """
    for one in _READABLE.decode(payload):
        if isinstance(one, LoggedRows):
            yield from one
        else:
            yield one


def decode_stored(payloads: Sequence[memoryview]) -> list[Stored]:
    """The rows of payloads as they are stored.

    Raises:
        msgspec.DecodeError: they are none that this version knows.
    """
    # One list of all: most payloads have one row, and a call for each would cost more than reading it.
    count, pieces = 0, []
    for payload in payloads:
        own, start = _list_of(payload)
        count += own
        pieces.append(payload[start:])
    return _STORED.decode(b"".join((b"\xdd", struct.pack(">I", count), *pieces)))


def _list_of(payload: memoryview) -> tuple[int, int]:
    """How many elements a list in msgpack has, and where they begin.

    Raises:
        msgspec.DecodeError: it is no list.
    """
    kind = payload[0] if payload else 0
    if kind & 0xF0 == 0x90:
        return kind & 0x0F, 1
    if kind == 0xDC and len(payload) >= 3:
        return int.from_bytes(payload[1:3], "big"), 3
    if kind == 0xDD and len(payload) >= 5:
        return int.from_bytes(payload[1:5], "big"), 5
    raise msgspec.DecodeError("not a list of rows")


def sketch_columns(sketches: Sequence[Mapping[str, float] | msgspec.Raw]) -> dict[str, Numbers]:
    """The columns of sketches, a row each, in their order where it is that of all, else by name; NaN where one lacks a
    column.

    Raises:
        msgspec.DecodeError: the bytes of one are no sketch.
    """
    stored = [each for each in sketches if isinstance(each, msgspec.Raw)]
    if stored and len(stored) == len(sketches) and (found := _of_one_form(stored)) is not None:
        return found
    read = [_SKETCH.decode(each) if isinstance(each, msgspec.Raw) else each for each in sketches]
    names = list(read[0])
    if any(list(each) != names for each in read):
        names = sorted({name for each in read for name in each})
    return {name: np.array([each.get(name, math.nan) for each in read], dtype=np.float64) for name in names}


def _of_one_form(sketches: Sequence[msgspec.Raw]) -> dict[str, Numbers] | None:
    """The columns of sketches whose bytes differ in their numbers alone; None where they do not."""
    first = bytes(sketches[0])
    names = list(_SKETCH.decode(first))
    # As ``encode_rows`` writes a sketch of floats.
    as_zeros = _ENCODER.encode(dict.fromkeys(names, 0.0))
    joined = b"".join(sketches)
    if len(as_zeros) != len(first) or len(joined) != len(first) * len(sketches):
        return None
    places, at = {}, len(as_zeros) - len(b"".join(_ENCODER.encode(name) + bytes(9) for name in names))
    for name in names:
        at += len(_ENCODER.encode(name)) + 1
        places[name] = slice(at, at + 8)
        at += 8
    rows = np.frombuffer(joined, dtype=np.uint8).reshape(len(sketches), len(first))
    is_form = np.ones(len(first), dtype=bool)
    for place in places.values():
        is_form[place] = False
    if not (rows[:, is_form] == np.frombuffer(as_zeros, dtype=np.uint8)[is_form]).all():
        return None
    return {name: rows[:, place].copy().view(">f8")[:, 0].astype(np.float64) for name, place in places.items()}
