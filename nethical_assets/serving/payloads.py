"""From the bytes of a request to raw records.

What belongs here: the media types, their limits and their strictness. What does not: what a record means to a family
(``core.detectors``), or scoring.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa

from nethical_assets.core.governance.columns import LARGEST_EXACT
from nethical_assets.serving.refusals import RefusedError, invalid, malformed, shortened, too_large
from nethical_assets.serving.repeated_names import repeated_name

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
RECORDS, COLUMNS = "records", "columns"
_COMPRESSION_SLOT = 4 + 2 * 3
"""Where the offset of the field ``compression`` is in the table of a record batch's fields (Arrow's Message.fbs)."""
_HEADER_SLOT = 4 + 2 * 2
_MOST_FIELDS = 10_000

Record = Mapping[str, Any]


def media_type(content_type: str | None, allowed: Sequence[str]) -> str:
    """The media type without its parameters.

    Raises:
        RefusedError: 415, it is none of ``allowed``, or of another encoding than UTF-8.
    """
    kind, _, parameters = (content_type or "").partition(";")
    charset = parameters.strip().lower().replace('"', "").removeprefix("charset=")
    if kind.strip().lower() not in allowed or (charset not in ("", "utf-8", "utf8")):
        raise RefusedError(415, "media_type", f"send {' or '.join(allowed)}", field="content-type")
    return kind.strip().lower()


def decode_json(body: bytes, kind: type[Any] = object) -> Any:
    """A JSON document, of the type ``kind`` where one is given.

    Raises:
        RefusedError: 400, it is no JSON; 422, an object has a field twice, or it is of another type.
    """
    try:
        document = msgspec.json.decode(body)
        repeated = repeated_name(body, document)
        if repeated is not None:
            raise invalid(repeated, "there twice, and only one value can hold")
        # Form before content: what is no JSON is that, whatever its beginning says.
        return document if kind is object else msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `")
        raise invalid(place.rstrip("`").removeprefix("$").lstrip("."), reason) from None
    except (ValueError, RecursionError) as error:
        # Of the library's words only those about the form: they hold a byte's number and nothing of the text.
        known = isinstance(error, msgspec.DecodeError)
        raise malformed(str(error) if known else "not a JSON document that can be read") from None


def is_batch(document: Any) -> bool:
    """Whether a JSON document holds many records; anything else is one.

    Raises:
        RefusedError: 422, it is no object.
    """
    if not isinstance(document, dict):
        raise invalid("", "a record is an object; send many as records or columns")
    return len(document) == 1 and (isinstance(document.get(RECORDS), list) or isinstance(document.get(COLUMNS), dict))


def check_records(document: Mapping[str, Any], records_max: int) -> None:
    """Refuse a JSON document with too many records before anything is made of it.

    Raises:
        RefusedError: 413.
    """
    held = document.get(RECORDS)
    columns = (held,) if isinstance(held, list) else document.get(COLUMNS, {}).values()
    _check_size(max((len(cells) for cells in columns if isinstance(cells, list)), default=1) or 1, 1, records_max)


def frame_of(document: Mapping[str, Any], records_max: int) -> pd.DataFrame:
    """The records of a JSON document with many, a row each.

    Raises:
        RefusedError: 413, too many; 422, none, unequal fields, or columns of unequal lengths.
    """
    columns = _columns_of(document[RECORDS], records_max) if RECORDS in document else document[COLUMNS]
    for name, cells in columns.items():
        if not isinstance(cells, list):
            raise invalid(f"{COLUMNS}.{shortened(name)}", "not a list")
    return frame_of_columns(columns, records_max)


def frame_of_columns(columns: Mapping[str, list[Any]], records_max: int) -> pd.DataFrame:
    """A row a record, of lists of equal length.

    Raises:
        RefusedError: 413, too many; 422, none, or unequal lengths.
    """
    lengths = {name: len(cells) for name, cells in columns.items()}
    rows = max(lengths.values(), default=0)
    _check_size(rows, len(columns), records_max)
    for name, length in lengths.items():
        if length != rows:
            raise invalid(name, f"has {length} values, another column has {rows}")
    return pd.DataFrame({name: _series(cells) for name, cells in columns.items()}, index=pd.RangeIndex(rows))


def _columns_of(records: list[Any], records_max: int) -> dict[str, list[Any]]:
    _check_size(len(records), 1, records_max)
    first = records[0]
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise invalid(f"{RECORDS}[{number}]", "not an object")
        if record.keys() != first.keys():
            name = min(record.keys() ^ first.keys())
            reason = "missing" if name in first else "not in the first record"
            raise invalid(f"{RECORDS}[{number}].{shortened(name)}", reason)
    return {name: [record[name] for record in records] for name in first}


def _check_size(rows: int, columns: int, records_max: int) -> None:
    if rows > records_max:
        raise too_large(f"{rows} records; send at most {records_max} at once")
    if rows == 0 or columns == 0:
        raise invalid("", "no records")
    if columns > _MOST_FIELDS:
        raise too_large(f"{columns} fields; a record has at most {_MOST_FIELDS}")


def _series(cells: list[Any]) -> pd.Series:
    """Cells as they were sent: whole numbers too large for 64 bits, and lists, stay what they are."""
    kinds = set(map(type, cells))
    if kinds and kinds <= {int, float}:
        try:
            return _numbers(cells, kinds)
        except OverflowError:
            return pd.Series(cells, dtype=object)
    return pd.Series(cells, dtype=object if kinds != {str} else "str")


def _numbers(cells: list[Any], kinds: set[type]) -> pd.Series:
    """Raises ``OverflowError``: one is too large for any type of numbers."""
    if kinds == {int}:
        try:
            return pd.Series(np.array(cells, dtype=np.int64))
        except OverflowError:
            return pd.Series(cells)
    numbers = np.array(cells, dtype=np.float64)
    # Small ones are exact, whatever they were; only then has each to be looked at.
    if kinds == {float} or np.abs(numbers).max() < LARGEST_EXACT:
        return pd.Series(numbers)
    if any(type(cell) is int and abs(cell) > LARGEST_EXACT for cell in cells):
        return pd.Series(cells, dtype=object)
    return pd.Series(numbers)


def frame_of_arrow(body: bytes, records_max: int) -> pd.DataFrame:
    """The records of an Arrow IPC stream: columns of numbers, truth values and strings, uncompressed.

    Raises:
        RefusedError: 400, it is no such stream; 413, too many records; 422, none, or a column of another type.
    """
    try:
        return _frame_of_arrow(body, records_max)
    except (pa.ArrowException, OSError, ValueError, struct.error, OverflowError, MemoryError):
        raise malformed("not an Arrow IPC stream that can be read") from None


def _frame_of_arrow(body: bytes, records_max: int) -> pd.DataFrame:
    _refuse_compression(body)
    batches, rows, held = [], 0, 0
    with pa.ipc.open_stream(body) as reader:
        schema = reader.schema
        for field in schema:
            if not _is_plain(field.type):
                raise invalid(field.name, "a column of numbers, truth values or strings is needed")
        if len(set(schema.names)) != len(schema.names):
            raise invalid("", "two columns have the same name")
        for batch in reader:
            rows += batch.num_rows
            _check_size(max(rows, 1), max(len(schema), 1), records_max)
            held += sum(buffer.size for column in batch.columns for buffer in column.buffers() if buffer is not None)
            if held > len(body):
                raise malformed("an Arrow IPC stream whose columns share their bytes")
            # Offsets of others are not trusted: those outside of the buffers would be read all the same.
            batch.validate(full=True)
            batches.append(batch)
    _check_size(rows, len(schema), records_max)
    table = pa.Table.from_batches(batches, schema)
    table = table.cast(pa.schema([pa.field(field.name, _widest(field.type)) for field in schema]))
    # What a schema says beside its columns is for whoever wrote it: it would name indexes and types anew.
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame


def _widest(kind: pa.DataType) -> pa.DataType:
    """A column's type as numbers have it in JSON and in files, so that they are read alike; no value changes."""
    if pa.types.is_floating(kind):
        return pa.float64()
    return pa.int64() if pa.types.is_integer(kind) and not pa.types.is_uint64(kind) else kind


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        is_kind(kind)
        for is_kind in (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    )


def _refuse_compression(body: bytes) -> None:
    """A few bytes may unfold to as many as there is no memory for; the limit of a body is one of what it holds."""
    reader = pa.ipc.MessageReader.open_stream(body)
    for message in reader:
        if message.type == "record batch":
            metadata = message.metadata.to_pybytes()
            root = struct.unpack_from("<I", metadata, 0)[0]
            header = _field(metadata, root, _HEADER_SLOT)
            batch = header + struct.unpack_from("<I", metadata, header)[0] if header else 0
            if batch and _field(metadata, batch, _COMPRESSION_SLOT):
                raise invalid("", "compressed buffers are not read; send the stream uncompressed")


def _field(data: bytes, table: int, slot: int) -> int:
    """Where a field of a FlatBuffers table is, 0 where it is absent."""
    fields = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, fields)[0]
    offset = struct.unpack_from("<H", data, fields + slot)[0] if slot < size else 0
    return table + offset if offset else 0
