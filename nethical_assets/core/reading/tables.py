"""Files of records for batch work: read whole, in order, and written atomically.

What belongs here: one file in, one frame out, and back. What does not: sampling and labels (``readers``), or what the
columns mean.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa

from nethical_assets.core.ground.disk import advice
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.reading.json_rows import is_one_document
from nethical_assets.core.reading.kinds import other_kind_of
from nethical_assets.core.reading.parquet_batches import UnpackingLimit
from nethical_assets.core.reading.readers import infer_types
from nethical_assets.core.reading.row_streams import stream_rows
from nethical_assets.core.reading.tally import FileReading, UnreadableError
from nethical_assets.core.reading.text_streams import find_codec
from nethical_assets.core.rows.catalog import DatasetEntry, FileEntry, FileFormat
from nethical_assets.core.rows.file_names import names_file
from nethical_assets.core.rows.labels import FILE_COLUMN

MAXIMUM_ROW_BYTES = 1 << 24
FORMATS: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "lines",
}
_SPELLED = {"tab": "\t", "\\t": "\t"}
OUTPUT_SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class TextLayout:
    """How a file of text is laid out, where whoever names it says so: its delimiter and encoding."""

    delimiter: str | None = None
    encoding: str | None = None


AS_THE_NAME_SAYS = TextLayout()


def reading_of(path: Path, *, wanted: str | None = None, objects: frozenset[str] = frozenset()) -> FileReading:
    """A reading of a file that a person named, of one ``wanted`` column or of all.

    In the columns ``objects`` truth values, lists and objects stay what they are; elsewhere they become text.
    """
    return FileReading(str(path), wanted=wanted, row_bytes=MAXIMUM_ROW_BYTES, objects=objects)


def read_records(
    path: Path,
    entries: Sequence[DatasetEntry] = (),
    layout: TextLayout = AS_THE_NAME_SAYS,
    reading: FileReading | None = None,
) -> pd.DataFrame:
    """The records of a file, in order, with inferred column types.

    A file named like one of the catalog's ``entries`` is read by that entry's layout (encoding, columns without a
    header line); any other by its suffix. What ``layout`` says comes first. The tally of ``reading`` (``reading_of``)
    is filled on the way.

    Raises:
        DatasetError: there is no such file, its format is unknown, or its content cannot be used; one line.
    """
    _check_there(path)
    file = _declared_layout(path, entries) or layout_of(path)
    limit = UnpackingLimit(path, str(path))
    batches: list[pa.RecordBatch] = []
    declared = with_layout(file, layout)
    reading = reading or reading_of(path)
    for batch in every_row(path, declared, reading):
        limit.add(batch.nbytes)
        batches.append(batch)
    kept = reading.tally.no_texts
    texts = {name for name in (declared.text_column, declared.sequence_column, *kept) if name}
    table = infer_types(
        pa.concat_tables([pa.Table.from_batches([batch]) for batch in batches], promote_options="default"),
        keep_as_text=frozenset(texts),
    )
    frame: pd.DataFrame = table.to_pandas()
    for name, cells in kept.items():
        whole = frame[name].astype("object")
        for row, value in cells:
            whole.iat[row] = value
        frame[name] = whole
    return frame.assign(**{FILE_COLUMN: path.name})


def every_row(path: Path, layout: FileEntry, reading: FileReading) -> Iterator[pa.RecordBatch]:
    """The rows of a file that a person named, in order, as string columns; one bad row refuses the file.

    A JSON file may also hold one object a line.

    Raises:
        DatasetError: there is no such file, or its content cannot be used, or somebody wrote to it meanwhile; one line,
            without anything of it.
    """
    _check_there(path)
    tally = reading.tally
    with unchanged(path):
        try:
            if layout.format == "json" and not is_one_document(path, layout.encoding):
                layout = layout.model_copy(update={"format": "jsonl"})
            yield from stream_rows(path, layout, reading)
        except UnreadableError as error:
            raise error.for_command("name a readable file of records") from None
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}); name another file") from None
        if tally.rows_rejected:
            raise DatasetError(
                f"{path}: {tally.rows_rejected} malformed rows, the first is row {tally.first_rejected_row} "
                f"({tally.first_rejection}); every record counts, so correct them first"
            )


@contextmanager
def unchanged(path: Path) -> Iterator[None]:
    """What is done with a file of records while nobody writes to it: half of one state and half of another is neither.

    Raises:
        DatasetError: the file was written to, replaced or removed meanwhile, whatever else went wrong because of that.
    """
    before = _stamp(path)
    try:
        yield
    except DatasetError:
        if _stamp(path) == before:
            raise
    if _stamp(path) != before:
        raise DatasetError(f"{path}: it was changed while it was read; wait until it is written, then try again")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def layout_of(path: Path, file_format: FileFormat | None = None, *, text_column: str | None = None) -> FileEntry:
    """How a file is read that no catalog entry describes: by ``file_format``, or else by its suffix.

    Raises:
        DatasetError: there is no such file, or its suffix names no format.
    """
    _check_there(path)
    kind = file_format or FORMATS.get(path.suffix.lower())
    if kind is None:
        other = other_kind_of(path)
        if other is not None:
            raise DatasetError(f"{path}: it is {other.what} and no table; {other.do}")
        raise DatasetError(f"{path}: unknown format; name a file that ends in {', '.join(FORMATS)}")
    return FileEntry(path=(path.name,), format=kind, text_column=text_column)


def with_layout(file: FileEntry, layout: TextLayout) -> FileEntry:
    """``file`` with the delimiter and encoding that were said.

    Raises:
        DatasetError: a delimiter was said for a format that has none, or the encoding is unknown.
    """
    if layout.delimiter is not None:
        if file.format not in ("csv", "tsv"):
            raise DatasetError(f"--delimiter: a {file.format} file has none; only csv and tsv files have one")
        delimiter = _SPELLED.get(layout.delimiter.lower(), layout.delimiter)
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise DatasetError("--delimiter: name one ASCII character that is no quote or line end, or say tab")
        file = file.model_copy(update={"delimiter": delimiter})
    if layout.encoding is not None:
        if file.format == "parquet":
            raise DatasetError("--encoding: a parquet file has none; only files of text have one")
        find_codec(layout.encoding, "--encoding")
        file = file.model_copy(update={"encoding": layout.encoding})
    return file


def layouts_of_two(
    files: Sequence[Path], delimiters: Sequence[str], encodings: Sequence[str]
) -> tuple[TextLayout, TextLayout]:
    """The layouts of two files for which options were given once, for whichever of both they fit, or twice.

    Raises:
        DatasetError: an option was given more often, or fits neither file.
    """
    kinds = [FORMATS.get(file.suffix.lower()) for file in files]
    delimited = [kind in ("csv", "tsv") for kind in kinds]
    text = [kind != "parquet" for kind in kinds]
    first, second = zip(
        _for_two("--delimiter", delimiters, delimited), _for_two("--encoding", encodings, text), strict=True
    )
    return TextLayout(*first), TextLayout(*second)


def _for_two(option: str, said: Sequence[str], fits: Sequence[bool]) -> list[str | None]:
    if len(said) > 2:
        raise DatasetError(f"{option}: say it once for both files, or twice, of the reference and then of the window")
    if len(said) == 2 or not said:
        return [*said] or [None, None]
    return [said[0] if fit or not any(fits) else None for fit in fits]


def check_output(path: Path, source: Path | None = None) -> None:
    """Refuse a file whose suffix names no format that ``write_records`` knows, or that would replace its ``source``.

    Raises:
        DatasetError: the suffix is none of these, or both are one file.
    """
    refuse_source(path, source)
    if path.suffix not in OUTPUT_SUFFIXES:
        raise DatasetError(f"{path}: unknown output format; name a file that ends in {', '.join(OUTPUT_SUFFIXES)}")


def refuse_source(path: Path, source: Path | None) -> None:
    """Refuse to write what was made of ``source`` over it.

    Raises:
        DatasetError: both are one file, or the output is a folder, a device or the like.
    """
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a device, pipe or socket"
        raise DatasetError(f"{path}: the output is {what}; name a file that ends in {', '.join(OUTPUT_SUFFIXES)}")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise DatasetError(f"{path}: the output would replace the file that is read; name another one")


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
        raise DatasetError(
            f"{path}: cannot be written ({error.strerror}); {advice(error)}, or name another file"
        ) from None


def _quoting(frame: pd.DataFrame) -> Literal[0, 2]:
    """Quotes where they are needed; around all text where some holds a carriage return, which Python does not see as a
    reason for quotes although readers end a row there."""
    texts = frame.select_dtypes(["str", "object"])
    returns = any(texts[name].astype("str").str.contains("\r", regex=False, na=False).any() for name in texts)
    return csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL


def _check_there(path: Path) -> None:
    if path.is_dir():
        raise DatasetError(f"{path}: it is a folder; name a file of records")
    if path.is_file():
        return
    if path.is_symlink() and not path.exists():
        raise DatasetError(f"{path}: it is a link that leads nowhere; name a file of records")
    if path.exists():
        raise DatasetError(f"{path}: it is a device, pipe or socket and no file; name a file of records")
    raise DatasetError(f"{path}: there is no such file")


def _declared_layout(path: Path, entries: Sequence[DatasetEntry]) -> FileEntry | None:
    for entry in entries:
        for file in entry.files:
            if names_file((one for one in file.path if not one.rpartition("/")[2].startswith("*")), path.name):
                return file
    return None
