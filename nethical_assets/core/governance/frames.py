"""Screening a frame: mask what is to be masked, take out what is to be taken out, count by kind and label.

What belongs here: applying decisions to rows of a dataset and reporting rates per class. What does not: keeping the
rows that were taken out (``quarantine``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.governance.columns import is_numeric
from nethical_assets.core.governance.findings import Findings, Token, concatenate, kind_token, mask
from nethical_assets.core.governance.policy import Label, decide
from nethical_assets.core.governance.rules import Decision
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading, find_in
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.columns import COMMON_COLUMNS, GROUP
from nethical_assets.core.rows.naming import columns_there

ALL_ROWS = "all"
_LABELS = (Label.POSITIVE, Label.NEGATIVE, Label.UNKNOWN)


@dataclass(frozen=True)
class ScreeningResult:
    """What became of a frame.

    ``frame`` holds the rows kept, masked, with their index; ``quarantined`` the rows taken out as they were, with a
    column ``quarantine_reasons`` (rule identifiers, comma separated); ``findings`` has the columns of
    ``findings.SCHEMA`` and ``column`` (which text column) with ``row`` as a position in the screened frame;
    ``removed_by_label`` maps each label and ``all`` to (rows removed, rows).
    """

    frame: pd.DataFrame
    quarantined: pd.DataFrame
    findings: pd.DataFrame
    rows_masked: int
    removed_by_label: Mapping[str, tuple[int, int]]
    ruleset_digest: str
    _row_labels: npt.NDArray[np.object_]

    @property
    def counts(self) -> dict[str, Any]:
        """``{"by_kind": {kind: n}, "by_kind_and_label": {kind: {label: n}}}``."""
        kinds: list[str] = self.findings["kind"].astype(str).tolist()
        labels: list[str] = self._row_labels[self.findings["row"].to_numpy(dtype=np.int64)].tolist()
        by_kind_and_label: dict[str, dict[str, int]] = {}
        for (kind, label), count in sorted(Counter(zip(kinds, labels, strict=True)).items()):
            by_kind_and_label.setdefault(kind, {})[label] = count
        return {"by_kind": dict(sorted(Counter(kinds).items())), "by_kind_and_label": by_kind_and_label}

    @property
    def removal_rate_by_label(self) -> dict[str, float]:
        """The share of rows taken out, for each label."""
        return {
            label: removed / rows if rows else 0.0
            for label, (removed, rows) in self.removed_by_label.items()
            if label != ALL_ROWS
        }

    def summary(self) -> dict[str, Any]:
        """Everything that may be shown and stored, as JSON: counts and rates, never text."""
        decisions = self.findings["decision"].astype(str).value_counts().sort_index()
        return {
            "rows": len(self.frame) + len(self.quarantined),
            "rows_kept": len(self.frame),
            "rows_masked": self.rows_masked,
            "rows_quarantined": len(self.quarantined),
            "findings": len(self.findings),
            **self.counts,
            "by_decision": {decision: int(count) for decision, count in decisions.items()},
            "removal_rate_by_label": self.removal_rate_by_label,
            "removed_by_label": {label: list(counts) for label, counts in self.removed_by_label.items()},
            "ruleset": self.ruleset_digest,
        }


def screen_frame(
    frame: pd.DataFrame,
    columns: Mapping[str, Reading],
    screener: Screener,
    label_column: str | None = "label",
    *,
    released: Collection[str] = (),
    row_id_column: str = "row_id",
    tokens: Mapping[str, Token] | None = None,
    earlier: Mapping[str, Findings] | None = None,
) -> ScreeningResult:
    """Screen the ``columns`` of every row of ``frame`` and act on the findings by the policy for the row's label.

    A label of 1 (or true) is the positive class, 0 the negative one; missing, or without ``label_column``, it is
    unknown. Rows whose ``row_id`` is in ``released`` were decided about by a person: they are kept, but still masked.
    ``tokens`` says what takes the place of a finding in some of the columns; elsewhere its kind does. ``earlier`` is
    what was found in columns of these rows, and masked, before they were stored (``protection``): it counts and decides
    as what is found now. The input is not changed.

    Raises:
        DatasetError: a column is missing.
    """
    for column in [*columns, *([label_column] if label_column else [])]:
        if column not in frame.columns:
            raise DatasetError(f"column {column!r} to screen is missing; {columns_there(map(str, frame.columns))}")
    labels = _labels(frame, label_column)
    now = {
        column: _decided(find_in(frame[column], reading, screener).on_rows(), labels, screener)
        for column, reading in columns.items()
    }
    before = {column: _decided(findings, labels, screener) for column, findings in (earlier or {}).items()}
    found = {column: concatenate([before.get(column, Findings.empty()), now[column]]) for column in now}
    let_through = _released_rows(frame, released, row_id_column)
    removed = np.zeros(len(frame), dtype=bool)
    masked = np.zeros(len(frame), dtype=bool)
    screened = frame.copy(deep=False)
    for column, findings in found.items():
        removed[findings.rows[_removing(findings)]] = True
        masked[findings.rows[_changing(findings)]] = True
        to_mask = now[column].where(_changing(now[column]))
        screened[column] = mask(frame[column], to_mask, (tokens or {}).get(column, kind_token))
    removed &= ~let_through
    reasons = _reasons(found, len(frame))
    return ScreeningResult(
        frame=screened[~removed],
        quarantined=frame[removed].assign(quarantine_reasons=reasons[removed]),
        findings=_joined(found),
        rows_masked=int((masked & ~removed).sum()),
        removed_by_label=_removed_by_label(frame, label_column, labels, removed),
        ruleset_digest=screener.ruleset.digest,
        _row_labels=_label_names(frame, label_column),
    )


def canonical_reading(kind: str) -> Reading:
    """How the input columns of a family that reads ``kind`` are read."""
    return {"text": Reading.PROSE, "sequence": Reading.ACTIONS}.get(kind, Reading.VALUES)


def canonical_readings(frame: pd.DataFrame, kind: str) -> dict[str, Reading]:
    """Which columns of a canonical frame are screened, and how each is read: all that are not typed as numbers, truth
    values or times, the group included; not what the platform itself writes (identity, label, source).

    ``kind`` is what the family reads (``text``, ``sequence``, ``records``).
    """
    named = [str(name) for name in frame.columns if name == GROUP or name not in COMMON_COLUMNS]
    return {
        name: Reading.VALUES if name == GROUP else canonical_reading(kind)
        for name in named
        if not is_numeric(frame[name])
    }


def _removing(findings: Findings) -> npt.NDArray[np.bool_]:
    return np.isin(findings.names("decision"), [decision for decision in Decision if decision.removes_row])


def _changing(findings: Findings) -> npt.NDArray[np.bool_]:
    return _removing(findings) | np.isin(findings.names("decision"), [Decision.ALLOW_WITH_MODIFICATION])


def _labels(frame: pd.DataFrame, label_column: str | None) -> npt.NDArray[np.int8]:
    """Positions in ``_LABELS`` for each row."""
    if label_column is None:
        return np.full(len(frame), _LABELS.index(Label.UNKNOWN), dtype=np.int8)
    values = pd.to_numeric(frame[label_column], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.select([values == 1, values == 0], [0, 1], default=2).astype(np.int8)


def _label_names(frame: pd.DataFrame, label_column: str | None) -> npt.NDArray[np.object_]:
    if label_column is None:
        return np.full(len(frame), str(Label.UNKNOWN), dtype=object)
    return np.asarray(frame[label_column].astype("str").fillna(str(Label.UNKNOWN)), dtype=object)


def _decided(findings: Findings, labels: npt.NDArray[np.int8], screener: Screener) -> Findings:
    if len(findings) == 0:
        return findings
    table = {
        rule.id: np.asarray([str(decide(rule, label)) for label in _LABELS], dtype=object)
        for rule in screener.ruleset.all_rules
    }
    rules = findings.table["rule"].combine_chunks()
    by_rule = np.stack([table[name] for name in rules.dictionary.to_pylist()])
    return findings.with_decisions(by_rule[rules.indices.to_numpy(), labels[findings.rows]])


def _released_rows(frame: pd.DataFrame, released: Collection[str], row_id_column: str) -> npt.NDArray[np.bool_]:
    if not released or row_id_column not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    return frame[row_id_column].isin(list(released)).to_numpy(dtype=bool)


def _reasons(found: Mapping[str, Findings], rows: int) -> npt.NDArray[np.object_]:
    reasons = np.full(rows, "", dtype=object)
    for findings in found.values():
        kept = findings.where(_removing(findings))
        for row, rule in zip(kept.rows.tolist(), kept.names("rule").tolist(), strict=True):
            known = reasons[row].split(",") if reasons[row] else []
            reasons[row] = ",".join(sorted({*known, rule}))
    return reasons


def _joined(found: Mapping[str, Findings]) -> pd.DataFrame:
    parts = [findings.to_pandas().astype({"kind": "str", "rule": "str", "severity": "str", "decision": "str"})
             .assign(column=column) for column, findings in found.items()]  # fmt: skip
    if not parts:
        return Findings.empty().to_pandas().assign(column=pd.Series(dtype="str"))
    return pd.concat(parts, ignore_index=True)


def _removed_by_label(
    frame: pd.DataFrame, label_column: str | None, labels: npt.NDArray[np.int8], removed: npt.NDArray[np.bool_]
) -> dict[str, tuple[int, int]]:
    names = _label_names(frame, label_column)
    counted = {
        str(name): (int(removed[names == name].sum()), int((names == name).sum())) for name in sorted(set(names))
    }
    return {**counted, ALL_ROWS: (int(removed.sum()), len(removed))}
