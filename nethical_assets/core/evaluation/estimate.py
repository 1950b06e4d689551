"""One measured number with its interval, and the exact interval of a proportion.

What belongs here: the value type every metric is reported as, and closed-form intervals. What does not: resampling
(``bootstrap``) or the metrics themselves (``metrics``).
"""

from __future__ import annotations

from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A measured value and its 95 % interval ``[low, high]``; all three are None when ``reason`` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined ({self.reason})"
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} (95 % interval {self.low:.4f} to {self.high:.4f})"


def undefined(reason: str) -> Estimate:
    """A metric that has no value here, and why."""
    return Estimate(None, reason=reason)


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """How many standard errors the central ``confidence`` range of a normal distribution reaches to either side."""
    from scipy.special import ndtri

    return float(ndtri((1.0 + confidence) / 2.0))


def few_units_factor(units: int, confidence: float = CONFIDENCE) -> float:
    """How much wider an interval is whose variance was estimated from ``units`` (Student's t); 1 from many on.

    From one unit no variance can be estimated; it counts as two.
    """
    return few_degrees_factor(max(units - 1, 1), confidence)


def few_degrees_factor(degrees: float, confidence: float = CONFIDENCE) -> float:
    """How much wider an interval is whose variance has so many degrees of freedom, at least 1 (Student's t)."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1.0 + confidence) / 2.0)) / normal_quantile(confidence)


def clopper_pearson(successes: float, trials: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson 1934): covers at least ``confidence`` at any size.

    Effective numbers of a sample in clusters need not be whole. With no trials nothing is known: ``(0, 1)``.
    """
    from scipy.special import betaincinv

    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1.0 - tail))
    return low, high


def proportion(successes: int, trials: int, reason: str, design_effect: float = 1.0) -> Estimate:
    """``successes / trials`` with its exact interval; undefined for ``reason`` without trials.

    A design effect above 1 says that the trials are worth that many times fewer independent ones.
    """
    if trials == 0:
        return undefined(reason)
    low, high = clopper_pearson(successes / design_effect, trials / design_effect)
    value = successes / trials
    return Estimate(value, min(low, value), max(high, value))
