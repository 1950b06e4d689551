"""The distribution of columns and labels against the previous snapshot of the same dataset.

What belongs here: which columns are compared and the outcome of the check. What does not: the statistics
(``core.drift``), which account for the number of rows and of columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from nethical_assets.core.drift.tables import compare_tables
from nethical_assets.core.quality.checks import CheckOutcome, Status

LABEL = "_label"
MAXIMUM_ROWS = 100_000
"""Of larger snapshots every n-th row is compared."""
_UNDECIDED_ADVICE = (
    "nothing has to be done; more rows, or columns written as before, let the next snapshots be compared"
)


@dataclass(frozen=True)
class DriftLimits:
    """When columns count as changed: effect in [0, 1], chance of a false alarm over all columns, rows needed."""

    threshold: float
    alpha: float
    minimum_rows: int


def distribution_outcome(previous: pd.DataFrame, current: pd.DataFrame, limits: DriftLimits) -> CheckOutcome | None:
    """The outcome of comparing all columns that both snapshots have; None where there is nothing to compare.

    What cannot be told (too few rows, a flag that is spelled in a way nobody knows) is undecided, and says so. A column
    that only one of them has is a matter of the schema.
    """
    columns = [name for name in previous.columns if name in current.columns and name != "_file"]
    if previous.empty or current.empty or not columns:
        return None
    report = compare_tables(
        _sampled(previous[columns]),
        _sampled(current[columns]),
        threshold=limits.threshold,
        alpha=limits.alpha,
        minimum_rows=limits.minimum_rows,
    )
    drifted = [column for column in report.columns if column.drifted]
    label = next((column for column in drifted if column.name == LABEL), None)
    status: Status = "pass" if report.verdict == "stable" else "warn"
    if report.verdict == "drift":
        message = f"{len(drifted)} of {len(report.columns)} columns changed since the previous snapshot" + (
            ", the label among them" if label is not None else ""
        )
    elif report.verdict == "stable":
        message = f"none of {len(report.columns)} columns changed since the previous snapshot"
    else:
        message = f"whether columns changed since the previous snapshot is not certain: {report.reasons[0]}"
    return CheckOutcome(
        "distribution",
        status,
        message,
        {
            "columns": len(drifted),
            "compared": len(report.columns),
            "drift_score": round(report.drift_score, 6),
            "threshold": limits.threshold,
            "rows_before": len(previous),
            "rows": len(current),
            "label_changed": int(label is not None),
        },
        tuple(
            {
                "column": "label" if column.name == LABEL else column.name,
                "check": f"changed (effect {column.effect:.3f}, adjusted p-value {column.adjusted_p_value:.2g})",
                "rows": len(current),
                "share": 1.0,
            }
            for column in drifted
        ),
        what_to_do="" if report.verdict == "drift" else _UNDECIDED_ADVICE,
        undecided=report.verdict not in ("drift", "stable"),
    )


def _sampled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:: -(-len(frame) // MAXIMUM_ROWS)]
