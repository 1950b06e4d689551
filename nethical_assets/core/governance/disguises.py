"""Disguised words: leetspeak and spaced-out letters, undone into words that rules look for.

What belongs here: the vocabulary by its skeletons and the undoing, with offsets kept. What does not: look-alike
characters (``normalise``), encodings (``decoding``).
"""

from __future__ import annotations

import functools
import re

from nethical_assets.core.governance.normalise import Rewritten, rewrite

_LEET = str.maketrans("014356789@$!|+2lL(", "oiaesgtbgasiitziic")
_MIXED_TOKEN = re.compile(r"(?<![A-Za-z0-9@$!|+(])[A-Za-z]*+[0-9@$!|+(][A-Za-z0-9@$!|+(]*")
_SIGNS_AT_WORD_ENDS = "!|+(@$"
_SPACED_LETTERS = re.compile(r"(?<![^\W_])[A-Za-z0-9@$!|](?:[ ._*-]{1,3}[A-Za-z0-9@$!|]){3,400}(?![^\W_])")
_WORD_GAP = re.compile(r"[ ._*-]{2,3}")
MIXED_PATTERN = (
    r"[A-Za-z][0-9@$!|+(]+[A-Za-z]|\b[0-9][0-9@$!|+(]*[A-Za-z]{2}|[$][A-Za-z]{2}|@[A-Za-z]{1,3}\b|[A-Za-z]{2}[0-9$|]+\b"
)
"""RE2: no word of a text without a match is written with digits or signs for letters."""

SPACED_PATTERN = r"(?:\b[A-Za-z0-9@$!|][ ._*-]{1,3}){3}[A-Za-z0-9@$!|]"
"""RE2: no letters of a text without a match are spaced out."""

_REMEMBERED_TOKENS = 1 << 16
_SIGNS_AT_MOST = 16
"""A longer token is no word with signs at its ends."""


class Vocabulary:
    """The words disguises are undone into, found by their skeleton (every leet reading of a letter made equal)."""

    def __init__(self, words: frozenset[str]) -> None:
        self._by_skeleton: dict[str, str] = {}
        for word in sorted(words, reverse=True):
            self._by_skeleton[word.translate(_LEET)] = word
        self._longest = max(map(len, self._by_skeleton), default=0)
        self._longest_token = self._longest + _SIGNS_AT_MOST
        self.is_disguised = functools.lru_cache(maxsize=_REMEMBERED_TOKENS)(self._is_disguised)

    def undisguised(self, token: str) -> str | None:
        """The word that ``token`` (ASCII letters, digits and signs used as letters) disguises, if it is one."""
        return self._by_skeleton.get(token.lower().translate(_LEET))

    def _is_disguised(self, token: str) -> bool:
        """Whether ``token``, or what is left without signs at its ends, is a word of the vocabulary in disguise."""
        if token.isalpha() or token.isdigit() or len(token) > self._longest_token:
            return False
        if self.undisguised(token) is not None:
            return True
        trimmed = token.strip(_SIGNS_AT_WORD_ENDS)
        return len(trimmed) != len(token) and not trimmed.isalpha() and self.undisguised(trimmed) is not None

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


def undo_disguises(text: str, vocabulary: Vocabulary, *, mixed: bool = True, spaced: bool = True) -> Rewritten | None:
    """``text`` with leetspeak (``mixed``) and spaced-out letters (``spaced``) turned into words of ``vocabulary``.

    Returns None when nothing changes. A disguise that is no word of the vocabulary is left alone.
    """
    replacements = (
        [(match.start(), match.end(), _joined(match[0], vocabulary)) for match in _SPACED_LETTERS.finditer(text)]
        if spaced
        else []
    )
    if mixed and any(map(vocabulary.is_disguised, _MIXED_TOKEN.findall(text))):
        taken = [(start, end) for start, end, _ in replacements]
        for match in _MIXED_TOKEN.finditer(text):
            word = _undisguised_word(match, vocabulary)
            if word is not None and not any(start < match.end() and match.start() < end for start, end in taken):
                replacements.append(word)
    return rewrite(text, replacements) if replacements else None


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
