"""The change of a rate: of rows called positive, or of right answers.

What belongs here: the exact test of two rates with their interval. What does not: which rows are counted.
"""

from __future__ import annotations

import math

import numpy as np

from nethical_assets.core.drift.statistics.measurement import Measurement, has_too_few, too_few
from nethical_assets.core.drift.statistics.quadratic_form import tail
from nethical_assets.core.drift.statistics.rate_difference import rate_difference_interval

_STANDARD_DEVIATIONS = 40.0
_TIE = 1.0 + 1e-7


def rate_change(
    reference_happened: int,
    reference_rows: int,
    window_happened: int,
    window_rows: int,
    *,
    design_effect: float = 1.0,
    degrees: float = math.inf,
    minimum_rows: int = 1,
) -> Measurement:
    """The rate of the window minus that of the reference.

    ``statistic`` is the difference in [-1, 1], ``effect`` its size. The interval is Newcombe's (1998). The p-value is
    Fisher's exact one (1934), and for correlated rows the larger of it and of Pearson's chi-square, its variance
    multiplied by the design effect that was estimated with ``degrees`` degrees of freedom (Rao and Scott 1981).

    Args:
        design_effect: how many rows of the window are worth one independent row.
    """
    if has_too_few(reference_rows, window_rows, minimum_rows):
        reason = f"{window_rows} rows in the window and {reference_rows} in the reference"
        return too_few(reference_rows, window_rows, reason)
    inflation = max(design_effect, 1.0)
    difference = window_happened / window_rows - reference_happened / reference_rows
    low, high = rate_difference_interval(
        reference_happened, reference_rows, window_happened / inflation, window_rows / inflation
    )
    p_value = fisher_exact(reference_happened, reference_rows, window_happened, window_rows)
    pooled = (reference_happened + window_happened) / (reference_rows + window_rows)
    variance = pooled * (1.0 - pooled)
    if variance > 0.0 and (inflation > 1.0 or math.isfinite(degrees)):
        inverse = 1.0 / reference_rows + inflation / window_rows
        p_value = max(p_value, tail(difference**2 / variance / inverse, np.ones(1), degrees))
    return Measurement(
        statistic=difference,
        effect=abs(difference),
        p_value=p_value,
        low=low,
        high=high,
        reference_rows=reference_rows,
        window_rows=window_rows,
        effective_rows=window_rows / inflation,
    )


def fisher_exact(first_happened: int, first_rows: int, second_happened: int, second_rows: int) -> float:
    """Fisher's two-sided exact test of two rates: the chance of a table at most as likely, given the margins.

    Tables farther from the mean than 40 standard deviations are left out: together they weigh less than 1e-300.
    """
    from scipy.special import gammaln

    happened, rows = first_happened + second_happened, first_rows + second_rows
    if happened in (0, rows):
        return 1.0
    mean = happened * first_rows / rows
    deviation = math.sqrt(mean * (second_rows / rows) * ((rows - happened) / max(rows - 1, 1)))
    reach = max(_STANDARD_DEVIATIONS * deviation, 1000.0, abs(first_happened - mean) + 1.0)
    low = max(0, happened - second_rows, math.floor(mean - reach))
    high = min(happened, first_rows, math.ceil(mean + reach))
    counts = np.arange(low, high + 1)

    def combinations(of: int, taken: np.typing.NDArray[np.int64]) -> np.typing.NDArray[np.float64]:
        return np.asarray(gammaln(of + 1.0) - gammaln(taken + 1.0) - gammaln(of - taken + 1.0))

    logarithms = combinations(first_rows, counts) + combinations(second_rows, happened - counts)
    logarithms -= logarithms.max()
    # gammaln of large numbers loses digits: the sum is normalised by itself.
    likelihoods = np.exp(logarithms)
    observed = likelihoods[first_happened - low] * _TIE
    return float(min(1.0, likelihoods[likelihoods <= observed].sum() / likelihoods.sum()))
