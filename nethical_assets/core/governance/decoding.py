"""Escaped and encoded content, read as the text it stands for, with offsets kept.

What belongs here: percent, entity and backslash escapes (which stand for single characters inside a text), quotes that
are part of an address, base64 and hexadecimal parts (which hold a text of their own), and the limits of decoding. What
does not: characters (``normalise``), compressed content, which is never unpacked.
"""

from __future__ import annotations

import base64
import binascii
import functools
import html
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from nethical_assets.core.governance.normalise import Rewritten, fold_characters, rewrite
from nethical_assets.core.governance.rules import compile_pattern

MAXIMUM_DECODING_DEPTH = 3
MAXIMUM_DECODED_CHARACTERS = 1 << 18
"""How much decoded text one row may produce over all encodings and depths (256 Ki characters)."""

MAXIMUM_ENCODED_PARTS = 64
"""How many encoded parts of one text are decoded."""

ESCAPED_PATTERN = (
    r"%u?[0-9A-Fa-f]{2}|\\x[0-9A-Fa-f]{2}|\\[uU][0-9A-Fa-f{]|\\[nrt\"]|&#?[0-9A-Za-z]{2,31};|&#[0-9]{2}"
    r"|\"@[0-9A-Za-z-]+\.[A-Za-z]"
)
"""RE2: ``unescaped`` changes nothing in a text without a match."""

ENCODED_PATTERN = r"[A-Za-z0-9+/_-]{16}|(?:[0-9A-Fa-f]{2}[ :]){7}"
"""RE2: ``decoded_parts`` finds nothing in a text without a match."""

_ESCAPE = re.compile(
    r"[%&\\\"](?:(?<=%)[0-9A-Fa-f]{2}(?:%[0-9A-Fa-f]{2})*|(?<=%)u[0-9A-Fa-f]{4}(?:%u[0-9A-Fa-f]{4})*"
    r"|(?<=&)(?:#[0-9]{2,7};?|#[xX][0-9A-Fa-f]{2,6};?|[A-Za-z][0-9A-Za-z]{1,31};)"
    r"|(?<=\\)\\*(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|U[0-9A-Fa-f]{8})"
    r"(?:\\+(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|u\{[0-9A-Fa-f]{1,6}\}|U[0-9A-Fa-f]{8}))*"
    r"|(?<=\\)\\*[nrt\"]|(?<=\")[0-9A-Za-z._%+' -]{1,64}\"(?=@[0-9A-Za-z-]+\.[A-Za-z]))"
)
"""Begins with one set of characters, which is what lets ``re`` skip the rest of a text quickly."""

_SHORT = {"n": "\n", "r": "\r", "t": "\t", '"': '"'}
_CODE_POINT = re.compile(r"\\+[xuU]\{?([0-9A-Fa-f]+)\}?")


class Unescaped:
    """``text`` without the escapes of ``original``; the way back is found when it is asked for.

    ``limited`` says that escapes of escapes went deeper than they are read.
    """

    def __init__(self, original: str, text: str, *, limited: bool) -> None:
        self.original = original
        self.text = text
        self.limited = limited

    @functools.cached_property
    def _layers(self) -> list[Rewritten]:
        layers: list[Rewritten] = []
        current = self.original
        while current != self.text:
            replacements = [
                (match.start(), match.end(), characters)
                for match in _ESCAPE.finditer(current)
                if (characters := _read_escape(match[0])) != match[0]
            ]
            layers.append(rewrite(current, replacements))
            current = layers[-1].text
        return layers

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Where ``text[start:end]`` (code points, ``start < end``) came from, widened to whole escapes."""
        for layer in reversed(self._layers):
            start, end = layer.original_span(start, end)
        return start, end


def unescaped(text: str) -> Unescaped | None:
    """``text`` with its percent (RFC 3986), HTML entity and backslash escapes read and folded; None without any.

    The local part of an address in quotes (RFC 5322) is read without them, its blanks as underscores. Any number of
    escapes counts, also one; escapes of escapes are read ``MAXIMUM_DECODING_DEPTH`` deep. What does not stand for
    characters stays.
    """
    current = text
    for _ in range(MAXIMUM_DECODING_DEPTH):
        read = _ESCAPE.sub(_read_match, current)
        if read == current:
            return None if current is text else Unescaped(text, current, limited=False)
        current = read
    return Unescaped(text, current, limited=_ESCAPE.sub(_read_match, current) != current)


def _read_match(match: re.Match[str]) -> str:
    return _read_escape(match[0])


@functools.lru_cache(maxsize=1 << 14)
def _read_escape(escape: str) -> str:
    """The folded characters that ``escape`` stands for, which may be itself."""
    try:
        if escape.startswith('"'):
            return escape[1:-1].replace(" ", "_")
        if escape.startswith("%u"):
            return _read_escape(escape.replace("%", "\\"))
        if escape.startswith("%"):
            characters = urllib.parse.unquote(escape, errors="strict")
        elif escape[-1] in _SHORT and escape.startswith("\\"):
            characters = _SHORT[escape[-1]]
        elif escape.startswith("\\"):
            points = "".join(chr(int(point, 16)) for point in _CODE_POINT.findall(escape))
            characters = points.encode("utf-16", "surrogatepass").decode("utf-16")
        else:
            characters = html.unescape(escape if escape.endswith(";") else escape + ";")
    except (ValueError, OverflowError):
        return escape
    return escape if characters == escape else fold_characters(characters)


@dataclass(frozen=True)
class DecodedPart:
    """``text[start:end]`` decodes to ``decoded``; ``limited`` says that decoding stopped at a limit."""

    start: int
    end: int
    decoded: str
    limited: bool = False


_ENCODED = compile_pattern(
    r"(?:0x)?(?:[0-9A-Fa-f]{2}[ :]){7,}[0-9A-Fa-f]{2}\b|[A-Za-z0-9+/_-]{16,}={0,2}",
)
_HEXADECIMAL = re.compile(r"(?:0x)?(?:[0-9A-Fa-f]{2}[ :]?){8,}+")


def decoded_parts(text: str, *, depth: int = MAXIMUM_DECODING_DEPTH) -> list[DecodedPart]:
    """What the base64 (RFC 4648, both alphabets) and hexadecimal parts of ``text`` say, nested ones too.

    Only results that read as text are kept, without their escapes. Compressed content is never unpacked. At most
    ``MAXIMUM_DECODED_CHARACTERS`` are produced and ``MAXIMUM_ENCODED_PARTS`` parts looked at; a part at which a limit
    was met has ``limited`` set.
    """
    parts: list[DecodedPart] = []
    budget = MAXIMUM_DECODED_CHARACTERS
    for number, (start, end, whole) in enumerate(_encoded_spans(text)):
        if number == MAXIMUM_ENCODED_PARTS or budget <= 0:
            parts.append(DecodedPart(start, len(text), "", limited=True))
            break
        limited = len(whole) > 2 * budget
        encoded = whole[: budget - budget % 4] if limited else whole
        decoded = _decode(encoded)
        if decoded is None:
            if limited:
                parts.append(DecodedPart(start, end, "", limited=True))
            continue
        budget -= len(decoded)
        read = unescaped(decoded)
        decoded = read.text if read else decoded
        inner = decoded_parts(decoded, depth=depth - 1) if depth > 1 else []
        limited = (
            limited
            or (read is not None and read.limited)
            or any(part.limited for part in inner)
            or (depth == 1 and any(True for _ in _encoded_spans(decoded)))
        )
        parts.append(DecodedPart(start, end, decoded, limited))
        parts.extend(DecodedPart(start, end, part.decoded) for part in inner if part.decoded)
    return parts


def _encoded_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """``(start, end, encoded)`` of what may be base64 or hexadecimal, in code points."""
    data = text.encode("utf-8", "surrogatepass")
    ascii_only = len(data) == len(text)
    counted_bytes = counted_characters = 0
    for match in _ENCODED.finditer(data):
        first, last = match.span()
        encoded = data[first:last].decode()
        if not _may_be_encoded(encoded):
            continue
        if ascii_only:
            counted_characters = first
        else:
            counted_characters += len(data[counted_bytes:first].decode("utf-8", "surrogatepass"))
            counted_bytes = first
        yield counted_characters, counted_characters + last - first, encoded


def _may_be_encoded(encoded: str) -> bool:
    """Whether ``encoded`` is no word: base64 of a text has letters of both cases, and hexadecimal has digits."""
    return not (encoded.islower() or encoded.isupper()) or _HEXADECIMAL.fullmatch(encoded) is not None


def _decode(encoded: str) -> str | None:
    try:
        if _HEXADECIMAL.fullmatch(encoded):
            decoded = bytes.fromhex(re.sub(r"^0x|[ :]", "", encoded)).decode()
        else:
            standard = encoded.rstrip("=").translate(str.maketrans("-_", "+/"))
            decoded = base64.b64decode(standard + "=" * (-len(standard) % 4)).decode()
    except (ValueError, binascii.Error):
        return None
    return decoded if _reads_as_text(decoded) else None


def _reads_as_text(decoded: str) -> bool:
    if len(decoded) < 4 or any("\ud800" <= character <= "\udfff" for character in decoded):
        return False
    readable = sum(character.isprintable() or character in "\n\r\t" for character in decoded)
    return readable >= 0.95 * len(decoded)
