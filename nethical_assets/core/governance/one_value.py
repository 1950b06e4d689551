"""One value of a record by itself: whether it is certain that screening would find nothing in it.

What belongs here: cheap tests that never say "nothing" of a value in which ``values.find_in`` finds something, for one
value without a column around it. What does not: what is found, and masking it: a value that is not certain goes the way
of columns (``scoring``).

Most records hold nothing: small numbers, categories that were met before, texts in which no pattern matches. Values
that were found to hold nothing are remembered, short ones only and so many; they never leave the memory of the process.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Mapping

from nethical_assets.core.governance.columns import BARE_NUMBER, LARGEST_EXACT
from nethical_assets.core.governance.matching import GaveUpError, MatchingPlan, Pattern, spans
from nethical_assets.core.governance.normalise import fold_characters
from nethical_assets.core.governance.rules import AppliesTo
from nethical_assets.core.governance.screener import REWRITTEN, Screener
from nethical_assets.core.governance.searches import NumberSearch
from nethical_assets.core.governance.values import EVENT_NAME, NUMBER, SMALLEST_IDENTIFIER, Reading

MOST_REMEMBERED = 50_000
"""How many values are remembered before the memory begins anew: some 10 MB."""

_LONGEST_REMEMBERED = 64
_NUMBER, _BARE_NUMBER = Pattern(NUMBER), Pattern(BARE_NUMBER)
_EVENT_NAME = re.compile(EVENT_NAME)
_OTHER_BLANKS = re.compile(r"[\t\n\f\r]")


class ValueTest:
    """Tells which values certainly hold nothing that some rules find. Safe for threads."""

    def __init__(self, screener: Screener, rules: Collection[str]) -> None:
        """``rules`` are the identifiers of those that matter."""
        self._screener = screener
        numbered = [(n, rule) for n, rule in enumerate(screener.ruleset.all_rules) if rule.id in rules and rule.pattern]
        self._raw = MatchingPlan([item for item in numbered if item[1].applies_to is AppliesTo.RAW])
        self._folded = MatchingPlan([item for item in numbered if item[1].applies_to is not AppliesTo.RAW])
        self._deobfuscated = MatchingPlan([item for item in numbered if item[1].applies_to is AppliesTo.DEOBFUSCATED])
        self._searches: dict[str, NumberSearch] = {}
        self._remembered: dict[str, set[str]] = {}
        self._event_names = {""}
        self._count = 0
        # A text is asked about as it came and again as the family reads it, which mostly is the same object.
        self._latest: str | None = None
        self._guard = threading.Lock()

    def holds_nothing(self, name: str, reading: Reading, value: object) -> bool:
        """Whether nothing would be found in ``value``, a record's only value of the column ``name``; false where that
        is not certain."""
        kind = type(value)
        if kind is str:
            if value in self._remembered.get(name, ()):
                return True
            return self._text_holds_nothing(name, reading, str(value))
        if kind is int or kind is float:
            number: float = value  # type: ignore[assignment]
            if -SMALLEST_IDENTIFIER < number < SMALLEST_IDENTIFIER:
                return True
            return self._number_holds_nothing(name, number)
        return value is None or kind is bool

    def all_hold_nothing(self, values: Mapping[str, object], readings: Mapping[str, Reading]) -> bool:
        """Whether each of ``values`` by its column holds nothing, which ``readings`` says how to read."""
        remembered, holds_nothing = self._remembered, self.holds_nothing
        for name, value in values.items():
            kind = type(value)
            # Most are small numbers, which are told apart here without a call.
            if (kind is int or kind is float) and -SMALLEST_IDENTIFIER < value < SMALLEST_IDENTIFIER:  # type: ignore[operator]
                continue
            if kind is str and value in remembered.get(name, ()):
                continue
            if not holds_nothing(name, readings[name], value):
                return False
        return True

    def _number_holds_nothing(self, name: str, number: float) -> bool:
        if isinstance(number, float) and not (number.is_integer() and abs(number) < LARGEST_EXACT):
            return True
        return abs(number) < 1 << 63 and not self._looks_at(name, str(int(number)))

    def _text_holds_nothing(self, name: str, reading: Reading, text: str) -> bool:
        try:
            written = text.encode()
        except UnicodeEncodeError:
            return False
        match reading:
            case Reading.ACTIONS:
                return self._actions_hold_nothing(text, written)
            case Reading.PROSE:
                bare = _BARE_NUMBER.matches(written)
                return not (bare and self._looks_at(name, text)) and self._finds_nothing(text, written)
        number = _NUMBER.matches(written)
        nothing = not self._looks_at(name, text) if number else self._finds_nothing(text, written)
        if nothing and len(text) <= _LONGEST_REMEMBERED:
            self._remember(name, text)
        return nothing

    def _actions_hold_nothing(self, text: str, written: bytes) -> bool:
        """Sequences of event numbers by each name, of other names as a whole; mixed ones are not certain."""
        names = text.split(" ")
        if self._event_names.issuperset(names) and not text.isspace() and text:
            return True
        if _OTHER_BLANKS.search(text):
            return False
        distinct = {each for each in names if each}
        numbered = {each for each in distinct if _EVENT_NAME.fullmatch(each)}
        if not numbered:
            return self._finds_nothing(text, written)
        if len(numbered) < len(distinct) or not all(self.holds_nothing("", Reading.VALUES, name) for name in numbered):
            return False
        with self._guard:
            if len(self._event_names) + len(numbered) > MOST_REMEMBERED:
                self._event_names = {""}
            self._event_names |= numbered
        return True

    def _finds_nothing(self, text: str, written: bytes) -> bool:
        """As screening one text finds nothing: at first by the patterns alone, without other forms of the text."""
        if text is self._latest:
            return True
        folded = text if text.isascii() else fold_characters(text)
        plain = written if folded is text else folded.encode()
        try:
            found = self._finds(self._raw, written) or self._finds(self._folded, plain)
            if found or (REWRITTEN.matches(plain) and self._finds_in_other_forms(folded)):
                return False
        except (GaveUpError, UnicodeEncodeError):
            return False
        self._latest = text
        return True

    def _finds_in_other_forms(self, folded: str) -> bool:
        plans = {AppliesTo.FOLDED: self._folded, AppliesTo.DEOBFUSCATED: self._deobfuscated}
        return any(self._finds(plans[rules], form.encode()) for rules, form in self._screener.other_forms(folded))

    @staticmethod
    def _finds(plan: MatchingPlan, text: bytes) -> bool:
        return any(next(spans(rule, text), None) is not None for rule in plan.matching_one(text))

    def _looks_at(self, name: str, number: str) -> bool:
        search = self._searches.get(name)
        if search is None:
            search = self._searches[name] = NumberSearch(name, self._screener)
        return search.looks_at(number)

    def _remember(self, name: str, text: str) -> None:
        with self._guard:
            if self._count >= MOST_REMEMBERED:
                self._remembered, self._count = {}, 0
            self._remembered.setdefault(name, set()).add(text)
            self._count += 1
