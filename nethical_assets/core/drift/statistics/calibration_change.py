"""The change of calibration: whether rows of a predicted probability are positive as often as they were.

What belongs here: the test and the de-biased change. What does not: the bins (``core.drift.probability_grid``).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.reliability import FIXED_POINT, Reliability
from nethical_assets.core.drift.statistics.jensen_shannon import resampled_p_value
from nethical_assets.core.drift.statistics.measurement import Measurement, has_too_few, too_few
from nethical_assets.core.drift.statistics.quadratic_form import tail

FloatArray = npt.NDArray[np.float64]

DRAWS = 2000
_SEED = 20_260_102
_NO_DECISION = 0.01
_Z_95 = 1.959963984540054


def calibration_change(
    reference: Reliability,
    window: Reliability,
    *,
    covariance: FloatArray | None = None,
    degrees: float = math.inf,
    minimum_rows: int = 1,
) -> Measurement:
    """The gaps between predicted and observed rates of the window, less those of the reference, over fixed bins.

    ``effect`` is the expected calibration error (Naeini et al. 2015) of the window against the reference's own
    calibration - the mean size of the change of the gap, by the window's rows - less what binomial counts of these
    sizes show without a change, in [0, 1]. ``statistic`` is the de-biased calibration error of the window less the
    reference's, in [-1, 1]; the interval is of the effect and rather too wide.

    The p-value is twice the smaller of two. One is the chi-square of the gaps' changes over bins (Hosmer and Lemeshow
    1980, here of two samples), which finds any change; its null is drawn at the samples' real sizes. The other is
    Spiegelhalter's Z (1986), which finds predictions that became too certain or not certain enough.

    Args:
        covariance: of the positives of one labelled row of the window less their probability, shape (bins, bins), as
            ``core.drift.traffic_noise`` estimates it with ``degrees`` degrees of freedom; None for independent rows.
    """
    first, second = reference.total, window.total
    if has_too_few(first, second, minimum_rows):
        return too_few(first, second, f"{second} labelled rows in the window and {first} in the reference")
    kept = (np.array(reference.rows) > 0) & (np.array(window.rows) > 0)
    shared = int(np.array(window.rows)[kept].sum())
    if shared < max(minimum_rows, 1):
        return too_few(first, second, f"{shared} labelled rows of the window have probabilities that the reference had")
    before, now = _Bins.of(reference, kept), _Bins.of(window, kept)
    # One imagined calibrated row keeps a rate from being 0 or 1 for certain.
    pooled = (before.rows * before.gap + now.rows * now.gap) / (before.rows + now.rows + 1.0)
    change = _change(before, now, before.rate, now.rate)
    expected = before.under(pooled), now.under(pooled)
    variances = expected[0] * (1 - expected[0]) / before.rows + expected[1] * (1 - expected[1]) / now.rows
    variances = np.maximum(variances, 1e-12)
    own = now.rows * expected[1] * (1 - expected[1])
    correlated = np.diag(own) if covariance is None else covariance[np.ix_(kept, kept)] * second
    binned = _binned(change, variances, correlated, before, now, expected, degrees)
    slope = _spiegelhalter(change, before, now, expected, correlated, degrees)
    weights = now.rows / now.rows.sum()
    noise = _mean_size(weights, variances)
    observed = float(weights @ np.abs(change))
    inflation = max(1.0, float(np.trace(correlated)) / max(float(own.sum()), 1e-300))
    # A size varies less than what it is the size of.
    spread = _Z_95 * math.sqrt(inflation * float(weights**2 @ variances))
    return Measurement(
        statistic=_debiased_error(now) - _debiased_error(before),
        effect=_without_noise(observed, noise),
        p_value=min(1.0, 2.0 * min(binned, slope)),
        low=_without_noise(observed - spread, noise),
        high=_without_noise(observed + spread, noise),
        reference_rows=first,
        window_rows=second,
        effective_rows=second / inflation,
    )


class _Bins:
    """Rows, rates and mean probabilities of bins that both sides have."""

    def __init__(self, rows: FloatArray, rate: FloatArray, probability: FloatArray) -> None:
        self.rows, self.rate, self.probability = rows, rate, probability
        self.gap = rate - probability

    @classmethod
    def of(cls, counts: Reliability, kept: npt.NDArray[np.bool_]) -> _Bins:
        rows = np.array(counts.rows, dtype=np.float64)[kept]
        sums = np.array(counts.probability_sums, dtype=np.float64)[kept] / FIXED_POINT
        return cls(rows, np.array(counts.positives, dtype=np.float64)[kept] / rows, sums / rows)

    def under(self, gap: FloatArray) -> FloatArray:
        """The rates that this gap makes of the mean probabilities."""
        return np.asarray(np.clip(self.probability + gap, 0.0, 1.0))


def _change(before: _Bins, now: _Bins, rate_before: FloatArray, rate_now: FloatArray) -> FloatArray:
    """The change of the gap as far as the rate moved with it, bins last.

    Where the probabilities of a bin's rows moved, the rate may follow them or stay: then gap and rate move in opposite
    directions or one of them stands still, and labels need not have changed.
    """
    rate = rate_now - rate_before
    gap = rate - (now.probability - before.probability)
    return np.where(rate * gap > 0.0, np.where(np.abs(rate) < np.abs(gap), rate, gap), 0.0)


def _draws(before: _Bins, now: _Bins, rates: tuple[FloatArray, FloatArray]) -> FloatArray:
    """Changes that binomial counts show at these rates, shape (draws, bins)."""
    generator = np.random.default_rng(_SEED)
    drawn = [
        generator.binomial(side.rows.astype(np.int64), rate, size=(DRAWS, len(rate))) / side.rows
        for side, rate in zip((before, now), rates, strict=True)
    ]
    return _change(before, now, drawn[0], drawn[1])


def _binned(
    change: FloatArray,
    variances: FloatArray,
    correlated: FloatArray,
    before: _Bins,
    now: _Bins,
    expected: tuple[FloatArray, FloatArray],
    degrees: float,
) -> float:
    observed = float((change**2 / variances).sum())
    matrix = correlated / np.outer(now.rows, now.rows) + np.diag(expected[0] * (1 - expected[0]) / before.rows)
    matrix = matrix / np.sqrt(np.outer(variances, variances))
    p_value = tail(observed, np.clip(np.linalg.eigvalsh(matrix)[::-1], 0.0, None), degrees)
    if p_value < _NO_DECISION:
        draws = _draws(before, now, expected)
        p_value = max(p_value, resampled_p_value(observed, np.asarray((draws**2 / variances).sum(axis=1))))
    return p_value


def _spiegelhalter(
    change: FloatArray,
    before: _Bins,
    now: _Bins,
    expected: tuple[FloatArray, FloatArray],
    correlated: FloatArray,
    degrees: float,
) -> float:
    """Spiegelhalter's sum of (label - probability) (1 - 2 probability), by bins, less what the reference's gaps say."""
    slopes = 1.0 - 2.0 * now.probability
    weights = now.rows * slopes
    variance = float(slopes @ correlated @ slopes)
    variance += float((weights**2 * expected[0] * (1 - expected[0]) / before.rows).sum())
    if variance <= 0.0:
        return 1.0
    return tail(float(weights @ change) ** 2 / variance, np.ones(1), degrees)


def _debiased_error(side: _Bins) -> float:
    """The expected calibration error, with its mean in calibrated rows taken off."""
    weights = side.rows / side.rows.sum()
    variances = side.probability * (1.0 - side.probability) / side.rows
    return _without_noise(float(weights @ np.abs(side.gap)), _mean_size(weights, variances))


def _mean_size(weights: FloatArray, variances: FloatArray) -> float:
    """The weighted mean size of normal variables around 0: sqrt(2 / pi) standard deviations each."""
    return float(weights @ np.sqrt(2.0 / np.pi * variances))


def _without_noise(size: float, noise: float) -> float:
    """What is left of a size when the mean size that noise alone has is taken off, in [0, 1]: squares add up."""
    return min(1.0, math.sqrt(max(0.0, size**2 - noise**2))) if size > 0.0 else 0.0
