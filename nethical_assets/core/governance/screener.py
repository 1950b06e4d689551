"""The screening engine: all rules over a column of texts, fast, in bounded time and memory.

What belongs here: which rows need which normalisation, finding candidates with RE2 over Arrow, exact spans and
validation on candidates only. What does not: rules and validators themselves, decisions by label (``policy``).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.governance.columns import TextColumn, batches, holds_bare_numbers, is_numeric, read_column
from nethical_assets.core.governance.findings import SCHEMA, Findings, concatenate
from nethical_assets.core.governance.normalise import (
    OBFUSCATION_PATTERN,
    DecodedPart,
    Vocabulary,
    decoded_parts,
    fold_characters,
    folded_offsets,
    original_span,
    undo_disguises,
)
from nethical_assets.core.governance.policy import Label, decide
from nethical_assets.core.governance.rules import (
    DECODING_LIMIT,
    TOO_MANY_FINDINGS,
    AppliesTo,
    Role,
    Rule,
    Ruleset,
)
from nethical_assets.core.governance.validators import CONTEXT_CHARACTERS, VALIDATORS

ROWS_PER_BATCH = 1 << 16
BYTES_PER_BATCH = 1 << 24
MAXIMUM_FINDINGS_PER_RULE = 1000
"""How many spans of one rule are recorded in one text; more is itself a finding."""

_RETRY_BYTES = 64
_NUMBER_COLUMN_KINDS = frozenset({"CREDIT_CARD"})
_HALF = 0.5

Span = tuple[int, int]
Locate = Callable[[int, int, int], Span]
"""``(position in the view, start, end) -> span of the original text``, in code points."""


@dataclass(frozen=True)
class _Hit:
    row: int
    rule: int
    start: int
    end: int
    keyed_hash: str | None = None


@dataclass(frozen=True)
class _View:
    """One form of some texts: ``texts[i]`` is a form of original row ``rows[i]``."""

    texts: pa.LargeStringArray
    rows: npt.NDArray[np.int64]
    locate: Locate


class _Plan:
    """Rules with the alternations that find their candidates: one over all, one a pack, then the rule's own."""

    def __init__(self, numbered: Sequence[tuple[int, Rule]]) -> None:
        self._packs: list[tuple[str, list[tuple[int, Rule]]]] = []
        for pack in dict.fromkeys(rule.pack for _, rule in numbered):
            members = [(number, rule) for number, rule in numbered if rule.pack == pack]
            self._packs.append((_alternation([rule for _, rule in members]), members))
        self._any = [alternation for alternation, _ in self._packs]

    def candidates(self, texts: pa.LargeStringArray) -> Iterator[tuple[int, Rule, npt.NDArray[np.int64]]]:
        """``(number, rule, positions)`` of the texts a rule's pattern matches somewhere."""
        for alternation, members in self._packs:
            hits = _matching(texts, alternation)
            if len(hits) == 0:
                continue
            subset = texts.take(pa.array(hits))
            for number, rule in members:
                found = hits if len(members) == 1 else hits[_matching(subset, rule.pattern)]
                if len(found):
                    yield number, rule, found


def _alternation(rules: Sequence[Rule]) -> str:
    return "|".join(f"(?:{rule.pattern.replace('(?P<span>', '(?:')})" for rule in rules)


def _matching(texts: pa.LargeStringArray, pattern: str) -> npt.NDArray[np.int64]:
    mask = pc.match_substring_regex(texts, pattern)
    return np.flatnonzero(pc.fill_null(mask, False).to_numpy(zero_copy_only=False))


class Screener:
    """A compiled ruleset. Immutable, so one screener serves any number of calls."""

    def __init__(self, ruleset: Ruleset, *, hash_key: bytes | None = None) -> None:
        """With ``hash_key`` every finding carries the HMAC-SHA-256 of its normalised matched text."""
        self.ruleset = ruleset
        self._rules = ruleset.all_rules
        self._number = {rule.id: number for number, rule in enumerate(self._rules)}
        self._vocabulary = Vocabulary(ruleset.vocabulary)
        self._hash_key = hash_key
        numbered = [(number, rule) for number, rule in enumerate(self._rules) if rule.pattern]
        self._raw = _Plan([item for item in numbered if item[1].applies_to is AppliesTo.RAW])
        self._folded = _Plan([item for item in numbered if item[1].applies_to is not AppliesTo.RAW])
        self._deobfuscated = _Plan([item for item in numbered if item[1].applies_to is AppliesTo.DEOBFUSCATED])
        self._decisions = [decide(rule, Label.UNKNOWN) for rule in self._rules]

    def screen(self, texts: TextColumn) -> Findings:
        """Every finding in ``texts``, ordered by row and start; decisions are those of an unlabelled row.

        A column typed as numbers is never text. A column of numbers written as text is looked at for payment cards
        only, and only believed when at least half of its values pass as cards: identifiers are not cards.
        """
        if is_numeric(texts):
            return Findings.empty()
        column = read_column(texts)
        parts: list[Findings] = []
        outcomes = [_Hit(row, self._number[rule.id], 0, 0) for row, rule in column.outcomes]
        for first, batch in batches(column.texts, rows=ROWS_PER_BATCH, size=BYTES_PER_BATCH):
            until = first + len(batch)
            hits = [hit for hit in outcomes if first <= hit.row < until] if outcomes else []
            parts.append(self._table(hits + self._screen_batch(batch, first), first))
        findings = concatenate(parts)
        if len(findings) and holds_bare_numbers(column.texts):
            return _believable_cards(findings, len(column.texts) - column.texts.null_count)
        return findings

    def _screen_batch(self, texts: pa.LargeStringArray, first: int) -> list[_Hit]:
        sink: list[_Hit] = []
        rows = np.arange(first, first + len(texts), dtype=np.int64)
        self._match(_View(texts, rows, lambda _, start, end: (start, end)), self._raw, sink)
        folded, locate = _folded(texts)
        self._match(_View(folded, rows, locate), self._folded, sink)
        disguised = _matching(folded, OBFUSCATION_PATTERN)
        if len(disguised):
            self._match_disguised(folded, disguised, first, locate, sink)
        return sink

    def _match_disguised(
        self,
        folded: pa.LargeStringArray,
        positions: npt.NDArray[np.int64],
        first: int,
        locate: Locate,
        sink: list[_Hit],
    ) -> None:
        undone, undone_positions = [], []
        parts: list[tuple[int, DecodedPart]] = []
        for position, text in zip(positions.tolist(), folded.take(pa.array(positions)).to_pylist(), strict=True):
            rewritten = undo_disguises(text, self._vocabulary)
            if rewritten is not None:
                undone.append(rewritten)
                undone_positions.append(position)
            for part in decoded_parts(text):
                if part.limited:
                    start, end = locate(position, part.start, part.end)
                    sink.append(_Hit(first + position, self._number[DECODING_LIMIT.id], start, end))
                if part.decoded:
                    parts.append((position, part))
        if undone:

            def locate_undone(index: int, start: int, end: int) -> Span:
                return locate(undone_positions[index], *undone[index].original_span(start, end))

            view = pa.array([rewritten.text for rewritten in undone], pa.large_string())
            rows = np.asarray(undone_positions, dtype=np.int64) + first
            self._match(_View(view, rows, locate_undone), self._deobfuscated, sink)
        if parts:

            def locate_decoded(index: int, start: int, end: int) -> Span:
                position, part = parts[index]
                return locate(position, part.start, part.end)

            view = pa.array([fold_characters(part.decoded) for _, part in parts], pa.large_string())
            rows = np.asarray([position for position, _ in parts], dtype=np.int64) + first
            self._match(_View(view, rows, locate_decoded), self._folded, sink)

    def _match(self, view: _View, plan: _Plan, sink: list[_Hit]) -> None:
        for number, rule, positions in plan.candidates(view.texts):
            values = view.texts.take(pa.array(positions)).cast(pa.large_binary())
            for position, value in zip(positions.tolist(), values, strict=True):
                row = int(view.rows[position])
                text = value.as_py()
                for count, (start, end, matched) in enumerate(_spans(rule, text)):
                    if count == MAXIMUM_FINDINGS_PER_RULE:
                        sink.append(_Hit(row, self._number[TOO_MANY_FINDINGS.id], 0, 0))
                        break
                    sink.append(_Hit(row, number, *view.locate(position, start, end), self._keyed_hash(matched)))

    def _keyed_hash(self, matched: bytes) -> str | None:
        return hmac.new(self._hash_key, matched, hashlib.sha256).hexdigest() if self._hash_key else None

    def _table(self, hits: list[_Hit], first: int) -> Findings:
        if not hits:
            return Findings.empty()
        kept = _without_overlaps(hits, self._rules)
        numbers = [hit.rule for hit in kept]
        indices = pa.array(numbers, pa.int16())

        def names(values: list[str]) -> pa.DictionaryArray:
            return (
                pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()))
                .cast(pa.string())
                .dictionary_encode()
            )

        columns = {
            "row": [hit.row for hit in kept],
            "kind": names([rule.kind for rule in self._rules]),
            "rule": names([rule.id for rule in self._rules]),
            "start": [hit.start for hit in kept],
            "end": [hit.end for hit in kept],
            "severity": names([rule.severity for rule in self._rules]),
            "decision": names([str(decision) for decision in self._decisions]),
            "confidence": [self._rules[number].confidence for number in numbers],
            "keyed_hash": pa.array([hit.keyed_hash for hit in kept], pa.string()),
        }
        arrays = [pa.array(columns[field.name]).cast(field.type) for field in SCHEMA]
        return Findings(pa.table(arrays, schema=SCHEMA))


def _folded(texts: pa.LargeStringArray) -> tuple[pa.LargeStringArray, Locate]:
    """``texts`` with the characters of the rows that are not ASCII folded, and the way back."""
    ascii_only = pc.fill_null(pc.equal(pc.binary_length(texts), pc.cast(pc.utf8_length(texts), pa.int64())), True)
    positions = np.flatnonzero(~ascii_only.to_numpy(zero_copy_only=False))
    if len(positions) == 0:
        return texts, lambda _, start, end: (start, end)
    originals = dict(zip(positions.tolist(), texts.take(pa.array(positions)).to_pylist(), strict=True))
    replacements = pa.array([fold_characters(text) for text in originals.values()], pa.large_string())
    folded = pc.replace_with_mask(texts, pc.invert(ascii_only), replacements)
    offsets: dict[int, list[int]] = {}

    def locate(position: int, start: int, end: int) -> Span:
        if position not in originals:
            return start, end
        if position not in offsets:
            offsets[position] = folded_offsets(originals[position])
        return original_span(offsets[position], start, end)

    return folded, locate


def _spans(rule: Rule, text: bytes) -> Iterator[tuple[int, int, bytes]]:
    """``(start, end, matched)`` of each valid match in UTF-8 ``text``, start and end in code points."""
    validator = VALIDATORS[rule.validator] if rule.validator else None
    is_ascii = text.isascii()
    position = counted_bytes = counted_characters = 0
    while position <= len(text):
        match = rule.compiled.search(text, position)
        if match is None:
            return
        start, end = match.span(1) if rule.reports_group else match.span()
        if start < 0:
            start, end = match.span()
        position = max(match.end(), position + 1)
        if start == end:
            continue
        matched = text[start:end]
        if validator is not None and not validator(matched.decode(), *_context(text, start, end)):
            position = _retry_position(text, match.start(), position)
            continue
        if is_ascii:
            yield start, end, matched
            continue
        counted_characters += len(text[counted_bytes:start].decode())
        counted_bytes = start
        yield counted_characters, counted_characters + len(matched.decode()), matched


def _context(text: bytes, start: int, end: int) -> tuple[str, str]:
    reach = 4 * CONTEXT_CHARACTERS
    before = text[max(0, start - reach) : start].decode(errors="ignore")
    after = text[end : end + reach].decode(errors="ignore")
    return before[-CONTEXT_CHARACTERS:], after[:CONTEXT_CHARACTERS]


def _retry_position(text: bytes, start: int, end: int) -> int:
    """Where to look again after a short match was refused: behind its first word, since a valid one may follow."""
    if end - start > _RETRY_BYTES:
        return end
    position = start
    while position < end and text[position : position + 1].isalnum():
        position += 1
    return min(end, position + 1)


_PROTECTED = (Role.PERSONAL_DATA, Role.SECRET)


def _without_overlaps(hits: list[_Hit], rules: Sequence[Rule]) -> list[_Hit]:
    """One finding per rule and place, and per place one personal-data or secret finding: the surest, then longest."""

    def preference(hit: _Hit) -> tuple[int, float, int, int, int]:
        rule = rules[hit.rule]
        return (hit.row, -rule.confidence, hit.start - hit.end, hit.start, hit.rule)

    kept: list[_Hit] = []
    taken: dict[tuple[int, int], list[Span]] = {}
    for hit in sorted(set(hits), key=preference):
        rule = rules[hit.rule]
        spans = taken.setdefault((hit.row, -1 if rule.role in _PROTECTED else hit.rule), [])
        if any((hit.start < end and start < hit.end) or (hit.start, hit.end) == (start, end) for start, end in spans):
            continue
        spans.append((hit.start, hit.end))
        kept.append(hit)
    return sorted(kept, key=lambda hit: (hit.row, hit.start, hit.end, hit.rule))


def _believable_cards(findings: Findings, values: int) -> Findings:
    cards = findings.where(np.isin(findings.names("kind"), sorted(_NUMBER_COLUMN_KINDS)))
    return cards if len(np.unique(cards.rows)) >= _HALF * values else Findings.empty()
