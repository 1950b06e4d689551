"""The two-sample Kolmogorov-Smirnov test of counts in cells.

What belongs here: distance and p-value. What does not: the cells (``core.drift.probability_grid``).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.statistics.measurement import Measurement, has_too_few, too_few

IntArray = npt.NDArray[np.int64]

_TERMS = 200


def kolmogorov_smirnov(
    reference: IntArray,
    window: IntArray,
    *,
    design_effect: float = 1.0,
    degrees: float = math.inf,
    minimum_rows: int = 1,
) -> Measurement:
    """The largest distance of two cumulative shares over the same ascending cells, each of shape (cells,).

    ``statistic`` is that distance, in [0, 1]: at most that of the rows, and lower than it by no more than the largest
    share of a cell. ``effect`` is the distance less its mean without a change. The interval is that of the
    distance, by the inequality of Dvoretzky, Kiefer and Wolfowitz (1956) with Massart's constant (1990), each side at
    97.5 %. The p-value is Smirnov's (1948) with Stephens' correction for small samples (1970); ties make it larger.

    Args:
        design_effect: how many rows of the window are worth one independent row, as estimated with ``degrees`` degrees
            of freedom, over which the tail is averaged.
    """
    first, second = int(reference.sum()), int(window.sum())
    if has_too_few(first, second, minimum_rows):
        return too_few(first, second, f"{second} rows in the window and {first} in the reference")
    distance = float(np.abs(np.cumsum(reference) / first - np.cumsum(window) / second).max())
    effective = second / max(design_effect, 1e-12)
    size = math.sqrt(first * effective / (first + effective))
    # The mean of Kolmogorov's distribution is sqrt(pi / 2) * log(2).
    mean = math.sqrt(math.pi / 2.0) * math.log(2.0) / size
    margin = sum(math.sqrt(math.log(2.0 / 0.025) / (2.0 * rows)) for rows in (first, effective))
    return Measurement(
        statistic=distance,
        effect=max(0.0, distance - mean),
        p_value=_tail(distance * (size + 0.12 + 0.11 / size), degrees),
        low=max(0.0, distance - margin),
        high=min(1.0, distance + margin),
        reference_rows=first,
        window_rows=second,
        effective_rows=effective,
    )


def _tail(value: float, degrees: float) -> float:
    """Kolmogorov's tail 2 * sum((-1)^(k-1) * exp(-2 k^2 x^2)), its exponentials averaged over the uncertain scale.

    Where x^2 is multiplied by a chi-square of f degrees divided by f, the mean of exp(-c x^2) is
    (1 + 2 c x^2 / f)^(-f / 2).
    """
    if math.isinf(degrees):
        from scipy.special import kolmogorov

        return float(kolmogorov(value))
    if value < 0.3:
        return 1.0
    terms = np.arange(1, _TERMS + 1)
    series = (1.0 + 4.0 * terms**2 * value**2 / degrees) ** (-degrees / 2.0)
    return float(np.clip(2.0 * (series[::2] - series[1::2]).sum(), 0.0, 1.0))
