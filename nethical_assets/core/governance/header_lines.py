"""Tables written inside a text, SQL among them: a value gets the label of its column, as if that stood before it.

What belongs here: which lines are a header and rows below it, and the label before each cell, with offsets kept. What
does not: which labels make a value personal data (the rule files), tables that are files (``core/reading``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nethical_assets.core.governance.normalise import Rewritten, rewrite
from nethical_assets.core.governance.rules import compile_pattern

_LABEL = (
    r"(?:dob|ssn|nhs|sin|tel|pwd|birth(?:[ _-]?(?:date|day|dt))?|date[ _-]of[ _-]birth|social[ _-]security|passport"
    r"|phone|telephone|mobile|fax|password|passwd|secret|token|geburtsdatum|geb[ _]datum"
    r"|fecha[ _]nacimiento|telefon[eo]?|handy|rufnummer|telefonnummer|telefoon|celular|cellulare|movil|portable|gsm"
    r"|whatsapp|passwort|contrasena|senha)"
)
HEADER_PATTERN = r'[,;|\t][ "A-Za-z_-]+\|?\r?\n|\)\s*(?i:values)\s*\(|[A-Za-z"]\r?\n["+(]{0,2}[0-9]'
"""RE2: ``with_labels`` finds nothing in a text without a match; the last name of a header has no other characters."""

_INSERT = re.compile(r"(?i)\binsert\s+(?:ignore\s+)?into\s+[^\s()]{1,160}\s*\(([^()]{1,4000})\)\s*values\s*(?=\()")
_SQL_VALUE = re.compile(r"\s*(N?'(?:[^'\\]|''|\\.)*'|\"[^\"]*\"|[^\s'\"(),;][^,();'\"]*|)\s*([,)])")
_SQL_NEXT_ROW = re.compile(r"\s*,\s*(?=\()")
_ONE_CELL = re.compile(r"[\"(+]{0,2}[0-9](?:[0-9 ./()+-]{0,24}[0-9])?\"?\Z")
_SOME_LABEL = compile_pattern(rf"(?i){_LABEL}[^,;|\t\n]{{0,12}}[,;|\t\n]")
_LABELS = re.compile(rf"(?i)\A(?:[a-z]+[ _-])?{_LABEL}(?:[ _-](?:no|number|nr))?\Z")
_NAMES = re.compile(r"[^\W\d](?:[\w .()/#-]{0,40}\w)?\Z")
_RULER = re.compile(r"[|:+ -]+\Z")
_CELL = {sign: re.compile(rf'[ ]*("[^"\n]*"|[^{re.escape(sign)}\n]*)(?:{re.escape(sign)}|\Z)') for sign in ",;|\t"}
_MAXIMUM_COLUMNS = 200


def with_labels(text: str) -> Rewritten | None:
    """``text`` with the label of its column, on a line of its own, before each cell that has one; None without any.

    A header is a line of two or more names divided by one sign (comma, semicolon, tab or bar), one of which labels
    personal data or a secret, with a line of as many cells below it; or one such name alone above lines of digits; or
    the columns of an SQL ``INSERT``.
    """
    insertions = [*_in_inserts(text), *_in_lines(text)]
    return rewrite(text, sorted(insertions)) if insertions else None


def _in_inserts(text: str) -> Iterator[tuple[int, int, str]]:
    """Insertions for the values of SQL ``INSERT INTO table (names) VALUES (values), (values)``."""
    for insert in _INSERT.finditer(text):
        names = [name.strip(' \t\r\n"`[]') for name in insert[1].split(",")]
        labels = [name if _LABELS.match(name) else "" for name in names]
        position = insert.end()
        while any(labels) and text[position : position + 1] == "(":
            values, position = _sql_row(text, position + 1)
            if len(values) != len(names):
                break
            yield from ((at, at, f"\n{label}: ") for at, label in zip(values, labels, strict=True) if label)
            following = _SQL_NEXT_ROW.match(text, position)
            position = following.end() if following else len(text)


def _sql_row(text: str, position: int) -> tuple[list[int], int]:
    """``(where the values begin, where the row ends)`` of the row whose first value is at ``position``."""
    values: list[int] = []
    while (value := _SQL_VALUE.match(text, position)) is not None:
        values.append(value.start(1))
        position = value.end()
        if value[2] == ")":
            return values, position
    return [], position


def _in_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """Insertions for the cells below a header of names."""
    read_until = 0
    for position in _label_positions(text):
        if position < read_until:
            continue
        start = text.rfind("\n", 0, position) + 1
        lines = _lines(text, start)
        start, line = next(lines)
        read_until = start + len(line) + 1
        name = line.strip(' "')
        if _LABELS.match(name):
            for start, cell in lines:
                if not _ONE_CELL.match(cell):
                    break
                yield start, start, f"\n{name}: "
                read_until = start + len(cell) + 1
            continue
        delimiter, header = _header(line)
        if not header:
            continue
        for start, line in lines:
            if _RULER.match(line):
                continue
            cells = list(_cells(line, delimiter))
            if len(cells) != len(header):
                break
            yield from (
                (start + position, start + position, f"\n{name}: ")
                for (position, _), name in zip(cells, header, strict=True)
                if _LABELS.match(name)
            )
            read_until = start + len(line) + 1


def _label_positions(text: str) -> Iterator[int]:
    """Where a label stands before the end of a cell, in code points."""
    data = text.encode()
    for match in _SOME_LABEL.finditer(data):
        yield match.start() if len(data) == len(text) else len(data[: match.start()].decode())


def _lines(text: str, start: int) -> Iterator[tuple[int, str]]:
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield start, text[start:end].removesuffix("\r")
        start = end + 1


def _header(line: str) -> tuple[str, list[str]]:
    """``(delimiter, names)`` of ``line``; no names when it is no header."""
    delimiter = max(_CELL, key=line.count)
    if not 1 <= line.count(delimiter) < _MAXIMUM_COLUMNS:
        return "", []
    names = [cell for _, cell in _cells(line, delimiter)]
    is_header = all(not name or _NAMES.match(name) for name in names) and any(_LABELS.match(name) for name in names)
    return (delimiter, names) if is_header else ("", [])


def _cells(line: str, delimiter: str) -> Iterator[tuple[int, str]]:
    """``(position, text)`` of the cells of ``line``, without quotes and blanks around them."""
    position = 0
    while position <= len(line):
        match = _CELL[delimiter].match(line, position)
        if match is None:
            return
        cell = match[1].strip(' "')
        yield match.start(1) + len(match[1]) - len(match[1].lstrip(' "')), cell
        if match.end() == len(line) and not match[0].endswith(delimiter):
            return
        position = match.end()
