"""Finding out the layout of a dataset that the catalog only names.

What belongs here: which of its files are tables, which column may be the label and which the text or features, and a
report of why. What does not: reading (``core.reading``), using the data. A label is only accepted when both its name
and its values say so: a wrong guess would train a detector on noise. No report holds a value of the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.governance.names import plain_name
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.delimited import likely_delimiter, separator_of
from nethical_assets.core.reading.encodings import guess_encoding
from nethical_assets.core.reading.json_rows import is_one_document
from nethical_assets.core.reading.kinds import A_PARQUET_FILE, other_kind_of
from nethical_assets.core.reading.readers import list_files, read_files
from nethical_assets.core.reading.text_streams import Utf8Stream
from nethical_assets.core.rows.catalog import DatasetEntry, FileEntry, FileFormat, LabelEntry
from nethical_assets.core.rows.label_words import HARM, says_negative, says_positive, shown_values
from nethical_assets.core.rows.labels import FILE_COLUMN, canonical_text
from nethical_assets.core.rows.naming import looks_like_data, looks_like_name, shown_column

PrivateNames = Callable[[Sequence[str]], frozenset[str]]

SAMPLE_ROWS = 5_000
_PRIVATE = "its name is personal data or a secret (is there a header line?)"
_MAXIMUM_CATEGORIES = 64
_MINIMUM_TEXT_LENGTH = 20.0
_IDENTIFIER_SHARE = 0.95
_MAXIMUM_LABEL_VALUES = 64
_FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_PLAIN_NAME = rf"labels?|target|class|outcome|is[_ ]?({HARM})"
_LABEL_NAME = re.compile(
    rf"(^|[_\W])({_PLAIN_NAME}|y|({HARM})([_ ]?(type|label|class|flag|detected))?)([_\W]|$)", re.IGNORECASE
)
_PLAIN_LABEL_NAME = re.compile(_PLAIN_NAME, re.IGNORECASE)
_TEXT_NAMES = ("text", "prompt", "content", "message", "body", "abstract", "summary", "description", "question")
_TIME_NAME = re.compile(r"(^|_|\b)(timestamp|datetime|date|time)($|_|\b)", re.IGNORECASE)


@dataclass(frozen=True)
class ColumnFinding:
    """One column: its role (label, text, numeric, categorical, time, identifier or ignored) and why."""

    name: str
    kind: str
    role: str
    why: str


@dataclass(frozen=True)
class FileFinding:
    """One file: whether it is used, why or why not, how it is read, and its columns; ``guessed_encoding``: what it is
    read as where nothing but how its letters stand says so."""

    path: str
    used: bool
    why: str
    columns: tuple[ColumnFinding, ...] = ()
    guessed_encoding: str | None = None


@dataclass(frozen=True)
class DiscoveryReport:
    """What was seen. ``usable_label``: whether the dataset may take part in training and evaluation."""

    files: tuple[FileFinding, ...]
    usable_label: bool
    summary: str

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return to_document(self)


@dataclass(frozen=True)
class _Candidate:
    """A file that could be read, as it would be declared."""

    entry: FileEntry
    finding: FileFinding
    rows: int
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """The columns in any order."""
        return frozenset(self.columns)


def discover(
    entry: DatasetEntry,
    folder: Path,
    *,
    seed: int,
    private_names: PrivateNames,
    plain: Mapping[str, str] | None = None,
) -> tuple[DatasetEntry | None, DiscoveryReport]:
    """``entry`` with its layout filled in, as far as the files in ``folder`` allow, and what was seen.

    Every tabular file is read once, streaming, and judged by a sample of its rows. Files of the same columns are used
    together; of files that differ, those with a usable label, then the one with most rows. Without a usable label the
    entry loses its families: the dataset is validated and takes no further part. A column whose name is personal data
    (``private_names`` of the names of a table) is neither input nor named. No value of a cell is in the report, but for
    the words by which labels are known; files are called as ``plain`` says (``file_names.plain_files``).

    Returns:
        Nothing in place of the entry when no file can be read as the entry's kind.
    """
    findings: list[FileFinding] = []
    candidates: list[_Candidate] = []
    for name in list_files(folder):
        judged = _judge(entry, folder, name, seed, private_names, plain or {})
        if isinstance(judged, _Candidate):
            candidates.append(judged)
        else:
            findings.append(judged)
    if not candidates:
        seen = "; ".join(f"{finding.path}: {finding.why}" for finding in findings) or "there are no files"
        return None, DiscoveryReport(tuple(findings), False, f"discovered no usable table: {seen}")
    best = max(candidates, key=lambda found: (found.entry.label is not None, found.rows, found.finding.path))
    used = [found for found in candidates if found.names == best.names and _same_label(found, best)]
    for found in candidates:
        if found not in used:
            other = FileFinding(found.finding.path, False, f"its columns or label differ from {best.finding.path}")
            findings.append(other)
    findings += [found.finding for found in used]
    usable = best.entry.label is not None
    filled = entry.model_copy(
        update={
            "discover": False,
            "encoding": None,
            "files": tuple(found.entry for found in used),
            "numeric_columns": best.numeric if entry.kind == "records" else (),
            "categorical_columns": best.categorical if entry.kind == "records" else (),
            "families": entry.families if usable else (),
            "evaluation_families": entry.evaluation_families if usable else (),
        }
    )
    report = DiscoveryReport(tuple(findings), usable, _summary(best, used))
    return DatasetEntry.model_validate_json(filled.model_dump_json()), report


def _same_label(found: _Candidate, best: _Candidate) -> bool:
    return found.entry.label == best.entry.label and found.entry.text_column == best.entry.text_column


def _summary(best: _Candidate, used: list[_Candidate]) -> str:
    files = ", ".join(found.finding.path for found in used)
    guesses = _guesses([found.finding.guessed_encoding for found in used])
    guessed = f"; {guess_note(guesses)}" if guesses else ""
    label = best.entry.label
    if label is not None:
        column = shown_column(str(label.column), best.columns.index(str(label.column)) + 1)
        return f"discovered in {files}: label {column}, positive {', '.join(label.positive) or 'the rest'}{guessed}"
    return f"discovered in {files}: no usable label, so it takes no part in training ({best.finding.why}){guessed}"


def guessed_encodings(discovery: Mapping[str, Any] | None) -> list[str]:
    """The encodings that were guessed, of the files that are used by a stored report (``DiscoveryReport.to_json``)."""
    files = (discovery or {}).get("files", ())
    return _guesses([file.get("guessed_encoding") for file in files if file["used"]])


def _guesses(encodings: Iterable[str | None]) -> list[str]:
    return sorted({encoding for encoding in encodings if encoding is not None})


def guess_note(encodings: Sequence[str]) -> str:
    """What whoever has a dataset is told of encodings that were guessed."""
    return f"read as {', '.join(encodings)}, which is a guess: declare the dataset's 'encoding' in datasets.toml"


def _judge(
    entry: DatasetEntry,
    folder: Path,
    name: str,
    seed: int,
    private_names: PrivateNames,
    plain: Mapping[str, str],
) -> _Candidate | FileFinding:
    shown = plain.get(name, name)
    file_format = _FORMATS.get(PurePosixPath(name).suffix.lower())
    if file_format is None:
        return FileFinding(shown, False, f"not a table by its name ({', '.join(_FORMATS)} are)")
    try:
        declared, guessed = _how_to_read(entry, folder / name, name, shown, file_format)
        # Judged as plain records: the entry's own kind would ask for columns that are not known yet.
        as_records = DatasetEntry(
            name=entry.name,
            slug=entry.slug,
            title=entry.title,
            licence=entry.licence,
            kind="records",
            files=(declared,),
        )
        raw = read_files(as_records, folder, maximum_rows=SAMPLE_ROWS, seed=seed, plain=plain)
    except DatasetError as error:
        return FileFinding(shown, False, str(error))
    table = raw.table.drop_columns([FILE_COLUMN])
    if any(map(looks_like_data, table.column_names)):
        why = "its first line holds data and no names: declare its files with 'header = false' and 'columns'"
        return FileFinding(shown, False, why)
    private = private_names(table.column_names)
    named = table.select([column for column in table.column_names if column not in private])
    label, why = _find_label(named)
    text = _find_text(named, None if label is None else label.column)
    if entry.kind == "text" and text is None:
        return FileFinding(shown, False, "no column holds texts", _describe(table, label, None, private))
    if entry.kind not in ("text", "records"):
        return FileFinding(
            shown, False, f"the layout of a {entry.kind} dataset cannot be discovered: declare its files"
        )
    columns = _describe(table, label, text if entry.kind == "text" else None, private)
    filled = declared.model_copy(update={"label": label, "text_column": text if entry.kind == "text" else None})
    return _Candidate(
        entry=filled,
        finding=FileFinding(shown, True, why, columns, guessed),
        rows=raw.report.rows_read,
        numeric=_with_role("numeric", table, columns),
        categorical=_with_role("categorical", table, columns),
        columns=tuple(table.column_names),
    )


def _with_role(role: str, table: pa.Table, columns: tuple[ColumnFinding, ...]) -> tuple[str, ...]:
    found = zip(table.column_names, columns, strict=True)
    return tuple(name for name, column in found if column.role == role)


def _how_to_read(
    entry: DatasetEntry, path: Path, name: str, shown: str, file_format: FileFormat
) -> tuple[FileEntry, str | None]:
    """How a file would be declared, and its encoding where that is a guess.

    Raises:
        DatasetError: its encoding is a guess that may be wrong, and none is declared.
    """
    other = other_kind_of(path)
    if other is not None and not (file_format == "parquet" and other.what == A_PARQUET_FILE):
        raise DatasetError(f"it is {other.what} and no {file_format} file; {other.do}")
    if file_format == "parquet":
        return FileEntry(path=(name,), format=file_format), None
    encoding, guessed = entry.encoding, None
    if encoding is None:
        guess = guess_encoding(path)
        if not guess.certain:
            raise DatasetError(
                f"its encoding cannot be told: {guess.why} (gb18030, shift_jis, euc_kr, koi8_r, cp1251, cp437 or "
                f"another?); it takes no part until somebody declares the dataset's 'encoding' in datasets.toml"
            )
        encoding = guess.encoding
        guessed = encoding if guess.guessed else None
    delimiter = None
    if file_format == "csv":
        with Utf8Stream(path, encoding, f"dataset {entry.name}: {shown}") as stream:
            first = stream.peek()
        delimiter = separator_of(first) or likely_delimiter(first.decode(errors="replace"))
    if file_format == "json" and not is_one_document(path, encoding):
        file_format = "jsonl"
    delimiter = None if delimiter == "," else delimiter
    return FileEntry(path=(name,), format=file_format, encoding=encoding, delimiter=delimiter), guessed


def _find_label(table: pa.Table) -> tuple[LabelEntry | None, str]:
    """The best label column and why it is one, or why none is."""
    reasons: list[str] = []
    found: list[tuple[int, LabelEntry, str]] = []
    for position, name in enumerate(table.column_names, start=1):
        if not _LABEL_NAME.search(name):
            continue
        values = _values(table.column(name))
        label = _as_label(name, values)
        shown = shown_column(name, position)
        if label is None:
            reasons.append(f"{shown} has {shown_values(values)}, which do not say what is positive")
        else:
            explicit = bool(_PLAIN_LABEL_NAME.fullmatch(name))
            why = f"label {shown}: its name says so, and its values are {shown_values(values)}"
            found.append((int(explicit) + int(len(values) == 2), label, why))
    if found:
        _, label, why = max(found, key=lambda candidate: candidate[0])
        return label, why
    return None, "; ".join(reasons) or "no column has the name of a label"


def _values(column: pa.ChunkedArray) -> list[str]:
    """The distinct values as canonical text, at most a few more than a label may have."""
    distinct = pc.unique(column.drop_null())
    if len(distinct) > _MAXIMUM_LABEL_VALUES:
        return [""] * len(distinct)
    return sorted({text for value in distinct.to_pylist() if (text := canonical_text(value)) is not None})


def _as_label(name: str, values: list[str]) -> LabelEntry | None:
    negative = [value for value in values if says_negative(value)]
    positive = [value for value in values if says_positive(value)]
    if len(values) == 2 and len(positive) == 1 and len(negative) == 1:
        return LabelEntry(column=name, positive=tuple(positive), negative=tuple(negative))
    if 2 < len(values) <= _MAXIMUM_LABEL_VALUES and len(negative) == 1 and not any(v.isdigit() for v in values):
        return LabelEntry(column=name, negative=tuple(negative))
    return None


def _find_text(table: pa.Table, label: str | None) -> str | None:
    """The column of longest texts, a telling name counting double."""

    def weight(name: str) -> float:
        length = _mean_length(table.column(name))
        hinted = name.lower() in _TEXT_NAMES
        return length * (2.0 if hinted else 1.0) if hinted or length >= _MINIMUM_TEXT_LENGTH else 0.0

    names = [name for name in table.column_names if name != label and pa.types.is_string(table.column(name).type)]
    best = max(names, key=weight, default=None)
    return best if best is not None and weight(best) > 0 else None


def _mean_length(column: pa.ChunkedArray) -> float:
    return float(pc.mean(pc.utf8_length(column)).as_py() or 0.0)


def _describe(
    table: pa.Table, label: LabelEntry | None, text: str | None, private: frozenset[str]
) -> tuple[ColumnFinding, ...]:
    findings: list[ColumnFinding] = []
    for position, name in enumerate(table.column_names, start=1):
        column = table.column(name)
        if name in private:
            findings.append(ColumnFinding(plain_name(position - 1), str(column.type), "ignored", _PRIVATE))
            continue
        if label is not None and name == label.column:
            role, why = "label", "its name and its values say so"
        elif name == text:
            role, why = "text", "the longest texts"
        elif _LABEL_NAME.search(name):
            role, why = "ignored", "named like a label: as an input it would give the label away"
        else:
            role, why = _feature_role(name, column)
        told = name if looks_like_name(name) else shown_column(name, position)
        findings.append(ColumnFinding(told, str(column.type), role, why))
    return tuple(findings)


def _feature_role(name: str, column: pa.ChunkedArray) -> tuple[str, str]:
    distinct = len(pc.unique(column.drop_null()))
    is_text = pa.types.is_string(column.type)
    if distinct < 2:
        return "ignored", "no two values"
    if pa.types.is_integer(column.type) and distinct >= _IDENTIFIER_SHARE * (len(column) - column.null_count):
        return "identifier", "almost every row has its own whole number"
    if not is_text:
        return "numeric", f"{distinct} numbers"
    if _TIME_NAME.search(name):
        return "time", "its name says so"
    return ("categorical" if distinct <= _MAXIMUM_CATEGORIES else "ignored"), f"{distinct} different texts"
