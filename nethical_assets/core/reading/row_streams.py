"""Files as streams of record batches whose columns are all strings.

What belongs here: one reader a file format, each in bounded memory, and the count of rows that could not be read.
What does not: which rows are kept (``sampling``) or what their values mean (``readers``, ``core.rows.labels``).
"""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.text_streams import PIECE_BYTES, Utf8Stream
from nethical_assets.core.rows.catalog import FileEntry

LINE_COLUMN = "line"
MAXIMUM_ROW_BYTES = 4 << 20
MAXIMUM_REJECTED_SHARE = 0.01
MISSING_VALUES = ("", "NaN", "nan", "null", "NULL", "N/A", "#N/A")
_HOPELESS_REJECTIONS = 10_000
_PARQUET_BATCH_ROWS = 16_384
_OBJECTS_A_BATCH = 4_096
_NOT_JSON = (ValueError, RecursionError)


@dataclass
class FileTally:
    """What reading one file met: rows are records, counted from 1, the header line included."""

    rows_read: int = 0
    rows_rejected: int = 0
    first_rejected_row: int | None = None
    first_rejection: str | None = None
    last_rejected_row: int | None = None

    def reject(self, row: int | None, reason: str) -> None:
        """Count a row that could not be read."""
        self.rows_rejected += 1
        self.last_rejected_row = row
        if self.first_rejection is None:
            self.first_rejected_row, self.first_rejection = row, reason

    @property
    def hopeless(self) -> bool:
        """So many rows are rejected that reading the rest of the file is pointless."""
        return self.rows_rejected > _HOPELESS_REJECTIONS and self.rows_rejected > self.rows_read


def stream_rows(path: Path, entry: FileEntry, shown: str, tally: FileTally) -> Iterator[pa.RecordBatch]:
    """The file's rows as batches of string columns; ``tally`` is filled on the way.

    Raises:
        DatasetError: empty, header only, mis-encoded, truncated, binary, or more than 1 % of its rows rejected.
    """
    if path.stat().st_size == 0:
        raise DatasetError(f"{shown}: the file is empty; fetch it again or remove it from datasets.toml")
    match entry.format:
        case "csv" | "tsv":
            yield from _stream_delimited(path, entry, shown, tally)
        case "lines":
            yield from _stream_lines(path, entry, shown, tally)
        case "jsonl":
            yield from _stream_json_lines(path, entry, shown, tally)
        case "json":
            yield from _stream_json_list(path, entry, shown, tally)
        case "parquet":
            yield from _stream_parquet(path, shown, tally)
    _check_tally(shown, tally)


def _check_tally(shown: str, tally: FileTally) -> None:
    rows = tally.rows_read + tally.rows_rejected
    if tally.rows_rejected > MAXIMUM_REJECTED_SHARE * rows:
        where = "" if tally.first_rejected_row is None else f" (first: row {tally.first_rejected_row})"
        raise DatasetError(
            f"{shown}: {tally.rows_rejected} of {rows} rows cannot be read{where}: {tally.first_rejection}; "
            f"at most {MAXIMUM_REJECTED_SHARE:.0%} may be; correct its layout in datasets.toml or repair the file"
        )
    if rows == 0:
        raise DatasetError(f"{shown}: the file has no rows of data; fetch it again or remove it from datasets.toml")


def _stream_delimited(path: Path, entry: FileEntry, shown: str, tally: FileTally) -> Iterator[pa.RecordBatch]:
    delimiter = entry.delimiter or ("\t" if entry.format == "tsv" else ",")
    # A row of known content behind the file's own shows whether a quoted value was still open at the end.
    sentinel = f"end-{uuid.uuid4().hex}"
    with Utf8Stream(path, entry.encoding, shown) as header_stream:
        names, skipped = _column_names(header_stream.peek(), entry, delimiter, shown)
    layout = _Layout(names, skipped, delimiter, sentinel)
    trailer = (delimiter.join([sentinel] * len(names)) + "\n").encode()
    with Utf8Stream(path, entry.encoding, shown, trailer) as stream:
        yield from _parse_delimited(stream, layout, tally)


@dataclass(frozen=True)
class _Layout:
    """A delimited file: column names, records before the data, delimiter, and the cell that marks the end."""

    names: list[str]
    skipped: int
    delimiter: str
    sentinel: str


def _parse_delimited(stream: Utf8Stream, layout: _Layout, tally: FileTally) -> Iterator[pa.RecordBatch]:
    last_rejected: list[str] = []

    def on_invalid(row: arrow_csv.InvalidRow) -> str:
        tally.reject(row.number, f"{row.actual_columns} columns instead of {row.expected_columns}")
        last_rejected[:] = [row.text]
        return "error" if tally.hopeless else "skip"

    def reader_options() -> dict[str, Any]:
        return {
            "read_options": arrow_csv.ReadOptions(
                column_names=layout.names,
                skip_rows_after_names=layout.skipped,
                block_size=MAXIMUM_ROW_BYTES,
                use_threads=False,
            ),
            "parse_options": arrow_csv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=on_invalid
            ),
            "convert_options": arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(layout.names, pa.string()),
                null_values=list(MISSING_VALUES),
                strings_can_be_null=True,
            ),
        }

    closed = False
    try:
        for batch in arrow_csv.open_csv(stream, **reader_options()):
            closed = batch.num_rows > 0 and batch.column(0)[-1].as_py() == layout.sentinel
            rows = batch.slice(0, batch.num_rows - 1) if closed else batch
            tally.rows_read += rows.num_rows
            if rows.num_rows:
                yield rows
    except pa.ArrowInvalid as error:
        if tally.hopeless:
            return
        raise _delimited_error(stream.shown, error, tally) from None
    if not closed:
        raise DatasetError(
            f"{stream.shown}: truncated: a quoted value in its last row of data (the "
            f"{tally.rows_read + tally.rows_rejected}.) is never closed; fetch the file again"
        )
    if not stream.ended_with_newline and last_rejected and _is_last(stream, last_rejected[0]):
        raise DatasetError(
            f"{stream.shown}: truncated: its last row breaks off ({tally.first_rejection}); fetch the file again"
        )


def _is_last(stream: Utf8Stream, text: str) -> bool:
    """Whether the file ends with this row (compared over the few bytes that are kept of its end)."""
    return stream.tail.endswith(f"\n{text}".encode()[-len(stream.tail) :])


def _delimited_error(shown: str, error: pa.ArrowInvalid, tally: FileTally) -> DatasetError:
    reason = str(error).splitlines()[0]
    if "straddl" in reason:
        return DatasetError(
            f"{shown}: after row {tally.rows_read + tally.rows_rejected} there is no end of a row within "
            f"{MAXIMUM_ROW_BYTES >> 20} MiB: a quote is never closed (truncated file?) or it is not a table; "
            f"fetch the file again or correct its 'format' in datasets.toml"
        )
    return DatasetError(f"{shown}: not readable as CSV: {reason}; correct its layout in datasets.toml")


def _column_names(first: bytes, entry: FileEntry, delimiter: str, shown: str) -> tuple[list[str], int]:
    """The columns' names, and how many records at the top of the file are not data."""
    if not entry.header:
        return list(entry.columns), 0
    text = first.decode(errors="ignore")
    skipped = 0
    header: list[str] = []
    with io.StringIO(text, newline="") as lines:
        try:
            for header in csv.reader(lines, delimiter=delimiter):
                skipped += 1
                if header:
                    break
        except csv.Error as error:
            raise DatasetError(f"{shown}: its first line is not a CSV header: {error}") from None
    endless = len(first) >= PIECE_BYTES and "\n" not in text and "\r" not in text
    if endless or not any(header):
        raise DatasetError(
            f"{shown}: no header line in its first {len(first)} bytes; correct 'header' or 'format' in datasets.toml"
        )
    if entry.columns and len(entry.columns) != len(header):
        raise DatasetError(
            f"{shown}: its header has {len(header)} columns but 'columns' in datasets.toml names {len(entry.columns)}"
        )
    return list(entry.columns) or unique_names(header), skipped


def unique_names(header: Iterable[str]) -> list[str]:
    """Header cells as distinct, non-empty column names: ``unnamed_2`` for an empty second one, ``x_2`` for a repeat."""
    names: list[str] = []
    for index, cell in enumerate(header, start=1):
        stem = cell.strip() or f"unnamed_{index}"
        name, repeat = stem, 1
        while name in names:
            repeat += 1
            name = f"{stem}_{repeat}"
        names.append(name)
    return names


def _stream_lines(path: Path, entry: FileEntry, shown: str, tally: FileTally) -> Iterator[pa.RecordBatch]:
    with Utf8Stream(path, entry.encoding, shown) as stream:
        for block in _line_blocks(stream):
            lines = pa.array(block.decode().replace("\r\n", "\n").split("\n"), pa.string())
            lines = lines.filter(pc.not_equal(pc.utf8_trim_whitespace(lines), ""))
            tally.rows_read += len(lines)
            if len(lines):
                yield pa.record_batch({LINE_COLUMN: lines})


def _stream_json_lines(path: Path, entry: FileEntry, shown: str, tally: FileTally) -> Iterator[pa.RecordBatch]:
    row = 0
    with Utf8Stream(path, entry.encoding, shown) as stream:
        for block in _line_blocks(stream):
            lines = [line for line in block.split(b"\n") if line.strip()]
            try:
                # One call for the whole block; its lines are looked at one by one only when one of them is bad.
                values = json.loads(b"[" + b",".join(lines) + b"]")
                good = len(values) == len(lines)
            except _NOT_JSON:
                good = False
            if not good:
                values = [_json_or_none(line, row + index, tally) for index, line in enumerate(lines, start=1)]
            yield from _object_batches(values, row, tally)
            row += len(lines)
            if tally.hopeless:
                return
        if tally.last_rejected_row == row and not stream.ended_with_newline:
            raise DatasetError(f"{shown}: truncated: its last line breaks off; fetch the file again")


def _json_or_none(line: bytes, row: int, tally: FileTally) -> Any:
    try:
        return json.loads(line)
    except _NOT_JSON as error:
        tally.reject(row, f"not JSON ({error})")
        return None


def _stream_json_list(path: Path, entry: FileEntry, shown: str, tally: FileTally) -> Iterator[pa.RecordBatch]:
    with Utf8Stream(path, entry.encoding, shown) as stream:
        waiting: list[Any] = []
        row = 0
        for value in _list_items(stream):
            waiting.append(value)
            if len(waiting) >= _OBJECTS_A_BATCH:
                yield from _object_batches(waiting, row, tally)
                row += len(waiting)
                waiting = []
        yield from _object_batches(waiting, row, tally)


def _list_items(stream: Utf8Stream) -> Iterator[Any]:
    """The items of one JSON list, decoded one at a time."""
    decoder = json.JSONDecoder()
    text = stream.read().decode().lstrip()
    if not text.startswith("["):
        raise DatasetError(
            f"{stream.shown}: expected a JSON list of objects; if it has one object a line, its 'format' is \"jsonl\""
        )
    position, ended, items = 1, False, 0
    while True:
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        if position < len(text) and text[position] == "]":
            return
        try:
            value, end = decoder.raw_decode(text, position)
            complete = end < len(text)  # a number at the very end may go on in the next piece
        except _NOT_JSON:
            complete = False
        if complete:
            yield value
            position, items = end, items + 1
            continue
        if ended:
            raise DatasetError(
                f"{stream.shown}: truncated or not JSON after item {items} of the list; fetch the file again"
            )
        if len(text) - position > MAXIMUM_ROW_BYTES:
            raise DatasetError(
                f"{stream.shown}: item {items + 1} of the list is larger than {MAXIMUM_ROW_BYTES >> 20} MiB or not JSON"
            )
        # Grow by at least what is there already, so that a large item is not decoded once a piece.
        more = b""
        while len(more) < max(len(text) - position, 1) and (piece := stream.read()):
            more += piece
        ended = not more
        text, position = text[position:] + more.decode(), 0


def _stream_parquet(path: Path, shown: str, tally: FileTally) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                tally.rows_read += batch.num_rows
                columns = [as_text(column) for column in batch.columns]
                yield pa.record_batch(columns, names=unique_names(batch.schema.names))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).splitlines()[0]
        raise DatasetError(f"{shown}: not readable as Parquet: {reason}; fetch the file again") from None


def _line_blocks(stream: Utf8Stream) -> Iterator[bytes]:
    """Pieces of the stream that end where a line ends."""
    rest = b""
    while piece := stream.read():
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield rest + piece[:cut]
            rest = piece[cut:]
        else:
            rest += piece
        if len(rest) > MAXIMUM_ROW_BYTES:
            raise DatasetError(
                f"{stream.shown}: a line is longer than {MAXIMUM_ROW_BYTES >> 20} MiB; "
                f"correct its 'format' in datasets.toml"
            )
    if rest:
        yield rest


def _object_batches(values: list[Any], row: int, tally: FileTally) -> Iterator[pa.RecordBatch]:
    """JSON objects as one batch of string columns; what is not an object is rejected (``None`` was counted before)."""
    objects = [value for value in values if isinstance(value, dict)]
    if len(objects) < len(values):
        for index, value in enumerate(values, start=row + 1):
            if value is not None and not isinstance(value, dict):
                tally.reject(index, f"a JSON {type(value).__name__}, not an object")
    if not objects:
        return
    tally.rows_read += len(objects)
    names = list(dict.fromkeys(name for value in objects for name in value))
    columns = [_json_column([value.get(name) for value in objects]) for name in names]
    yield pa.record_batch(columns, names=unique_names(names))


def _json_column(values: list[Any]) -> pa.Array:
    """Strings as they are, missing values missing, and everything else as JSON text."""
    try:
        return _without_missing(pa.array(values, pa.string()))
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return _without_missing(pa.array(texts, pa.string()))


def as_text(column: pa.Array) -> pa.Array:
    """Any Arrow array as strings; nested values as JSON, NaN as missing."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        texts = [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]
        return pa.array(texts, pa.string())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return _without_missing(pc.cast(column, pa.string()))


def _without_missing(column: pa.Array) -> pa.Array:
    missing = pc.is_in(column, value_set=pa.array(MISSING_VALUES, pa.string()))
    return pc.if_else(missing, pa.scalar(None, pa.string()), column)
