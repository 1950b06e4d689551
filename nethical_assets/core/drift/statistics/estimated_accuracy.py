"""The accuracy of a window without labels, estimated from its calibrated probabilities.

What belongs here: the estimate and its change. What does not: accuracy that was measured (``rate_change``).

It is confidence-based performance estimation (CBPE, as NannyML documents it): a row that is called positive at
probability p is right with probability p, another with 1 - p. It holds as long as a probability means what it meant in
the reference: it sees that inputs move to where the model is less sure, and never that the same inputs come to have
other labels. Without such an assumption no method can (Garg et al. 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.probability_grid import reliability_edges
from nethical_assets.core.drift.reliability import FIXED_POINT, Reliability, called_positive
from nethical_assets.core.drift.statistics.measurement import Measurement, has_too_few, too_few
from nethical_assets.core.drift.statistics.quadratic_form import tail

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_PRIOR_ROWS = 1.0
"""A bin is believed to be calibrated as strongly as one row says, so that one without labelled rows has a value."""


@dataclass(frozen=True, eq=False)
class Confidence:
    """What a labelled reference says about the rows of each reliability bin, arrays of shape (bins,).

    Attributes:
        gap: observed less predicted rate of positives.
        sign: 1 where rows are called positive, -1 elsewhere.
        lowest, highest: between which the probabilities of a bin lie.
    """

    gap: FloatArray
    sign: FloatArray
    lowest: FloatArray
    highest: FloatArray
    reference: Reliability

    @classmethod
    def of(cls, reference: Reliability, decision_threshold: float) -> Confidence:
        """From the counts of labelled rows of the reference."""
        rows = np.array(reference.rows, dtype=np.float64)
        sums = np.array(reference.probability_sums, dtype=np.float64) / FIXED_POINT
        gap = (np.array(reference.positives) - sums) / (rows + _PRIOR_ROWS)
        sign = np.where(called_positive(decision_threshold), 1.0, -1.0)
        edges = reliability_edges(decision_threshold)
        return cls(gap, sign, np.append(0.0, edges), np.append(edges, 1.0), reference)

    def right(self, rows: IntArray | FloatArray, probability_sums: FloatArray) -> FloatArray:
        """How many rows of each bin are expected to be right, bins last; sums of probabilities as fractions."""
        positives = np.clip(probability_sums + self.gap * rows, 0.0, rows)
        return np.where(self.sign > 0, positives, rows - positives)


def estimated_accuracy(
    confidence: Confidence,
    window_rows: IntArray,
    window_sums: IntArray,
    *,
    design_effect: float = 1.0,
    degrees: float = math.inf,
    minimum_rows: int = 1,
) -> Measurement:
    """The accuracy that the window's probabilities promise; arrays of shape (bins,), sums in multiples of 2^-30.

    ``statistic`` is the estimate, in [0, 1], and the interval is of the accuracy that labels would show: a beta
    distribution whose variance adds up that of the labels given the probabilities, and that of the gaps as the
    reference measured them. ``effect`` is how much lower the estimate is than the same of the reference, in [0, 1]. The
    p-value is of the hypothesis that the window's mean confidence is the reference's.

    Args:
        design_effect: how many rows of the window are worth one independent row, as estimated with ``degrees`` degrees
            of freedom.
    """
    from scipy.special import betaincinv, stdtrit

    reference_rows = np.array(confidence.reference.rows, dtype=np.int64)
    reference_sums = np.array(confidence.reference.probability_sums, dtype=np.int64)
    first, second = confidence.reference.total, int(window_rows.sum())
    if has_too_few(first, second, minimum_rows):
        return too_few(first, second, f"{second} rows in the window and {first} labelled ones in the reference")
    inflation = max(design_effect, 1.0)
    accuracy, of_mean, labels, bins = _estimate(confidence, window_rows, window_sums)
    before, of_before, _, _ = _estimate(confidence, reference_rows, reference_sums)
    # What the gaps are not known by moves both estimates together, but for rows that moved to other bins.
    moved = window_rows / second - reference_rows / first
    shared = float(((moved * np.sqrt(bins)) ** 2).sum())
    variance = of_mean * inflation / second + of_before / first + shared
    p_value = 1.0 if variance <= 0.0 else tail((accuracy - before) ** 2 / variance, np.ones(1), degrees)
    spread = labels * inflation / second + float(((window_rows / second) ** 2 * bins).sum())
    low, high = accuracy, accuracy
    if spread > 0.0 and 0.0 < accuracy < 1.0:
        # Few degrees of freedom widen the interval as they widen Student's.
        wider = 1.0 if math.isinf(degrees) else float(stdtrit(degrees, 0.975)) / 1.959963984540054
        size = max(accuracy * (1.0 - accuracy) / (spread * wider**2) - 1.0, 1e-6)
        low, high = (float(betaincinv(accuracy * size, (1.0 - accuracy) * size, share)) for share in (0.025, 0.975))
    # A number of right rows is whole: half a row to either side (the continuity correction of Yates 1934).
    low, high = max(0.0, low - 0.5 / second), min(1.0, high + 0.5 / second)
    return Measurement(
        statistic=accuracy,
        effect=max(0.0, before - accuracy),
        p_value=p_value,
        low=min(low, accuracy),
        high=max(high, accuracy),
        reference_rows=first,
        window_rows=second,
        effective_rows=second / inflation,
    )


def confidence_of_bins(confidence: Confidence, rows: IntArray, sums: IntArray) -> tuple[FloatArray, float]:
    """How sure a row of each bin is to be right, shape (bins,), and at most how much that varies over rows.

    Within a bin only the mean is known; given that, values between two bounds vary by (mean - lowest)(highest - mean)
    at most (Bhatia and Davis 2000).
    """
    filled = np.maximum(rows, 1)
    values = np.where(rows > 0, confidence.right(rows, sums / FIXED_POINT) / filled, 0.0)
    shares = rows / max(int(rows.sum()), 1)
    means = np.clip(sums / FIXED_POINT / filled, confidence.lowest, confidence.highest)
    within = float(shares @ ((means - confidence.lowest) * (confidence.highest - means)))
    return values, float(shares @ values**2 - (shares @ values) ** 2) + within


def _estimate(confidence: Confidence, rows: IntArray, sums: IntArray) -> tuple[float, float, float, FloatArray]:
    """The mean confidence, its variance over rows, that of a row's label given the bin, and that of each bin's gap."""
    values, over_rows = confidence_of_bins(confidence, rows, sums)
    shares = rows / rows.sum()
    probabilities = np.where(rows > 0, sums / FIXED_POINT / np.maximum(rows, 1), 0.5)
    labels = values * (1.0 - values)
    uncertain = np.maximum(labels, probabilities * (1.0 - probabilities))
    bins = uncertain / (np.array(confidence.reference.rows) + _PRIOR_ROWS)
    return float(shares @ values), max(over_rows, 0.0), float(shares @ labels), bins
