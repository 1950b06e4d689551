"""Normalisation before matching: folded characters, undone disguises and decoded content, with offsets kept.

What belongs here: pure functions from one text to another form of it that can say where each part came from. What
does not: rules, or the decision which rows need folding at scale (``screener``).
"""

from __future__ import annotations

import base64
import binascii
import functools
import html
import re
import unicodedata
import urllib.parse
from bisect import bisect_right
from dataclasses import dataclass

MAXIMUM_DECODING_DEPTH = 3
MAXIMUM_DECODED_CHARACTERS = 1 << 18
"""How much decoded text one row may produce over all encodings and depths (256 Ki characters)."""

MAXIMUM_ENCODED_PARTS = 64
"""How many encoded parts of one text are decoded."""

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
    if code_point in _INVISIBLE:
        return ""
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
    and Unicode tag characters into the ASCII they hide.
    """
    return text.translate(_FOLD)


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


_LEET = str.maketrans("014356789@$!|+2lL(", "oiaesgtbgasiitziic")
_MIXED_TOKEN = re.compile(r"(?<![A-Za-z0-9@$!|+(])[A-Za-z]*+[0-9@$!|+(][A-Za-z0-9@$!|+(]*")
_SIGNS_AT_WORD_ENDS = "!|+(@$"
_SPACED_LETTERS = re.compile(r"(?<![^\W_])[A-Za-z0-9@$!|](?:[ ._*-]{1,3}[A-Za-z0-9@$!|]){3,400}(?![^\W_])")
_WORD_GAP = re.compile(r"[ ._*-]{2,3}")
DISGUISE_PATTERN = (
    r"[A-Za-z][0-9@$!|+(]+[A-Za-z]|\b[0-9][0-9@$!|+(]*[A-Za-z]{2}|[$][A-Za-z]{2}|@[A-Za-z]{1,3}\b|[A-Za-z]{2}[0-9$|]+\b"
    r"|(?:\b[A-Za-z0-9@$!|][ ._*-]{1,3}){3}[A-Za-z0-9@$!|]"
)
"""RE2: ``undo_disguises`` changes nothing in a text without a match."""

ENCODED_PATTERN = (
    r"[A-Za-z0-9+/_-]{16}|(?:[0-9A-Fa-f]{2}[ :]){7}|%[0-9A-Fa-f]{2}[\w.+-]{0,16}%[0-9A-Fa-f]{2}"
    r"|\\[xu][0-9A-Fa-f]{2,4}\\[xu]|&#x?[0-9A-Fa-f]{2,6};&#"
)
"""RE2: ``decoded_parts`` finds nothing in a text without a match."""


class Vocabulary:
    """The words disguises are undone into, found by their skeleton (every leet reading of a letter made equal)."""

    def __init__(self, words: frozenset[str]) -> None:
        self._by_skeleton: dict[str, str] = {}
        for word in sorted(words, reverse=True):
            self._by_skeleton[word.translate(_LEET)] = word
        self._longest = max(map(len, self._by_skeleton), default=0)

    def undisguised(self, token: str) -> str | None:
        """The word that ``token`` (ASCII letters, digits and signs used as letters) disguises, if it is one."""
        return self._by_skeleton.get(token.lower().translate(_LEET))

    def is_disguised(self, token: str) -> bool:
        """Whether ``token``, or what is left without signs at its ends, is a word of the vocabulary in disguise."""
        if token.isalpha() or token.isdigit():
            return False
        trimmed = token.strip(_SIGNS_AT_WORD_ENDS)
        return self.undisguised(token) is not None or (not trimmed.isalpha() and self.undisguised(trimmed) is not None)

    def segmented(self, letters: str) -> str:
        """``letters``, written without gaps, cut into known words (longest first); what is not known stays as is."""
        skeleton = letters.lower().translate(_LEET)
        words: list[str] = []
        position = 0
        while position < len(skeleton):
            for length in range(min(self._longest, len(skeleton) - position), 1, -1):
                word = self._by_skeleton.get(skeleton[position : position + length])
                if word is not None:
                    words.append(word)
                    position += length
                    break
            else:
                words.append(letters[position])
                position += 1
        return " ".join(words)


def undo_disguises(text: str, vocabulary: Vocabulary) -> Rewritten | None:
    """``text`` with leetspeak words and spaced-out letters turned into words of ``vocabulary``.

    Returns None when nothing changes. A disguise that is no word of the vocabulary is left alone.
    """
    replacements = [
        (match.start(), match.end(), _joined(match[0], vocabulary)) for match in _SPACED_LETTERS.finditer(text)
    ]
    if any(map(vocabulary.is_disguised, _MIXED_TOKEN.findall(text))):
        spaced = [(start, end) for start, end, _ in replacements]
        for match in _MIXED_TOKEN.finditer(text):
            word = _undisguised_word(match, vocabulary)
            if word is not None and not any(start < match.end() and match.start() < end for start, end in spaced):
                replacements.append(word)
    return _rewrite(text, replacements) if replacements else None


def _joined(run: str, vocabulary: Vocabulary) -> str:
    gap = _WORD_GAP.search(run)
    uneven = gap is not None and re.search(r"(?<![ ._*-])[ ._*-](?![ ._*-])", run) is not None
    words = _WORD_GAP.split(run) if uneven else [run]
    letters = ("".join(character for character in word if character not in " ._*-") for word in words)
    return " ".join(vocabulary.segmented(word) for word in letters)


def _undisguised_word(match: re.Match[str], vocabulary: Vocabulary) -> tuple[int, int, str] | None:
    token = match[0]
    if not vocabulary.is_disguised(token):
        return None
    for candidate in (token, token.strip(_SIGNS_AT_WORD_ENDS)):
        word = vocabulary.undisguised(candidate)
        if word is not None:
            start = match.start() + token.index(candidate)
            return start, start + len(candidate), word
    return None


def _rewrite(text: str, replacements: list[tuple[int, int, str]]) -> Rewritten:
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


@dataclass(frozen=True)
class DecodedPart:
    """``text[start:end]`` decodes to ``decoded``; ``limited`` says that decoding stopped at a limit."""

    start: int
    end: int
    decoded: str
    limited: bool = False


_ENCODED = re.compile(
    r"(?P<percent>[\w.+-]{0,64}(?:%[0-9A-Fa-f]{2}[\w.+-]{0,16}+){3,}+)"
    r"|(?P<escape>(?:\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}){4,}+)"
    r"|(?P<entity>(?:&#(?:[0-9]{2,6}|x[0-9A-Fa-f]{2,6});){4,}+)"
    r"|(?P<hexadecimal>(?<![A-Za-z0-9])(?:0x)?(?:[0-9A-Fa-f]{2}[ :]?){8,}+(?![A-Za-z0-9]))"
    r"|(?P<base64>(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{16,}+={0,2})"
)


def decoded_parts(text: str, *, depth: int = MAXIMUM_DECODING_DEPTH) -> list[DecodedPart]:
    """What the base64, hexadecimal, percent, escape and entity encoded parts of ``text`` say, nested ones too.

    Only results that read as text are kept. Compressed content is never unpacked. At most
    ``MAXIMUM_DECODED_CHARACTERS`` are produced and ``MAXIMUM_ENCODED_PARTS`` parts looked at; a part at which a limit
    was met has ``limited`` set.
    """
    parts: list[DecodedPart] = []
    budget = MAXIMUM_DECODED_CHARACTERS
    for number, match in enumerate(_ENCODED.finditer(text)):
        if number == MAXIMUM_ENCODED_PARTS or budget <= 0:
            parts.append(DecodedPart(match.start(), len(text), "", limited=True))
            break
        encoded, limited = match[0], False
        if len(encoded) > 2 * budget:
            encoded, limited = encoded[: budget - budget % 4], True
        decoded = _decode(str(match.lastgroup), encoded)
        if decoded is None:
            if limited:
                parts.append(DecodedPart(match.start(), match.end(), "", limited=True))
            continue
        budget -= len(decoded)
        inner = decoded_parts(decoded, depth=depth - 1) if depth > 1 else []
        limited = limited or any(part.limited for part in inner) or (depth == 1 and bool(_ENCODED.search(decoded)))
        parts.append(DecodedPart(match.start(), match.end(), decoded, limited))
        parts.extend(DecodedPart(match.start(), match.end(), part.decoded) for part in inner if part.decoded)
    return parts


def _decode(encoding: str, encoded: str) -> str | None:
    try:
        match encoding:
            case "percent":
                decoded = urllib.parse.unquote_plus(encoded, errors="strict")
            case "escape":
                decoded = re.sub(r"\\[xu]([0-9A-Fa-f]+)", lambda found: chr(int(found[1], 16)), encoded)
            case "entity":
                decoded = html.unescape(encoded)
            case "hexadecimal":
                decoded = bytes.fromhex(re.sub(r"^0x|[ :]", "", encoded)).decode()
            case _:
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
