"""Screening a file: CSV, Parquet or JSON lines, streamed.

What belongs here: reading one text column in pieces and findings with rows counted through the file. What does not:
datasets with schemas and labels (``core.datasets``, ``frames``).
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from nethical_assets.core.governance.findings import SCHEMA, Findings, concatenate
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.rows.naming import shown_columns

FORMATS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_ROWS_PER_PIECE = 1 << 16
_BYTES_PER_PIECE = 1 << 24
_LARGEST_LINE = 1 << 28


class Recogniser(Protocol):
    """Finds what rules cannot, such as names."""

    def screen(self, texts: pd.Series) -> Findings:
        """The findings in ``texts``, positions as rows."""


@dataclass(frozen=True)
class FileScreening:
    """``findings`` with ``row`` counted from 0 in the order of the file, header not counted; ``rows`` in all."""

    rows: int
    findings: Findings
    ruleset_digest: str

    def summary(self) -> dict[str, Any]:
        """Counts as JSON."""
        return {
            "rows": self.rows,
            "rows_with_findings": int(pc.count_distinct(self.findings.table["row"]).as_py()),
            "findings": len(self.findings),
            "by_kind": self.findings.counts_by("kind"),
            "by_decision": self.findings.counts_by("decision"),
            "ruleset": self.ruleset_digest,
        }


def screen_file(
    path: Path,
    text_column: str,
    screener: Screener,
    *,
    file_format: str | None = None,
    encoding: str = "utf-8",
    recogniser: Recogniser | None = None,
) -> FileScreening:
    """Screen one column of a file, in bounded memory apart from the findings.

    ``file_format`` is csv, tsv, parquet or jsonl; by default it follows from the file name. The findings of
    ``recogniser`` (names and addresses) are added to those of the rules.

    Raises:
        DatasetError: the file is missing, empty, truncated, not in ``encoding`` or of no known format, or has no such
            column; one line that says which and where.
    """
    path = Path(path)
    kind = file_format or FORMATS.get(path.suffix.lower())
    readers = {"csv": _delimited, "tsv": _delimited, "parquet": _parquet, "jsonl": _json_lines}
    if kind not in readers:
        raise DatasetError(
            f"{path}: unknown format; allowed are {', '.join(sorted(readers))} (say which with --format)"
        )
    if not path.is_file():
        raise DatasetError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise DatasetError(f"{path}: the file is empty")
    parts: list[Findings] = []
    rows = 0
    try:
        for texts in readers[kind](path, text_column, encoding, kind):
            found = [screener.screen(texts)]
            if recogniser is not None:
                found.append(recogniser.screen(pd.Series(texts, dtype="object")))
            parts.append(_shifted(concatenate(found), rows))
            rows += len(texts)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: after row {rows}: not {encoding} text ({error.reason}); say which it is with --encoding"
        ) from None
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise DatasetError(f"{path}: after row {rows}: cannot be read as {kind}: {_first_line(error)}") from None
    if rows == 0:
        raise DatasetError(f"{path}: there are no rows")
    return FileScreening(rows, concatenate(parts), screener.ruleset.digest)


def write_findings(findings: Findings, path: Path) -> None:
    """Write findings as CSV, Parquet or JSON lines, by the file name.

    Raises:
        DatasetError: the name has none of these endings, or the file cannot be written.
    """
    kind = FORMATS.get(Path(path).suffix.lower())
    plain = pa.table(
        [
            column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
            for column in findings.table.columns
        ],
        names=SCHEMA.names,
    )
    buffer = io.BytesIO()
    if kind == "parquet":
        pq.write_table(plain, buffer)
    elif kind == "csv":
        pacsv.write_csv(plain, buffer)
    elif kind == "jsonl":
        buffer.write("".join(json.dumps(record) + "\n" for record in findings.to_records()).encode())
    else:
        raise DatasetError(f"{path}: unknown format for findings; use .csv, .parquet or .jsonl")
    try:
        write_atomically(Path(path).absolute(), buffer.getvalue())
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written ({error.strerror}); name another file") from None


def _delimited(path: Path, column: str, encoding: str, kind: str) -> Iterator[pa.Array]:
    options = {
        "read_options": pacsv.ReadOptions(block_size=_BYTES_PER_PIECE, encoding=encoding),
        "parse_options": pacsv.ParseOptions(delimiter="\t" if kind == "tsv" else ",", newlines_in_values=True),
        "convert_options": pacsv.ConvertOptions(include_columns=[column], column_types={column: pa.large_string()}),
    }
    try:
        reader = pacsv.open_csv(path, **options)
    except (pa.ArrowKeyError, pa.ArrowInvalid) as error:
        if "include_columns" in str(error):
            raise _missing(path, column, _header(path, encoding, kind)) from None
        raise
    for batch in reader:
        yield batch.column(0)


def _header(path: Path, encoding: str, kind: str) -> list[str]:
    with open(path, encoding=encoding, errors="replace") as stream:
        first = stream.readline().rstrip("\r\n")
    return [name.strip('"') for name in first.split("\t" if kind == "tsv" else ",")]


def _parquet(path: Path, column: str, encoding: str, kind: str) -> Iterator[pa.Array]:
    with pq.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            raise _missing(path, column, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=_ROWS_PER_PIECE, columns=[column]):
            yield batch.column(0)


def _json_lines(path: Path, column: str, encoding: str, kind: str) -> Iterator[list[Any]]:
    values: list[Any] = []
    size = 0
    with open(path, "rb") as stream:
        number = 0
        while line := stream.readline(_LARGEST_LINE):
            number += 1
            if not line.strip():
                continue
            record = _record(path, number, line, encoding)
            if column not in record:
                raise _missing(path, column, [str(name) for name in record], f"line {number}")
            values.append(record[column])
            size += len(line)
            if len(values) == _ROWS_PER_PIECE or size >= _BYTES_PER_PIECE:
                yield values
                values, size = [], 0
    if values:
        yield values


def _record(path: Path, number: int, line: bytes, encoding: str) -> dict[str, Any]:
    try:
        record = json.loads(line.decode(encoding))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path}: line {number}: not JSON ({error.msg}); is the file truncated?") from None
    except RecursionError:
        raise DatasetError(f"{path}: line {number}: JSON nested too deeply") from None
    if not isinstance(record, dict):
        raise DatasetError(f"{path}: line {number}: expected a JSON object with the key of the text column")
    return record


def _missing(path: Path, column: str, columns: list[str], where: str = "") -> DatasetError:
    place = f"{path}: {where}: " if where else f"{path}: "
    return DatasetError(f"{place}no column {column!r}; the columns are {shown_columns(columns)}")


def _shifted(findings: Findings, rows: int) -> Findings:
    if rows == 0 or len(findings) == 0:
        return findings
    return Findings(findings.table.set_column(0, SCHEMA.field("row"), pc.add(findings.table["row"], rows)))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
