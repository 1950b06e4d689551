"""Parquet files as batches that are bounded in bytes as well as in rows.

What belongs here: how much of a file is unpacked at once. What does not: what becomes of the columns (``columns``,
``row_streams``).

A few hundred bytes of Parquet can stand for gigabytes: a value that repeats is stored once, in a dictionary. So texts
that are stored with a dictionary are read with it, and unpacked in pieces whose size is known before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nethical_assets.core.reading.columns import check_wanted, said_names
from nethical_assets.core.reading.kinds import A_PARQUET_FILE, other_kind_of
from nethical_assets.core.reading.tally import FileTally, UnreadableError

MAXIMUM_ROWS = 1 << 14
MAXIMUM_BYTES = 1 << 24
MAXIMUM_ROW_BYTES = 1 << 26
_MAXIMUM_ROWS_OF_A_LARGE_GROUP = 1 << 7
_LARGE_GROUP = 1 << 27
_LARGE_CHUNK = 1 << 28
_CHUNK_RATIO = 200
_UNPACKED_RATIO = 1_000
_UNPACKED_FROM_BYTES = 1 << 27


def parquet_batches(
    path: Path, shown: str, wanted: str | None = None, tally: FileTally | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a file, in batches of at most ``MAXIMUM_ROWS`` rows and about ``MAXIMUM_BYTES`` bytes.

    With ``wanted`` that column alone, as it is typed, dictionaries apart. Repeated names are noted in ``tally``.

    Raises:
        UnreadableError: it is no Parquet file or damaged, has no such column, one row is over ``MAXIMUM_ROW_BYTES``, or
            256 MiB of a column in a row group unpack from less than a 200th of that.
        OSError: the disk cannot be read.
    """
    try:
        with pq.ParquetFile(path) as plain:
            names = plain.schema_arrow.names
            called = said_names(names, tally or FileTally())
            place = 0
            if wanted is not None and wanted not in names:
                check_wanted(wanted, called, shown)
                at = called.index(wanted)
                wanted, place = names[at], names[:at].count(names[at])
            chosen = {leaf for leaf in _text_leaves(plain) if wanted is None or f"{leaf}.".startswith(f"{wanted}.")}
            rows, packed = _how_to_read(plain, chosen, shown)
        with pq.ParquetFile(path, read_dictionary=packed) as file:
            row = 0
            for read in file.iter_batches(batch_size=rows, columns=None if wanted is None else [wanted]):
                batch = read if wanted is None else read.select([place])
                for piece in _pieces(batch, shown, row):
                    row += piece.num_rows
                    yield piece
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        other = other_kind_of(path)
        if other is not None and other.what != A_PARQUET_FILE:
            raise UnreadableError(f"{shown}: it is {other.what} and no Parquet file", other.do, other.do) from None
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UnreadableError(f"{shown}: not readable as Parquet: {reason}", "fetch the file again") from None


class UnpackingLimit:
    """Refuses a Parquet file of which all rows are kept, where it unpacks to far more than it is.

    Looked at above 128 MiB: more than 1 000 times the file's own size (real tables stay below 100).
    """

    def __init__(self, path: Path, shown: str) -> None:
        self._size = path.stat().st_size
        self._shown = shown
        self._unpacked = 0

    def add(self, unpacked: int) -> None:
        """Count unpacked bytes.

        Raises:
            UnreadableError: they are too many.
        """
        self._unpacked += unpacked
        if self._unpacked > max(_UNPACKED_FROM_BYTES, self._size * _UNPACKED_RATIO):
            raise UnreadableError(
                f"{self._shown}: its {self._size} bytes unpack to over {self._unpacked >> 20} MiB (a decompression "
                f"bomb)",
                "name another file",
            )


def _text_leaves(file: pq.ParquetFile) -> Iterator[str]:
    for index in range(len(file.schema)):
        leaf = file.schema.column(index)
        if leaf.physical_type == "BYTE_ARRAY":
            yield leaf.path


def _how_to_read(file: pq.ParquetFile, leaves: set[str], shown: str) -> tuple[int, list[str]]:
    """Rows a read, and which columns of text are read with their dictionaries."""
    packed: set[str] = set()
    rows = MAXIMUM_ROWS
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        plain_bytes = 0
        for index in range(group.num_columns):
            chunk = group.column(index)
            if chunk.path_in_schema not in leaves:
                continue
            if chunk.has_dictionary_page:
                packed.add(chunk.path_in_schema)
            plain_bytes += chunk.total_uncompressed_size
            packed_bytes = max(chunk.total_compressed_size, 1)
            if chunk.total_uncompressed_size > max(_LARGE_CHUNK, packed_bytes * _CHUNK_RATIO):
                # Its pages may be as large as it is, and a page is unpacked at once.
                raise UnreadableError(
                    f"{shown}: {packed_bytes} bytes of a column unpack to {chunk.total_uncompressed_size >> 20} MiB at "
                    f"once (a decompression bomb)",
                    "name another file",
                )
        average = plain_bytes // max(group.num_rows, 1) + 1
        rows = min(rows, max(1, MAXIMUM_BYTES // average))
        if plain_bytes > _LARGE_GROUP:
            # The average says little where few rows hold most of it.
            rows = min(rows, _MAXIMUM_ROWS_OF_A_LARGE_GROUP)
    return rows, sorted(packed)


def _pieces(batch: pa.RecordBatch, shown: str, row: int) -> Iterator[pa.RecordBatch]:
    size = sum(unpacked_bytes(column) for column in batch.columns)
    if size <= MAXIMUM_BYTES:
        yield batch
    elif batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from _pieces(batch.slice(0, half), shown, row)
        yield from _pieces(batch.slice(half), shown, row + half)
    elif size <= MAXIMUM_ROW_BYTES:
        yield batch
    else:
        raise UnreadableError(
            f"{shown}: row {row + 1} unpacks to over {MAXIMUM_ROW_BYTES >> 20} MiB", "it is no table of records"
        )


def unpacked_bytes(column: pa.Array) -> int:
    """About how many bytes the column has without dictionaries."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = column.dictionary
        if pa.types.is_primitive(values.type):
            return len(column) * 8
        lengths = pc.binary_length(pc.cast(values, pa.large_binary())).take(column.indices)
        return int(pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0) + len(column) * 4
    if pa.types.is_struct(kind):
        return sum(unpacked_bytes(part) for part in column.flatten())
    if pa.types.is_map(kind):
        return _unpacked_map(column)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return len(column) * 4 + unpacked_bytes(column.flatten())
    return int(column.nbytes)


def _unpacked_map(column: Any) -> int:
    offsets = column.offsets
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    return sum(unpacked_bytes(part.slice(first, last - first)) for part in (column.keys, column.items))
