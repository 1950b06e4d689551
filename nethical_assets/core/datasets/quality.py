"""Quality of raw and canonical datasets: Pandera schemas and thresholds, evaluated.

What belongs here: the schema a dataset must satisfy and the outcome of every content check in numbers. What does not:
the declaration of the checks (``checks``), or personal data (``core.governance``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd
import pandera.pandas as pa

from nethical_assets.core.datasets.catalog import DatasetEntry
from nethical_assets.core.datasets.checks import CheckOutcome, Status
from nethical_assets.core.detectors.base import DetectorSpec

@dataclass(frozen=True)
class QualityThresholds:
    """The limits, from settings: counts in rows, shares in [0, 1]."""

    minimum_samples: int
    missing_share_max: float
    minority_share_min: float
    duplicate_share_max: float


def raw_schema(entry: DatasetEntry) -> pa.DataFrameSchema:
    """What the catalog promises about the raw columns of ``entry``."""
    columns: dict[str, pa.Column] = {}
    several = len(entry.files) > 1
    for file in entry.files:
        for name in (file.text_column, file.sequence_column):
            if name:
                columns[name] = pa.Column("str", nullable=True, required=True)
        if file.label is not None and file.label.column is not None:
            columns.setdefault(file.label.column, pa.Column(nullable=True))
        for name in file.columns:
            columns.setdefault(name, pa.Column(nullable=several))
    for name in entry.numeric_columns:
        columns[name] = pa.Column(checks=_numeric(), nullable=True)
    for name in entry.categorical_columns:
        columns[name] = pa.Column("str", nullable=True)
    for optional in (entry.group_column, entry.time_column):
        if optional:
            columns.setdefault(optional, pa.Column(nullable=True))
    columns["_label"] = pa.Column(checks=pa.Check.isin([-1, 0, 1], name="schema"))
    return pa.DataFrameSchema(columns, name=entry.name)


def canonical_schema(spec: DetectorSpec, inputs: Iterable[str]) -> pa.DataFrameSchema:
    """What every canonical dataset of ``spec`` satisfies."""
    columns = {
        "row_id": pa.Column("str", pa.Check.str_matches(r"^[0-9a-f]{64}$", name="schema"), unique=True),
        "label": pa.Column("int8", pa.Check.isin([0, 1], name="schema")),
        "source": pa.Column("str", pa.Check.str_length(min_value=1, name="schema")),
        "group": pa.Column("str"),
    }
    for name in inputs:
        if spec.kind in ("text", "sequence"):
            columns[name] = pa.Column("str", pa.Check.str_length(min_value=1, name="schema"), nullable=True)
        elif spec.input_columns:
            columns[name] = pa.Column(checks=_numeric(), nullable=True)
        else:
            columns[name] = pa.Column(nullable=True)
    return pa.DataFrameSchema(columns, name=spec.family)


def assess(
    frame: pd.DataFrame,
    schema: pa.DataFrameSchema,
    thresholds: QualityThresholds,
    *,
    label: str | None,
    identity: Sequence[str],
    ignored: Sequence[str] = (),
) -> tuple[CheckOutcome, ...]:
    """The outcome of every content check of one dataset, from one lazy Pandera validation.

    Args:
        label: the column of 0/1 labels (-1 unusable), or None for a dataset without a class label.
        identity: the columns by which two rows are the same record.
        ignored: columns whose missing values are no fault.
    """
    cases = _validate(frame, schema)
    outcomes = [_schema_outcome(cases, len(frame)), _samples_outcome(frame, thresholds)]
    outcomes.append(_missing_outcome(frame, thresholds, ignored))
    if label is not None:
        outcomes.append(_balance_outcome(frame[label], thresholds))
    outcomes.append(_duplicates_outcome(frame, identity, thresholds))
    return tuple(outcomes)


def freshness(refreshed_at: datetime, now: datetime, interval_days: int) -> CheckOutcome:
    """Whether the last successful refresh is less than ``interval_days`` ago."""
    age = (now - refreshed_at).total_seconds() / 86400
    status: Status = "pass" if age < interval_days else "warn"
    return CheckOutcome(
        "freshness",
        status,
        f"last refreshed {age:.1f} days ago, at most {interval_days} are allowed",
        {"age_days": round(age, 3), "maximum_days": interval_days},
    )


def _numeric() -> pa.Check:
    return pa.Check(_is_numeric, name="schema", error="is not numeric")


def _is_numeric(series: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(series.dtype)


def _validate(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        return error.failure_cases
    return pd.DataFrame({"column": [], "check": [], "index": [], "schema_context": [], "failure_case": []})


def _schema_outcome(cases: pd.DataFrame, rows: int) -> CheckOutcome:
    table = []
    named = cases.assign(column=cases["column"].astype("str"), check=cases["check"].astype("str"))
    for (column, check), group in named.groupby(["column", "check"], sort=True):
        if check == "column_in_dataframe":
            column, check, failing = str(group["failure_case"].iloc[0]), "column is present", rows
        else:
            failing = int(group["index"].notna().sum()) or rows
        table.append(
            {"column": str(column), "check": str(check), "rows": failing, "share": round(failing / max(rows, 1), 6)}
        )
    message = "all columns are there and have the promised types"
    if table:
        message = "wrong columns: " + ", ".join(sorted({str(row["column"]) for row in table}))
    return CheckOutcome("schema", "fail" if table else "pass", message, {"columns_failing": len(table)}, tuple(table))


def _samples_outcome(frame: pd.DataFrame, thresholds: QualityThresholds) -> CheckOutcome:
    enough = _holds(frame, lambda whole: len(whole) >= thresholds.minimum_samples, "minimum_samples")
    return CheckOutcome(
        "minimum_samples",
        "pass" if enough else "warn",
        f"{len(frame)} rows, at least {thresholds.minimum_samples} are wanted",
        {"rows": len(frame), "minimum": thresholds.minimum_samples},
    )


def _missing_outcome(frame: pd.DataFrame, thresholds: QualityThresholds, ignored: Sequence[str]) -> CheckOutcome:
    shares = frame.drop(columns=list(ignored), errors="ignore").isna().mean()
    limit = thresholds.missing_share_max
    table = tuple(
        {"column": str(name), "check": "missing values", "rows": round(share * len(frame)), "share": round(share, 6)}
        for name, share in shares[shares >= limit].items()
    )
    worst = float(shares.max()) if len(shares) else 0.0
    return CheckOutcome(
        "missing_values",
        "fail" if table else "pass",
        f"{len(table)} columns miss {limit:.0%} or more of their values; the worst misses {worst:.1%}",
        {"columns_failing": len(table), "worst_share": round(worst, 6), "maximum_share": limit},
        table,
    )


def _balance_outcome(labels: pd.Series, thresholds: QualityThresholds) -> CheckOutcome:
    usable = labels[labels >= 0]
    positives = int((usable == 1).sum())
    negatives = len(usable) - positives
    minority = min(positives, negatives) / max(len(usable), 1)
    ratio = min(positives, negatives) / max(positives, negatives, 1)
    degree = "balanced" if ratio >= 0.4 else "imbalanced" if ratio >= 0.1 else "critically imbalanced"
    status: Status = "pass" if minority >= thresholds.minority_share_min else "warn"
    if min(positives, negatives) == 0:
        status, degree = "fail", "one class only"
    hint = "; few positives: adversarial training is recommended" if positives / max(len(usable), 1) < 0.2 else ""
    return CheckOutcome(
        "class_balance",
        status,
        f"{positives} positive and {negatives} negative rows: {degree}{hint}",
        {
            "positives": positives,
            "negatives": negatives,
            "unusable_labels": int((labels < 0).sum()),
            "minority_share": round(minority, 6),
            "balance_ratio": round(ratio, 6),
            "minimum_share": thresholds.minority_share_min,
        },
    )


def _duplicates_outcome(frame: pd.DataFrame, identity: Sequence[str], thresholds: QualityThresholds) -> CheckOutcome:
    repeated = int(frame.duplicated(subset=list(identity) or None).sum())
    share = repeated / max(len(frame), 1)
    return CheckOutcome(
        "duplicates",
        "pass" if share <= thresholds.duplicate_share_max else "warn",
        f"{repeated} rows ({share:.1%}) repeat another row",
        {"rows": repeated, "share": round(share, 6), "maximum_share": thresholds.duplicate_share_max},
    )


def _holds(frame: pd.DataFrame, condition: Callable[[pd.DataFrame], bool], name: str) -> bool:
    """Whether a whole-frame condition holds, asked through Pandera so that every rule lives in a schema."""
    return not len(_validate(frame, pa.DataFrameSchema(checks=pa.Check(condition, name=name))))
