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

from nethical_assets.core.governance.columns import (
    ReadColumn,
    TextColumn,
    batches,
    holds_bare_numbers,
    is_numeric,
    read_column,
)
from nethical_assets.core.governance.decoding import (
    ENCODED_PATTERN,
    ESCAPED_PATTERN,
    DecodedPart,
    Unescaped,
    decoded_parts,
    unescaped,
)
from nethical_assets.core.governance.disguises import MIXED_PATTERN, SPACED_PATTERN, Vocabulary, undo_disguises
from nethical_assets.core.governance.findings import SCHEMA, Findings, concatenate
from nethical_assets.core.governance.header_lines import HEADER_PATTERN, with_labels
from nethical_assets.core.governance.matching import GaveUpError, MatchingPlan, Pattern, spans
from nethical_assets.core.governance.memo import Hit, Hits, ScreeningMemo
from nethical_assets.core.governance.normalise import Rewritten, fold_characters, fold_with_offsets
from nethical_assets.core.governance.policy import Label, decide
from nethical_assets.core.governance.rules import (
    DECODING_LIMIT,
    TOO_MANY_FINDINGS,
    AppliesTo,
    Role,
    Rule,
    Ruleset,
)

ROWS_PER_BATCH = 1 << 16
BYTES_PER_BATCH = 1 << 24
MAXIMUM_FINDINGS_PER_RULE = 1000
"""How many spans of one rule are recorded in one text; more is itself a finding."""

NUMBER_COLUMN_KINDS = frozenset({"CREDIT_CARD"})
"""What is looked for in a column of numbers, whatever it is called."""
_HALF = 0.5

_MIXED = Pattern(MIXED_PATTERN)
_SPACED = Pattern(SPACED_PATTERN)
_ESCAPED = Pattern(ESCAPED_PATTERN)
_ENCODED = Pattern(ENCODED_PATTERN)
_HEADER = Pattern(HEADER_PATTERN)
REWRITTEN = Pattern("|".join((ESCAPED_PATTERN, ENCODED_PATTERN, MIXED_PATTERN, SPACED_PATTERN, HEADER_PATTERN)))
"""One pass for the few texts of which another form may have to be made."""

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


class Screener:
    """A compiled ruleset. Immutable, so one screener serves any number of calls."""

    def __init__(self, ruleset: Ruleset, *, hash_key: bytes | None = None, memo: ScreeningMemo | None = None) -> None:
        """With ``hash_key`` every finding carries the HMAC-SHA-256 of its normalised matched text.

        With ``memo`` (of this ruleset and key) a text that was screened before is not screened again; the findings are
        the same without.
        """
        self.ruleset = ruleset
        self.memo = memo
        self._rules = ruleset.all_rules
        self._number = {rule.id: number for number, rule in enumerate(self._rules)}
        self._vocabulary = Vocabulary(ruleset.vocabulary)
        self._hash_key = hash_key
        numbered = [(number, rule) for number, rule in enumerate(self._rules) if rule.pattern]
        self._raw = MatchingPlan([item for item in numbered if item[1].applies_to is AppliesTo.RAW])
        self._folded = MatchingPlan([item for item in numbered if item[1].applies_to is not AppliesTo.RAW])
        self._deobfuscated = MatchingPlan([item for item in numbered if item[1].applies_to is AppliesTo.DEOBFUSCATED])
        self._decisions = [decide(rule, Label.UNKNOWN) for rule in self._rules]

    def screen(self, texts: TextColumn) -> Findings:
        """Every finding in ``texts``, ordered by row and start; decisions are those of an unlabelled row.

        A column typed as numbers is never text. A column of numbers written as text is looked at for payment cards
        only, and only believed when at least half of its values pass as cards: identifiers are not cards.
        """
        if is_numeric(texts):
            return Findings.empty()
        column = read_column(texts)
        findings = self.screen_each(column)
        if len(findings) and holds_bare_numbers(column.texts):
            return _believable_cards(findings, len(column.texts) - column.texts.null_count)
        return findings

    def screen_each(self, column: ReadColumn) -> Findings:
        """As :meth:`screen`, each text by itself: whether the column as a whole holds numbers only is not asked."""
        parts: list[Findings] = []
        outcomes = [_Hit(row, self._number[rule.id], 0, 0) for row, rule in column.outcomes]
        for first, batch in batches(column.texts, rows=ROWS_PER_BATCH, size=BYTES_PER_BATCH):
            until = first + len(batch)
            hits = [hit for hit in outcomes if first <= hit.row < until] if outcomes else []
            parts.append(self._table(hits + self._hits_of_batch(batch, first), first))
        return concatenate(parts)

    def other_forms(self, folded: str) -> Iterator[tuple[AppliesTo, str]]:
        """The forms beside itself in which a text, whose characters are folded, is screened, and the rules that are
        looked for in each: those of all folded texts, or those that see through disguises.

        For one text in which :data:`REWRITTEN` matches, without a column around it.
        """
        plain = folded
        if _ESCAPED.matches(folded.encode()) and (read := unescaped(folded)) is not None:
            plain = read.text
            yield AppliesTo.FOLDED, plain
        written = plain.encode()
        if _HEADER.matches(written) and (labelled := with_labels(plain)) is not None:
            yield AppliesTo.FOLDED, labelled.text
        mixed, spaced = _MIXED.matches(written), _SPACED.matches(written)
        if mixed or spaced:
            undone = undo_disguises(plain, self._vocabulary, mixed=mixed, spaced=spaced)
            if undone is not None:
                yield AppliesTo.DEOBFUSCATED, undone.text
        if _ENCODED.matches(written):
            for part in decoded_parts(plain):
                if part.decoded:
                    yield AppliesTo.FOLDED, fold_characters(part.decoded)

    def _hits_of_batch(self, texts: pa.LargeStringArray, first: int) -> list[_Hit]:
        if self.memo is None:
            return self._screen_batch(texts, first)
        found = self.memo.hits(texts, self._hits_by_text)
        return [_Hit(row, *hit) for row, hits in enumerate(found, first) for hit in hits]

    def _hits_by_text(self, texts: pa.LargeStringArray) -> list[Hits]:
        by_text: list[list[Hit]] = [[] for _ in range(len(texts))]
        for hit in self._screen_batch(texts, 0):
            by_text[hit.row].append(Hit(hit.rule, hit.start, hit.end, hit.keyed_hash))
        return [tuple(hits) for hits in by_text]

    def _screen_batch(self, texts: pa.LargeStringArray, first: int) -> list[_Hit]:
        sink: list[_Hit] = []
        rows = np.arange(first, first + len(texts), dtype=np.int64)
        self._match(_View(texts, rows, lambda _, start, end: (start, end)), self._raw, sink)
        folded, locate_folded = _folded(texts)
        rewritten = REWRITTEN.matching(folded)
        plain, locate = self._unescaped(folded, rewritten, first, locate_folded, sink)
        view = _View(plain, rows, locate)
        self._match(view, self._folded, sink)
        self._match_tables(view, rewritten, sink)
        self._match_disguised(view, rewritten, sink)
        self._match_encoded(view, rewritten, sink)
        return sink

    def _unescaped(
        self,
        folded: pa.LargeStringArray,
        positions: npt.NDArray[np.int64],
        first: int,
        locate: Locate,
        sink: list[_Hit],
    ) -> tuple[pa.LargeStringArray, Locate]:
        """``folded`` with the escapes of the texts that hold any read, and the way back.

        An address on the web is cut where an escaped blank becomes one: such texts are matched with their escapes too.
        """
        read: dict[int, Unescaped] = {}
        cut: list[int] = []
        for position, text in _matching_among(folded, positions, _ESCAPED):
            plain = unescaped(text)
            if plain is None:
                continue
            read[position] = plain
            if "%" in text or "\\" in text:
                cut.append(position)
            if plain.limited:
                span = locate(position, 0, len(text))
                sink.append(_Hit(first + position, self._number[DECODING_LIMIT.id], *span))
        if not read:
            return folded, locate

        def locate_plain(position: int, start: int, end: int) -> Span:
            plain = read.get(position)
            return locate(position, *(plain.original_span(start, end) if plain else (start, end)))

        if cut:
            view = _View(
                folded.take(pa.array(cut)),
                np.asarray(cut, dtype=np.int64) + first,
                lambda index, start, end: locate(cut[index], start, end),
            )
            self._match(view, self._folded, sink)
        changed = np.zeros(len(folded), dtype=bool)
        changed[list(read)] = True
        texts = pa.array([plain.text for plain in read.values()], pa.large_string())
        return pc.replace_with_mask(folded, pa.array(changed), texts), locate_plain

    def _match_tables(self, view: _View, candidates: npt.NDArray[np.int64], sink: list[_Hit]) -> None:
        labelled: list[Rewritten] = []
        positions: list[int] = []
        for position, text in _matching_among(view.texts, candidates, _HEADER):
            rewritten = with_labels(text)
            if rewritten is not None:
                labelled.append(rewritten)
                positions.append(position)

        def locate_labelled(index: int, start: int, end: int) -> Span:
            return view.locate(positions[index], *labelled[index].original_span(start, end))

        if labelled:
            texts = pa.array([rewritten.text for rewritten in labelled], pa.large_string())
            self._match(_View(texts, view.rows[positions], locate_labelled), self._folded, sink)

    def _match_disguised(self, view: _View, candidates: npt.NDArray[np.int64], sink: list[_Hit]) -> None:
        undone: list[Rewritten] = []
        positions: list[int] = []
        mixed, spaced = (dict(_matching_among(view.texts, candidates, pattern)) for pattern in (_MIXED, _SPACED))
        for position, text in sorted({**mixed, **spaced}.items()):
            rewritten = undo_disguises(text, self._vocabulary, mixed=position in mixed, spaced=position in spaced)
            if rewritten is not None:
                undone.append(rewritten)
                positions.append(position)

        def locate_undone(index: int, start: int, end: int) -> Span:
            return view.locate(positions[index], *undone[index].original_span(start, end))

        if undone:
            texts = pa.array([rewritten.text for rewritten in undone], pa.large_string())
            self._match(_View(texts, view.rows[positions], locate_undone), self._deobfuscated, sink)

    def _match_encoded(self, view: _View, candidates: npt.NDArray[np.int64], sink: list[_Hit]) -> None:
        decoded: list[tuple[int, DecodedPart]] = []
        for position, text in _matching_among(view.texts, candidates, _ENCODED):
            for part in decoded_parts(text):
                if part.limited:
                    start, end = view.locate(position, part.start, part.end)
                    sink.append(_Hit(int(view.rows[position]), self._number[DECODING_LIMIT.id], start, end))
                if part.decoded:
                    decoded.append((position, part))

        def locate_decoded(index: int, start: int, end: int) -> Span:
            position, part = decoded[index]
            return view.locate(position, part.start, part.end)

        if decoded:
            texts = pa.array([fold_characters(part.decoded) for _, part in decoded], pa.large_string())
            rows = view.rows[[position for position, _ in decoded]]
            self._match(_View(texts, rows, locate_decoded), self._folded, sink)

    def _match(self, view: _View, plan: MatchingPlan, sink: list[_Hit]) -> None:
        for number, _, positions in plan.candidates(view.texts):
            values = view.texts.take(pa.array(positions)).cast(pa.large_binary())
            for position, value in zip(positions.tolist(), values, strict=True):
                row = int(view.rows[position])
                text = value.as_py()
                sink.extend(self._hits(row, number, text, view.locate, position))

    def _hits(self, row: int, number: int, text: bytes, locate: Locate, position: int) -> Iterator[_Hit]:
        try:
            for count, (start, end, matched) in enumerate(spans(self._rules[number], text)):
                if count == MAXIMUM_FINDINGS_PER_RULE:
                    raise GaveUpError
                yield _Hit(row, number, *locate(position, start, end), self._keyed_hash(matched))
        except GaveUpError:
            yield _Hit(row, self._number[TOO_MANY_FINDINGS.id], 0, 0)

    def _keyed_hash(self, matched: bytes) -> str | None:
        return hmac.new(self._hash_key, matched, hashlib.sha256).hexdigest() if self._hash_key else None

    def _table(self, hits: list[_Hit], first: int) -> Findings:
        if not hits:
            return Findings.empty()
        kept = _without_overlaps(hits, self._rules)
        numbers = [hit.rule for hit in kept]
        indices = pa.array(numbers, pa.int16())

        def names(values: list[str]) -> pa.Array:
            return pa.array(values, pa.string()).take(indices)

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


def _matching_among(
    texts: pa.LargeStringArray, positions: npt.NDArray[np.int64], pattern: Pattern
) -> Iterator[tuple[int, str]]:
    """``(position, text)`` of the texts at ``positions`` in which ``pattern`` matches."""
    among = texts.take(pa.array(positions))
    hits = pattern.matching(among)
    return zip(positions[hits].tolist(), among.take(pa.array(hits)).to_pylist(), strict=True)


def _folded(texts: pa.LargeStringArray) -> tuple[pa.LargeStringArray, Locate]:
    """``texts`` with the characters of the rows that are not ASCII folded, and the way back."""
    ascii_only = pc.fill_null(pc.equal(pc.binary_length(texts), pc.cast(pc.utf8_length(texts), pa.int64())), True)
    positions = np.flatnonzero(~ascii_only.to_numpy(zero_copy_only=False))
    if len(positions) == 0:
        return texts, lambda _, start, end: (start, end)
    originals = dict(zip(positions.tolist(), texts.take(pa.array(positions)).to_pylist(), strict=True))
    replacements = pa.array([fold_characters(text) for text in originals.values()], pa.large_string())
    rewritten: dict[int, Rewritten] = {}

    def locate(position: int, start: int, end: int) -> Span:
        if position not in originals:
            return start, end
        if position not in rewritten:
            rewritten[position] = fold_with_offsets(originals[position])
        return rewritten[position].original_span(start, end)

    return pc.replace_with_mask(texts, pc.invert(ascii_only), replacements), locate


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
    cards = findings.where(np.isin(findings.names("kind"), sorted(NUMBER_COLUMN_KINDS)))
    return cards if len(np.unique(cards.rows)) >= _HALF * values else Findings.empty()
