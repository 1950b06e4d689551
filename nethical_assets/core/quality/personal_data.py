"""Personal data and secrets in the text columns of a dataset: how many findings, of which kind, in which columns.

What belongs here: counting, and the outcome of the check. What does not: finding (``core.governance``), or acting on
findings (masking and quarantine, which look at every row whatever is counted here).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.quality.checks import EXAMPLES, CheckOutcome

PACKS = ("pii", "secrets")
MAXIMUM_VALUES = 100_000
"""Of a column with more distinct values, this many are looked at: every n-th."""


def personal_data_outcome(frame: pd.DataFrame, text_columns: Sequence[str], screener: Screener) -> CheckOutcome:
    """The outcome over all ``text_columns``; equal values are looked at once and count as often as they occur."""
    kinds = {rule.kind for rule in screener.ruleset.all_rules if rule.pack in PACKS}
    found: Counter[str] = Counter()
    table: list[dict[str, str | int | float]] = []
    flagged = np.zeros(len(frame), dtype=bool)
    sampled = False
    for column in text_columns:
        codes, values = _distinct(frame[column])
        step = -(-len(values) // MAXIMUM_VALUES) if len(values) else 1
        sampled = sampled or step > 1
        findings = screener.screen(values.iloc[::step])
        names = findings.names("kind")
        private = np.isin(names, list(kinds))
        positions = findings.rows[private] * step
        times = np.bincount(codes[codes >= 0], minlength=len(values))
        for name, count in zip(names[private], times[positions].tolist(), strict=True):
            found[str(name)] += count
        hit = np.zeros(len(values) + 1, dtype=bool)
        hit[positions] = True
        rows = hit[codes]
        flagged |= rows
        if rows.any():
            listed = ", ".join(sorted(set(names[private].tolist())))
            table.append(
                {
                    "column": str(column),
                    "check": f"personal data or secrets: {listed}",
                    "rows": int(rows.sum()),
                    "share": round(float(rows.mean()), 6),
                }
            )
    total = sum(found.values())
    message = f"{total} findings of personal data or secrets in {len(frame)} rows"
    if sampled:
        message += (
            f" (of columns with more than {MAXIMUM_VALUES} distinct values a part was looked at: there may be more)"
        )
    return CheckOutcome(
        "personal_data",
        "warn" if total else "pass",
        message,
        {"rows": len(frame), "findings": total, **dict(sorted(found.items()))},
        tuple(table),
        example_rows=tuple(np.flatnonzero(flagged)[:EXAMPLES].tolist()),
    )


def _distinct(values: pd.Series) -> tuple[np.ndarray, pd.Series]:
    """A code a row, -1 where it is missing, and the value of every code; mixed objects are not compared."""
    if not isinstance(values.dtype, pd.StringDtype):
        return np.arange(len(values)), values.reset_index(drop=True)
    codes, distinct = pd.factorize(values)
    return codes, pd.Series(distinct, dtype=values.dtype)
