"""Guessing the encoding of a text file, and how far the guess may be relied on.

What belongs here: byte order marks, UTF-8, and telling Western European text from everything else. What does not:
decoding (``text_streams``), or what becomes of a file whose encoding nobody knows (``core.datasets.discovery``).

Outside UTF-8 and UTF-16 a file does not say what it is, and in a single-byte encoding nearly every byte means
something: GBK, Shift-JIS or KOI8-R read as cp1252 is other text without an error. What is Western is known by how its
letters stand: accents are single letters among plain ones, and signs do not stand inside of words.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_PIECE_BYTES = 1 << 20
_LOOKED_AT = 20_000
_ODD_SHARE_MAX = 0.05
_Run = tuple[bytes, bytes, bytes]
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FEWEST_PAIRS = 4
_ZERO_SHARE_MIN = 0.6
_STRAY_SHARE_MAX = 0.1
_ZERO_PATTERNS = {
    "x0x0": "utf-16-le",
    "0x0x": "utf-16-be",
    "x000": "utf-32-le",
    "000x": "utf-32-be",
}
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_INSIDE_WORDS = frozenset(
    "\u2018\u2019\xab\xbb"  # quotation marks
    "\u2013\u2014\xad\xb7\u2022\u2026\xa0\xb0\xba\xaa"  # dashes, dots, blanks, ordinals
)
_OPENING = frozenset("\u201a\u201e")
"""Quotation marks that stand before a word; in other encodings their bytes are letters (CP437, CP850: e and a)."""
_RARE = frozenset("\xf0\xd0\xfe\xde\xfd\xdd\xff\u0178\xb5\u0192\u02c6\u02dc\xd7\xf7")
"""Letters of Icelandic alone, and signs that hardly stand in text: more often they are half of something else."""


@dataclass(frozen=True)
class EncodingGuess:
    """``encoding``: a codec's name. ``certain``: whether it may be relied on; ``why`` says what speaks against it.
    ``guessed``: neither a mark nor the bytes themselves say so, which whoever has the file is to be told."""

    encoding: str
    certain: bool
    why: str = ""
    guessed: bool = False


def marked_encoding(first: bytes) -> str | None:
    """The encoding that the byte order mark at the beginning of a file names, UTF-8 aside."""
    return next((name for mark, name in _MARKS if first.startswith(mark)), None)


def unmarked_encoding(first: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark, by where the zero bytes of its plain letters stand."""
    pairs = len(first) // 2
    if pairs < _FEWEST_PAIRS:
        return None
    zeros = [first[start : 4 * (pairs // 2) : 4].count(0) / max(pairs // 2, 1) for start in range(4)]
    full = "".join("0" if share > _ZERO_SHARE_MIN else "x" for share in zeros)
    if any(_STRAY_SHARE_MAX < share < _ZERO_SHARE_MIN for share in zeros):
        return None
    return _ZERO_PATTERNS.get(full)


def guess_encoding(path: Path) -> EncodingGuess:
    """The encoding of a text file, by its mark, as UTF-8 when the whole file is valid, and as Western otherwise.

    Western is ``cp1252`` where bytes 0x80 to 0x9f occur (they are controls in Latin-1 and quotation marks in cp1252,
    https://encoding.spec.whatwg.org/#names-and-labels), and ``latin-1`` elsewhere.
    """
    with open(path, "rb") as stream:
        marked = marked_encoding(stream.read(4))
        if marked is not None:
            return EncodingGuess(marked, certain=True)
        stream.seek(0)
        runs, plain_utf8 = _high_runs(stream)
    if plain_utf8:
        return EncodingGuess("utf-8", certain=True)
    return _western(runs)


def _high_runs(stream: BinaryIO) -> tuple[list[_Run], bool]:
    """Every run of bytes from 0x80 on with its neighbours (at most so many), and whether all is UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    valid = True
    runs: list[_Run] = []
    while piece := stream.read(_PIECE_BYTES):
        if valid:
            try:
                decoder.decode(piece)
            except UnicodeDecodeError:
                valid = False
        if len(runs) < _LOOKED_AT and not piece.isascii():
            for run in _HIGH_RUN.finditer(piece):
                runs.append((piece[max(0, run.start() - 1) : run.start()], run[0], piece[run.end() : run.end() + 1]))
                if len(runs) == _LOOKED_AT:
                    break
    if valid:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            valid = False
    return runs, valid


def _western(runs: list[_Run]) -> EncodingGuess:
    high = b"".join(run for _, run, _ in runs)
    encoding = "cp1252" if any(byte < 0xA0 for byte in high) else "latin-1"
    sequences = sum(len(found) for _, run, _ in runs for found in _UTF8_SEQUENCE.findall(run))
    if sequences > len(high) // 2:
        return EncodingGuess(encoding, False, "most of it is UTF-8, with damaged places")
    try:
        odd = sum(len(run) for before, run, after in runs if _is_odd(before, run.decode(encoding), after))
    except UnicodeDecodeError:
        return EncodingGuess(encoding, False, "it is neither UTF-8 nor Western (cp1252, Latin-1)")
    if odd > _ODD_SHARE_MAX * len(high):
        why = "it is not UTF-8, and read as Western (cp1252, Latin-1) its letters stand where none do"
        return EncodingGuess(encoding, False, why)
    return EncodingGuess(encoding, True, guessed=True)


def _is_odd(before: bytes, run: str, after: bytes) -> bool:
    """Whether Western text has this run of characters beyond ASCII hardly ever, where it stands."""
    letters = [sign for sign in run if sign.isalpha()]
    if any(sign in _RARE for sign in run) or len(letters) > 2:
        return True
    whole = (before.decode("ascii", "replace") or " ") + run + (after.decode("ascii", "replace") or " ")
    for left, sign, right in zip(whole, whole[1:], whole[2:], strict=False):
        within = left.isalpha() and right.isalpha()
        if within and not sign.isalpha() and sign not in _INSIDE_WORDS and not sign.isascii():
            return True
        if left.isalpha() and sign in _OPENING:
            return True
        if left.isalpha() and left.islower() and sign.isupper() and not sign.isascii():
            return True
    # Two letters beyond ASCII with no plain one near them: a character of two bytes.
    alone = not (whole[0].isalpha() or whole[-1].isalpha())
    return alone and len(letters) == 2 and len(run) == 2
