"""Label errors: rows whose label a model that never saw them finds improbable.

What belongs here: out-of-fold probabilities of a quick model for each kind of input, confident learning on them
(Northcutt, Jiang and Chuang 2021, through cleanlab), and the outcome of the check. What does not: the families' models.
All rows are judged, however many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.detectors.fitting import one_thread
from nethical_assets.core.quality.checks import EXAMPLES, CheckOutcome
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.frames import normalised_text, texts
from nethical_assets.core.rows.ngrams import IndexArray, ngrams, split_tokens

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FITTED_ROWS = 30_000
"""The model that judges a fold is fitted on this many rows of the others at most: every n-th."""

MINIMUM_ROWS = 200
"""With fewer rows of a class than a tenth of this, or fewer rows in all, no model can say anything."""

_FOLDS = 3
_BUCKETS = 1 << 14
_MAXIMUM_CHARACTERS = 2_000
_SEED = 20_260_103

_TOLERANCE = 1e-6
_LOWEST_THRESHOLD = 2e-6
"""As cleanlab compares probabilities, and the least that it takes for confident."""


@dataclass(frozen=True)
class LabelErrors:
    """What was found.

    Attributes:
        rows: how many rows the dataset has; all were looked at.
        estimated: how many of them have a wrong label, as estimated.
        suspects: positions of the rows to look at, the most doubtful first.
    """

    rows: int
    estimated: int
    suspects: IndexArray


def find_label_errors(
    inputs: pd.DataFrame,
    labels: npt.NDArray[np.int8],
    groups: pd.Series,
    kind: Literal["text", "sequence", "records"],
) -> LabelErrors | None:
    """Estimate how many labels are wrong, and which; None where there are too few rows of a class.

    Args:
        inputs: one row a record; of texts and sequences the first column is read.
        labels: 0 or 1, as long.
        groups: rows of one group are in one fold; an empty string is no group.
    """
    given = labels.astype(np.int64)
    if len(given) < MINIMUM_ROWS or np.bincount(given, minlength=2).min() < MINIMUM_ROWS // 10:
        return None
    suspects, estimated = confident_learning(given, out_of_fold(inputs, given, _folds(groups), kind))
    return LabelErrors(len(inputs), estimated, suspects)


def confident_learning(labels: npt.NDArray[np.int64], probabilities: FloatArray) -> tuple[IndexArray, int]:
    """The positions of the labels that cleanlab finds wrong, the most doubtful first, and how many it estimates.

    As its ``find_label_issues`` and ``num_label_issues`` of all rows, at a fraction of their cost: what a row adds to
    the counts is added here for all rows at once, and only rows whose label is the less probable one, among which all
    that are found are, are given to it. Of equally doubtful rows others may be found.

    Args:
        labels: 0 or 1, at least two of each.
        probabilities: of the label 1, as long.
    """
    from cleanlab.count import calibrate_confident_joint  # type: ignore[import-untyped]
    from cleanlab.filter import find_label_issues  # type: ignore[import-untyped]

    of_class = (1.0 - probabilities, probabilities)
    thresholds = [max(float(of_class[k][labels == k].mean()), _LOWEST_THRESHOLD) for k in (0, 1)]
    confident = [of_class[k] >= thresholds[k] - _TOLERANCE for k in (0, 1)]
    likelier = (probabilities > of_class[0]).astype(np.int8)
    guessed = np.where(confident[0] & confident[1], likelier, confident[1])
    known = confident[0] | confident[1]
    # Transposed, as cleanlab has it: halves are rounded by the last bit of a sum, whose order is that of the memory.
    counts = np.bincount((2 * guessed + labels)[known], minlength=4).reshape(2, 2).T
    np.fill_diagonal(counts, counts.diagonal().clip(min=1))
    joint = calibrate_confident_joint(counts, labels)

    own = np.where(labels == 1, probabilities, of_class[0])
    doubted = np.where(labels == 1, of_class[0] >= own + _TOLERANCE, probabilities > own + _TOLERANCE)
    estimated = int((doubted & known & (guessed != labels)).sum())
    # cleanlab looks at classes of two rows at least.
    doubted[np.concatenate([np.flatnonzero(labels == k)[:2] for k in (0, 1)])] = True
    rows = np.flatnonzero(doubted)
    both = np.column_stack([side[rows] for side in of_class])
    suspects = rows[find_label_issues(labels[rows], both, confident_joint=joint, n_jobs=1)]
    return suspects[np.argsort(own[suspects], kind="stable")], estimated


def label_errors_outcome(found: LabelErrors, maximum_share: float) -> CheckOutcome:
    """The outcome: estimated share of wrong labels, and the most doubtful rows."""
    share = found.estimated / max(found.rows, 1)
    return CheckOutcome(
        "label_errors",
        "pass" if share <= maximum_share else "warn",
        f"about {found.estimated} of {found.rows} labels ({share:.1%}) look wrong",
        {
            "rows": found.estimated,
            "compared": found.rows,
            "share": round(share, 6),
            "maximum_share": maximum_share,
        },
        example_rows=tuple(found.suspects[:EXAMPLES].tolist()),
    )


def out_of_fold(inputs: pd.DataFrame, labels: npt.NDArray[np.int64], folds: IndexArray, kind: str) -> FloatArray:
    """The probability of the positive class of every row, by a model fitted on the other folds; shape ``(rows,)``."""
    features: Any = _records(inputs) if kind == "records" else _counts(inputs.iloc[:, 0], words=kind == "text")
    probabilities = np.full(len(labels), float(labels.mean()))
    with one_thread():
        for fold in range(_FOLDS):
            held = folds == fold
            others = np.flatnonzero(~held)
            fitted = others[:: -(-len(others) // FITTED_ROWS) or 1]
            if held.any() and len(np.unique(labels[fitted])) == 2:
                model = _model(kind).fit(features[fitted], labels[fitted])
                probabilities[held] = model.predict_proba(features[held])[:, 1]
    return probabilities


def _model(kind: str) -> Any:
    if kind == "records":
        from sklearn.ensemble import HistGradientBoostingClassifier

        # Few trees: the judged rows can be many more than the fitted ones, and each passes every tree.
        return HistGradientBoostingClassifier(
            max_iter=20, learning_rate=0.3, max_leaf_nodes=31, early_stopping=False, random_state=_SEED
        )
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, max_iter=200, tol=1e-3)


def _folds(groups: pd.Series) -> IndexArray:
    """A fold a row: by its group where it has one, else in turn."""
    alone = (groups == "").to_numpy()
    folds = np.arange(len(groups), dtype=np.int64) % _FOLDS
    hashed = pd.util.hash_pandas_object(groups[~alone].astype("str"), index=False).to_numpy() % np.uint64(_FOLDS)
    folds[~alone] = hashed.astype(np.int64)
    return folds


def _records(inputs: pd.DataFrame) -> FloatArray:
    """Numbers as they are, anything else as the rank of its value; missing is NaN."""
    columns = []
    for name in inputs.columns:
        values = inputs[name]
        if pd.api.types.is_numeric_dtype(values.dtype):
            columns.append(values.to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            codes = pd.factorize(values.astype("str"), sort=True)[0].astype(np.float64)
            columns.append(np.where(codes < 0, np.nan, codes))
    return np.column_stack(columns)


def _counts(values: pd.Series, *, words: bool) -> csr_array:
    """Hashed one- and two-token n-grams, each row scaled to length one; shape ``(rows, 16384)``."""
    from scipy.sparse import csr_array

    texts_read = values.str.slice(0, _MAXIMUM_CHARACTERS)
    tokens = split_tokens(texts(normalised_text(texts_read) if words else texts_read))
    parts = [ngrams(tokens, size) for size in (1, 2)]
    rows = np.concatenate([part.rows for part in parts])
    buckets = (np.concatenate([part.hashes for part in parts]) % np.uint64(_BUCKETS)).astype(np.int64)
    ones = np.ones(len(rows), dtype=np.float64)
    counts = csr_array((ones, (rows, buckets)), shape=(len(values), _BUCKETS))
    counts.sum_duplicates()
    counts.data = 1.0 + np.log(counts.data)
    lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    counts.data /= np.repeat(np.maximum(lengths, 1e-12), np.diff(counts.indptr))
    return counts
