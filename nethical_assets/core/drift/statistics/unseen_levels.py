"""Levels of a category that the reference never had.

What belongs here: the test. What does not: what a level is, or how it is counted (``core.drift.reference``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.statistics.measurement import Measurement, has_too_few, too_few

IntArray = npt.NDArray[np.int64]


def unseen_levels(
    reference: IntArray, window: IntArray, *, design_effect: float = 1.0, minimum_rows: int = 1
) -> Measurement:
    """How many rows of the window have levels that no row of the reference has; counts of the same levels, (levels,).

    ``statistic`` and ``effect`` are their share of the window, in [0, 1], with its exact interval (Clopper and Pearson
    1934). Some unseen levels are expected: a row of the reference whose level no other one has would have been unseen
    itself (Good 1953). The p-value compares the window's unseen rows with the number of those single rows by the
    exact conditional binomial test of two rates (Przyborowski and Wilenski 1940): given how many there are together,
    how many of them fall into the window.

    Args:
        design_effect: how many rows of the window are worth one independent row; unseen rows and rows count as so many
            fewer, rounded down to whole ones.
    """
    from scipy.special import betainc, betaincinv

    first, second = int(reference.sum()), int(window.sum())
    if has_too_few(first, second, minimum_rows):
        return too_few(first, second, f"{second} rows in the window and {first} in the reference")
    inflation = max(design_effect, 1.0)
    unseen = int(window[reference == 0].sum())
    single = int((reference == 1).sum())
    effective_unseen, effective = int(unseen / inflation), second / inflation
    share = effective / (first + effective)
    # P(Binomial(n, share) >= k) is the regularised incomplete beta function at (k, n - k + 1).
    p_value = float(betainc(effective_unseen, single + 1, share)) if effective_unseen else 1.0
    counted = min(unseen / inflation, effective)
    low = float(betaincinv(counted, effective - counted + 1.0, 0.025)) if unseen else 0.0
    high = float(betaincinv(counted + 1.0, effective - counted, 0.975)) if unseen < second else 1.0
    return Measurement(unseen / second, unseen / second, p_value, low, high, first, second, effective)
