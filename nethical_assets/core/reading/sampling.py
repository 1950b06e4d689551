"""A bounded, order-independent sample of the rows of a stream.

What belongs here: content hashes of rows and the sample drawn by them. What does not: parsing, labels, or splits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.rows.ngrams import mix

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse modulo 2**64
_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
_PIECE_BYTES = 1 << 20
_HELD_BYTES = 1 << 29
_SLACK_ROWS = 1 << 10
_BYTE_CODES = np.frombuffer(
    b"".join(hashlib.sha256(b"byte" + bytes([value])).digest()[:8] for value in range(256)), dtype="<u8"
).astype(np.uint64)

HASH = "_hash"
POSITION = "_position"


def hash_rows(batch: pa.RecordBatch, salt: str) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A 64-bit hash of each row's content, the same wherever the row stands and in whatever order its columns are.

    Args:
        batch: string columns; a missing value counts like an absent column.
        salt: rows of the same content under another salt have unrelated hashes.

    Returns:
        uint64, shape (rows,). Not a cryptographic hash: somebody who may choose rows can make two of them collide.
    """
    total = np.full(batch.num_rows, _salt(salt), dtype=np.uint64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = _hash_values(column) ^ _salt("column " + name)
        values = mix(values)
        if column.null_count:
            values[np.asarray(column.is_null())] = 0
        total += values
    return mix(total)


class RowSample:
    """At most ``maximum_rows`` rows of everything added, a function of the set of rows and the salt alone.

    Each content has a uniform priority ``u`` (from its hash) and its copies count as ``u``, ``2u``, ``3u``...; the
    smallest are kept (bottom-k sampling, Cohen and Kaplan 2007). So distinct contents are equally likely to be kept,
    a content that repeats without end cannot fill the sample, and a refresh that adds rows displaces few.

    With ``together``, whole groups are sampled instead: the rows that agree in these columns share one priority, and
    the groups of smallest priority that fit are kept complete (one that alone is larger than the sample is cut).
    """

    def __init__(self, maximum_rows: int, salt: str, together: Sequence[str] = ()) -> None:
        if maximum_rows < 1:
            raise ValueError(f"maximum_rows must be at least 1, got {maximum_rows}")
        self._together = tuple(together)
        self.maximum_rows = maximum_rows
        self._salt = salt
        self._parts: list[pa.Table] = []
        self._rows_held = 0
        self._bytes_held = 0
        self._rows_seen = 0
        self._threshold = np.inf

    @property
    def bytes_held(self) -> int:
        """How many bytes the rows take that are held now."""
        return self._bytes_held

    def add(self, batch: pa.RecordBatch) -> None:
        """Add rows (string columns); memory stays within about two samples and a batch, of large rows within less."""
        shared = [name for name in self._together if name in batch.schema.names]
        hashes = hash_rows(batch.select(shared) if shared else batch, self._salt)
        positions = np.arange(self._rows_seen, self._rows_seen + batch.num_rows)
        self._rows_seen += batch.num_rows
        part = pa.Table.from_batches([batch])
        part = part.append_column(HASH, pa.array(hashes)).append_column(POSITION, pa.array(positions))
        if np.isfinite(self._threshold):
            part = part.filter(pa.array(_priority(hashes) <= self._threshold))
        if part.num_rows:
            self._parts.append(part)
            self._rows_held += part.num_rows
            self._bytes_held += part.nbytes
        many = self._rows_held > 2 * self.maximum_rows
        if many or (self._bytes_held > _HELD_BYTES and self._rows_held > self.maximum_rows + _SLACK_ROWS):
            self._compact()

    def table(self) -> pa.Table:
        """The sample in the order in which its rows were added, columns in order of first appearance."""
        self._compact()
        if not self._parts:
            return pa.table({})
        kept = self._parts[0].sort_by(POSITION)
        return kept.drop_columns([HASH, POSITION])

    def _compact(self) -> None:
        if not self._parts:
            return
        held = pa.concat_tables(self._parts, promote_options="default")
        self._parts = []  # the concatenation shares the buffers; free what is not kept
        hashes = held.column(HASH).to_numpy()
        positions = held.column(POSITION).to_numpy()
        order = np.lexsort((positions, hashes))
        copies = np.zeros(len(order)) if self._together else _copy_numbers(hashes[order])
        keys = _priority(hashes[order]) * (copies + 1.0)
        if len(keys) > self.maximum_rows:
            ranked = np.lexsort((positions[order], hashes[order], keys))
            best = ranked[: self.maximum_rows]
            if self._together:
                complete = best[keys[best] < keys[ranked[self.maximum_rows]]]
                best = complete if len(complete) else best
            self._threshold = float(keys[best[-1]])
            order = order[best]
        kept = held.take(pa.array(np.sort(order))).combine_chunks()
        self._parts = [kept]
        self._rows_held = kept.num_rows
        self._bytes_held = kept.nbytes


def _copy_numbers(
    sorted_hashes: np.ndarray[Any, np.dtype[np.uint64]],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """0, 1, 2... within each run of equal values."""
    starts = np.flatnonzero(np.concatenate(([True], sorted_hashes[1:] != sorted_hashes[:-1])))
    lengths = np.diff(np.append(starts, len(sorted_hashes)))
    return (np.arange(len(sorted_hashes)) - np.repeat(starts, lengths)).astype(np.float64)


def _priority(hashes: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Hashes as numbers in (0, 1]."""
    return ((hashes >> np.uint64(11)).astype(np.float64) + 1.0) * 2.0**-53


def _salt(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))


def _powers(base: np.uint64, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, dtype=np.uint64)


_POWERS = {"up": _powers(_BASE, 1 << 12), "down": _powers(_INVERSE, 1 << 12)}


def _power_tables(
    count: int,
) -> tuple[np.ndarray[Any, np.dtype[np.uint64]], np.ndarray[Any, np.dtype[np.uint64]]]:
    """Powers of the base and of its inverse, at least ``count`` of each."""
    if len(_POWERS["up"]) < count:
        size = 1 << (count - 1).bit_length()
        _POWERS["up"], _POWERS["down"] = _powers(_BASE, size), _powers(_INVERSE, size)
    return _POWERS["up"], _POWERS["down"]


def _hash_values(column: pa.Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A polynomial hash of the UTF-8 bytes of each value (missing values hash like empty ones).

    The sum over all bytes of code times base**index is accumulated once; the part between two offsets, divided by
    base**start, is the hash of the value there.
    """
    column = pc.cast(column, pa.large_string())
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, dtype=np.int64)[column.offset : column.offset + len(column) + 1]
    lengths = np.diff(offsets).astype(np.uint64)
    result = np.zeros(len(column), dtype=np.uint64)
    if data_buffer is not None and len(column) and offsets[-1] > offsets[0]:
        data = np.frombuffer(data_buffer, dtype=np.uint8)
        first = 0
        while first < len(column):
            last = int(np.searchsorted(offsets, offsets[first] + _PIECE_BYTES, side="right")) - 1
            last = min(max(last, first + 1), len(column))
            low, high = int(offsets[first]), int(offsets[last])
            up, down = _power_tables(high - low + 1)
            running = np.zeros(high - low + 1, dtype=np.uint64)
            np.cumsum(_BYTE_CODES[data[low:high]] * up[: high - low], out=running[1:])
            local = offsets[first : last + 1] - low
            result[first:last] = (running[local[1:]] - running[local[:-1]]) * down[local[:-1]]
            first = last
    return mix(result + lengths * np.uint64(0xD6E8FEB86659FD93))
