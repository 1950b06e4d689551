"""Numbers that are identifiers: payment cards by their digits, others by what their column is called.

What belongs here: looking at the numbers of a column piece by piece, and believing what was found or not by the column
as a whole. What does not: rules (``rules``), whether a table or a file is looked at (``values``, ``files``). Both are
looked at by the same searches, so that neither is silent about what the other finds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.governance.columns import BARE_NUMBER, ReadColumn, TextColumn, read_column
from nethical_assets.core.governance.findings import SCHEMA, Findings, concatenate, moved
from nethical_assets.core.governance.matching import Pattern
from nethical_assets.core.governance.rules import Role
from nethical_assets.core.governance.screener import NUMBER_COLUMN_KINDS, Screener

_CARD_DIGITS = r"^\s*[0-9]{13,19}(?:\.0*)?\s*$"
_IDENTIFIER_DIGITS = r"^\s*[+-]?[0-9]{7,15}(?:\.0*)?\s*$"
_PLUS_DIGITS = r"^\s*\+[0-9]{8,15}\s*$"
_CARD, _PLUS, _IDENTIFIER = (Pattern(text) for text in (_CARD_DIGITS, _PLUS_DIGITS, _IDENTIFIER_DIGITS))
_IDENTIFIER_NAME = re.compile(
    r"(?i)\b(ssn|social security|sin|itin|tax|national|passport|phone|telephone|tel|mobile|cell|cellphone|msisdn|fax"
    r"|card|account|iban)\b"
)
"""What names of columns whose numbers are identifiers of people have in them."""
_JOINED_WORDS = re.compile(r"(?i)\b(\w*(?:phone|mobile|fax|card|account|tax|ssn))(number|num|nr|no|id)\b")
_SOCIAL_SECURITY = re.compile(r"(?i)\b(ssn|social security|itin)\b")
_SOCIAL_SECURITY_DIGITS = 9
_BELIEVED_SHARE = 0.5

Integers = npt.NDArray[np.int64]


@dataclass
class _Found:
    """What one way of looking found in ``looked_at`` numbers, of which ``passed`` are what was looked for."""

    parts: list[Findings] = field(default_factory=list)
    passed: int = 0
    looked_at: int = 0

    def add(self, findings: Findings, places: Integers, times: Integers) -> None:
        self.parts.append(moved(findings, places))
        self.passed += int(times[np.unique(findings.rows)].sum())
        self.looked_at += int(times.sum())

    @property
    def believed(self) -> bool:
        return self.passed > 0 and self.passed >= _BELIEVED_SHARE * self.looked_at


class NumberSearch:
    """Identifiers among the numbers of one column, which come in pieces.

    Whole numbers of 13 to 19 digits are looked at as payment cards, those with a plus before them as telephone numbers,
    and in a column that is called like an identifier of people (``ssn``, ``mobilePhone``) those of 7 to 15 digits as
    what it is called. Believed is what at least half of the numbers of such a length pass for: measurements stay what
    they are. Of numbers that are judged ``alone`` each that passes is believed, whatever else the column holds.
    """

    def __init__(self, name: str, screener: Screener, *, alone: bool = False) -> None:
        self._screener = screener
        self._alone = alone
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W\d]+", " ", name).strip()
        self._label = _JOINED_WORDS.sub(r"\1 \2", words)
        self._named = _IDENTIFIER_NAME.search(self._label) is not None
        self._protected = protected_rules(screener)
        self._cards, self._signed, self._plain, self._grouped = _Found(), _Found(), _Found(), _Found()

    def looks_at(self, text: str) -> bool:
        """Whether one number is of a form that is looked at: in others nothing is ever found."""
        written = text.encode()
        ways = (_CARD, _PLUS, _IDENTIFIER) if self._named else (_CARD, _PLUS)
        return any(way.matches(written) for way in ways)

    def add(self, texts: pa.LargeStringArray, places: Integers, times: Integers) -> None:
        """Look at those of ``texts`` that are numbers; ``places`` are the rows of the findings, ``times`` says how
        often each occurs."""
        long = _matching(texts, _CARD_DIGITS)
        if len(long):
            digits = pc.replace_substring_regex(texts.take(pa.array(long)), r"\.0*\s*$", "")
            found = self._screener.screen_each(ReadColumn(digits))
            found = found.where(np.isin(found.names("kind"), sorted(NUMBER_COLUMN_KINDS)))
            self._cards.add(found, places[long], times[long])
        signed = _matching(texts, _PLUS_DIGITS)
        if len(signed):
            found = self._screener.screen_each(ReadColumn(texts.take(pa.array(signed))))
            found = found.where(np.isin(found.names("rule"), self._protected))
            self._signed.add(found, places[signed], times[signed])
        at = _matching(texts, _IDENTIFIER_DIGITS) if self._named else np.empty(0, dtype=np.int64)
        if len(at):
            written = texts.take(pa.array(at)).to_pylist()
            lengths = [len(text) for text in written]
            digits = [self._filled(text.strip().partition(".")[0].lstrip("+-")) for text in written]
            for way, numbers in ((self._plain, digits), (self._grouped, list(map(_grouped, digits)))):
                way.add(self._labelled(numbers, lengths), places[at], times[at])

    def findings(self) -> Findings:
        """What is believed of all pieces together."""
        found = Findings.empty()
        if self._alone:
            for way in (self._cards, self._signed, self._plain, self._grouped):
                found = _with_others(found, concatenate(way.parts))
            return found
        labelled = self._plain if self._plain.believed else self._grouped
        for way in (self._cards, self._signed, labelled):
            if way.believed:
                found = _with_others(found, concatenate(way.parts))
        return found

    def _filled(self, digits: str) -> str:
        """Digits with the zeros that a social security number loses where it is read as a number."""
        return digits.zfill(_SOCIAL_SECURITY_DIGITS) if _SOCIAL_SECURITY.search(self._label) else digits

    def _labelled(self, numbers: list[str] | list[str | None], lengths: list[int]) -> Findings:
        """One finding a number, which is the whole value."""
        labelled = [number and f"{self._label}: {number}" for number in numbers]
        found = self._screener.screen_each(ReadColumn(pa.array(labelled, pa.large_string())))
        found = found.where(np.isin(found.names("rule"), self._protected))
        first = np.zeros(len(found), dtype=bool)
        first[np.unique(found.rows, return_index=True)[1]] = True
        found = found.where(first)
        table = found.table
        for column, ends in (("start", [0] * len(found)), ("end", [lengths[row] for row in found.rows.tolist()])):
            index = table.schema.get_field_index(column)
            table = table.set_column(index, SCHEMA.field(column), pa.array(ends, pa.int64()))
        return Findings(table)


class ProseSearch:
    """What is found in one column of texts, which come in pieces.

    A column of which every value is a number holds identifiers or measurements, and is judged as such; elsewhere a
    number is read as any text is, and once more by what the column is called.
    """

    def __init__(self, name: str, screener: Screener, *, alone: bool = False) -> None:
        self._screener = screener
        self._alone = alone
        self._numbers = NumberSearch(name, screener, alone=alone)
        self._parts: list[Findings] = []
        self._only_numbers = True

    def add(self, texts: TextColumn, places: Integers, times: Integers) -> None:
        """Look at ``texts``, as :meth:`NumberSearch.add` does."""
        column = read_column(texts)
        self._parts.append(moved(self._screener.screen_each(column), places))
        bare = pc.match_substring_regex(column.texts, BARE_NUMBER)
        self._only_numbers = (
            self._only_numbers and not column.outcomes and bool(pc.all(pc.fill_null(bare, True)).as_py())
        )
        numbers = np.flatnonzero(pc.fill_null(bare, False).to_numpy(zero_copy_only=False))
        if len(numbers):
            self._numbers.add(column.texts.take(pa.array(numbers)), places[numbers], times[numbers])

    def add_numbers(self, texts: pa.LargeStringArray, places: Integers, times: Integers) -> None:
        """Look at numbers that are typed as such, by their digits."""
        self._numbers.add(texts, places, times)

    def findings(self) -> Findings:
        """All findings, ordered by row and start."""
        numbers = self._numbers.findings()
        if self._only_numbers and not self._alone:
            return numbers
        return _with_others(concatenate(self._parts), numbers)


def protected_rules(screener: Screener) -> list[str]:
    """The rules that find personal data or secrets, by their identifiers."""
    return [rule.id for rule in screener.ruleset.all_rules if rule.role in (Role.PERSONAL_DATA, Role.SECRET)]


def _grouped(digits: str) -> str | None:
    """Nine digits as a social security number is written; nothing for other numbers."""
    return f"{digits[:3]}-{digits[3:5]}-{digits[5:]}" if len(digits) == _SOCIAL_SECURITY_DIGITS else None


def _with_others(findings: Findings, others: Findings) -> Findings:
    """``findings``, and those of ``others`` that are in other rows, ordered by row and start."""
    others = others.where(~np.isin(others.rows, findings.rows))
    if len(others) == 0:
        return findings
    both = concatenate([findings, others])
    return Findings(both.table.sort_by([("row", "ascending"), ("start", "ascending")]))


def _matching(texts: pa.LargeStringArray, pattern: str) -> Integers:
    hits = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
    return np.flatnonzero(hits.to_numpy(zero_copy_only=False))
