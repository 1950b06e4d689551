"""Folding of characters before matching, and texts that know where each of their parts came from.

What belongs here: pure functions on characters, and ``Rewritten``. What does not: undoing disguises (``disguises``),
decoding (``decoding``), or the decision which rows need what at scale (``screener``).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass

_INVISIBLE = frozenset(
    {0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0, 0xE0001, 0xE007F}
).union(
    range(0x180B, 0x1810),
    range(0x200B, 0x2010),
    range(0x202A, 0x202F),
    range(0x2060, 0x2070),
    range(0xFE00, 0xFE10),
    range(0xE0100, 0xE01F0),
)
"""Zero-width, bidirectional and variation characters (Unicode Default_Ignorable_Code_Point, the assigned ones)."""

_TAG_OFFSET = 0xE0000
_TAGS = range(_TAG_OFFSET + 0x20, _TAG_OFFSET + 0x7F)

_HIDDEN_BYTE_OFFSET = 0xE00F0
_HIDDEN_BYTES = range(_HIDDEN_BYTE_OFFSET + 0x20, _HIDDEN_BYTE_OFFSET + 0x7F)
"""Variation selectors 17 to 256 can carry one byte each; the lowest are what ideographs are really followed by."""

_LOOK_ALIKES = {
    "a": "\u0430\u03b1\u0251\u2200",
    "b": "\u042c\u044c\u0432\u03b2\u0184\u0185",
    "c": "\u0441\u03f2\u1d04\u0188\u00a2",
    "d": "\u0501\u0257\u0111",
    "e": "\u0435\u0454\u03b5\u0258\u025b\u0259\u212e\u20ac\u04bd",
    "f": "\u0192\u017f\u0584",
    "g": "\u0261\u0581\u0260",
    "h": "\u04bb\u0570\u043d\u0127",
    "i": "\u0456\u0131\u03b9\u0269\u04cf\u0457",
    "j": "\u0458\u03f3",
    "k": "\u043a\u03ba\u0199",
    "l": "\u04c0\u01c0\u2113\u0142\u2223\u007c",
    "m": "\u043c\u217f",
    "n": "\u0578\u03b7\u043f\u0438\u057c",
    "o": "\u043e\u03bf\u0585\u03c3\u00f8\u0d20\u0ae6\u0c66",
    "p": "\u0440\u03c1\u01bf\u00fe",
    "q": "\u051b\u0563\u0566",
    "r": "\u0433\u044f\u0280",
    "s": "\u0455\u01bd",
    "t": "\u0442\u03c4\u0167\u01ad",
    "u": "\u057d\u03c5\u028b\u0446",
    "v": "\u03bd\u0475\u2228",
    "w": "\u051d\u0461\u03c9\u0448\u0561",
    "x": "\u0445\u03c7\u00d7",
    "y": "\u0443\u03b3\u04af\u028f\u10e7",
    "z": "\u1d22\u01b6",
    "A": "\u0410\u0391\u13aa\u2c6d\u1d00\u2c6f",
    "B": "\u0412\u0392\u13f4",
    "C": "\u0421\u03f9\u13df",
    "D": "\u13a0\u0110",
    "E": "\u0415\u0395\u13ac",
    "F": "\u03dc",
    "G": "\u13c0\u050c",
    "H": "\u041d\u0397\u13bb",
    "I": "\u0406\u0399",
    "J": "\u0408\u13ab",
    "K": "\u041a\u039a\u13e6",
    "L": "\u13de\u0141",
    "M": "\u041c\u039c\u13b7",
    "N": "\u039d",
    "O": "\u041e\u039f\u0555\u00d8",
    "P": "\u0420\u03a1\u13e2",
    "Q": "\u051a",
    "R": "\u13a1\u01a6",
    "S": "\u0405\u054f\u13da",
    "T": "\u0422\u03a4\u13a2",
    "U": "\u054d",
    "V": "\u13d9\u0474",
    "W": "\u051c\u13b3",
    "X": "\u0425\u03a7",
    "Y": "\u0423\u03a5\u04ae\u13a9",
    "Z": "\u0396\u13c3",
    "3": "\u0417\u04e0\u0437",
    "'": "\u2018\u2019\u201b\u2032\u02bc",
    '"': "\u201c\u201d\u2033",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212",
    "/": "\u2044\u2215",
    "@": "\uff20\ufe6b",
}
"""The look-alikes seen in attacks, a part of Unicode TS #39 confusables.txt; compatibility forms are NFKC's work."""

_NAMED_LETTER = re.compile(
    r"(?:LATIN LETTER SMALL CAPITAL|(?:NEGATIVE )?(?:CIRCLED|SQUARED) LATIN CAPITAL LETTER"
    r"|REGIONAL INDICATOR SYMBOL LETTER) ([A-Z])"
)

_CONFUSABLE = {ord(other): plain for plain, others in _LOOK_ALIKES.items() for other in others if ord(other) > 127}


_WORD_SIGNS = frozenset({0x2116, 0x2121, 0x213B})
"""The numero, telephone and facsimile signs: words of their own, also where they stand right before a number."""

_PRICE = re.compile(r"(?<![^\W_])\u20ac(?= ?[0-9])|(?:(?<=[0-9])|(?<=[0-9] ))\u20ac(?![^\W_])")
_PRICE_SIGN = "\u20a0"
"""What the euro sign beside a number becomes: no letter, as it would within a word."""


class _FoldTable(dict[int, str]):
    """Code point to folded text, filled as characters are met (at most one entry per code point of Unicode)."""

    def __missing__(self, code_point: int) -> str:
        folded = _fold_code_point(code_point)
        self[code_point] = folded
        return folded


def _fold_code_point(code_point: int) -> str:
    character = chr(code_point)
    if code_point < 128:
        return character
    if code_point in _HIDDEN_BYTES:
        return chr(code_point - _HIDDEN_BYTE_OFFSET)
    if code_point in _INVISIBLE:
        return ""
    if code_point in _WORD_SIGNS:
        return unicodedata.normalize("NFKC", character) + " "
    known = _CONFUSABLE.get(code_point) or (chr(code_point - _TAG_OFFSET) if code_point in _TAGS else None)
    if known is None:
        known = _meaning(character)
    if known is not None:
        return known
    decomposed = unicodedata.normalize("NFKD", character)
    kept = "".join(part for part in decomposed if not unicodedata.combining(part))
    return unicodedata.normalize("NFKC", "".join(_CONFUSABLE.get(ord(part), part) for part in kept))


def _meaning(character: str) -> str | None:
    """The ASCII character that a space, a digit of any script or a letter in a box stands for, if it is one."""
    if unicodedata.category(character) == "Zs":
        return " "
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    named = _NAMED_LETTER.match(unicodedata.name(character, ""))
    return named[1] if named else None


_FOLD = _FoldTable()
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_NOT_ASCII_RUN = re.compile(r"[^\x00-\x7f]+")
_MANY = 0.03
"""Above this share of bytes beyond ASCII, looking at every character is quicker than looking for runs."""


@dataclass(frozen=True)
class Piece:
    """``length`` characters of a normalised text that stand for ``original[start:end]`` as a whole."""

    position: int
    length: int
    start: int
    end: int


@dataclass(frozen=True)
class Rewritten:
    """A text in which some parts were replaced; the rest is unchanged.

    ``pieces`` are the replaced parts, in order and not overlapping.
    """

    text: str
    pieces: tuple[Piece, ...]

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Where ``text[start:end]`` (code points, ``start < end``) came from, widened to whole pieces."""
        return self._origin(start)[0], self._origin(end - 1)[1]

    @functools.cached_property
    def _positions(self) -> list[int]:
        return [piece.position for piece in self.pieces]

    def _origin(self, index: int) -> tuple[int, int]:
        number = bisect_right(self._positions, index) - 1
        if number < 0:
            return index, index + 1
        piece = self.pieces[number]
        if index < piece.position + piece.length:
            return piece.start, piece.end
        original = index - (piece.position + piece.length) + piece.end
        return original, original + 1


def fold_characters(text: str) -> str:
    """``text`` with every character folded on its own.

    Compatibility forms (NFKC), accents and other combining marks dropped, look-alikes turned into the ASCII character
    they resemble, decimal digits of all scripts into 0-9, zero-width, bidirectional and variation characters removed,
    and Unicode tag characters and variation selectors into the ASCII they hide.
    """
    if "\u20ac" in text:
        text = _PRICE.sub(_PRICE_SIGN, text)
    if len(text.encode("utf-8", "surrogatepass")) - len(text) > len(text) * _MANY:
        return text.translate(_FOLD)
    return _NOT_ASCII_RUN.sub(_fold_run, text)


def _fold_run(run: re.Match[str]) -> str:
    return run[0].translate(_FOLD)


def fold_with_offsets(text: str) -> Rewritten:
    """``fold_characters(text)`` that knows where each of its characters came from."""
    pieces: list[Piece] = []
    shift = 0
    for match in _NOT_ASCII.finditer(text):
        length = len(_FOLD[ord(match[0])])
        if length != 1:
            start = match.start()
            pieces.append(Piece(start + shift, length, start, start + 1))
            shift += length - 1
    return Rewritten(fold_characters(text), tuple(pieces))


def rewrite(text: str, replacements: list[tuple[int, int, str]]) -> Rewritten:
    """``text`` with each ``(start, end, replacement)`` carried out; the spans do not overlap."""
    parts: list[str] = []
    pieces: list[Piece] = []
    position = last = 0
    for start, end, replacement in sorted(replacements):
        parts += (text[last:start], replacement)
        position += start - last
        if replacement:
            pieces.append(Piece(position, len(replacement), start, end))
        position += len(replacement)
        last = end
    parts.append(text[last:])
    return Rewritten("".join(parts), tuple(pieces))
