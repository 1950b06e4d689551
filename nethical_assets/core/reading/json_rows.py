"""JSON as batches of string columns: one object a line, or one document that holds the rows.

What belongs here: lists and lines of objects, repeated keys, and rows that cannot be read. What does not: decoding
(``text_streams``), in what shapes rows are wrapped (``json_documents``), other formats, what values mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from nethical_assets.core.reading.columns import MAXIMUM_COLUMNS, check_wanted, json_column, text_of, unique_names
from nethical_assets.core.reading.json_documents import (
    NOT_JSON,
    ONE_DOCUMENT,
    refuse_several_lines,
    refuse_wrapped,
    unwrapped,
)
from nethical_assets.core.reading.tally import FileReading, FileTally, UnreadableError
from nethical_assets.core.reading.text_streams import Utf8Stream, find_codec
from nethical_assets.core.rows.catalog import FileEntry
from nethical_assets.core.rows.naming import looks_like_name, shown_column

_BYTES_A_BATCH = 1 << 24
_LONGEST_LINE = 1 << 26
_MAXIMUM_WRAPPED_BYTES = 1 << 26
_OBJECTS_A_BATCH = 4_096
_CELLS_A_BATCH = 1 << 22
_MANY_NAMES = 2_000
_FILLED_SHARE_MIN = 0.05
_SURROGATES = re.compile("[\ud800-\udfff]")
_HALF_A_PAIR = "a text holds half a surrogate pair, which is no character"


def stream_json_lines(path: Path, entry: FileEntry, reading: FileReading) -> Iterator[pa.RecordBatch]:
    """The rows of a file of one object a line; with a wanted column, that member alone."""
    shown, tally = reading.shown, reading.tally
    row, last, last_line = 0, None, b""
    rows = _Rows(reading, entry.text_column)
    decoder = json.JSONDecoder(object_pairs_hook=_Members(tally))
    with Utf8Stream(path, entry.encoding, shown) as stream:
        for block in line_blocks(stream, reading.row_bytes):
            lines = [line for line in block.split(b"\n") if line.strip()]
            try:
                # One call for the whole block; its lines are looked at one by one only when one of them is bad.
                values = decoder.decode((b"[" + b",".join(lines) + b"]").decode())
                good = len(values) == len(lines)
            except NOT_JSON:
                good = False
            if not good:
                if row == 0:
                    refuse_several_lines(block, decoder, shown)
                values = [_json_or_none(line, row + index, decoder, tally) for index, line in enumerate(lines, start=1)]
            if row == 0 and len(values) == 1 and reading.wanted is not None:
                refuse_wrapped(values[0], shown, reading.wanted)
            yield from rows.batches(values, row)
            row += len(lines)
            last = values[-1] if values else last
            last_line = lines[-1] if lines else last_line
            if tally.hopeless:
                return
        if row == 1:
            refuse_wrapped(last, shown, reading.wanted or entry.text_column)
        if tally.last_rejected_row == row and not stream.ended_with_newline and _breaks_off(last_line):
            raise UnreadableError(f"{shown}: truncated: its last line breaks off", "fetch the file again")


def stream_json(path: Path, entry: FileEntry, reading: FileReading) -> Iterator[pa.RecordBatch]:
    """The rows of one JSON document; with a wanted column, that member alone."""
    shown = reading.shown
    rows = _Rows(reading, entry.text_column)
    with Utf8Stream(path, entry.encoding, shown) as stream:
        waiting: list[Any] = []
        row, size = 0, 0
        if stream.peek().lstrip().startswith(b"["):
            items = _list_items(stream, reading)
        else:
            items = ((value, 0) for value in unwrapped(_document(stream, reading.tally), shown))
        for value, characters in items:
            waiting.append(value)
            size += characters
            if len(waiting) >= _OBJECTS_A_BATCH or size > _BYTES_A_BATCH:
                yield from rows.batches(waiting, row)
                row += len(waiting)
                waiting, size = [], 0
        yield from rows.batches(waiting, row)


def line_blocks(stream: Utf8Stream, row_bytes: int) -> Iterator[bytes]:
    """Pieces of the stream that end where a line ends."""
    rest: list[bytes] = []
    size = 0
    # Lines of old programs end in a carriage return alone.
    returns = b"\n" not in stream.peek() and b"\r" in stream.peek()
    while piece := stream.read():
        if returns:
            piece = piece.replace(b"\r", b"\n")
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield b"".join([*rest, piece[:cut]])
            rest, size = [piece[cut:]], len(piece) - cut
        else:
            rest.append(piece)
            size += len(piece)
        if size > row_bytes:
            raise UnreadableError(
                f"{stream.shown}: a line is longer than {row_bytes >> 20} MiB",
                "correct its 'format' in datasets.toml",
            )
    if size:
        yield b"".join(rest)


def is_one_document(path: Path, encoding: str) -> bool:
    """Whether a JSON file is one document, and not one object a line."""
    find_codec(encoding, str(path))
    with open(path, encoding=encoding, errors="replace") as stream:
        first = next(filter(str.strip, iter(lambda: stream.readline(_LONGEST_LINE), "")), "")
        try:
            one_line = isinstance(json.loads(first.removeprefix("\ufeff")), dict)
        except NOT_JSON:
            one_line = False
        return not one_line or not any(map(str.strip, iter(lambda: stream.readline(_LONGEST_LINE), "")))


class _Members:
    """The members of a JSON object, repeated keys named as the repeated columns of any file are, and noted.

    RFC 8259, 4 leaves open what becomes of repeated keys; most parsers lose all but the last without a word.
    """

    def __init__(self, tally: FileTally) -> None:
        self._tally = tally

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        shown = shown_column(repeated, keys.index(repeated) + 1) if looks_like_name(repeated) else "a key"
        self._tally.note(
            f"{shown} is there more than once in an object: the first keeps its name, the others get _2, _3"
        )
        return dict(zip(unique_names(keys), (value for _, value in pairs), strict=True))


class _Rows:
    """Makes batches of JSON objects."""

    def __init__(self, reading: FileReading, text_column: str | None) -> None:
        self._tally = reading.tally
        self._shown = reading.shown
        self._text_column = text_column
        self._wanted = reading.wanted
        self._objects_of = reading.objects - {text_column}
        self._names: dict[str, None] = {}
        self._members = 0
        self._objects = 0

    def batches(self, values: list[Any], row: int) -> Iterator[pa.RecordBatch]:
        """JSON objects as string columns; what is not an object is rejected (``None`` was counted before).

        ``row`` is the number of rows before them.
        """
        objects = [value for value in values if isinstance(value, dict)]
        if self._wanted is not None:
            objects = [self._only(self._wanted, value, number) for number, value in _numbered(values, row)]
        names = list(dict.fromkeys(name for value in objects for name in value))
        if len(objects) > 1 and len(objects) * len(names) > _CELLS_A_BATCH:
            half = len(values) // 2
            yield from self.batches(values[:half], row)
            yield from self.batches(values[half:], row + half)
            return
        self._count_names(names, objects)
        for index, value in enumerate(values, start=row + 1):
            if value is not None and not isinstance(value, dict):
                self._tally.reject(index, f"a JSON {type(value).__name__}, not an object")
        if not objects:
            return
        try:
            batch = self._batch(objects, names)
        except UnicodeEncodeError:
            if self._wanted is not None:
                values = [value[self._wanted] for value in objects]
                batch = pa.record_batch({self._wanted: pa.array(map(_as_bytes, values), pa.large_binary())})
                self._tally.rows_read += len(objects)
                yield batch
                return
            numbers = [number for number, _ in _numbered(values, row)]
            objects = [value for number, value in zip(numbers, objects, strict=True) if self._is_text(number, value)]
            if not objects:
                return
            batch = self._batch(objects, list(dict.fromkeys(name for value in objects for name in value)))
        self._keep_objects(objects)
        self._tally.rows_read += len(objects)
        yield batch

    def _only(self, wanted: str, value: dict[str, Any], number: int) -> dict[str, Any]:
        if wanted not in value:
            check_wanted(wanted, list(value), f"{self._shown}: row {number}")
        return {wanted: value[wanted]}

    def _count_names(self, names: list[str], objects: list[dict[str, Any]]) -> None:
        self._names |= dict.fromkeys(names)
        self._members += sum(map(len, objects))
        self._objects += len(objects)
        several = len(self._names)
        sparse = several > _MANY_NAMES and self._members < several * self._objects * _FILLED_SHARE_MIN
        if sparse or several > MAXIMUM_COLUMNS:
            raise UnreadableError(
                f"{self._shown}: its objects have over {several} different keys, so that these are data and no names "
                f"of columns",
                "give every object the same keys",
            )

    def _batch(self, objects: list[dict[str, Any]], names: list[str]) -> pa.RecordBatch:
        columns = [
            json_column([value.get(name) for value in objects], lines=name in (self._text_column, self._wanted))
            for name in names
        ]
        return pa.record_batch(columns, names=unique_names(names))

    def _keep_objects(self, objects: list[dict[str, Any]]) -> None:
        for position, value in enumerate(objects, start=self._tally.rows_read):
            for name in self._objects_of & value.keys():
                if isinstance(value[name], bool | list | dict):
                    self._tally.no_texts.setdefault(name, []).append((position, value[name]))

    def _is_text(self, row: int, value: dict[str, Any]) -> bool:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            self._tally.reject(row, _HALF_A_PAIR)
            return False
        return True


def _as_bytes(value: Any) -> bytes | None:
    """A value as UTF-8, with one byte that is none in place of half a surrogate pair, so that positions stay."""
    text = text_of(value, lines=True)
    return None if text is None else b"\xff".join(part.encode() for part in _SURROGATES.split(text))


def _numbered(values: list[Any], row: int) -> list[tuple[int, dict[str, Any]]]:
    """The objects among the values with the numbers of their rows."""
    return [(number, value) for number, value in enumerate(values, start=row + 1) if isinstance(value, dict)]


def _json_or_none(line: bytes, row: int, decoder: json.JSONDecoder, tally: FileTally) -> Any:
    text = line.decode().strip()
    try:
        return decoder.decode(text)
    except NOT_JSON as error:
        tally.reject(row, "a comma after its object" if text.endswith("},") else f"not JSON ({_reason(error)})")
        return None


def _reason(error: Exception) -> str:
    """Why something is not JSON, without anything of it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "nested too deep" if isinstance(error, RecursionError) else "a number of too many digits"


def _breaks_off(line: bytes) -> bool:
    """Whether a line ends before its first value does."""
    try:
        json.JSONDecoder().raw_decode(line.decode().strip())
    except NOT_JSON:
        return True
    return False


def _list_items(stream: Utf8Stream, reading: FileReading) -> Iterator[tuple[Any, int]]:
    """The items of one JSON list, decoded one at a time, and how many characters each takes."""
    decoder = json.JSONDecoder(object_pairs_hook=_Members(reading.tally))
    row_bytes = reading.row_bytes
    text = stream.read().decode().lstrip()
    position, ended, items = 1, False, 0
    while True:
        while position < len(text) and text[position] in " \t\r\n,":
            position += 1
        if position < len(text) and text[position] == "]":
            _refuse_more(stream, text[position + 1 :])
            return
        try:
            value, end = decoder.raw_decode(text, position)
            complete = end < len(text)  # a number at the very end may go on in the next piece
        except NOT_JSON:
            complete = False
        if complete:
            yield value, end - position
            position, items = end, items + 1
            continue
        if ended:
            raise UnreadableError(
                f"{stream.shown}: truncated or not JSON after item {items} of the list", "fetch the file again"
            )
        if len(text) - position > row_bytes:
            raise UnreadableError(
                f"{stream.shown}: item {items + 1} of the list is larger than {row_bytes >> 20} MiB or not JSON",
                "fetch the file again",
            )
        # Grow by at least what is there already, so that a large item is not decoded once a piece.
        more = b""
        while len(more) < max(len(text) - position, 1) and (piece := stream.read()):
            more += piece
        ended = not more
        text, position = text[position:] + more.decode(), 0


def _refuse_more(stream: Utf8Stream, rest: str) -> None:
    """Refuse what follows the end of the list."""
    while rest or (rest := stream.read().decode()):
        if rest.strip():
            raise UnreadableError(
                f"{stream.shown}: expected one JSON document, and there are several", ONE_DOCUMENT, ONE_DOCUMENT
            )
        rest = ""


def _document(stream: Utf8Stream, tally: FileTally) -> Any:
    """The one value that the whole file is."""
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read():
        pieces.append(piece)
        size += len(piece)
        if size > _MAXIMUM_WRAPPED_BYTES:
            raise UnreadableError(
                f"{stream.shown}: one JSON object of over {_MAXIMUM_WRAPPED_BYTES >> 20} MiB around its rows",
                "write it as one object a line (jsonl)",
                "write it as one object a line (.jsonl)",
            )
    whole = b"".join(pieces)
    try:
        return json.loads(whole, object_pairs_hook=_Members(tally))
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise UnreadableError(
                f"{stream.shown}: expected one JSON document, and there are several",
                f"if it has one object a line, its 'format' is \"jsonl\"; else {ONE_DOCUMENT}",
                ONE_DOCUMENT,
            ) from None
        raise UnreadableError(
            f"{stream.shown}: truncated or not JSON ({_reason(error)})", "fetch the file again"
        ) from None
    except NOT_JSON as error:
        raise UnreadableError(f"{stream.shown}: not JSON ({_reason(error)})", "fetch the file again") from None
