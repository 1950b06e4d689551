"""Canonical rows before anything stores them: what is personal, secret or cannot be screened is taken out of them.

What belongs here: masking canonical rows, the rows as they came that are to be kept out, and the table of what was
found. What does not: the records that rows are made of (``records``), what the policy makes of a row (``frames``), or
where rows are kept (``quarantine``).

A row that screening will keep out holds what nobody may store in plain, a private key for example. Its table is an
artifact like any other, so the value goes before the table is stored; what screening needs to know of it, its kind and
place, stands in the findings, and the row as it came goes where such rows are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from nethical_assets.core.governance.findings import SCHEMA, Findings, Token, kind_token, mask
from nethical_assets.core.governance.policy import Label, decide
from nethical_assets.core.governance.rules import Decision, Role, Rule
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading, find_in

COLUMN, ROW_ID = "column", "row_id"
_TAKING_OUT = [str(decision) for decision in Decision if decision.removes_row]


@dataclass(frozen=True)
class ProtectedRows:
    """``frame``: the rows, masked; ``found``: what was masked, with the columns of ``findings.SCHEMA`` (``row`` is a
    position in the frame, no keyed hash), ``column`` and ``row_id``; ``kept_out``: the rows as they came that the
    policy takes out for it."""

    frame: pd.DataFrame
    found: pd.DataFrame
    kept_out: pd.DataFrame


def protect(
    frame: pd.DataFrame,
    readings: Mapping[str, Reading],
    screener: Screener,
    tokens: Mapping[str, Token] | None = None,
) -> ProtectedRows:
    """Mask the ``readings`` columns of canonical rows, which have a ``row_id``.

    Personal data and secrets are replaced by their kind, or by the column's token in ``tokens``; a value that could not
    be screened to its end, as a whole.
    """
    protected = [rule.id for rule in screener.ruleset.all_rules if is_protected(rule)]
    masked = frame.copy(deep=False)
    found: dict[str, Findings] = {}
    out = np.zeros(len(frame), dtype=bool)
    for column, reading in readings.items():
        findings = find_in(frame[column], reading, screener).on_rows()
        findings = findings.where(np.isin(findings.names("rule"), protected))
        if len(findings):
            out[findings.rows[np.isin(findings.names("decision"), _TAKING_OUT)]] = True
            found[column] = findings
            spans = _whole_values(findings, frame[column])
            masked[column] = mask(frame[column], spans, (tokens or {}).get(column, kind_token))
    return ProtectedRows(masked, _as_table(found, frame), frame[out])


def earlier_findings(table: pd.DataFrame) -> dict[str, Findings]:
    """The findings of each column in a stored table ``ProtectedRows.found``."""
    return {
        str(column): Findings(pa.Table.from_pandas(part[SCHEMA.names], schema=SCHEMA, preserve_index=False))
        for column, part in table.groupby(COLUMN, sort=False)
    }


def rows_kept_out(table: pd.DataFrame) -> list[str]:
    """The ``row_id`` of each row of ``ProtectedRows.kept_out``, by its stored table ``found``."""
    return sorted(set(table.loc[table["decision"].isin(_TAKING_OUT), ROW_ID].astype(str)))


def is_protected(rule: Rule) -> bool:
    """Whether values in which a rule finds something may not be stored as they are. Attacks may: they are what is to be
    learned; and so may what is too uncertain to be more than counted."""
    return rule.role is not Role.SIGNAL and decide(rule, Label.UNKNOWN).rank >= Decision.ALLOW_WITH_MODIFICATION.rank


def _whole_values(findings: Findings, column: pd.Series) -> Findings:
    """The findings, those of the engine spread over the whole value: what else stands in it nobody knows."""
    of_engine = np.array([rule.startswith("engine.") for rule in findings.names("rule")], dtype=bool)
    if not of_engine.any():
        return findings
    table = findings.table
    lengths = column.iloc[findings.rows].astype("str").str.len().to_numpy()
    for name, ends in (("start", np.zeros(len(lengths), dtype=np.int64)), ("end", lengths)):
        values = np.where(of_engine, ends, table[name].to_numpy())
        at = table.schema.get_field_index(name)
        table = table.set_column(at, SCHEMA.field(name), pa.array(values, pa.int64()))
    return Findings(table)


def _as_table(found: Mapping[str, Findings], frame: pd.DataFrame) -> pd.DataFrame:
    names = [*SCHEMA.names, COLUMN, ROW_ID]
    parts = []
    for column, findings in found.items():
        part = findings.to_pandas()
        texts = {name: part[name].astype("str") for name in ("kind", "rule", "severity", "decision")}
        ids = frame[ROW_ID].iloc[findings.rows].astype("str").to_numpy()
        parts.append(part.assign(**texts, keyed_hash=None, column=column, row_id=ids)[names])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({name: [] for name in names})
