"""How much the shares of a window vary by chance alone, when rows that follow each other are alike.

What belongs here: the variance of sums over consecutive sub-windows. What does not: the tests that use it
(``statistics``), or which sub-windows are calm (``monitors`` is told).

Requests come in bursts, from the same clients, at the same hours: a window of n such rows says as much as fewer
independent ones. The variance of a total is estimated from the totals of its sub-windows, a quarter of an hour each
for example, by adding up their covariances at lags up to 2 m with weights that are 1 up to lag m and then fall to 0
(the flat-top weights of Politis and Romano 1995). It is what resampling blocks of sub-windows converges to: Kuensch's
moving blocks (1989) are the same sum with weights that fall from lag 0 on, tapered blocks (Paparoditis and Politis
2001) with smoother ones. Written as a sum it needs no resampling, whose own noise would count at levels of 1e-5.

Correlation over more than 2 m sub-windows is not seen, m being a third of the root of their number: with a week of
quarters of an hour m is 8, so four hours. A daily rhythm is no noise but a change, unless the reference has it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.reliability import FIXED_POINT, called_positive
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.statistics.estimated_accuracy import Confidence, confidence_of_bins
from nethical_assets.core.drift.totals import Totals

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MINIMUM_SUB_WINDOWS = 16
"""From fewer sub-windows with rows nothing is estimated: their rows count as independent, or by ``assumed_noise``."""
ASSUMED_ROWS = 70.0
"""So many independent rows is traffic worth at most of which too little is known: a mean that wanders by half of the
rows' standard deviation then is no change at the levels of a watch, and one that moves by all of it mostly is."""
_ASSUMED_REPEATS = 2.0
"""And every row as often, from the same clients."""
_NOTHING = 1e-12
"""Variances below are those of values that are all the same, but for rounding."""


@dataclass(frozen=True, eq=False)
class Noise:
    """The covariance of totals over rows.

    Attributes:
        covariance: of the totals of one row, shape (k, k): that of the totals of n rows is n times it.
        degrees: how many degrees of freedom it was estimated with.
    """

    covariance: FloatArray
    degrees: float

    def design_effects(self, shares: FloatArray) -> FloatArray:
        """How many times larger the variance of shares is than that of independent rows, for each direction in which
        shares of this size can move, largest first: shape (k - 1,). Their mean is Kish's design effect (1965)."""
        possible = shares > 0.0
        roots = np.sqrt(shares[possible])
        scaled = self.covariance[np.ix_(possible, possible)] / np.outer(roots, roots)
        return eigenvalues(scaled)[: max(len(roots) - 1, 1)]

    def design_effect(self, values: FloatArray, variance: float) -> float:
        """How many times larger the variance of a mean is than that of independent rows, at least 1.

        Args:
            values: what a row adds to the mean by the total it counts in, shape (k,).
            variance: of one row's value, were rows independent.
        """
        return max(1.0, float(values @ self.covariance @ values) / variance) if variance > _NOTHING else 1.0


def block_noise(parts: Sequence[tuple[FloatArray, IntArray]]) -> Noise | None:
    """The noise of totals, from totals of consecutive sub-windows; None where there are too few of them.

    Args:
        parts: periods whose levels may differ (the traffic before, the window), each as totals of its sub-windows,
            shape (sub-windows, k), and their rows, shape (sub-windows,). Variation within them counts, not between.
    """
    pieces = []
    for totals, rows in parts:
        if rows.sum() > 0:
            # The residual of a ratio: sub-windows with more rows have larger totals, which is no noise (Cochran 1977).
            pieces.append(totals - np.outer(rows / rows.sum(), totals.sum(axis=0)))
    filled = sum(int(np.count_nonzero(rows)) for _, rows in parts)
    if filled < MINIMUM_SUB_WINDOWS:
        return None
    residuals = np.concatenate(pieces)
    number = len(residuals)
    flat = max(1, math.isqrt(number) // 3)
    weights = np.convolve(np.ones(flat), np.ones(3 * flat)) / flat
    total = residuals.T @ _smoothed(residuals, flat)
    spent = len(pieces) * float(weights.sum())
    rows_in_all = sum(int(rows.sum()) for _, rows in parts)
    covariance = (total + total.T) / 2.0 / rows_in_all * (number / max(number - spent, 1.0))
    degrees = filled / float((weights**2).sum())
    return Noise(_without_negative(np.asarray(covariance, dtype=np.float64)), degrees)


def _smoothed(residuals: FloatArray, flat: int) -> FloatArray:
    """Each sub-window's residual and those around it, added up with the flat-top weights, which are two moving sums."""
    number, width = residuals.shape
    sums = np.zeros((number + 4 * flat - 2, width))
    sums[2 * flat - 1 : 2 * flat - 1 + number] = residuals
    for length in (flat, 3 * flat):
        running = np.zeros((len(sums) + 1, width))
        np.cumsum(sums, axis=0, out=running[1:])
        sums = running[length:] - running[:-length]
    return np.asarray(sums / flat)


@dataclass(frozen=True, eq=False)
class TrafficNoise:
    """The noise of everything that is watched; None where there is too little to learn it from.

    Attributes:
        columns: of the counts of each column's bins.
        positives: of rows called positive.
        confidence: of rows expected to be right (``statistics.estimated_accuracy``).
        correct: of labelled rows that were decided rightly.
        gaps: of labelled positives less their probabilities, in each reliability bin.
        unknown: how many rows are worth one independent row, where the traffic says nothing; at least 1.
    """

    columns: Mapping[str, Noise | None]
    positives: Noise | None
    confidence: Noise | None
    correct: Noise | None
    gaps: Noise | None
    unknown: float = 1.0


def traffic_noise(reference: Reference, before: Sequence[Sketch], window: Sequence[Sketch]) -> TrafficNoise:
    """What consecutive sub-windows of equal length, oldest first, say of the noise of the traffic.

    Args:
        before: calm sub-windows before the window; may be none.
        window: the sub-windows that are judged, those without rows included.

    Raises:
        DatasetError: a sketch is of another reference.
    """
    return noise_of_totals(reference, [Totals.of(reference, part) for part in (before, window) if part])


def noise_of_totals(reference: Reference, periods: Sequence[Totals]) -> TrafficNoise:
    """The same, from the totals of one or more periods."""

    rows = [period.rows for period in periods]
    labelled = [np.asarray(period.labelled_rows.sum(axis=1)) for period in periods]
    called = called_positive(reference.decision_threshold)
    confidence = None
    if reference.reliability:
        right = Confidence.of(reference.reliability, reference.decision_threshold).right
        confidence = _noise([right(one.bin_rows, one.bin_sums / FIXED_POINT).sum(axis=1) for one in periods], rows)
    correct = [
        np.where(called, one.labelled_positives, one.labelled_rows - one.labelled_positives).sum(axis=1)
        for one in periods
    ]
    return TrafficNoise(
        columns={
            column.name: _noise([one.columns[column.name] for one in periods], rows) for column in reference.columns
        },
        positives=_noise([one.positives for one in periods], rows),
        confidence=confidence,
        correct=_noise(correct, labelled),
        gaps=_noise([one.labelled_positives - one.labelled_sums / FIXED_POINT for one in periods], labelled),
    )


def assumed_noise(reference: Reference, window: Totals) -> TrafficNoise:
    """The noise of what is asked of a model, where too few sub-windows are there to learn it from: every share and mean
    of inputs and scores varies as those of at most ``ASSUMED_ROWS`` rows. Labels are assumed to repeat, no more: that
    inputs come in bursts does not make a model right or wrong about them."""
    rows, labelled = int(window.rows.sum()), window.labelled
    effect = _ASSUMED_REPEATS + rows / ASSUMED_ROWS
    columns: dict[str, Noise | None] = {}
    for column in reference.columns:
        counts = column.own_histogram() + window.columns[column.name].sum(axis=0)
        shares = counts / max(int(counts.sum()), 1)
        columns[column.name] = Noise(effect * (np.diag(shares) - np.outer(shares, shares)), math.inf)
    confidence = correct = gaps = None
    if reference.reliability:
        known, threshold = reference.reliability, reference.decision_threshold
        sums = window.bin_sums.sum(axis=0)
        _, variance = confidence_of_bins(Confidence.of(known, threshold), window.bin_rows.sum(axis=0), sums)
        confidence = Noise(np.array([[effect * variance]]), math.inf)
        every = known + labelled
        correct = _of_rate(every.correct(threshold), every.total, _ASSUMED_REPEATS)
        counts = np.array(every.rows)
        rates = (np.array(every.positives) + 0.5) / (counts + 1.0)
        of_a_row = np.array(labelled.rows) / max(labelled.total, 1) * rates * (1.0 - rates)
        gaps = Noise(_ASSUMED_REPEATS * np.diag(of_a_row), math.inf)
    positives = _of_rate(reference.positives + int(window.positives.sum()), reference.rows + rows, effect)
    return TrafficNoise(columns, positives, confidence, correct, gaps, unknown=effect)


def _of_rate(happened: int, rows: int, effect: float) -> Noise:
    """The noise of a count of rows of which so many are worth one independent row."""
    rate = happened / max(rows, 1)
    return Noise(np.array([[effect * rate * (1.0 - rate)]]), math.inf)


def _noise(totals: Sequence[IntArray | FloatArray], rows: Sequence[IntArray]) -> Noise | None:
    return block_noise(
        [
            (np.asarray(values, dtype=np.float64).reshape(len(count), -1), count)
            for values, count in zip(totals, rows, strict=True)
        ]
    )


def eigenvalues(matrix: FloatArray) -> FloatArray:
    """Those of a symmetric matrix, largest first, none below 0."""
    return np.asarray(np.clip(np.linalg.eigvalsh(matrix)[::-1], 0.0, None))


def _without_negative(matrix: FloatArray) -> FloatArray:
    """The nearest matrix that is a covariance: flat-top weights may give slightly negative variances (Politis 2011)."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.clip(values, 0.0, None)) @ vectors.T)
