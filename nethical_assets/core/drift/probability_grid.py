"""The cells that probabilities are counted in: uniform ones, cut further where a reference and a decision need it.

What belongs here: the cuts, and which cell a probability is in. What does not: counting (``sketches``).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CELLS = 4096
"""Uniform cells of [0, 1]. A power of two, so that ``value * CELLS`` is exact and a cell is found without searching."""
RELIABILITY_BINS = 16
"""Uniform bins of [0, 1] in which probabilities are held against labels; each is a whole number of cells."""
_CHUNK = 1 << 16


def decision_edge(decision_threshold: float) -> float:
    """The edge that parts the rows called positive, at or above the threshold, from the others: bins are closed on the
    right, so it is the number just below."""
    return float(np.nextafter(decision_threshold, -np.inf))


def reliability_edges(decision_threshold: float) -> FloatArray:
    """Ascending inner edges of the reliability bins, no bin of which has rows on both sides of the decision."""
    uniform = np.arange(1, RELIABILITY_BINS) / RELIABILITY_BINS
    return np.unique(np.append(uniform[uniform != decision_threshold], decision_edge(decision_threshold)))


class ProbabilityGrid:
    """Cells between all ``edges``: multiples of 1 / 4096 in [0, 1], the reliability edges and ``cuts``.

    Value ``x`` is in the cell whose index is the number of edges below ``x``, as in ``reference.ColumnSketch``.

    Args:
        cuts: further edges, such as those of a reference's histogram; any finite numbers.
    """

    def __init__(self, cuts: FloatArray, decision_threshold: float) -> None:
        uniform = np.arange(CELLS + 1) / CELLS
        self.bins = reliability_edges(decision_threshold)
        self.edges: FloatArray = np.unique(np.concatenate([uniform, self.bins, np.asarray(cuts, dtype=np.float64)]))
        between = self.edges[~np.isin(self.edges, uniform)]
        home = _uniform_cell(between)
        self._first = np.arange(CELLS + 2) + np.searchsorted(home, np.arange(CELLS + 2), side="left")
        layers = int(np.bincount(home).max()) if len(home) else 0
        self._further = np.full((layers, CELLS + 2), np.inf)
        rank = np.arange(len(home)) - np.searchsorted(home, home, side="left")
        self._further[rank, home] = between

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.edges) + 1

    def cells(self, values: FloatArray) -> IntArray:
        """The cell of each value, none of which is missing; same shape."""
        home = _uniform_cell(values)
        found = self._first[home]
        for layer in self._further:
            found += values > layer[home]
        return found

    def counts(self, values: FloatArray) -> IntArray:
        """How many values each cell has, shape (cells,); missing ones (NaN) are left out."""
        counts = np.zeros(self.size, dtype=np.int64)
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            counts += np.bincount(self.cells(part[~np.isnan(part)]), minlength=self.size)
        return counts

    def sums_between(self, counts: IntArray, edges: FloatArray) -> IntArray:
        """Counts of cells, shape (..., cells), added up to the bins between some of the edges: (..., edges + 1)."""
        starts = np.concatenate([[0], np.searchsorted(self.edges, edges, side="left") + 1])
        return np.asarray(np.add.reduceat(counts, starts, axis=-1))

    @cached_property
    def middles(self) -> FloatArray:
        """The middle of each cell, cut to [0, 1]: shape (cells,)."""
        ends = np.clip(np.concatenate([[0.0], self.edges, [1.0]]), 0.0, 1.0)
        return np.asarray((ends[1:] + ends[:-1]) / 2.0)


def _uniform_cell(values: FloatArray) -> IntArray:
    """How many multiples of 1 / 4096 from 0 to 1 lie below each value."""
    return np.clip(np.ceil(values * CELLS), 0, CELLS + 1).astype(np.int64)
