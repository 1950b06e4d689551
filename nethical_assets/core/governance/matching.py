"""Which texts a rule's pattern matches, and where: RE2 over Arrow columns, then exact spans on candidates.

What belongs here: linear-time matching, the alternations that make it fast, validation of what matched. What does not:
which form of a text is matched and what the spans mean in the original (``screener``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.governance.rules import SPAN_GROUP, Rule, compile_pattern
from nethical_assets.core.governance.validators import CONTEXT_CHARACTERS, VALIDATORS

FEW_TEXTS = 256
"""Up to so many texts, patterns that stay compiled in Python beat Arrow, which compiles at every call."""

MAXIMUM_REFUSALS = 20_000
"""How many matches of one rule may fail validation in one text before the rule gives up on the rest of it."""

_RETRY_BYTES = 64
_BYTES_PER_CHARACTER = 4
_REPETITION = re.compile(r"(?<!\\x)(?<!\\p)\{(\d+)(,?)(\d*)\}")
_LARGEST_KEPT_REPETITION = 3
_WORD_END = re.compile(rb"(?<=[0-9A-Za-z\x80-\xff])[^0-9A-Za-z\x80-\xff]")


@dataclass(frozen=True)
class Pattern:
    """A pattern as text, for Arrow, and compiled on first use, for Python."""

    text: str

    @functools.cached_property
    def compiled(self) -> Any:
        """The pattern compiled for UTF-8 bytes."""
        return compile_pattern(self.text)

    def matching(self, texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        """The positions of the texts in which the pattern matches somewhere."""
        if len(texts) <= FEW_TEXTS:
            values = texts.cast(pa.large_binary()).to_pylist()
            found = [n for n, text in enumerate(values) if text is not None and self.compiled.search(text) is not None]
            return np.asarray(found, dtype=np.int64)
        mask = pc.fill_null(pc.match_substring_regex(texts, self.text), False)
        return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


@dataclass(frozen=True)
class _Member:
    number: int
    rule: Rule
    pattern: Pattern


_ALTERNATION_CHARACTERS = 2500
"""How long the patterns of one alternation may be together: beyond, RE2's table of states overflows on long texts."""


class MatchingPlan:
    """Rules of one pack in groups, each with an alternation that finds the texts worth trying its rules on.

    One alternation over all rules would be one pass, but overflows RE2's table of states and then runs hundreds of
    times slower.
    """

    def __init__(self, numbered: Sequence[tuple[int, Rule]]) -> None:
        """``numbered`` pairs each rule with the number it is reported by."""
        groups: list[list[_Member]] = []
        size = 0
        for number, rule in numbered:
            size += len(rule.pattern)
            if not groups or groups[-1][-1].rule.pack != rule.pack or size > _ALTERNATION_CHARACTERS:
                groups.append([])
                size = len(rule.pattern)
            groups[-1].append(_Member(number, rule, Pattern(rule.pattern)))
        self._groups = [(_prefilter([member.rule for member in members]), members) for members in groups]

    def candidates(self, texts: pa.LargeStringArray) -> Iterator[tuple[int, Rule, npt.NDArray[np.int64]]]:
        """``(number, rule, positions)`` of the texts a rule's pattern matches somewhere."""
        for prefilter, members in self._groups:
            hits = prefilter.matching(texts)
            if len(hits) == 0:
                continue
            subset = texts.take(pa.array(hits))
            for member in members:
                found = hits[member.pattern.matching(subset)]
                if len(found):
                    yield member.number, member.rule, found


def _prefilter(rules: Sequence[Rule]) -> Pattern:
    """A pattern that matches wherever one of ``rules`` does, and sometimes elsewhere."""
    patterns = (_relaxed(rule.pattern.replace(f"(?P<{SPAN_GROUP}>", "(?:")) for rule in rules)
    return Pattern("|".join(f"(?:{pattern})" for pattern in patterns))


def _relaxed(pattern: str) -> str:
    """``pattern`` with large counted repetitions turned into unbounded ones, which need few states instead of many."""

    def unbounded(match: re.Match[str]) -> str:
        low, comma, high = int(match[1]), match[2], match[3]
        if (high or not comma) and int(high or low) <= _LARGEST_KEPT_REPETITION:
            return match[0]
        kept = min(low, _LARGEST_KEPT_REPETITION)
        return f"{{{kept},}}" if kept > 1 else "+" if kept else "*"

    return _REPETITION.sub(unbounded, pattern)


class GaveUpError(Exception):
    """A text holds more near-matches of a rule than are examined."""


def spans(rule: Rule, text: bytes) -> Iterator[tuple[int, int, bytes]]:
    """``(start, end, matched)`` of each valid match of ``rule`` in UTF-8 ``text``; start and end in code points.

    Raises:
        GaveUpError: after ``MAXIMUM_REFUSALS`` matches that failed validation.
    """
    validator = VALIDATORS[rule.validator] if rule.validator else None
    is_ascii = text.isascii()
    position = counted_bytes = counted_characters = refusals = 0
    while position <= len(text):
        match = rule.compiled.search(text, position)
        if match is None:
            return
        found = None
        for start, end, until in _readings(rule, text, match):
            if validator is None or validator(text[start:end].decode(), *_context(text, start, end)):
                found = start, end, until
                break
            refusals += 1
            if refusals == MAXIMUM_REFUSALS:
                raise GaveUpError
        if found is None:
            position = _retry_position(text, match.start(), max(match.end(), position + 1))
            continue
        start, end, until = found
        position = max(until, position + 1)
        matched = text[start:end]
        if is_ascii:
            yield start, end, matched
            continue
        counted_characters += len(text[counted_bytes:start].decode())
        counted_bytes = start
        yield counted_characters, counted_characters + len(matched.decode()), matched


def _readings(rule: Rule, text: bytes, match: Any) -> Iterator[tuple[int, int, int]]:
    """``(start, end, until)`` of what ``match`` reports and where it ends, longest first.

    A match is greedy: digits or a word behind a number become part of it, and the whole is then not what the number
    alone is. Each shorter reading ends where a word inside the match does.
    """
    start, end = _reported(rule, match)
    yield start, end, match.end()
    if match.end() - match.start() > _RETRY_BYTES:
        return
    first = match.start()
    for gap in reversed([gap.start() for gap in _WORD_END.finditer(text, first + 1, match.end())]):
        shorter = rule.compiled.match(text, first, gap)
        if shorter is not None and shorter.end() == gap:
            start, end = _reported(rule, shorter)
            yield start, end, gap


def _reported(rule: Rule, match: Any) -> tuple[int, int]:
    start, end = match.span(1) if rule.reports_group else match.span()
    return (start, end) if start >= 0 else match.span()


def _context(text: bytes, start: int, end: int) -> tuple[str, str]:
    reach = _BYTES_PER_CHARACTER * CONTEXT_CHARACTERS
    before = text[max(0, start - reach) : start].decode(errors="ignore")
    after = text[end : end + reach].decode(errors="ignore")
    return before[-CONTEXT_CHARACTERS:], after[:CONTEXT_CHARACTERS]


def _retry_position(text: bytes, start: int, end: int) -> int:
    """Where to look again after a match was refused: behind its first word, since a valid one may follow.

    Only for short matches, so that the work stays linear in the length of the text.
    """
    if end - start > _RETRY_BYTES:
        return end
    position = start
    while position < end and text[position : position + 1].isalnum():
        position += 1
    return min(end, position + 1)
