"""How far two histograms are apart, and how much of that is noise.

What belongs here: the de-biased Jensen-Shannon effect, its permutation test, Holm's correction, the interval of a
difference of two rates. What does not: thresholds and verdicts (``verdict``).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PERMUTATIONS = 2000
_Z_95 = 1.959963984540054


def divergence(first: IntArray, second: IntArray) -> FloatArray:
    """The Jensen-Shannon divergence in bits of count histograms over the last axis: in [0, 1], 0 for equal shares.

    Source: Lin, Divergence measures based on the Shannon entropy, 1991. Histograms without counts have divergence 0.
    """
    p = first / np.maximum(first.sum(axis=-1, keepdims=True), 1)
    q = second / np.maximum(second.sum(axis=-1, keepdims=True), 1)
    middle = (p + q) / 2.0
    total = _entropy(middle) - (_entropy(p) + _entropy(q)) / 2.0
    return np.asarray(np.clip(total, 0.0, 1.0))


def _entropy(shares: FloatArray) -> FloatArray:
    logarithms = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
    return np.asarray(-(shares * logarithms).sum(axis=-1))


def drift_effect(reference: IntArray, window: IntArray, generator: np.random.Generator) -> tuple[float, float]:
    """The de-biased Jensen-Shannon distance of two count histograms, in [0, 1], and its p-value.

    Permutations of the pooled rows give the divergence that equal distributions of these sizes show (the window's
    counts are then multivariate hypergeometric). The effect is the square root of the divergence minus the
    permutations' mean, at least 0. The p-value is the share of permutations at least as far apart,
    (k + 1) / (permutations + 1), so false alarms keep their rate at every sample size; where none is as far, the tail
    of a scaled chi-square distribution with the permutations' mean and variance, which is what the divergence follows
    in large samples.
    """
    pooled = reference + window
    occupied = pooled > 0
    reference, window, pooled = reference[occupied], window[occupied], pooled[occupied]
    if len(pooled) < 2:
        return 0.0, 1.0
    observed = float(divergence(reference, window))
    windows = generator.multivariate_hypergeometric(pooled, int(window.sum()), size=PERMUTATIONS, method="marginals")
    null = divergence(pooled - windows, windows)
    effect = math.sqrt(max(0.0, observed - float(null.mean())))
    # Equal divergences computed in another order may differ in their last bits.
    as_far = int((null >= observed - 1e-12).sum())
    return effect, (as_far + 1) / (PERMUTATIONS + 1) if as_far else _tail(observed, null)


def _tail(observed: float, null: FloatArray) -> float:
    from scipy.special import gammaincc

    mean, variance = float(null.mean()), float(null.var())
    ceiling = 1.0 / (PERMUTATIONS + 1)
    if variance == 0.0:
        return ceiling
    return min(ceiling, float(gammaincc(mean**2 / variance, observed * mean / variance)))


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values: rejecting those below alpha keeps the chance of any false rejection at alpha (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def rate_difference_interval(
    first_successes: int, first_trials: int, second_successes: int, second_trials: int
) -> tuple[float, float]:
    """The 95 % interval of the second rate minus the first (Newcombe 1998, hybrid score); trials are positive."""
    first, second = first_successes / first_trials, second_successes / second_trials
    first_low, first_high = _wilson(first, first_trials)
    second_low, second_high = _wilson(second, second_trials)
    difference = second - first
    low = difference - math.hypot(second - second_low, first_high - first)
    high = difference + math.hypot(second_high - second, first - first_low)
    return max(-1.0, low), min(1.0, high)


def _wilson(rate: float, trials: int) -> tuple[float, float]:
    squared = _Z_95**2
    middle = rate + squared / (2 * trials)
    half = _Z_95 * math.sqrt(rate * (1 - rate) / trials + squared / (4 * trials**2))
    scale = 1 + squared / trials
    return (middle - half) / scale, (middle + half) / scale
