"""What a champion's inputs and outputs looked like when it was promoted, as histograms.

What belongs here: the reference document and the binning that makes a later window comparable. What does not: comparing
(``statistics``, ``verdict``). A reference holds counts and bin edges of numeric columns, never rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BINS = 10
_HUGE = 1e300
_ROUNDING = 2e-5
"""Values that are nearer to each other than this share of their size may be one value, rounded in two ways."""
_ROUNDING_OF_ZERO = 1e-12
SCORE, PROBABILITY = "score", "probability"


@dataclass(frozen=True)
class ColumnSketch:
    """The histogram of one numeric column.

    ``edges`` ascend; value ``x`` lies in the bin whose index is the number of edges below ``x``, so bins are closed on
    the right and the outer ones are open. ``counts`` has one more entry than ``edges``; missing values are counted in
    ``missing``, so ``counts`` and ``missing`` add up to the rows.
    """

    name: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int

    @property
    def rows(self) -> int:
        """Rows the sketch was made of."""
        return sum(self.counts) + self.missing

    def histogram(self, values: FloatArray) -> IntArray:
        """Counts of ``values`` (NaN: missing) in this sketch's bins, the last one for missing: shape (edges + 2,)."""
        present = _within_range(values[~np.isnan(values)])
        counts = np.bincount(np.searchsorted(self.edges, present, side="left"), minlength=len(self.edges) + 1)
        return np.append(counts, len(values) - len(present))

    def own_histogram(self) -> IntArray:
        """The reference's own counts in the form of ``histogram``."""
        return np.array([*self.counts, self.missing], dtype=np.int64)

    @classmethod
    def of(cls, name: str, values: FloatArray, bins: int = BINS, *, exact: bool = True) -> ColumnSketch:
        """The sketch of ``values`` with edges at the column's own quantiles.

        A column of at most ``bins`` distinct values gets a bin for each, and one below and one above them all; of other
        columns, a value that fills a bin alone has that bin for itself. Values that agree in six digits count as one
        (whole numbers only where they are equal, if they are ``exact``), and edges leave room for such rounding.
        """
        values = np.asarray(values, dtype=np.float64)
        present = np.sort(_within_range(values[~np.isnan(values)]))
        lowest, highest = _few_distinct(present, bins, exact=exact)
        if len(lowest):
            edges = np.concatenate([_rounded(lowest[:1], -1, exact=exact), _rounded(highest, 1, exact=exact)])
        else:
            # No bins outside the range of a continuous column: their counts are zero in the reference by construction
            # but not in another sample of the same distribution, which doubles the false alarms of small references.
            quantiles = (
                np.quantile(present, np.arange(1, bins) / bins, method="inverted_cdf") if len(present) else present
            )
            alone = quantiles[1:][_rounded(quantiles[1:], -1, exact=exact) <= quantiles[:-1]]
            edges = np.concatenate([_rounded(alone, -1, exact=exact), _rounded(quantiles, 1, exact=exact)])
        edges = np.unique(edges)
        # As ``histogram`` counts, which would look for the place of every value; these are sorted.
        counts = np.diff(np.searchsorted(present, edges, side="right"), prepend=0, append=len(present))
        return cls(name, tuple(edges.tolist()), tuple(counts.tolist()), len(values) - len(present))


@dataclass(frozen=True)
class Reference:
    """The window that later ones are compared with: predictions and input sketch of ``rows`` rows.

    ``columns`` holds ``score``, ``probability`` and the sketch's columns; ``positives`` counts rows whose probability
    reaches ``decision_threshold``.
    """

    rows: int
    positives: int
    decision_threshold: float
    columns: tuple[ColumnSketch, ...]

    @property
    def positive_rate(self) -> float:
        """Share of rows called positive, in [0, 1]; 0 without rows."""
        return self.positives / self.rows if self.rows else 0.0

    def to_json(self) -> dict[str, Any]:
        """A JSON object; beside the fields it says the ``positive_rate``."""
        return {**to_document(self), "positive_rate": self.positive_rate}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], where: str = "drift reference") -> Reference:
        """The inverse of ``to_json``.

        Raises:
            IntegrityError: it is no such document; the line starts with ``where``.
        """
        return from_document(cls, {name: value for name, value in document.items() if name != "positive_rate"}, where)


def build_reference(
    scores: FloatArray, probabilities: FloatArray, sketch: pd.DataFrame, *, decision_threshold: float = 0.5
) -> Reference:
    """The reference of one batch of predictions, stored when its model is promoted.

    Args:
        scores, probabilities: shape (rows,).
        sketch: numeric columns that describe the inputs (``Detector.sketch``), one row a prediction.
        decision_threshold: a row counts as positive at or above it.

    Raises:
        DatasetError: there are no rows, lengths differ, or a sketch column is not numeric or has a reserved name.
    """
    columns = prediction_columns(scores, probabilities, sketch)
    if len(probabilities) == 0:
        raise DatasetError("a drift reference needs rows: the model has scored none")
    return Reference(
        rows=len(probabilities),
        positives=int((np.asarray(probabilities) >= decision_threshold).sum()),
        decision_threshold=decision_threshold,
        columns=tuple(ColumnSketch.of(name, values) for name, values in columns.items()),
    )


def prediction_columns(
    scores: FloatArray | None, probabilities: FloatArray, sketch: pd.DataFrame
) -> dict[str, FloatArray]:
    """Name -> values of everything monitored about a batch: ``score`` (if given), ``probability``, the sketch.

    Raises:
        DatasetError: lengths differ, or a sketch column is not numeric or has a reserved name.
    """
    from pandas.api.types import is_numeric_dtype

    columns = {PROBABILITY: np.asarray(probabilities, dtype=np.float64)}
    if scores is not None:
        columns[SCORE] = np.asarray(scores, dtype=np.float64)
    for name in sketch.columns:
        if name in (SCORE, PROBABILITY):
            raise DatasetError(f"sketch column {name!r}: the name is reserved for predictions; rename the column")
        if not is_numeric_dtype(sketch[name]):
            raise DatasetError(
                f"sketch column {name!r} is {sketch[name].dtype}: only numbers and flags are kept for drift monitoring"
            )
        columns[str(name)] = sketch[name].to_numpy(dtype=np.float64, na_value=np.nan)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"predictions and sketch have different numbers of rows: {lengths}")
    return columns


def _within_range(values: FloatArray) -> FloatArray:
    """Infinities as huge numbers, so that edges stay finite and the document stays JSON."""
    return np.clip(values, -_HUGE, _HUGE)


def _rounded(values: FloatArray, direction: int, *, exact: bool) -> FloatArray:
    """The outer ends of what ``values`` may be after another rounding: above them (1) or below (-1).

    Whole numbers that are ``exact`` are not rounded to other whole numbers, however large.
    """
    room = np.maximum(np.abs(values) * _ROUNDING, _ROUNDING_OF_ZERO)
    if exact:
        room = np.where(values == np.floor(values), np.minimum(room, 0.5), room)
    return np.asarray(np.clip(values + direction * room, -2 * _HUGE, 2 * _HUGE))


def _few_distinct(present: FloatArray, limit: int, *, exact: bool) -> tuple[FloatArray, FloatArray]:
    """The lowest and the highest of every set of sorted values that are one but for rounding; nothing where there are
    more than ``limit`` such sets."""
    lowest: list[float] = []
    highest: list[float] = []
    start = 0
    while start < len(present):
        if len(lowest) == limit:
            return np.empty(0), np.empty(0)
        end = int(np.searchsorted(present, _rounded(present[start : start + 1], 1, exact=exact)[0], side="right"))
        lowest.append(float(present[start]))
        highest.append(float(present[end - 1]))
        start = end
    return np.array(lowest), np.array(highest)
