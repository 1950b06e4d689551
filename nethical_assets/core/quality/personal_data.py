"""Personal data and secrets in the columns of a dataset: how many findings, of which kind, in which columns.

What belongs here: counting, and the outcome of the check. What does not: finding (``core.governance``), or acting on
findings (masking and quarantine, which look at every row whatever is counted here).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.searches import protected_rules
from nethical_assets.core.governance.values import Reading, find_in
from nethical_assets.core.quality.checks import EXAMPLES, CheckOutcome
from nethical_assets.core.rows.naming import shown_columns

MAXIMUM_VALUES = 100_000
"""Of a column with more distinct values, this many are looked at: every n-th."""


def personal_data_outcome(
    frame: pd.DataFrame,
    readings: Mapping[str, Reading],
    screener: Screener,
    masked: Mapping[str, Any] | None = None,
    protected: Mapping[str, int] | None = None,
) -> CheckOutcome:
    """The outcome over the columns in ``readings``; equal values are looked at once and count as often as they occur.

    Args:
        frame: the rows.
        readings: which columns are looked at, and how each is read.
        screener: the rules; signals are not counted.
        masked: what was masked before the rows became these (``RecordCounts`` as JSON), which counts too.
        protected: kind -> findings that were masked in the rows themselves before they were stored, which count too.
    """
    found: Counter[str] = Counter()
    table: list[dict[str, str | int | float]] = []
    flagged = np.zeros(len(frame), dtype=bool)
    sampled = False
    for column, reading in readings.items():
        looked_at = find_in(frame[column], reading, screener, maximum=MAXIMUM_VALUES)
        sampled = sampled or looked_at.sampled
        findings = looked_at.on_rows()
        findings = findings.where(np.isin(findings.names("rule"), protected_rules(screener)))
        rows = np.unique(findings.rows)
        flagged[rows] = True
        found.update(findings.names("kind").tolist())
        if len(rows):
            listed = ", ".join(findings.counts_by("kind"))
            table.append(
                {
                    "column": shown_columns([column]),
                    "check": f"personal data or secrets: {listed}",
                    "rows": len(rows),
                    "share": round(len(rows) / len(frame), 6),
                }
            )
    message = f"{sum(found.values())} findings of personal data or secrets in {len(frame)} rows"
    if masked is not None:
        before = sum(masked["by_kind"].values())
        message = (
            f"{before} findings masked in {masked['records']} records ({masked['columns']} columns); {message} left"
        )
        found.update(masked["by_kind"])
    if protected:
        message += f"; {sum(protected.values())} masked in rows before they were stored"
        found.update(protected)
    if sampled:
        message += (
            f" (of columns with more than {MAXIMUM_VALUES} distinct values a part was looked at: there may be more)"
        )
    total = sum(found.values())
    return CheckOutcome(
        "personal_data",
        "warn" if total else "pass",
        message,
        {"rows": len(frame), "columns": len(readings), "findings": total, **dict(sorted(found.items()))},
        tuple(table),
        example_rows=tuple(np.flatnonzero(flagged)[:EXAMPLES].tolist()),
    )
