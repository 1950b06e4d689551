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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.reliability import FIXED_POINT, called_positive
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.statistics.estimated_accuracy import Confidence
from nethical_assets.core.drift.totals import Totals

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MINIMUM_SUB_WINDOWS = 16
"""From fewer sub-windows with rows nothing is estimated: their rows count as independent."""
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
    weights = np.clip(2.0 - np.arange(2 * flat) / flat, 0.0, 1.0)
    total = residuals.T @ residuals
    for lag in range(1, len(weights)):
        shifted = residuals[lag:].T @ residuals[:-lag]
        total = total + weights[lag] * (shifted + shifted.T)
    spent = len(pieces) * (1.0 + 2.0 * float(weights[1:].sum()))
    rows_in_all = sum(int(rows.sum()) for _, rows in parts)
    covariance = total / rows_in_all * (number / max(number - spent, 1.0))
    degrees = filled / (1.0 + 2.0 * float((weights[1:] ** 2).sum()))
    return Noise(_without_negative(np.asarray(covariance, dtype=np.float64)), degrees)


@dataclass(frozen=True, eq=False)
class TrafficNoise:
    """The noise of everything that is watched; None where there is too little to learn it from.

    Attributes:
        columns: of the counts of each column's bins.
        positives: of rows called positive.
        confidence: of rows expected to be right (``statistics.estimated_accuracy``).
        correct: of labelled rows that were decided rightly.
        gaps: of labelled positives less their probabilities, in each reliability bin.
    """

    columns: Mapping[str, Noise | None]
    positives: Noise | None
    confidence: Noise | None
    correct: Noise | None
    gaps: Noise | None


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

    def noise(totals: Callable[[Totals], IntArray | FloatArray], rows: Callable[[Totals], IntArray]) -> Noise | None:
        taken = [(np.asarray(totals(period), dtype=np.float64), rows(period)) for period in periods]
        return block_noise([(values.reshape(len(count), -1), count) for values, count in taken])

    def labelled(period: Totals) -> IntArray:
        return np.asarray(period.labelled_rows.sum(axis=1))

    called = called_positive(reference.decision_threshold)
    known = reference.reliability
    confidence = Confidence.of(known, reference.decision_threshold) if known else None
    return TrafficNoise(
        columns={
            column.name: noise(lambda period, name=column.name: period.columns[name], lambda period: period.rows)
            for column in reference.columns
        },
        positives=noise(lambda period: period.positives, lambda period: period.rows),
        confidence=noise(
            lambda period: confidence.right(period.bin_rows, period.bin_sums / FIXED_POINT).sum(axis=1),
            lambda period: period.rows,
        )
        if confidence
        else None,
        correct=noise(
            lambda period: np.where(
                called, period.labelled_positives, period.labelled_rows - period.labelled_positives
            ).sum(axis=1),
            labelled,
        ),
        gaps=noise(lambda period: period.labelled_positives - period.labelled_sums / FIXED_POINT, labelled),
    )


def eigenvalues(matrix: FloatArray) -> FloatArray:
    """Those of a symmetric matrix, largest first, none below 0."""
    return np.asarray(np.clip(np.linalg.eigvalsh(matrix)[::-1], 0.0, None))


def _without_negative(matrix: FloatArray) -> FloatArray:
    """The nearest matrix that is a covariance: flat-top weights may give slightly negative variances (Politis 2011)."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.clip(values, 0.0, None)) @ vectors.T)
