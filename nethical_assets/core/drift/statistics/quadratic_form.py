"""The tail of a weighted sum of chi-square variables, which is what a chi-square statistic follows in correlated rows.

What belongs here: the distribution. What does not: where the weights come from (``core.drift.traffic_noise``).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_STEPS = 200
_BULK = 0.2
_NEGLIGIBLE = 1e-9


def tail(statistic: float, weights: FloatArray, degrees: float = math.inf) -> float:
    """P(sum of weights[i] * X[i] > statistic * Y), X[i] chi-square with one degree of freedom, all independent.

    Y is a chi-square of ``degrees`` divided by them: the weights were estimated with so many degrees of freedom
    (infinite: they are known), as in Student's t and Fisher's F. Rao and Scott 1981 showed that a chi-square statistic
    of correlated rows follows such a sum, its weights the design effects; Thomas and Rao 1987 divide by Y. Equal
    weights have a closed form; of others the tail is the saddlepoint approximation (Kuonen 1999), and its middle, where
    no decision is made, a chi-square of the same mean and variance (Satterthwaite 1946).

    Args:
        weights: shape (k,), not negative. Where all are 0 nothing varies, and the answer is 1.
    """
    from scipy.special import chdtrc, fdtrc

    largest = float(weights.max(initial=0.0))
    if largest <= 0.0 or statistic <= 0.0:
        return 1.0
    # Only ratios matter; of the largest weight, so that neither overflows nor vanishes.
    statistic, weights = statistic / largest, weights / largest
    weights = weights[weights > _NEGLIGIBLE]
    total, squares = float(weights.sum()), float((weights**2).sum())
    scale, shape = squares / total, total**2 / squares
    if math.isinf(degrees):
        rough = float(chdtrc(shape, statistic / scale))
    else:
        rough = float(fdtrc(shape, degrees, statistic / (scale * shape)))
    if len(weights) == 1 or math.isclose(squares * len(weights), total**2, rel_tol=1e-12) or rough > _BULK:
        return rough
    return _saddlepoint(statistic, weights, degrees)


def _saddlepoint(statistic: float, weights: FloatArray, degrees: float) -> float:
    """Barndorff-Nielsen's form of the Lugannani and Rice tail, at the root of the derivative of the cumulants' sum."""
    from scipy.special import ndtr

    known = math.isinf(degrees)
    scaled = weights if known else np.append(weights, -statistic / degrees)
    freedom = np.ones(len(weights)) if known else np.append(np.ones(len(weights)), degrees)
    target = statistic if known else 0.0
    low, high = 0.0, 0.5 / float(weights.max())
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        if float((freedom * scaled / (1.0 - 2.0 * scaled * middle)).sum()) < target:
            low = middle
        else:
            high = middle
        if high - low <= 1e-14 * high:
            break
    point = low
    cumulant = -0.5 * float((freedom * np.log1p(-2.0 * scaled * point)).sum())
    curvature = 2.0 * float((freedom * (scaled / (1.0 - 2.0 * scaled * point)) ** 2).sum())
    root = math.sqrt(max(2.0 * (point * target - cumulant), 0.0))
    if root < 1e-4:  # at the mean, where the formula is 0 / 0
        return 0.5
    return min(1.0, float(ndtr(-(root + math.log(point * math.sqrt(curvature) / root) / root))))
