"""The Jensen-Shannon distance of two histograms, and how much of it is noise.

What belongs here: the de-biased effect and its permutation test. What does not: thresholds and verdicts
(``core.drift.verdict``).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.statistics.measurement import Measurement, has_too_few, too_few
from nethical_assets.core.drift.statistics.quadratic_form import tail

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PERMUTATIONS = 2000
_MOST_DRAWN_FROM = 10**9
"""numpy draws a multivariate hypergeometric from fewer than this."""
_SEED = 20_260_101
_NO_DECISION = 0.01
_LARGE = 10_000.0


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
    total = int(pooled.sum())
    if total >= _MOST_DRAWN_FROM:
        # More than the generator draws from: as if there were fewer rows, which only weakens the evidence.
        reference, window = (counts * (_MOST_DRAWN_FROM // 2) // total for counts in (reference, window))
        pooled = reference + window
    windows = generator.multivariate_hypergeometric(pooled, int(window.sum()), size=PERMUTATIONS, method="marginals")
    null = divergence(pooled - windows, windows)
    effect = math.sqrt(max(0.0, observed - float(null.mean())))
    return effect, resampled_p_value(observed, null)


def resampled_p_value(observed: float, null: FloatArray) -> float:
    """The share of a statistic's values without a change, shape (draws,), that are at least as large as ``observed``:
    (k + 1) / (draws + 1). Where none is, the tail of a scaled chi-square with their mean and variance."""
    # Equal values computed in another order may differ in their last bits.
    as_far = int((null >= observed - 1e-12).sum())
    return (as_far + 1) / (len(null) + 1) if as_far else _tail(observed, null)


def distance(
    reference: IntArray,
    window: IntArray,
    *,
    design_effects: FloatArray | None = None,
    degrees: float = math.inf,
    minimum_rows: int = 1,
) -> Measurement:
    """The de-biased Jensen-Shannon distance of a window whose rows may be correlated; counts of shape (bins,).

    ``statistic`` is the divergence in bits; ``effect`` the square root of it less its mean without a change, in [0, 1];
    the interval is that of the effect, from the noncentral chi-square that the divergence follows in large samples.
    The p-value is that of Pearson's chi-square of the two rows of counts, which follows a weighted sum of chi-squares
    (Rao and Scott 1981). Where it comes near a level, it is the larger of that and the permutation test's
    (``drift_effect``), which is right for independent rows however few there are.

    Args:
        design_effects: of the window, for each direction its shares may move in (``core.drift.traffic_noise``), with so
            many ``degrees`` of freedom; None for independent rows.
    """
    first, second = int(reference.sum()), int(window.sum())
    if has_too_few(first, second, minimum_rows):
        return too_few(first, second, f"{second} rows in the window and {first} in the reference")
    occupied = (reference + window) > 0
    reference, window = reference[occupied], window[occupied]
    if len(reference) < 2:
        return Measurement(0.0, 0.0, 1.0, 0.0, 0.0, first, second, float(second))
    freedom = len(reference) - 1
    effects = np.ones(freedom) if design_effects is None else design_effects[:freedom]
    inverse = 1.0 / first + 1.0 / second
    weights = (1.0 / first + effects / second) / inverse
    pooled = (reference + window) / (first + second)
    pearson = float(((reference / first - window / second) ** 2 / pooled).sum()) / inverse
    p_value = tail(pearson, weights, degrees)
    if p_value < _NO_DECISION:
        p_value = max(p_value, drift_effect(reference, window, np.random.default_rng(_SEED))[1])
    observed = float(divergence(reference, window))
    # Near equality the divergence is the chi-square distance divided by 8, in nats.
    unit = inverse * float(weights.mean()) / (8.0 * math.log(2.0))
    low, high = (math.sqrt(min(1.0, unit * bound)) for bound in _noncentral(observed / unit, freedom))
    return Measurement(
        statistic=observed,
        effect=math.sqrt(max(0.0, observed - unit * freedom)),
        p_value=p_value,
        low=low,
        high=high,
        reference_rows=first,
        window_rows=second,
        effective_rows=second / max(float(effects.mean()), 1e-12),
    )


def _noncentral(observed: float, freedom: int) -> tuple[float, float]:
    """The 95 % interval of the noncentrality of a chi-square that was observed."""
    from scipy.special import chndtr, chndtrinc

    if observed > _LARGE:
        spread = 1.959963984540054 * math.sqrt(2.0 * freedom + 4.0 * observed)
        return observed - freedom - spread, observed - freedom + spread
    low, high = (
        float(chndtrinc(observed, freedom, share)) if chndtr(observed, freedom, 0.0) > share else 0.0
        for share in (0.975, 0.025)
    )
    return low, high


def _tail(observed: float, null: FloatArray) -> float:
    from scipy.special import gammaincc

    mean, variance = float(null.mean()), float(null.var())
    ceiling = 1.0 / (len(null) + 1)
    if variance == 0.0:
        return ceiling
    return min(ceiling, float(gammaincc(mean**2 / variance, observed * mean / variance)))
