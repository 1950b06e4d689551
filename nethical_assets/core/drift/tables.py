"""The offline comparison of two tables, behind ``nethical drift check``.

What belongs here: turning columns of any type into comparable histograms. What does not: reading files
(``core.reading.tables``), the verdict's rule (``verdict``), stored references (``reference``). Category values and
texts stay in memory: the report names columns only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.drift.reference import ColumnSketch
from nethical_assets.core.drift.verdict import DriftReport, HistogramPair, judge
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.naming import shown_columns

CATEGORIES = 20
"""A text column is compared by its most frequent values, at most this many, and one bin for all others."""

_TEXT_DISTINCT_SHARE = 0.5


def compare_tables(
    reference: pd.DataFrame,
    window: pd.DataFrame,
    *,
    threshold: float,
    alpha: float,
    minimum_rows: int,
    columns: Sequence[str] | None = None,
) -> DriftReport:
    """Judge the drift from one table to another by the rule of ``verdict.compare``, without predictions.

    Numbers and flags are compared by quantile bins of both tables together, repeating texts by their most frequent
    values, other texts by their length; a value in a number column that is no number counts as missing. Moments in time
    are not compared.

    Args:
        columns: which to compare; all that both tables have when None.

    Raises:
        DatasetError: a table has no rows, an asked-for column is absent, or no column can be compared.
    """
    if reference.empty or window.empty:
        raise DatasetError(f"the {'reference' if reference.empty else 'window'} table has no rows")
    for name in columns or ():
        for title, frame in (("reference", reference), ("window", window)):
            if name not in frame.columns:
                raise DatasetError(
                    f"column {name!r} is not in the {title} table; it has {shown_columns(frame.columns)}"
                )
    asked = list(reference.columns) if columns is None else list(columns)
    pairs: dict[str, HistogramPair] = {}
    not_compared = []
    for name in asked:
        if name not in window.columns:
            not_compared.append(f"{name}: not in the window")
        elif pd.api.types.is_datetime64_any_dtype(reference[name]):
            not_compared.append(f"{name}: a moment in time")
        else:
            pairs[str(name)] = _pair(str(name), reference[name], window[name])
    if columns is None:
        not_compared += [f"{name}: not in the reference" for name in window.columns if name not in reference.columns]
    if not pairs:
        raise DatasetError(f"the tables have no column to compare; reference has {shown_columns(reference.columns)}")
    return judge(
        pairs,
        reference_rows=len(reference),
        window_rows=len(window),
        threshold=threshold,
        alpha=alpha,
        minimum_rows=minimum_rows,
        not_compared=tuple(not_compared),
    )


def _pair(name: str, reference: pd.Series, window: pd.Series) -> HistogramPair:
    if pd.api.types.is_numeric_dtype(reference):
        return _by_number(name, _numbers(reference), _numbers(window))
    first, second = reference.astype("str"), window.astype("str")
    pooled = pd.concat([first, second], ignore_index=True).dropna()
    distinct = pooled.nunique()
    if distinct > CATEGORIES and distinct > _TEXT_DISTINCT_SHARE * len(pooled):
        return _by_number(name, _numbers(first.str.len()), _numbers(second.str.len()))
    frequent = pooled.value_counts().sort_index().nlargest(CATEGORIES).index
    return HistogramPair(_by_category(first, frequent), _by_category(second, frequent))


def _numbers(values: pd.Series) -> npt.NDArray[np.float64]:
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def _by_number(name: str, reference: npt.NDArray[np.float64], window: npt.NDArray[np.float64]) -> HistogramPair:
    # Bins of both together treat the tables alike, which is what makes the permutation test exact.
    sketch = ColumnSketch.of(name, np.concatenate([reference, window]))
    return HistogramPair(sketch.histogram(reference), sketch.histogram(window))


def _by_category(values: pd.Series, frequent: pd.Index) -> npt.NDArray[np.int64]:
    missing = values.isna().to_numpy()
    codes = frequent.get_indexer(pd.Index(values))[~missing]
    counts = np.bincount(np.where(codes < 0, len(frequent), codes), minlength=len(frequent) + 1)
    return np.append(counts, missing.sum())
