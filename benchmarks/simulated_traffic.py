"""The traffic of one family without a change, or with one, drawn row by row and kept as counts.

What belongs here: drawing and counting. What does not: judging (``simulated_year``); rows of a real model.

A simulated window has six hours in 24 sub-windows. A family has a new reference of 4 000 labelled rows each time, so
the reference's own noise is in the figures. Independent traffic draws every row anew. In correlated traffic a third of
the rows repeat the row before them, and every column's mean wanders with a correlation time of an hour and a standard
deviation of 0.2 of the column's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.drift.reference import PROBABILITY, SCORE, Reference, build_reference
from nethical_assets.core.drift.reliability import FIXED_POINT
from nethical_assets.core.drift.totals import Totals

REFERENCE_ROWS = 4000
FEATURES = tuple(f"feature_{number}" for number in range(6))
SUB_WINDOWS = 24
ROWS = 500
LABELLED = 0.2
REPEATED, WANDER, CORRELATION_SUB_WINDOWS = 1 / 3, 0.2, 4.0
_OF_SUB_WINDOWS = ("rows", "positives", "bin_rows", "bin_sums", "labelled_rows", "labelled_positives", "labelled_sums")


@dataclass(frozen=True)
class Change:
    """What happens to the traffic: standard deviations by which one feature moves, and points of accuracy lost."""

    moved: float = 0.0
    accuracy: float = 0.0

    def __str__(self) -> str:
        return f"moved by {self.moved:g} sd" if self.moved else f"accuracy less {100 * self.accuracy:g} points"


@dataclass(frozen=True)
class Rows:
    """Rows of traffic: features, shape (rows, columns), scores, probabilities, labels and whether they are known."""

    features: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray
    known: np.ndarray
    sub_window: np.ndarray


def draw(windows: int, generator: np.random.Generator, *, correlated: bool, change: Change, rows: int = ROWS) -> Rows:
    """The rows of so many windows."""
    from scipy.signal import lfilter

    counts = generator.poisson(rows / SUB_WINDOWS, size=windows * SUB_WINDOWS)
    sub_window = np.repeat(np.arange(len(counts)), counts)
    total, width = len(sub_window), len(FEATURES) + 1
    values = generator.normal(size=(total, width))
    chance = generator.random(total)
    if correlated:
        decay = math.exp(-1.0 / CORRELATION_SUB_WINDOWS)
        noise = generator.normal(size=(len(counts), width)) * math.sqrt(1.0 - decay**2)
        noise[0] /= math.sqrt(1.0 - decay**2)
        wander = lfilter([1.0], [1.0, -decay], noise, axis=0)
        source = np.maximum.accumulate(np.where(generator.random(total) < REPEATED, 0, np.arange(total)))
        values, chance = values[source], chance[source]
        values = values * math.sqrt(1.0 - WANDER**2) + WANDER * wander[sub_window]
    scores = 2.5 * values[:, -1] - 1.0
    probabilities = 1.0 / (1.0 + np.exp(-scores))
    labels = chance < probabilities
    if change.accuracy:
        # Labels turn round in rows that were right: so many that accuracy falls by so much.
        right = labels == (probabilities >= 0.5)
        turned = right & (generator.random(total) < change.accuracy / 0.853)
        labels = labels ^ turned
    features = values[:, :-1]
    features[:, 0] += change.moved
    return Rows(features, scores, probabilities, labels, generator.random(total) < LABELLED, sub_window)


def reference_of(generator: np.random.Generator) -> tuple[Reference, Rows]:
    """A reference, and the rows it is of."""
    rows = draw(1, generator, correlated=False, change=Change(), rows=REFERENCE_ROWS)
    frame = pd.DataFrame(rows.features, columns=list(FEATURES))
    return build_reference(rows.scores, rows.probabilities, frame, labels=rows.labels.astype(np.float64)), rows


@dataclass(frozen=True, eq=False)
class Traffic:
    """The counts of many windows.

    Attributes:
        totals: of all sub-windows; its ``probability_cells`` have a row for each window, shape (windows, cells).
    """

    totals: Totals

    @property
    def windows(self) -> int:
        """How many there are."""
        return len(self.totals.probability_cells)

    @classmethod
    def of(cls, reference: Reference, rows: Rows, windows: int) -> Traffic:
        """The counts of rows."""
        subs = windows * SUB_WINDOWS
        values = dict(
            zip((*FEATURES, SCORE, PROBABILITY), (*rows.features.T, rows.scores, rows.probabilities), strict=True)
        )
        grid = reference.grid
        cells = grid.cells(rows.probabilities)
        columns = {}
        for column in reference.columns:
            edges = np.array(column.edges)
            # The grid's edges include those of the probability's histogram, and of the reliability bins.
            found = (
                _cell_bins(grid.edges, edges)[cells]
                if column.name == PROBABILITY
                else _bins(edges, values[column.name])
            )
            width = len(edges) + 2
            counts = np.bincount(rows.sub_window * width + found, minlength=subs * width)
            columns[column.name] = counts.reshape(subs, width)
        window = rows.sub_window // SUB_WINDOWS
        of_windows = np.bincount(window * grid.size + cells, minlength=windows * grid.size)
        bins = _cell_bins(grid.edges, grid.bins)[cells]
        width = len(grid.bins) + 1
        place, fixed = rows.sub_window * width + bins, np.rint(rows.probabilities * FIXED_POINT)

        def binned(chosen: Any, weights: np.ndarray | None = None) -> np.ndarray:
            of = None if weights is None else weights[chosen]
            found = np.bincount(place[chosen], weights=of, minlength=subs * width)
            return found.astype(np.int64).reshape(subs, width)

        everything, known = slice(None), rows.known
        return cls(
            Totals(
                rows=np.bincount(rows.sub_window, minlength=subs),
                positives=np.bincount(rows.sub_window[rows.probabilities >= 0.5], minlength=subs),
                columns=columns,
                bin_rows=binned(everything),
                bin_sums=binned(everything, fixed),
                labelled_rows=binned(known),
                labelled_positives=binned(known & rows.labels),
                labelled_sums=binned(known, fixed),
                probability_cells=of_windows.reshape(windows, grid.size).astype(np.int32),
            )
        )

    @classmethod
    def joined(cls, parts: Sequence[Traffic]) -> Traffic:
        """Parts one after another."""
        fields = (*_OF_SUB_WINDOWS, "probability_cells")
        return cls(
            Totals(
                **{name: np.concatenate([getattr(one.totals, name) for one in parts]) for name in fields},
                columns={
                    name: np.concatenate([one.totals.columns[name] for one in parts])
                    for name in parts[0].totals.columns
                },
            )
        )

    def period(self, windows: Sequence[int]) -> Totals:
        """The totals of some windows, as the product has them."""
        chosen = np.asarray(windows)
        subs = (chosen[:, np.newaxis] * SUB_WINDOWS + np.arange(SUB_WINDOWS)).ravel()
        return Totals(
            **{name: getattr(self.totals, name)[subs] for name in _OF_SUB_WINDOWS},
            columns={name: counts[subs] for name, counts in self.totals.columns.items()},
            probability_cells=self.totals.probability_cells[chosen].sum(axis=0, dtype=np.int64),
        )


def _bins(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How many edges are below each value, as ``np.searchsorted`` finds: by a table of steps with one edge at most."""
    steps = 2.0 * (edges[-1] - edges[0]) / np.diff(edges).min()
    scale = steps / (edges[-1] - edges[0])
    place = np.clip((values - edges[0]) * scale + 1.0, 0.0, steps + 2.0).astype(np.intp)
    of_edges = np.clip((edges - edges[0]) * scale + 1.0, 0.0, steps + 2.0).astype(np.intp)
    assert len(np.unique(of_edges)) == len(edges)
    size = int(steps) + 3
    further = np.full(size, np.inf)
    further[of_edges] = edges
    return np.searchsorted(of_edges, np.arange(size), side="left")[place] + (values > further[place])


def _cell_bins(cell_edges: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each cell, where every edge of the bins is one of the cells'."""
    return np.searchsorted(edges, np.append(cell_edges, np.inf), side="left")
