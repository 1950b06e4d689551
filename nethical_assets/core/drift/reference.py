"""What a champion's inputs and outputs looked like when it was promoted, as histograms.

What belongs here: the reference document and the binning that makes a later window comparable. What does not: comparing
(``statistics``, ``verdict``). A reference holds counts and bin edges of numeric columns, never rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.probability_grid import ProbabilityGrid
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import DatasetError, IntegrityError

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BINS = 10
_HUGE = 1e300
_ROUNDING = 2e-5
"""Values that are nearer to each other than this share of their size may be one value, rounded in two ways."""
_ROUNDING_OF_ZERO = 1e-12
_CHUNK = 1 << 16
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
        missing = int(np.isnan(values).sum())
        # Of the few edges there are, counting the values above each is several times faster than a search for each
        # value. Missing values are above none.
        above = np.zeros(len(self.edges) + 2, dtype=np.int64)
        above[0] = len(values) - missing
        for start in range(0, len(values), _CHUNK):
            part = _within_range(values[start : start + _CHUNK])
            above[1:-1] += np.array([np.count_nonzero(part > edge) for edge in self.edges], dtype=np.int64)
        return np.append(above[:-1] - above[1:], missing)

    def bins(self, values: FloatArray) -> IntArray:
        """The bin of each of ``values`` (NaN: missing), as an index of ``histogram``; same shape."""
        found = np.searchsorted(np.array(self.edges, dtype=np.float64), _within_range(values), side="left")
        return np.where(np.isnan(values), len(self.edges) + 1, found).astype(np.int64)

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
    reaches ``decision_threshold``. References of older versions lack what follows: ``probability_counts``, in the cells
    of ``grid``, and ``reliability``, of the rows whose labels were known.
    """

    rows: int
    positives: int
    decision_threshold: float
    columns: tuple[ColumnSketch, ...]
    probability_counts: tuple[int, ...] = ()
    reliability: Reliability | None = None

    @property
    def positive_rate(self) -> float:
        """Share of rows called positive, in [0, 1]; 0 without rows."""
        return self.positives / self.rows if self.rows else 0.0

    def column(self, name: str) -> ColumnSketch | None:
        """The histogram of one column, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @cached_property
    def grid(self) -> ProbabilityGrid:
        """The cells that later probabilities are counted in; its edges include those of the probability's histogram."""
        column = self.column(PROBABILITY)
        return ProbabilityGrid(np.array(column.edges if column else (), dtype=np.float64), self.decision_threshold)

    @cached_property
    def digest(self) -> str:
        """The name of the document: that of the stored object, whichever version stored it."""
        return digest_bytes(pretty_json(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """A JSON object; beside the fields it says the ``positive_rate``. What is absent is left out, so that what an
        older version stored comes out as it was."""
        document = {**to_document(self), "positive_rate": self.positive_rate}
        absent = [name for name in ("probability_counts", "reliability") if not document[name]]
        return {name: value for name, value in document.items() if name not in absent}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], where: str = "drift reference") -> Reference:
        """The inverse of ``to_json``.

        Raises:
            IntegrityError: it is no such document, or its counts are of other cells than its own; the line starts with
                ``where``.
        """
        stored = {name: value for name, value in document.items() if name != "positive_rate"}
        reference = from_document(cls, stored, where)
        bins = len(reference.grid.bins) + 1
        if len(reference.probability_counts) not in (0, reference.grid.size) or (
            reference.reliability is not None and {*map(len, vars(reference.reliability).values())} != {bins}
        ):
            raise IntegrityError(f"{where}: its counts are not those of its edges; restore it from a backup")
        return reference


def build_reference(
    scores: FloatArray | None,
    probabilities: FloatArray,
    sketch: pd.DataFrame,
    *,
    labels: FloatArray | npt.NDArray[np.int8] | None = None,
    decision_threshold: float = 0.5,
) -> Reference:
    """The reference of one batch of predictions, stored when its model is promoted.

    Args:
        scores, probabilities: shape (rows,); scores may be None where there are none.
        sketch: numeric columns that describe the inputs (``Detector.sketch``), one row a prediction.
        labels: of the rows, 0, 1 or NaN where unknown; what changes of accuracy and calibration are judged against.
        decision_threshold: a row counts as positive at or above it.

    Raises:
        DatasetError: there are no rows, lengths differ, a label is neither 0 nor 1, or a sketch column is not numeric
            or has a reserved name.
    """
    columns = prediction_columns(scores, probabilities, sketch)
    if len(probabilities) == 0:
        raise DatasetError("a drift reference needs rows: the model has scored none")
    histograms = tuple(ColumnSketch.of(name, values) for name, values in columns.items())
    values = columns[PROBABILITY]
    bare = Reference(len(values), int((values >= decision_threshold).sum()), decision_threshold, histograms)
    return replace(
        bare,
        probability_counts=tuple(bare.grid.counts(values).tolist()),
        reliability=None if labels is None else Reliability.of(values, labels, decision_threshold),
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
