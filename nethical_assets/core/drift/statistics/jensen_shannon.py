"""The Jensen-Shannon distance of two histograms, and how much of it is noise.

What belongs here: the de-biased effect and its permutation test. What does not: thresholds and verdicts
(``core.drift.verdict``).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PERMUTATIONS = 2000


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
