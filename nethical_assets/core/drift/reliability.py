"""How often rows of each predicted probability are positive, as whole numbers that add up in any order.

What belongs here: the counts and what follows from them by arithmetic. What does not: tests of a change
(``statistics``), or which rows have labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.probability_grid import decision_edge, reliability_edges
from nethical_assets.core.ground.errors import DatasetError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

FIXED_POINT = 1 << 30
"""Probabilities are added up as whole multiples of 2^-30: sums are the same in any order, and fit 64 bits up to 2^33
rows."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Reliability:
    """Labelled rows by their predicted probability, in the bins of ``probability_grid.reliability_edges``.

    Attributes:
        rows, positives: of each bin; a row is positive by its label.
        probability_sums: of the probabilities of each bin's rows, in multiples of 2^-30.
    """

    rows: tuple[int, ...]
    positives: tuple[int, ...]
    probability_sums: tuple[int, ...]

    @classmethod
    def none(cls, decision_threshold: float) -> Reliability:
        """No labelled rows."""
        nothing = (0,) * (len(reliability_edges(decision_threshold)) + 1)
        return cls(nothing, nothing, nothing)

    @classmethod
    def of(
        cls, probabilities: FloatArray, labels: npt.NDArray[np.float64 | np.int8], decision_threshold: float
    ) -> Reliability:
        """The counts of rows, both arrays of shape (rows,); rows whose label is missing (NaN) are left out.

        Raises:
            DatasetError: lengths differ, or a label is none of 0, 1 and NaN.
        """
        values, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        if values.shape != truth.shape:
            raise DatasetError(f"{len(values)} probabilities and {len(truth)} labels: every row has one of each")
        known = ~np.isnan(truth) & ~np.isnan(values)
        values, truth = values[known], truth[known]
        if not np.isin(truth, (0.0, 1.0)).all():
            raise DatasetError("a label of a scored row is neither 0 nor 1; give 0, 1 or no label")
        edges = reliability_edges(decision_threshold)
        bins = np.searchsorted(edges, values, side="left")
        positives = np.bincount(bins[truth == 1.0], minlength=len(edges) + 1)
        return cls(
            tuple(np.bincount(bins, minlength=len(edges) + 1).tolist()),
            tuple(positives.tolist()),
            tuple(fixed_point_sums(bins, values, len(edges) + 1).tolist()),
        )

    def __add__(self, other: Reliability) -> Reliability:
        if len(self.rows) != len(other.rows):
            raise DatasetError("reliability counts of another decision threshold cannot be added")
        return Reliability(
            _added(self.rows, other.rows),
            _added(self.positives, other.positives),
            _added(self.probability_sums, other.probability_sums),
        )

    @property
    def total(self) -> int:
        """Labelled rows."""
        return sum(self.rows)

    def correct(self, decision_threshold: float) -> int:
        """Rows whose label is what was decided."""
        called = called_positive(decision_threshold)
        rows, positives = np.array(self.rows, dtype=np.int64), np.array(self.positives, dtype=np.int64)
        return int(np.where(called, positives, rows - positives).sum())


def called_positive(decision_threshold: float) -> npt.NDArray[np.bool_]:
    """Whether the rows of each reliability bin are called positive, shape (bins,)."""
    edges = reliability_edges(decision_threshold)
    return np.asarray(np.append(-np.inf, edges) >= decision_edge(decision_threshold))


def fixed_point_sums(bins: IntArray, values: FloatArray, size: int) -> IntArray:
    """The sums of ``values`` in each of ``size`` bins, in multiples of 2^-30: exact and independent of their order."""
    sums = np.zeros(size, dtype=np.int64)
    for start in range(0, len(values), _CHUNK):
        part = slice(start, start + _CHUNK)
        # So few rows of at most 2^30 add up below 2^53, where sums of floats are exact.
        weights = np.rint(np.clip(values[part], 0.0, 1.0) * FIXED_POINT)
        sums += np.bincount(bins[part], weights=weights, minlength=size).astype(np.int64)
    return sums


def _added(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(one + other for one, other in zip(first, second, strict=True))
