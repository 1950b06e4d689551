"""FileReading a fetched dataset: from its files to one table of at most so many rows, and a report of what was met.

What belongs here: the order of the steps, column types, and the checks that make a table usable for its entry. What
does not: file formats (``row_streams``), the sample (``sampling``), labels (``core.rows.labels``), fetching
(``core.sources``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.parquet_batches import UnpackingLimit
from nethical_assets.core.reading.row_streams import stream_rows
from nethical_assets.core.reading.sampling import RowSample
from nethical_assets.core.reading.tally import FileReading
from nethical_assets.core.rows.catalog import DatasetEntry, FileEntry
from nethical_assets.core.rows.file_names import choose_files, is_litter, with_plain_files
from nethical_assets.core.rows.labels import FILE_COLUMN, check_labels, labels_of
from nethical_assets.core.rows.naming import columns_there

__all__ = ["FileReport", "RawTable", "ReadReport", "check_columns", "infer_types", "labels_of", "list_files",
           "read_dataset", "read_files"]  # fmt: skip


MAXIMUM_BYTES = (1 << 31) - (1 << 26)
"""A column of texts holds less than 2 GiB."""
SPANS_COLUMNS = ("full_text", "spans")
_SHOWN_NAMES = 12
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
_DECIMAL = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_TOO_LONG_FOR_FLOAT = r"^-?[0-9]{16,}$"
_MAY_BE_TOO_LARGE = r"[eE]|[0-9]{300}"


@dataclass(frozen=True)
class FileReport:
    """One file: its path in the dataset, bytes, rows read and rejected, the first rejection (row and reason), and what
    else is to be known of how it was read (``FileTally.notes``)."""

    path: str
    bytes: int
    rows_read: int
    rows_rejected: int
    first_rejected_row: int | None
    first_rejection: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadReport:
    """What reading met. ``rows_kept`` < ``rows_read`` when the dataset is sampled; ``unused`` files were not named."""

    files: tuple[FileReport, ...]
    rows_read: int
    rows_rejected: int
    rows_kept: int
    unused: tuple[str, ...]

    @property
    def sampled(self) -> bool:
        """Whether rows were left out to respect the maximum."""
        return self.rows_kept < self.rows_read

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return to_document(self)


@dataclass(frozen=True)
class RawTable:
    """A dataset as it was published: its columns (int64, float64 or string), and ``_file``, the file of each row."""

    table: pa.Table
    report: ReadReport


def read_dataset(
    entry: DatasetEntry, folder: Path, *, maximum_rows: int, seed: int, plain: Mapping[str, str] | None = None
) -> RawTable:
    """Read the files of ``entry`` below ``folder``, streaming, in memory bounded by ``maximum_rows``.

    Rows are sampled by content over all files together (``sampling.RowSample``); the columns are the union of the
    files' columns. Files are called as ``plain`` says (``file_names.plain_files``), wherever they are named.

    Raises:
        DatasetError: a file is missing, empty, header only, mis-encoded, truncated or not of its format; a declared
            column is absent; the label column is all missing or has one class only. One line: file, what, what to do.
    """
    raw = read_files(entry, folder, maximum_rows=maximum_rows, seed=seed, plain=plain)
    check_columns(entry, raw.table)
    check_labels(with_plain_files(entry, plain or {}), raw.table)
    return raw


def read_files(
    entry: DatasetEntry, folder: Path, *, maximum_rows: int, seed: int, plain: Mapping[str, str] | None = None
) -> RawTable:
    """Like :func:`read_dataset`, without the checks that need a column to mean something."""
    available = list_files(folder)
    called = {name: (plain or {}).get(name, name) for name in available}
    sample = RowSample(maximum_rows, salt=f"{seed}", together=entry.sample_together)
    reports: list[FileReport] = []
    chosen = choose_files(entry, available)
    if any(name != shown for name, shown in called.items()):
        _check_plain(entry, chosen, called)
    for file_entry, name in chosen:
        if name is None:
            there = _listed(list(called.values()))
            raise DatasetError(
                f"dataset {entry.name}: no file {' or '.join(file_entry.path)}; there {there}; "
                f"correct 'path' in datasets.toml or fetch the dataset again"
            )
        path = folder / name
        shown = called[name]
        reading = FileReading(f"dataset {entry.name}: {shown}")
        tally = reading.tally
        limit = UnpackingLimit(path, reading.shown)
        for batch in stream_rows(path, file_entry, reading):
            # Objects of a JSON file may differ in their keys; a table's columns are known with its first rows.
            if tally.rows_read == batch.num_rows and file_entry.format not in ("json", "jsonl"):
                _check_declared(reading.shown, _declared_in(file_entry), batch.schema.names)
            held = sample.bytes_held
            sample.add(batch.append_column(FILE_COLUMN, pa.repeat(pa.scalar(shown), batch.num_rows)))
            limit.add(sample.bytes_held - held)
            if sample.bytes_held > MAXIMUM_BYTES:
                raise DatasetError(
                    f"{reading.shown}: the rows that are kept take over {MAXIMUM_BYTES >> 30} GiB; lower "
                    f"datasets.maximum_rows in the settings"
                )
        reports.append(
            FileReport(
                path=shown,
                bytes=path.stat().st_size,
                rows_read=tally.rows_read,
                rows_rejected=tally.rows_rejected,
                first_rejected_row=tally.first_rejected_row,
                first_rejection=tally.first_rejection,
                notes=tuple(tally.notes),
            )
        )
    kept = sample.table()
    kept = kept.select([*(name for name in kept.column_names if name != FILE_COLUMN), FILE_COLUMN])
    table = infer_types(kept, keep_as_text=_text_columns(entry) | {FILE_COLUMN})
    used = {name for _, name in chosen}
    report = ReadReport(
        files=tuple(reports),
        rows_read=sum(report.rows_read for report in reports),
        rows_rejected=sum(report.rows_rejected for report in reports),
        rows_kept=table.num_rows,
        unused=tuple(called[name] for name in available if name not in used),
    )
    return RawTable(table, report)


def _check_plain(
    entry: DatasetEntry, chosen: Sequence[tuple[FileEntry, str | None]], called: Mapping[str, str]
) -> None:
    """Refuse files that are others by their plain names: nothing that is stored would say what a row is.

    Raises:
        DatasetError: a pattern means another file then.
    """
    again = choose_files(with_plain_files(entry, called), called.values())
    if [name for _, name in again] != [None if name is None else called[name] for _, name in chosen]:
        raise DatasetError(
            f"dataset {entry.name}: the name of a file is personal data or a secret, and is not kept; its pattern in "
            f"'path' of datasets.toml does not mean it without: rename the file"
        )


def list_files(folder: Path) -> list[str]:
    """The regular files below ``folder``, litter apart, as sorted paths relative to it with forward slashes."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not is_litter(name))


def check_columns(entry: DatasetEntry, table: pa.Table) -> None:
    """Refuse a table that lacks a column its entry declares.

    Raises:
        DatasetError: names the column, the key that declares it, and the columns there are.
    """
    declared: dict[str, str] = {}
    for file_entry in entry.files:
        declared = _declared_in(file_entry) | declared
    for key in ("group_column", "time_column"):
        if (column := getattr(entry, key)) is not None:
            declared.setdefault(column, key)
    for key in ("numeric_columns", "categorical_columns", "identity_columns"):
        declared = dict.fromkeys(getattr(entry, key), key) | declared
    if entry.kind == "spans":
        declared = dict.fromkeys(SPANS_COLUMNS, "kind") | declared
    _check_declared(f"dataset {entry.name}", declared, [name for name in table.column_names if name != FILE_COLUMN])


def _declared_in(file_entry: FileEntry) -> dict[str, str]:
    """The columns that a file's own declaration names, and by which key."""
    label = None if file_entry.label is None else file_entry.label.column
    by_key = {"label": label, "text_column": file_entry.text_column, "sequence_column": file_entry.sequence_column}
    return {column: key for key, column in by_key.items() if column is not None}


def _check_declared(shown: str, declared: dict[str, str], names: list[str]) -> None:
    present = set(names)
    for column, key in declared.items():
        if column not in present:
            raise DatasetError(
                f"{shown}: there is no column {column!r} ({key!r} in datasets.toml); {columns_there(names)}"
            )


def infer_types(table: pa.Table, keep_as_text: frozenset[str] = frozenset()) -> pa.Table:
    """String columns whose every value is a number become int64 or float64; everything else stays a string.

    Columns in ``keep_as_text`` stay as they are. Numbers with leading zeros, and whole numbers too long for the type,
    are identifiers and stay strings; so do columns with a number too large for a float, timestamps, true/false, and
    columns without any value. The values of all
    rows decide, so the order of rows cannot change a type.
    """
    columns = {
        name: table.column(name) if name in keep_as_text else _typed(table.column(name)) for name in table.column_names
    }
    return pa.table(columns)


def written_numbers(values: pd.Series) -> npt.NDArray[np.bool_]:
    """For each text whether ``infer_types`` takes it for a number; missing values count as numbers."""
    column = pc.utf8_trim_whitespace(pa.array(values, pa.large_string(), from_pandas=True))
    number = pc.and_not(
        pc.match_substring_regex(column, _DECIMAL), pc.match_substring_regex(column, _TOO_LONG_FOR_FLOAT)
    )
    large = pc.and_(number, pc.match_substring_regex(column, _MAY_BE_TOO_LARGE))
    finite = pc.is_finite(pc.cast(pc.if_else(large, column, None), pa.float64()))
    return np.asarray(pc.fill_null(pc.and_(number, pc.fill_null(finite, True)), True))


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    trimmed = pc.utf8_trim_whitespace(column)
    if column.null_count == len(column) or not _all_match(trimmed, _DECIMAL):
        return column
    if _all_match(trimmed, _INTEGER):
        return pc.cast(trimmed, pa.int64())
    if pc.any(pc.match_substring_regex(trimmed, _TOO_LONG_FOR_FLOAT)).as_py():
        return column
    numbers = pc.cast(trimmed, pa.float64())
    # What a 64-bit float cannot hold is no number, and shows as one cell of the wrong type.
    return numbers if pc.all(pc.is_finite(numbers)).as_py() else column


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


def _text_columns(entry: DatasetEntry) -> frozenset[str]:
    columns = {file.text_column for file in entry.files} | {file.sequence_column for file in entry.files}
    return frozenset(column for column in columns if column is not None) | frozenset(entry.categorical_columns)


def _listed(names: list[str]) -> str:
    if not names:
        return "is nothing"
    shown = ", ".join(re.sub(r"\s+", " ", name) for name in names[:_SHOWN_NAMES])
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return f"are {shown}{more}"
