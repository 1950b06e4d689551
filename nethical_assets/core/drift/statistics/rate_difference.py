"""The difference of two rates.

What belongs here: its interval. What does not: which rates are compared (``core.drift.verdict``).
"""

from __future__ import annotations

import math

_Z_95 = 1.959963984540054


def rate_difference_interval(
    first_successes: float, first_trials: float, second_successes: float, second_trials: float
) -> tuple[float, float]:
    """The 95 % interval of the second rate minus the first (Newcombe 1998, hybrid score); trials are positive.

    Effective numbers of correlated trials need not be whole.
    """
    first, second = first_successes / first_trials, second_successes / second_trials
    first_low, first_high = _wilson(first, first_trials)
    second_low, second_high = _wilson(second, second_trials)
    difference = second - first
    low = difference - math.hypot(second - second_low, first_high - first)
    high = difference + math.hypot(second_high - second, first - first_low)
    return max(-1.0, low), min(1.0, high)


def _wilson(rate: float, trials: float) -> tuple[float, float]:
    squared = _Z_95**2
    middle = rate + squared / (2 * trials)
    half = _Z_95 * math.sqrt(rate * (1 - rate) / trials + squared / (4 * trials**2))
    scale = 1 + squared / trials
    return (middle - half) / scale, (middle + half) / scale
