"""Files as streams of record batches whose columns are all strings.

What belongs here: which reader a format has, and when a file has too many bad rows. What does not: the formats
themselves (``delimited``, ``json_rows``, ``parquet_batches``), which rows are kept (``sampling``) or what their values
mean (``readers``, ``core.rows.labels``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.reading.columns import MAXIMUM_COLUMNS, as_text, check_wanted, unique_names
from nethical_assets.core.reading.delimited import stream_delimited
from nethical_assets.core.reading.json_rows import line_blocks, stream_json, stream_json_lines
from nethical_assets.core.reading.parquet_batches import parquet_batches
from nethical_assets.core.reading.tally import FileReading, FileTally, UnreadableError
from nethical_assets.core.reading.text_streams import Utf8Stream
from nethical_assets.core.rows.catalog import FileEntry
from nethical_assets.core.rows.naming import shown_columns

LINE_COLUMN = "line"
MAXIMUM_REJECTED_SHARE = 0.01
_HEADER_ROWS = 2
"""So few rows have as many cells as the header line where that is no header, but a title or a remark."""


def stream_rows(path: Path, entry: FileEntry, reading: FileReading) -> Iterator[pa.RecordBatch]:
    """The file's rows as batches of string columns, bounded in rows and bytes; its tally is filled on the way.

    Nested values of the entry's text column come as ``columns.nested_text``, others as JSON. With a wanted column,
    that one alone is read, and JSON texts with half a surrogate pair come as bytes that are not UTF-8 instead of being
    rejected.

    Raises:
        UnreadableError: empty, header only, mis-encoded, truncated, binary, without the wanted column, or more than 1 %
            of its rows rejected.
    """
    shown = reading.shown
    if path.stat().st_size == 0:
        raise UnreadableError(f"{shown}: the file is empty", "fetch it again or remove it from datasets.toml")
    match entry.format:
        case "csv" | "tsv":
            batches = stream_delimited(path, entry, reading)
        case "lines":
            batches = _stream_lines(path, entry, reading)
        case "jsonl":
            batches = stream_json_lines(path, entry, reading)
        case "json":
            batches = stream_json(path, entry, reading)
        case "parquet":
            batches = _stream_parquet(path, entry, reading)
    for batch in batches:
        if batch.num_columns > MAXIMUM_COLUMNS:
            raise UnreadableError(
                f"{shown}: {batch.num_columns} columns; at most {MAXIMUM_COLUMNS} are read",
                "correct its 'format' or 'delimiter' in datasets.toml",
            )
        yield batch
    _check_tally(shown, reading.tally, of_cells=entry.format in ("csv", "tsv"))


def _check_tally(shown: str, tally: FileTally, *, of_cells: bool) -> None:
    rows = tally.rows_read + tally.rows_rejected
    if tally.rows_rejected > MAXIMUM_REJECTED_SHARE * rows:
        where = "" if tally.first_rejected_row is None else f" (first: row {tally.first_rejected_row})"
        raise UnreadableError(
            f"{shown}: {tally.rows_rejected} of {rows} rows cannot be read{where}: {tally.first_rejection}",
            f"at most {MAXIMUM_REJECTED_SHARE:.0%} may be; correct its layout in datasets.toml or repair the file",
            "its header line has another number of cells than its rows: correct it, or say --delimiter"
            if of_cells and tally.rows_rejected > tally.rows_read <= _HEADER_ROWS
            else "correct them first",
        )
    if rows == 0:
        raise UnreadableError(
            f"{shown}: the file has no rows of data", "fetch it again or remove it from datasets.toml"
        )


def _stream_lines(path: Path, entry: FileEntry, reading: FileReading) -> Iterator[pa.RecordBatch]:
    if reading.wanted is not None:
        check_wanted(reading.wanted, [LINE_COLUMN], reading.shown)
    with Utf8Stream(path, entry.encoding, reading.shown) as stream:
        for block in line_blocks(stream, reading.row_bytes):
            lines = pa.array(block.decode().replace("\r\n", "\n").split("\n"), pa.string())
            lines = lines.filter(pc.not_equal(pc.utf8_trim_whitespace(lines), ""))
            reading.tally.rows_read += len(lines)
            if len(lines):
                yield pa.record_batch({LINE_COLUMN: lines})


def _stream_parquet(path: Path, entry: FileEntry, reading: FileReading) -> Iterator[pa.RecordBatch]:
    texts = {entry.text_column, reading.wanted}
    tally = reading.tally
    for batch in parquet_batches(path, reading.shown, reading.wanted, tally):
        names = [reading.wanted] if reading.wanted is not None else unique_names(batch.schema.names)
        columns = [
            readable_text(column, name, reading.shown, tally.rows_read, lines=name in texts)
            for name, column in zip(names, batch.columns, strict=True)
        ]
        for name in (reading.objects - texts) & set(names):
            _keep_objects(name, batch.column(names.index(name)), tally)
        tally.rows_read += batch.num_rows
        yield pa.record_batch(columns, names=names)


def _keep_objects(name: str, column: pa.Array, tally: FileTally) -> None:
    kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        values = enumerate(column.to_pylist(), start=tally.rows_read)
        tally.no_texts.setdefault(name, []).extend((row, value) for row, value in values if value is not None)


def readable_text(column: pa.Array, name: str, shown: str, row: int, *, lines: bool) -> pa.Array:
    """A Parquet column as strings (``columns.as_text``); ``row`` is the number of rows before it.

    Raises:
        UnreadableError: a value in it is no text, and cannot be shown as one.
    """
    try:
        return as_text(column, lines=lines)
    except (pa.ArrowException, UnicodeError):
        raise UnreadableError(
            f"{shown}: in column {shown_columns([name])} after row {row} there is a text that is not valid UTF-8, or a "
            f"value that cannot be shown as text",
            "fetch the file again",
            "leave the column out",
        ) from None
