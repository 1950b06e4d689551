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


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson 1934): covers at least ``confidence`` at any size.

    With no trials nothing is known: ``(0, 1)``.
    """
    from scipy.special import betaincinv

    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    high = 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1.0 - tail))
    return low, high


def proportion(successes: int, trials: int, reason: str) -> Estimate:
    """``successes / trials`` with its exact interval; undefined for ``reason`` without trials."""
    if trials == 0:
        return undefined(reason)
    return Estimate(successes / trials, *clopper_pearson(successes, trials))
