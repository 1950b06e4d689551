"""Quality of raw and canonical datasets: Pandera schemas and thresholds, evaluated.

What belongs here: the schema a dataset must satisfy and the outcome of every content check in numbers. What does not:
the declaration of the checks (``checks``), or personal data (``core.governance``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from nethical_assets.core.quality.checks import EXAMPLES, CheckOutcome, Status
from nethical_assets.core.rows.catalog import DatasetEntry

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

    from nethical_assets.core.detectors.base import DetectorSpec

_TELLING_COLUMNS = 3
_UNREAD_ADVICE = "nothing has to be done for training: no family reads these columns"
_UNKNOWN_LICENCES = frozenset({"", "see its page", "unknown", "other", "none", "not specified"})


@dataclass(frozen=True)
class QualityThresholds:
    """The limits, from settings: counts in rows, shares in [0, 1]."""

    minimum_samples: int
    missing_share_max: float
    minority_share_min: float
    duplicate_share_max: float


def raw_schema(entry: DatasetEntry) -> pa.DataFrameSchema:
    """What the catalog promises about the raw columns of ``entry``."""
    import pandera.pandas as pa

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
    import pandera.pandas as pa

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
    required: Sequence[str],
    part_column: str | None = None,
) -> tuple[CheckOutcome, ...]:
    """The outcome of every content check of one dataset, from one lazy Pandera validation.

    Args:
        label: the column of 0/1 labels (-1 unusable), or None for a dataset without a class label.
        identity: the columns by which two rows are the same record.
        required: the columns somebody reads; missing values elsewhere are only a warning.
        part_column: which part (file) a row comes from. A column counts only in parts that have it.
    """
    cases = _validate(frame, schema)
    outcomes = [_schema_outcome(cases, len(frame)), _samples_outcome(frame, thresholds)]
    outcomes.append(_missing_outcome(frame, thresholds, required, part_column))
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


def newest_record(newest: datetime, now: datetime, maximum_days: int) -> CheckOutcome:
    """Whether the newest record of a dataset is at most ``maximum_days`` old, and not from the future."""
    age = (now - newest).total_seconds() / 86400
    message = f"the newest record is {age:.0f} days old, at most {maximum_days} are wanted"
    if age < -1:
        message = f"the newest record lies {-age:.0f} days in the future: its time is wrong"
    return CheckOutcome(
        "newest_record",
        "pass" if -1 <= age <= maximum_days else "warn",
        message,
        {"age_days": round(age, 3), "maximum_days": maximum_days},
    )


def licence_known(licence: str) -> CheckOutcome:
    """Whether somebody wrote down under which licence the data may be used."""
    known = licence.strip().lower() not in _UNKNOWN_LICENCES
    message = f"the licence is: {licence}" if known else "nobody wrote down under which licence the data may be used"
    return CheckOutcome("licence", "pass" if known else "warn", message, {})


def _numeric() -> pa.Check:
    import pandera.pandas as pa

    return pa.Check(_is_numeric, name="schema", error="is not numeric")


def _is_numeric(series: pd.Series) -> pd.Series:
    """For each value whether it is a number, as reading understands numbers: one word is one wrong row."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype):
        return pd.Series(True, index=series.index)
    from nethical_assets.core.reading.readers import written_numbers

    return pd.Series(written_numbers(series.astype("str")), index=series.index)


def _validate(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    import pandas as pd
    import pandera.pandas as pa

    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases: pd.DataFrame = error.failure_cases
        return cases
    return pd.DataFrame({"column": [], "check": [], "index": [], "schema_context": [], "failure_case": []})


def _schema_outcome(cases: pd.DataFrame, rows: int) -> CheckOutcome:
    table = []
    named = cases.assign(column=cases["column"].astype("str"), check=cases["check"].astype("str"))
    for (column, check), group in named.groupby(["column", "check"], sort=True):
        if check == "column_in_dataframe":
            # Here the failing value is the name of the missing column, not something from the data.
            table += [_schema_failure(str(name), "column is present", rows, rows) for name in group["failure_case"]]
        else:
            table.append(_schema_failure(str(column), str(check), int(group["index"].notna().sum()) or rows, rows))
    message = "all columns are there and have the promised types"
    if table:
        counts = {str(row["column"]): 0 for row in table}
        for row in table:
            counts[str(row["column"])] = max(counts[str(row["column"])], int(row["rows"]))
        told = (f"{name} ({count} of {rows} rows)" if count < rows else name for name, count in sorted(counts.items()))
        message = "wrong columns: " + ", ".join(told)
    return CheckOutcome(
        "schema",
        "fail" if table else "pass",
        message,
        {"columns_failing": len(table)},
        tuple(table),
        example_rows=tuple(sorted({int(row) for row in cases["index"].dropna()})[:EXAMPLES]),
    )


def _schema_failure(column: str, check: str, failing: int, rows: int) -> dict[str, str | int | float]:
    return {"column": column, "check": check, "rows": failing, "share": round(failing / max(rows, 1), 6)}


def _samples_outcome(frame: pd.DataFrame, thresholds: QualityThresholds) -> CheckOutcome:
    enough = _holds(frame, lambda whole: len(whole) >= thresholds.minimum_samples, "minimum_samples")
    return CheckOutcome(
        "minimum_samples",
        "pass" if enough else "warn",
        f"{len(frame)} rows, at least {thresholds.minimum_samples} are wanted",
        {"rows": len(frame), "minimum": thresholds.minimum_samples},
    )


def _missing_outcome(
    frame: pd.DataFrame, thresholds: QualityThresholds, required: Sequence[str], part_column: str | None
) -> CheckOutcome:
    counted = _missing_values(frame, part_column)
    limit = thresholds.missing_share_max
    table = tuple(
        {
            "column": str(name),
            "check": "missing values" if name in required else "missing values (no family reads this column)",
            "rows": missing,
            "share": round(missing / rows, 6),
        }
        for name, (missing, rows) in counted.items()
        if missing and missing / rows >= limit
    )
    failing = sum(row["column"] in required for row in table)
    gaps = frame[[row["column"] for row in table]].isna().any(axis=1) if table else None
    worst = max((missing / rows for missing, rows in counted.values()), default=0.0)
    return CheckOutcome(
        "missing_values",
        "fail" if failing else "warn" if table else "pass",
        f"{len(table)} columns miss {limit:.0%} or more of their values, {failing} of them are read by a family; "
        f"the worst misses {worst:.1%}",
        {"columns": len(table), "columns_read": failing, "worst_share": round(worst, 6), "maximum_share": limit},
        table,
        example_rows=() if gaps is None else _examples(gaps),
        what_to_do="" if failing else _UNREAD_ADVICE,
    )


def _missing_values(frame: pd.DataFrame, part_column: str | None) -> dict[str, tuple[int, int]]:
    """Column -> (missing values, rows), over the parts that have the column at all; a column that no part has counts
    everywhere."""

    if frame.empty:
        return {}
    gaps = frame.isna()
    if part_column is None or frame[part_column].nunique(dropna=False) == 1:
        return {str(name): (int(missing), len(frame)) for name, missing in gaps.sum().items()}
    parts = frame[part_column]
    missing, sizes = gaps.groupby(parts).sum(), parts.value_counts()
    counted: dict[str, tuple[int, int]] = {}
    for name in missing.columns:
        having = [part for part in missing.index if missing.loc[part, name] < sizes[part]] or list(missing.index)
        counted[str(name)] = (int(missing.loc[having, name].sum()), int(sizes[having].sum()))
    return counted


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
    repeats = _repeated_rows(frame, list(identity) or list(frame.columns))
    repeated = int(repeats.sum())
    share = repeated / max(len(frame), 1)
    return CheckOutcome(
        "duplicates",
        "pass" if share <= thresholds.duplicate_share_max else "warn",
        f"{repeated} rows ({share:.1%}) repeat another row",
        {"rows": repeated, "share": round(share, 6), "maximum_share": thresholds.duplicate_share_max},
        example_rows=_examples(repeats),
    )


def _repeated_rows(frame: pd.DataFrame, identity: Sequence[str]) -> pd.Series:
    """Which rows are equal to an earlier one in the columns ``identity``, as ``DataFrame.duplicated`` says.

    A row that repeats another does so in every column, so a few telling columns leave few rows to compare in all.
    """
    import numpy as np
    import pandas as pd

    telling = sorted(identity, key=lambda name: not pd.api.types.is_float_dtype(frame[name].dtype))
    rows = frame[list(identity)].reset_index(drop=True)
    for name in telling[:_TELLING_COLUMNS]:
        rows = rows[rows[name].duplicated(keep=False)]
        if len(rows) <= len(frame) // 10:
            break
    repeated = np.zeros(len(frame), dtype=bool)
    repeated[rows.index[rows.duplicated()]] = True
    return pd.Series(repeated, index=frame.index)


def _examples(flagged: pd.Series) -> tuple[int, ...]:
    """The numbers of the first flagged rows."""
    import numpy as np

    return tuple(np.flatnonzero(flagged.to_numpy())[:EXAMPLES].tolist())


def _holds(frame: pd.DataFrame, condition: Callable[[pd.DataFrame], bool], name: str) -> bool:
    """Whether a whole-frame condition holds, asked through Pandera so that every rule lives in a schema."""
    import pandera.pandas as pa

    return not len(_validate(frame, pa.DataFrameSchema(checks=pa.Check(condition, name=name))))
