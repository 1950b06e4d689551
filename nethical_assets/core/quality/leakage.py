"""Leakage: an input column that alone predicts the label, and rows or groups that two splits share.

What belongs here: measuring both, and the outcomes of the checks. What does not: assigning splits
(``core.datasets.splits``), finding near-duplicates (``near_duplicates``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.datasets.splits import LEFT_OUT, TEST, TRAIN, VALIDATION, group_keys, input_keys
from nethical_assets.core.quality.checks import EXAMPLES, CheckOutcome, Status
from nethical_assets.core.quality.near_duplicates import NearDuplicates
from nethical_assets.core.rows.frames import normalised_text
from nethical_assets.core.rows.ngrams import IndexArray

_BINS = 64
_LOOKED_AT_FIRST = 2_000
MAXIMUM_ROWS = 200_000
"""Of more rows, this many are looked at: every n-th. The AUC is then right to about 0.002."""

MINIMUM_ROWS = 100
"""With fewer rows a column predicts the label by chance, and nothing is said."""


def single_column_auc(values: pd.Series, labels: npt.NDArray[np.int8]) -> float:
    """How well the column alone tells the classes apart: a ROC AUC in [0, 1], measured on rows it was not fitted on.

    The rate of positives of every value (every quantile bin of a number with many values, every length of a free text)
    on one half of the rows scores the other half, and the other way round. So relations need not be monotone, missing
    values count, and a column of unique values predicts nothing.
    """
    codes = _codes(values)
    halves = [slice(0, None, 2), slice(1, None, 2)]
    return float(np.mean([_half(codes, labels, fitted, rest) for fitted, rest in (halves, halves[::-1])]))


def leakage_outcome(inputs: pd.DataFrame, labels: npt.NDArray[np.int8], maximum_auc: float) -> CheckOutcome | None:
    """The outcome over all input columns; None where there are too few rows, or one class only."""
    if len(inputs) < MINIMUM_ROWS or len(np.unique(labels)) < 2:
        return None
    step = -(-len(inputs) // MAXIMUM_ROWS)
    sample, sampled_labels = inputs.iloc[::step], labels[::step]
    measured = {str(name): single_column_auc(sample[name], sampled_labels) for name in sample.columns}
    best = max(measured, key=lambda name: measured[name])
    failing = {name: auc for name, auc in measured.items() if auc > maximum_auc}
    table: tuple[Mapping[str, str | int | float], ...] = tuple(
        {"column": name, "check": f"alone predicts the label (AUC {auc:.3f})", "rows": len(inputs), "share": 1.0}
        for name, auc in sorted(failing.items(), key=lambda item: -item[1])
    )
    return CheckOutcome(
        "leakage",
        "fail" if failing else "pass",
        f"{len(failing)} of {len(measured)} input columns predict the label alone better than AUC {maximum_auc:g}; "
        f"the best is {best} with {measured[best]:.3f}",
        {"columns": len(failing), "worst_auc": round(measured[best], 6), "maximum_auc": maximum_auc},
        table,
    )


def split_overlap_outcome(
    frame: pd.DataFrame,
    text_columns: Sequence[str],
    near_duplicates: NearDuplicates | None,
    maximum_share: float,
    datasets: Mapping[str, str] | None = None,
) -> CheckOutcome:
    """Whether splits share rows, groups or inputs, and how many test texts nearly repeat a training text.

    Rows that are left out take no part, and inputs of rows that are only measured on may be anywhere.

    Masking personal data can make two texts equal that were not; such a pair counts as a near repetition.

    Args:
        frame: the rows of all splits with ``row_id``, ``source``, ``group``, ``split`` and the input columns.
        near_duplicates: of the same rows in the same order, or None where the family reads no text.
        maximum_share: of near-duplicates of training texts among the test texts.
        datasets: source -> the dataset whose groups its rows are of, as in ``assign_splits``.
    """
    split = frame["split"].astype("str")
    used = split.where(split != LEFT_OUT)
    shared = {
        "row_id": _shared(frame["row_id"], used),
        "group": _shared(group_keys(frame, datasets), used),
        "inputs": _shared(input_keys(frame), split.where(split.isin([TRAIN, VALIDATION, TEST]))),
    }
    table: tuple[Mapping[str, str | int | float], ...] = tuple(
        {
            "column": name,
            "check": "the same value is in several splits",
            "rows": len(rows),
            "share": round(len(rows) / max(len(frame), 1), 6),
        }
        for name, rows in shared.items()
        if len(rows)
    )
    examples = np.unique(np.concatenate(list(shared.values())))[:EXAMPLES]
    tested = int((split == TEST).sum()) if text_columns else 0
    nearly = int(_repeats_training(frame, split, text_columns, near_duplicates).sum())
    share = nearly / max(tested, 1)
    groups = len(frame.iloc[shared["group"]][["source", "group"]].drop_duplicates())
    rows, inputs = len(shared["row_id"]), len(shared["inputs"])
    status: Status = "fail" if table else "warn" if share > maximum_share else "pass"
    near = f"; {nearly} of {tested} test texts nearly repeat a training text" if text_columns else ""
    return CheckOutcome(
        "split_overlap",
        status,
        f"{rows} rows, {groups} groups and {inputs} rows with equal inputs are in several splits, none may be{near}",
        {
            "rows": rows,
            "groups": groups,
            "rows_with_equal_inputs": inputs,
            "near_duplicates": nearly,
            "maximum_near_duplicate_share": maximum_share,
        },
        table,
        example_rows=tuple(examples.tolist()),
    )


def _shared(keys: pd.Series, split: pd.Series) -> IndexArray:
    """Positions of the rows whose key occurs in more than one split; missing keys and splits are nobody's."""
    pairs = pd.DataFrame({"key": keys.to_numpy(), "split": split.to_numpy()}).dropna()
    distinct = pairs.drop_duplicates()
    repeated = distinct.loc[distinct["key"].duplicated(), "key"]
    return np.flatnonzero((keys.isin(repeated.unique()) & split.notna()).to_numpy())


def _repeats_training(
    frame: pd.DataFrame, split: pd.Series, text_columns: Sequence[str], found: NearDuplicates | None
) -> npt.NDArray[np.bool_]:
    """Which rows are test rows whose text nearly repeats one that a model was fitted or calibrated on."""
    tested = (split == TEST).to_numpy()
    fitted = split.isin([TRAIN, VALIDATION]).to_numpy()
    repeats = np.zeros(len(frame), dtype=bool)
    for name in text_columns:
        text = normalised_text(frame[name])
        repeats |= text.isin(text[fitted]).to_numpy()
    if found is not None:
        repeats[found.compared] |= np.isin(found.group, found.group[fitted[found.compared]])
    return repeats & tested


def _codes(values: pd.Series) -> IndexArray:
    """A small number for every value: of free text its length, of numbers with many values the quantile bin."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        codes, known = pd.factorize(values.astype("str"))
        if len(known) <= max(_BINS, len(values) // 20):
            return np.asarray(codes, dtype=np.int64)
        values = values.astype("str").str.len()
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if len(pd.unique(numbers[:_LOOKED_AT_FIRST])) <= _BINS + 1:
        codes, distinct = pd.factorize(numbers)
        if len(distinct) <= _BINS:
            return np.asarray(codes, dtype=np.int64)
    # Sorted, for finding so many quantiles among numbers in any order takes several times as long.
    edges = np.unique(np.nanquantile(np.sort(numbers), np.linspace(0.0, 1.0, _BINS + 1)[1:-1]))
    return np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, side="left")).astype(np.int64)


def _half(codes: IndexArray, labels: npt.NDArray[np.int8], fitted: slice, rest: slice) -> float:
    """The AUC on the rows ``rest``; 0.5 where they have one class only."""
    codes = codes + 1
    size = int(codes.max()) + 1
    counts, positives = (np.bincount(codes[fitted], weights=w, minlength=size) for w in (None, labels[fitted]))
    prior = labels[fitted].mean()
    scores = (positives + prior) / (counts + 1.0)
    truths = np.bincount(codes[rest], weights=labels[rest], minlength=size)
    falses = np.bincount(codes[rest], minlength=size) - truths
    _, level = np.unique(scores, return_inverse=True)
    truths, falses = np.bincount(level, weights=truths), np.bincount(level, weights=falses)
    pairs = truths.sum() * falses.sum()
    if pairs == 0:
        return 0.5
    below = np.cumsum(falses) - falses
    return float((truths * (below + falses / 2.0)).sum() / pairs)
