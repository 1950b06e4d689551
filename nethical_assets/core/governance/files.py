"""Screening a file of records, streamed.

What belongs here: one text column, piece by piece, and findings with rows counted through the file. What does not:
reading (``core.reading``), datasets with schemas and labels (``core.datasets``, ``frames``).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from nethical_assets.core.governance.columns import is_numeric, whole_numbers
from nethical_assets.core.governance.findings import SCHEMA, Findings, concatenate, moved
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.searches import ProseSearch
from nethical_assets.core.ground.disk import advice
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.reading.parquet_batches import parquet_batches
from nethical_assets.core.reading.row_streams import readable_text
from nethical_assets.core.reading.tables import (
    FORMATS,
    TextLayout,
    every_row,
    layout_of,
    reading_of,
    with_layout,
)
from nethical_assets.core.reading.tally import FileReading, UnreadableError
from nethical_assets.core.rows.catalog import FileEntry, FileFormat


class Recogniser(Protocol):
    """Finds what rules cannot, such as names."""

    def screen(self, texts: pd.Series) -> Findings:
        """The findings in ``texts``, positions as rows."""


@dataclass(frozen=True)
class FileScreening:
    """``findings`` in one column with ``row`` counted from 0 in the order of the file, header not counted; ``rows`` in
    all; ``notes`` on how the file was read."""

    column: str
    rows: int
    findings: Findings
    ruleset_digest: str
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Counts as JSON."""
        return {
            "column": self.column,
            "rows": self.rows,
            "rows_with_findings": int(pc.count_distinct(self.findings.table["row"]).as_py()),
            "findings": len(self.findings),
            "by_kind": self.findings.counts_by("kind"),
            "by_decision": self.findings.counts_by("decision"),
            "ruleset": self.ruleset_digest,
            "notes": list(self.notes),
        }

    def to_records(self) -> list[dict[str, Any]]:
        """The findings as JSON objects, each with the name of the column."""
        return [{"column": self.column, **record} for record in self.findings.to_records()]


def screen_file(
    path: Path,
    text_column: str,
    screener: Screener,
    *,
    file_format: FileFormat | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    recogniser: Recogniser | None = None,
) -> FileScreening:
    """Screen one column of a file, in bounded memory apart from the findings.

    ``file_format`` is one of the formats of ``core.reading.tables`` and follows from the file name by default, like
    ``delimiter``; ``encoding`` is UTF-8. Lists
    and structures are screened as their ``core.reading.columns.nested_text``, in which positions then count. Numbers
    are looked at as those of datasets are (``searches``), however they are typed; positions count in their digits.
    The findings of ``recogniser`` (names and addresses) are added to those of the rules.

    Raises:
        DatasetError: the file is missing, no table, empty, truncated, not in its encoding or of no known format, or has
            no such column; one line that says which and where.
    """
    path = Path(path)
    file = with_layout(layout_of(path, file_format, text_column=text_column), TextLayout(delimiter, encoding))
    reading = reading_of(path, wanted=text_column)
    search = ProseSearch(text_column, screener)
    recognised: list[Findings] = []
    rows = 0
    for texts in _texts(path, file, reading):
        places, once = np.arange(rows, rows + len(texts)), np.ones(len(texts), dtype=np.int64)
        if is_numeric(texts):
            search.add_numbers(whole_numbers(texts), places, once)
        else:
            search.add(texts, places, once)
            if recogniser is not None:
                found = recogniser.screen(pd.Series(texts.to_pylist(), dtype="object"))
                recognised.append(moved(found, places))
        rows += len(texts)
    if rows == 0:
        raise DatasetError(f"{path}: there are no rows")
    findings = search.findings()
    if any(map(len, recognised)):
        found = concatenate([findings, *recognised])
        findings = Findings(found.table.sort_by([("row", "ascending"), ("start", "ascending")]))
    return FileScreening(text_column, rows, findings, screener.ruleset.digest, tuple(reading.tally.notes))


def _texts(path: Path, file: FileEntry, reading: FileReading) -> Iterator[pa.Array]:
    """The texts of the column, as they are typed where the format has types."""
    if file.format != "parquet":
        for batch in every_row(path, file, reading):
            yield batch.column(0)
        return
    rows = 0
    try:
        for batch in parquet_batches(path, reading.shown, reading.wanted, reading.tally):
            yield _readable(batch.column(0), str(reading.wanted), reading.shown, rows)
            rows += batch.num_rows
    except UnreadableError as error:
        raise error.for_command("name a readable file") from None


def _readable(column: pa.Array, name: str, shown: str, rows: int) -> pa.Array:
    """A column as the screener reads it: nested values as lines, texts that are not UTF-8 as bytes."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_nested(column.type):
        return readable_text(column, name, shown, rows, lines=True)
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return column.cast(pa.large_binary())
    return column


def write_findings(screening: FileScreening, path: Path) -> None:
    """Write findings as CSV, Parquet or JSON lines, by the file name; ``column`` says which column they are in.

    Raises:
        DatasetError: the name has none of these endings, or the file cannot be written.
    """
    kind = FORMATS.get(Path(path).suffix.lower())
    table = screening.findings.table
    plain = pa.table(
        [
            pa.array([screening.column] * table.num_rows, pa.string()),
            *(column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in table.columns),
        ],
        names=["column", *SCHEMA.names],
    )
    buffer = io.BytesIO()
    if kind == "parquet":
        pq.write_table(plain, buffer)
    elif kind == "csv":
        pacsv.write_csv(plain, buffer)
    elif kind == "jsonl":
        buffer.write("".join(json.dumps(record) + "\n" for record in screening.to_records()).encode())
    else:
        raise DatasetError(f"{path}: unknown format for findings; use .csv, .parquet or .jsonl")
    try:
        write_atomically(Path(path).absolute(), buffer.getvalue())
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written ({error.strerror}); {advice(error)}, or name another file"
        ) from None
