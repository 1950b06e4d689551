"""CSV and TSV as batches of string columns.

What belongs here: the header line, the delimiter, rows of another width, quotes that are never closed. What does not:
decoding (``text_streams``), other formats, what values mean.
"""

from __future__ import annotations

import csv
import io
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.columns import MISSING_VALUES, check_wanted, said_names, unique_names
from nethical_assets.core.reading.tally import FileReading, FileTally, UnreadableError
from nethical_assets.core.reading.text_streams import PIECE_BYTES, Utf8Stream
from nethical_assets.core.rows.catalog import FileEntry

DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(rb'("?)sep=([^\r\n"]|\t)\1[ \t]*(\r\n|\n|\r)', re.IGNORECASE)
_PAGE = ("<!doctype html", "<html")
_LINES_COMPARED = 20
_SWALLOWED_LINES = 3
_WIDTHS = re.compile(r"Expected \d+ columns, got \d+")


def stream_delimited(path: Path, entry: FileEntry, reading: FileReading) -> Iterator[pa.RecordBatch]:
    """The rows of a delimited file; with a wanted column, that one alone."""
    shown, wanted = reading.shown, reading.wanted
    # A row of known content behind the file's own shows whether a quoted value was still open at the end.
    sentinel = f"end-{uuid.uuid4().hex}"
    with Utf8Stream(path, entry.encoding, shown) as header_stream:
        first = header_stream.peek()
    separator = _SEPARATOR_LINE.match(first)
    skipped_bytes = separator.end() if separator else 0
    delimiter = entry.delimiter or (separator[2].decode() if separator else "\t" if entry.format == "tsv" else ",")
    names, skipped = _column_names(first[skipped_bytes:], entry, delimiter, reading)
    if wanted is not None:
        check_wanted(wanted, names, shown, _likely_cause(first[skipped_bytes:], wanted, delimiter))
    elif len(names) == 1 and entry.header and not entry.columns and entry.delimiter is None and separator is None:
        _refuse_other_delimiter(first, delimiter, shown)
    layout = _Layout(names, skipped, delimiter, sentinel, wanted, lines_before=1 if separator else 0)
    trailer = (delimiter.join([sentinel] * len(names)) + "\n").encode()
    with Utf8Stream(path, entry.encoding, shown, trailer) as stream:
        if skipped_bytes:
            stream.read(skipped_bytes)
        yield from _parse_delimited(stream, layout, reading)


def separator_of(first: bytes) -> str | None:
    """The delimiter that a first line such as ``sep=;`` names; spreadsheets write it, and it is no header."""
    found = _SEPARATOR_LINE.match(first)
    return None if found is None else found[2].decode()


def likely_delimiter(first: str) -> str:
    """The delimiter that gives the first line of a text most cells; the comma of several."""
    line = next(filter(None, first.lstrip("\r\n").splitlines()), "")

    def cells(sign: str) -> int:
        try:
            return len(next(csv.reader([line], delimiter=sign), []))
        except csv.Error:
            return 0

    return max(DELIMITERS, key=lambda sign: (cells(sign), sign == ","))


@dataclass(frozen=True)
class _Layout:
    """A delimited file: column names, records before the data, delimiter, and the cell that marks the end."""

    names: list[str]
    skipped: int
    delimiter: str
    sentinel: str
    wanted: str | None
    lines_before: int


def _parse_delimited(stream: Utf8Stream, layout: _Layout, reading: FileReading) -> Iterator[pa.RecordBatch]:
    tally = reading.tally
    last_rejected: list[str] = []

    def on_invalid(row: arrow_csv.InvalidRow) -> str:
        number = None if row.number is None else row.number + layout.lines_before
        tally.reject(number, f"{row.actual_columns} columns instead of {row.expected_columns}")
        last_rejected[:] = [row.text]
        return "error" if tally.hopeless else "skip"

    def reader_options() -> dict[str, Any]:
        return {
            "read_options": arrow_csv.ReadOptions(
                column_names=layout.names,
                skip_rows_after_names=layout.skipped,
                block_size=reading.row_bytes,
                use_threads=False,
            ),
            "parse_options": arrow_csv.ParseOptions(
                delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=on_invalid
            ),
            "convert_options": arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(layout.names, pa.string()),
                include_columns=None if layout.wanted is None else [layout.wanted],
                null_values=list(MISSING_VALUES),
                strings_can_be_null=True,
            ),
        }

    closed = False
    try:
        for batch in arrow_csv.open_csv(stream, **reader_options()):
            closed = batch.num_rows > 0 and batch.column(0)[-1].as_py() == layout.sentinel
            rows = batch.slice(0, batch.num_rows - 1) if closed else batch
            _note_swallowed(rows, layout, tally)
            tally.rows_read += rows.num_rows
            if rows.num_rows:
                yield rows
    except pa.ArrowInvalid as error:
        if tally.hopeless:
            return
        raise _delimited_error(error, reading) from None
    if not closed:
        raise UnreadableError(
            f"{stream.shown}: truncated: a quoted value in its last row of data (the "
            f"{tally.rows_read + tally.rows_rejected}.) is never closed",
            "fetch the file again",
        )
    if not stream.ended_with_newline and last_rejected and _is_last(stream, last_rejected[0]):
        raise UnreadableError(
            f"{stream.shown}: truncated: its last row breaks off ({tally.first_rejection})", "fetch the file again"
        )


def _note_swallowed(rows: pa.RecordBatch, layout: _Layout, tally: FileTally) -> None:
    """Note the first value that holds several whole lines of as many cells as a row has: a quote that somebody forgot
    goes on to the next one, and the rows between are lost in one value."""
    delimiters = len(layout.names) - 1
    for column in rows.columns if delimiters else ():
        long = pc.fill_null(pc.greater(pc.count_substring(column, "\n"), _SWALLOWED_LINES), False)
        for at in np.flatnonzero(long.to_numpy(zero_copy_only=False))[:_LINES_COMPARED].tolist():
            lines = column[at].as_py().split("\n")[1:-1]
            if all(line.count(layout.delimiter) == delimiters for line in lines):
                number = tally.rows_read + tally.rows_rejected + layout.skipped + layout.lines_before + at + 1
                tally.note(
                    f"row {number} holds {len(lines)} lines that look like rows: is a quote before it never closed?"
                )
                return


def _is_last(stream: Utf8Stream, text: str) -> bool:
    """Whether the file ends with this row (compared over the few bytes that are kept of its end)."""
    return stream.tail.endswith(f"\n{text}".encode()[-len(stream.tail) :])


def _delimited_error(error: pa.ArrowInvalid, reading: FileReading) -> DatasetError:
    shown, tally = reading.shown, reading.tally
    reason = str(error).splitlines()[0]
    if "straddl" in reason:
        return UnreadableError(
            f"{shown}: after row {tally.rows_read + tally.rows_rejected} there is no end of a row within "
            f"{reading.row_bytes >> 20} MiB: a quote is never closed (truncated file?) or it is not a table",
            "fetch the file again or correct its 'format' in datasets.toml",
        )
    # The library quotes the row, which is what people wrote.
    widths = _WIDTHS.search(reason)
    told = f" ({widths[0].lower()})" if widths else ""
    return UnreadableError(
        f"{shown}: not readable as CSV after row {tally.rows_read + tally.rows_rejected}{told}",
        "correct its layout in datasets.toml",
    )


def _column_names(first: bytes, entry: FileEntry, delimiter: str, reading: FileReading) -> tuple[list[str], int]:
    """The columns' names, and how many records at the top of the file are not data."""
    shown = reading.shown
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
            if header and header[0].lower().startswith(_PAGE):
                raise UnreadableError(
                    f"{shown}: it is a web page and no table", "fetch it again", "download the table itself"
                )
        except csv.Error as error:
            raise UnreadableError(
                f"{shown}: its first line is not a CSV header: {error}", "correct its layout in datasets.toml"
            ) from None
    endless = len(first) >= PIECE_BYTES and "\n" not in text and "\r" not in text
    if endless or not any(header):
        raise UnreadableError(
            f"{shown}: no header line in its first {len(first)} bytes",
            "correct 'header' or 'format' in datasets.toml",
        )
    if entry.columns and len(entry.columns) != len(header):
        raise UnreadableError(
            f"{shown}: its header has {len(header)} columns but 'columns' in datasets.toml names {len(entry.columns)}",
            "correct 'columns'",
        )
    return list(entry.columns) or said_names(header, reading.tally), skipped


def _likely_cause(first: bytes, wanted: str, delimiter: str) -> tuple[str, str, str]:
    """Why the wanted column may seem absent, and what to do: in the catalog, on the command line."""
    line = first.decode(errors="ignore").lstrip("\r\n").splitlines()[0] if first.strip() else ""
    for other in DELIMITERS:
        try:
            header = next(csv.reader([line], delimiter=other), [])
        except csv.Error:
            continue
        if other != delimiter and wanted in unique_names(header):
            return _separated_by(other)
    return "", "correct the column's name", "name one of them"


def _separated_by(sign: str) -> tuple[str, str, str]:
    shown, option = ("a tab", "tab") if sign == "\t" else (f"'{sign}'", f"'{sign}'")
    return (
        f" (its columns seem to be separated by {shown})",
        f"declare its 'delimiter' in datasets.toml: {shown}",
        f"say --delimiter {option}",
    )


def _refuse_other_delimiter(first: bytes, delimiter: str, shown: str) -> None:
    """Refuse a file of one column whose first lines all have several, and as many, by another delimiter.

    Raises:
        UnreadableError: says which.
    """
    text = first.decode(errors="ignore")
    for other in DELIMITERS.replace(delimiter, ""):
        try:
            rows = list(
                islice(filter(None, csv.reader(io.StringIO(text, newline=""), delimiter=other)), _LINES_COMPARED)
            )
        except csv.Error:
            continue
        if len(rows) > 1 and len({len(row) for row in rows}) == 1 and len(rows[0]) > 1:
            what, declare, option = _separated_by(other)
            raise UnreadableError(
                f"{shown}: it has one column{what}",
                declare,
                f"{option} (or {_separated_by(delimiter)[2].rpartition(' ')[2]}, if it has one only)",
            )
