"""Screening the records of a source before a family's code sees them: every column, whatever it is for.

What belongs here: which column is read how, masking personal data and secrets, and counting them. What does not: rows
that are to be kept out, which are decided about when they are canonical (``frames``).

Which columns there are is derived from the table: there is nothing that a new family or dataset could forget to
declare. In a text the kind of what was found takes its place; elsewhere a pseudonym does, because such a value may say
which rows belong together, or how many different ones there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.governance.findings import Findings, Token, kind_token, mask
from nethical_assets.core.governance.policy import Label, decide
from nethical_assets.core.governance.pseudonyms import Pseudonyms
from nethical_assets.core.governance.rules import Decision
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.searches import protected_rules
from nethical_assets.core.governance.values import FoundValues, Reading, find_in
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.columns import MASKED_VALUE
from nethical_assets.core.rows.frames import categories
from nethical_assets.core.rows.labels import FILE_COLUMN

_ADDED_COLUMNS = (FILE_COLUMN, "_label", "_source")
_HALF = 0.5


@dataclass
class RecordCounts:
    """What was found and masked in the records of some sources: counts, never values.

    ``records`` were looked at, in ``columns`` columns that are not typed as truth values or times; ``by_kind`` counts
    findings, ``by_kind_and_label`` those of records of each label, ``records_masked`` the records with at least one.
    """

    records: int = 0
    columns: int = 0
    records_masked: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    by_kind_and_label: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, findings: Findings, labels: npt.NDArray[np.object_]) -> None:
        """Add ``findings``, whose rows are positions in ``labels``."""
        for (kind, label), times in Counter(
            zip(findings.names("kind").tolist(), labels[findings.rows].tolist(), strict=True)
        ).items():
            self.by_kind[kind] += times
            self.by_kind_and_label.setdefault(kind, Counter())[label] += times

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, in order of kind and label."""
        return {
            "records": self.records,
            "columns": self.columns,
            "records_masked": self.records_masked,
            "by_kind": dict(sorted(self.by_kind.items())),
            "by_kind_and_label": {
                kind: dict(sorted(labels.items())) for kind, labels in sorted(self.by_kind_and_label.items())
            },
        }


@dataclass(frozen=True)
class ScreenedRecords:
    """``frame``: the records, masked, the rows and columns they came with; ``left``: column -> findings that stand
    there as they came, because the policy takes such rows out, which happens once they are canonical."""

    frame: pd.DataFrame
    left: Mapping[str, Findings]


class RecordScreener:
    """Screens the records of one family's sources and counts what it finds."""

    def __init__(self, screener: Screener, pseudonyms: Pseudonyms) -> None:
        self._screener = screener
        self._pseudonyms = pseudonyms
        self._masked_rules = [
            rule.id
            for rule in screener.ruleset.all_rules
            if rule.id in protected_rules(screener) and decide(rule, Label.UNKNOWN) is Decision.ALLOW_WITH_MODIFICATION
        ]
        self._removing_rules = [
            rule.id
            for rule in screener.ruleset.all_rules
            if rule.id in protected_rules(screener) and decide(rule, Label.UNKNOWN).removes_row
        ]
        self.counts = RecordCounts()

    def screen(self, entry: DatasetEntry, frame: pd.DataFrame) -> ScreenedRecords:
        """Mask the personal data and secrets in every column of the records of ``entry``.

        What the policy does not mask but takes out (a private key) stays where it can become a canonical value: in the
        columns that the entry declares as text, sequence, group or category; elsewhere it is masked too.
        """
        labels = frame["_label"].astype("str").to_numpy(dtype=object)
        masked = np.zeros(len(frame), dtype=bool)
        left: dict[str, Findings] = {}
        screened = frame.copy(deep=False)
        readings = {str(name): reading_of(entry, str(name)) for name in frame.columns if name not in _ADDED_COLUMNS}
        for name, reading in readings.items():
            found = find_in(frame[name], reading, self._screener)
            if len(found.findings) == 0:
                continue
            rules = found.findings.names("rule")
            keeps = np.isin(rules, self._removing_rules)
            changes = np.isin(rules, self._masked_rules)
            if name in _becoming_canonical(entry):
                kept = FoundValues(found.codes, found.values, found.findings.where(keeps)).on_rows()
                if len(kept):
                    left[name] = kept
            else:
                changes |= keeps
            here = FoundValues(found.codes, found.values, found.findings.where(changes))
            on_rows = here.on_rows()
            if len(on_rows) == 0:
                continue
            self.counts.count(on_rows, labels)
            masked[on_rows.rows] = True
            screened[name] = self._masked(frame[name], here, entry, reading)
        self.counts.records += len(frame)
        self.counts.columns += len(readings)
        self.counts.records_masked += int(masked.sum())
        return ScreenedRecords(screened, left)

    def count_left(self, screened: ScreenedRecords, part: pd.DataFrame, entry: DatasetEntry) -> None:
        """Count what was left in columns of which nothing is in ``part``, the canonical rows."""
        labels = screened.frame["_label"].astype("str").to_numpy(dtype=object)
        for name, findings in screened.left.items():
            if name not in part.columns and reading_of(entry, name) is Reading.VALUES and name != entry.group_column:
                self.counts.count(findings, labels)

    def _masked(self, column: pd.Series, found: FoundValues, entry: DatasetEntry, reading: Reading) -> pd.Series:
        rows = np.isin(found.codes, np.unique(found.findings.rows))
        name = str(column.name)
        if pd.api.types.is_numeric_dtype(column.dtype):
            belongs_together = name in (entry.group_column, *entry.identity_columns, *entry.sample_together)
            shared = rows.sum() >= _HALF * (found.codes >= 0).sum() and name not in entry.numeric_columns
            identifiers = shared or name in entry.categorical_columns
            if not (belongs_together or identifiers):
                # A number that is no measurement is a missing one: a pseudonym is no number.
                whole = column.astype("Int64") if pd.api.types.is_integer_dtype(column.dtype) else column
                return whole.mask(rows)
        return replaced(column, found, self._pseudonyms.token if reading is Reading.VALUES else kind_token)


def replaced(column: pd.Series, found: FoundValues, token: Token) -> pd.Series:
    """``column`` with what was found replaced by its ``token``: text, where it was numbers too."""
    rows = np.isin(found.codes, np.unique(found.findings.rows))
    values = mask(found.values, found.findings, token).to_numpy(dtype=object)
    as_text = categories(column).mask(column.isna()) if pd.api.types.is_numeric_dtype(column.dtype) else column
    # In an array: a series infers a type of text of what is put into it, which no lone surrogate has.
    cells = as_text.astype("object").to_numpy(copy=True)
    cells[rows] = values[found.codes[rows]]
    result = pd.Series(cells, index=column.index, name=column.name, dtype="object")
    return result if column.dtype == object else result.astype("str")


def reading_of(entry: DatasetEntry, column: str) -> Reading:
    """How a column of the records of ``entry`` is read: as what the entry declares it, else as values."""
    if column in {file.text_column for file in entry.files}:
        return Reading.PROSE
    if column in {file.sequence_column for file in entry.files}:
        return Reading.ACTIONS
    return Reading.VALUES


def without_pseudonyms(values: pd.Series) -> pd.Series:
    """Values for a model: of a pseudonym only its kind is left, so that nothing is learned about one person."""
    text = values.astype("str")
    if not text.str.contains("[", regex=False).any():
        return text
    return text.str.replace(MASKED_VALUE, r"[\1]", regex=True)


def _becoming_canonical(entry: DatasetEntry) -> set[str | None]:
    declared = {column for file in entry.files for column in (file.text_column, file.sequence_column)}
    return {*declared, entry.group_column, *entry.categorical_columns}


def with_records(summary: Mapping[str, Any], records: Mapping[str, Any] | None, *, columns: int) -> dict[str, Any]:
    """The ``summary`` of screened canonical rows together with what was masked in the records they were made of.

    Args:
        summary: of ``frames.ScreeningResult``.
        records: ``RecordCounts`` as JSON; None where there were none: synthetic rows are canonical from the start.
        columns: how many columns of the canonical rows were screened.
    """
    if records is None:
        return {**summary, "records_screened": summary["rows"], "columns_screened": columns}
    by_kind_and_label: dict[str, Counter[str]] = {}
    for counted in (records, summary):
        for kind, labels in counted["by_kind_and_label"].items():
            by_kind_and_label.setdefault(kind, Counter()).update(labels)
    masked = sum(records["by_kind"].values())
    decisions = Counter(summary["by_decision"]) + Counter({str(Decision.ALLOW_WITH_MODIFICATION): masked})
    return {
        **summary,
        "records_screened": records["records"],
        "columns_screened": records["columns"],
        "rows_masked": summary["rows_masked"] + records["records_masked"],
        "findings": summary["findings"] + masked,
        "by_kind": dict(sorted((Counter(summary["by_kind"]) + Counter(records["by_kind"])).items())),
        "by_kind_and_label": {kind: dict(sorted(found.items())) for kind, found in sorted(by_kind_and_label.items())},
        "by_decision": dict(sorted(decisions.items())),
    }
