"""Files of records for batch work: read whole, in order, and written atomically.

What belongs here: one file in, one frame out, and back. What does not: sampling and labels (``readers``), or what the
columns mean.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.reading.readers import infer_types
from nethical_assets.core.reading.row_streams import FileTally, stream_rows
from nethical_assets.core.rows.catalog import DatasetEntry, FileEntry, FileFormat
from nethical_assets.core.rows.labels import FILE_COLUMN

FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "lines",
}
OUTPUT_SUFFIXES = (".csv", ".jsonl", ".parquet")


def read_records(path: Path, entries: Sequence[DatasetEntry] = ()) -> pd.DataFrame:
    """The records of a file, in order, with inferred column types.

    A file named like one of the catalog's ``entries`` is read by that entry's layout (encoding, columns without a
    header line); any other by its suffix.

    Raises:
        DatasetError: there is no such file, its format is unknown, or its content cannot be used; one line.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    layout = _layout(path, entries)
    tally = FileTally()
    try:
        batches = list(stream_rows(path, layout, str(path), tally))
    except DatasetError as error:
        # The advice that ends the message is for files of the catalog; this one was named by the user.
        raise DatasetError(f"{str(error).rpartition('; ')[0] or error}; name a readable file of records") from None
    if tally.rows_rejected:
        raise DatasetError(
            f"{path}: {tally.rows_rejected} malformed rows, the first is row {tally.first_rejected_row} "
            f"({tally.first_rejection}); every record needs its own prediction, so correct them first"
        )
    if not batches:
        raise DatasetError(f"{path}: the file has no records")
    texts = {name for name in (layout.text_column, layout.sequence_column) if name}
    table = infer_types(pa.Table.from_batches(batches), keep_as_text=frozenset(texts))
    frame: pd.DataFrame = table.to_pandas()
    return frame.assign(**{FILE_COLUMN: path.name})


def check_output(path: Path) -> None:
    """Refuse a file whose suffix names no format that ``write_records`` knows.

    Raises:
        DatasetError: the suffix is none of these.
    """
    if path.suffix not in OUTPUT_SUFFIXES:
        raise DatasetError(f"{path}: unknown output format; name a file that ends in {', '.join(OUTPUT_SUFFIXES)}")


def write_records(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as CSV, JSONL or Parquet by the suffix of ``path``; a reader never sees half a file.

    Raises:
        DatasetError: the suffix is none of these, or the folder cannot be written.
    """
    check_output(path)
    buffer = io.BytesIO()
    if path.suffix == ".csv":
        frame.to_csv(buffer, index=False, quoting=_quoting(frame))
    elif path.suffix == ".jsonl":
        frame.to_json(buffer, orient="records", lines=True, double_precision=15, date_format="iso")
    else:
        frame.to_parquet(buffer, index=False)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def _quoting(frame: pd.DataFrame) -> Literal[0, 2]:
    """Quotes where they are needed; around all text where some holds a carriage return, which Python does not see as a
    reason for quotes although readers end a row there."""
    texts = frame.select_dtypes(["str", "object"])
    returns = any(texts[name].astype("str").str.contains("\r", regex=False, na=False).any() for name in texts)
    return csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL


def _layout(path: Path, entries: Sequence[DatasetEntry]) -> FileEntry:
    for entry in entries:
        for file in entry.files:
            if any(fnmatch(path.name, pattern) for pattern in file.path if pattern[0] != "*"):
                return file
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise DatasetError(f"{path}: unknown format; name a file that ends in {', '.join(FORMATS)}")
    return FileEntry(path=(path.name,), format=kind)
