"""The offline comparison of two tables, behind ``nethical drift check``.

What belongs here: turning columns of any type into comparable histograms. What does not: what a column holds
(``columns``), reading files (``core.reading.tables``), the verdict's rule (``verdict``), stored references
(``reference``). Category values and texts stay in memory: the report names columns only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.drift.columns import ColumnValues, Form, decimal_signs, form_of
from nethical_assets.core.drift.reference import ColumnSketch
from nethical_assets.core.drift.verdict import DriftReport, HistogramPair, NotCompared, judge
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.naming import shown_columns

CATEGORIES = 20
"""A text column is compared by its most frequent values, at most this many, and one bin for all others."""

_TEXT_DISTINCT_SHARE = 0.5
_REASONS: dict[Form, str] = {
    "moment": "a moment in time",
    "empty": "no values in either table",
    "not_comparable": "a flag in one table, two other values in the other",
    "spelled_otherwise": "its numbers have separators in one table, such as 1,000, which may be 1 or 1000",
}


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

    Numbers are compared by quantile bins of both tables together, flags by what they mean however they are spelled,
    repeating texts by their most frequent values, other texts by their length (the module ``columns`` tells which is
    which). A word in a column of numbers counts as missing, which the report notes. Moments in time are not compared.
    Where only one table has a column, or has values in it, the verdict is not ``stable``.

    Args:
        columns: which to compare; all that a table has when None.

    Raises:
        DatasetError: a table has no rows, or an asked-for column is absent.
    """
    if reference.empty or window.empty:
        raise DatasetError(f"the {'reference' if reference.empty else 'window'} table has no rows")
    for name in columns or ():
        for title, frame in (("reference", reference), ("window", window)):
            if name not in frame.columns:
                raise DatasetError(
                    f"column {name!r} is not in the {title} table; it has {shown_columns(frame.columns)}"
                )
    pairs: dict[str, HistogramPair] = {}
    not_compared: list[NotCompared] = []
    notes: list[str] = []
    for name in reference.columns if columns is None else columns:
        if name not in window.columns:
            not_compared.append(NotCompared(str(name), "not in the window", lost=True))
            continue
        sides = ColumnValues(reference[name]), ColumnValues(window[name])
        form = form_of(*sides)
        if form in _REASONS:
            lost = form in ("not_comparable", "spelled_otherwise") or (
                form == "moment" and not all(side.has_values for side in sides)
            )
            not_compared.append(NotCompared(str(name), _REASONS[form], lost=lost))
        else:
            if form == "text":
                pairs[str(name)] = _by_text(str(name), *sides)
                continue
            signs = decimal_signs(*sides) or (".", ".")
            numbers = [side.numbers(sign) for side, sign in zip(sides, signs, strict=True)]
            exact = any(side.is_exact for side in sides)
            pairs[str(name)] = _by_number(str(name), numbers[0], numbers[1], exact=exact)
            notes += _words(str(name), form, sides, numbers)
    if columns is None:
        not_compared += [
            NotCompared(str(name), "not in the reference", lost=True)
            for name in window.columns
            if name not in reference.columns
        ]
    return judge(
        pairs,
        reference_rows=len(reference),
        window_rows=len(window),
        threshold=threshold,
        alpha=alpha,
        minimum_rows=minimum_rows,
        not_compared=tuple(not_compared),
        notes=tuple(notes),
    )


def _words(
    name: str, form: Form, sides: Sequence[ColumnValues], numbers: Sequence[npt.NDArray[np.float64]]
) -> list[str]:
    """A note where values of a column of numbers or flags count as missing."""
    counts = [
        (side.filled - int((~np.isnan(read)).sum()), side.filled) for side, read in zip(sides, numbers, strict=True)
    ]
    if not any(words for words, _ in counts):
        return []
    (before, had), (now, has) = counts
    return [
        f"Column {name} holds {form}s: {before} of {had} values of the reference and {now} of {has} of the window are "
        "none and count as missing."
    ]


def _by_text(name: str, reference: ColumnValues, window: ColumnValues) -> HistogramPair:
    counts = reference.category_counts(), window.category_counts()
    pooled = counts[0].add(counts[1], fill_value=0)
    if len(pooled) > CATEGORIES and len(pooled) > _TEXT_DISTINCT_SHARE * pooled.sum():
        return _by_number(name, _lengths(reference), _lengths(window))
    frequent = pooled.sort_index().nlargest(CATEGORIES).index
    return HistogramPair(_by_category(reference, counts[0], frequent), _by_category(window, counts[1], frequent))


def _lengths(values: ColumnValues) -> npt.NDArray[np.float64]:
    return np.asarray(values.texts.str.len().to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def _by_number(
    name: str, reference: npt.NDArray[np.float64], window: npt.NDArray[np.float64], *, exact: bool = True
) -> HistogramPair:
    # Bins of both together treat the tables alike, which is what makes the permutation test exact.
    sketch = ColumnSketch.of(name, np.concatenate([reference, window]), exact=exact)
    counts = sketch.histogram(reference)
    return HistogramPair(counts, sketch.own_histogram() - counts)


def _by_category(values: ColumnValues, counts: pd.Series, frequent: pd.Index) -> npt.NDArray[np.int64]:
    known = counts.reindex(frequent, fill_value=0).to_numpy(dtype=np.int64)
    return np.append(known, [values.filled - known.sum(), len(values.series) - values.filled])
