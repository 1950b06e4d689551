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

from nethical_assets.core.governance.rules import SPAN_GROUP, Role, Rule, compile_pattern
from nethical_assets.core.governance.validators import CONTEXT_CHARACTERS, VALIDATORS

FEW_TEXTS = 256
"""Up to so many texts, patterns that stay compiled in Python beat Arrow, which compiles at every call.

A pattern of more than ``_LONG_PATTERN`` characters takes as many times as long to compile.
"""

MAXIMUM_REFUSALS = 20_000
"""How many matches of one rule may fail validation in one text before the rule gives up on the rest of it."""

_LONG_PATTERN = 512
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

    def matches(self, text: bytes) -> bool:
        """Whether the pattern matches somewhere in one UTF-8 text."""
        return self.compiled.search(text) is not None

    def matching(self, texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        """The positions of the texts in which the pattern matches somewhere."""
        if len(texts) <= FEW_TEXTS * max(1, len(self.text) // _LONG_PATTERN):
            values = texts.cast(pa.large_binary()).to_pylist()
            found = [n for n, text in enumerate(values) if text is not None and self.matches(text)]
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
    """Rules in groups, each with an alternation that finds the texts worth trying its rules on.

    One alternation over all rules would be one pass, but overflows RE2's table of states and then runs hundreds of
    times slower. Rules of one pack look for similar words, which share states: they stay together as far as they fit.
    A pack with a gate is only looked at where that matches, and a rule with one is in its group by that.
    """

    def __init__(self, numbered: Sequence[tuple[int, Rule]]) -> None:
        """``numbered`` pairs each rule with the number it is reported by."""
        chunks: list[list[_Member]] = []
        for number, rule in numbered:
            member = _Member(number, rule, Pattern(rule.pattern))
            same_pack = bool(chunks) and chunks[-1][-1].rule.pack == rule.pack
            if same_pack and _characters([*chunks[-1], member]) <= _ALTERNATION_CHARACTERS:
                chunks[-1].append(member)
            else:
                chunks.append([member])
        by_gate: dict[str | None, list[list[_Member]]] = {}
        for chunk in chunks:
            by_gate.setdefault(chunk[0].rule.pack_gate, []).append(chunk)
        self._gated = [
            (None if gate is None else Pattern(gate), [_Group(members) for members in _first_fit(some)])
            for gate, some in by_gate.items()
        ]

    def candidates(self, texts: pa.LargeStringArray) -> Iterator[tuple[int, Rule, npt.NDArray[np.int64]]]:
        """``(number, rule, positions)`` of the texts a rule's pattern matches somewhere."""
        everywhere = np.arange(len(texts), dtype=np.int64)
        for gate, groups in self._gated:
            positions, subset = everywhere, texts
            if gate is not None:
                positions = gate.matching(texts)
                subset = texts.take(pa.array(positions))
            if len(positions):
                for group in groups:
                    yield from group.candidates(subset, positions)

    def matching_one(self, text: bytes) -> Iterator[Rule]:
        """The rules whose pattern matches somewhere in one UTF-8 text: those that ``candidates`` gives of it."""
        for gate, groups in self._gated:
            if gate is None or gate.matches(text):
                for group in groups:
                    yield from group.matching_one(text)


def _first_fit(chunks: Sequence[list[_Member]]) -> list[list[_Member]]:
    """``chunks`` put together, each with the first larger ones that leave room for it: every group is a pass."""
    groups: list[list[_Member]] = []
    for chunk in sorted(chunks, key=_characters, reverse=True):
        room = next((group for group in groups if _characters([*group, *chunk]) <= _ALTERNATION_CHARACTERS), None)
        if room is None:
            groups.append(list(chunk))
        else:
            room.extend(chunk)
    return groups


def _characters(members: Sequence[_Member]) -> int:
    return sum(map(len, {member.rule.gate or member.rule.pattern for member in members}))


class _Group:
    """Some rules, and those of them that have the same gate, or none, together."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._prefilter = _prefilter([member.rule for member in members])
        self._parts = _parts(members)

    def candidates(
        self, texts: pa.LargeStringArray, positions: npt.NDArray[np.int64]
    ) -> Iterator[tuple[int, Rule, npt.NDArray[np.int64]]]:
        """As those of the plan, of ``texts`` that stand at ``positions``."""
        hits = self._prefilter.matching(texts)
        if len(hits) == 0:
            return
        subset, positions = texts.take(pa.array(hits)), positions[hits]
        for gate, members in self._parts:
            among, narrowed = positions, subset
            if gate is not None:
                inside = gate.matching(subset)
                among, narrowed = positions[inside], subset.take(pa.array(inside))
            for member in members if len(among) else ():
                found = among[member.pattern.matching(narrowed)]
                if len(found):
                    yield member.number, member.rule, found

    def matching_one(self, text: bytes) -> Iterator[Rule]:
        """As that of the plan."""
        if not self._prefilter.matches(text):
            return
        for gate, members in self._parts:
            if gate is None or gate.matches(text):
                yield from (member.rule for member in members if member.pattern.matches(text))


def _parts(members: Sequence[_Member]) -> list[tuple[Pattern | None, list[_Member]]]:
    """``members`` by their gate; no gate where all of a group have none, since the group's own alternation was one."""
    by_gate: dict[str | None, list[_Member]] = {}
    for member in members:
        by_gate.setdefault(member.rule.gate, []).append(member)
    if len(by_gate) == 1:
        return [(None, list(members))]
    return [(_prefilter([member.rule for member in group]), group) for group in by_gate.values()]


def _prefilter(rules: Sequence[Rule]) -> Pattern:
    """A pattern that matches wherever one of ``rules`` does, and sometimes elsewhere."""
    patterns = (_relaxed((rule.gate or rule.pattern).replace(f"(?P<{SPAN_GROUP}>", "(?:")) for rule in rules)
    return Pattern("|".join(f"(?:{pattern})" for pattern in dict.fromkeys(patterns)))


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
        first, last = match.span()
        found = None
        for start, end, until in _readings(rule, text, match, first, last):
            if validator is None or validator(text[start:end].decode(), *_context(text, start, end)):
                found = start, end, until
                break
            refusals += 1
            if refusals == MAXIMUM_REFUSALS:
                raise GaveUpError
        if found is None:
            position = _retry_position(text, first, max(last, position + 1))
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


def _readings(rule: Rule, text: bytes, match: Any, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """``(start, end, until)`` of what ``match`` of ``text[first:last]`` reports and where it ends, longest first.

    A match is greedy: digits or a word behind a number become part of it, and the whole is then not what the number
    alone is. Each shorter reading ends where a word inside the match does. A phrase has none: what is refused is what
    it means, not where it ends.
    """
    yield (*_reported(rule, match, first, last), last)
    if last - first > _RETRY_BYTES or rule.role is Role.SIGNAL:
        return
    for gap in reversed([gap.start() for gap in _WORD_END.finditer(text, first + 1, last)]):
        shorter = rule.compiled.match(text, first, gap)
        if shorter is not None and shorter.end() == gap:
            yield (*_reported(rule, shorter, first, gap), gap)


def _reported(rule: Rule, match: Any, first: int, last: int) -> tuple[int, int]:
    start, end = match.span(1) if rule.reports_group else (first, last)
    return (start, end) if start >= 0 else (first, last)


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
