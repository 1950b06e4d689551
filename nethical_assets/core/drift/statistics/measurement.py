"""What every statistic of a window answers.

What belongs here: the value type. What does not: the statistics themselves (their files), thresholds and levels
(``core.drift.monitors``).
"""

from __future__ import annotations

from dataclasses import dataclass

REFERENCE_ROWS = 100
"""A reference needs no more rows than this, however many a window needs: there is no other one until the next model,
and its size is in every p-value. Below it none is right."""


@dataclass(frozen=True)
class Measurement:
    """One statistic of a window against a reference.

    Attributes:
        statistic: on the statistic's own scale; None where there is no value.
        effect: how large the change is, in [0, 1], with what chance alone would show taken off; None where there is no
            value.
        p_value: the chance of a statistic at least as extreme without a change, in [0, 1].
        low, high: the 95 % interval of what the statistic's docstring says.
        reference_rows, window_rows: what it was computed of.
        effective_rows: how many independent rows the window's rows are worth.
        reason: why there is no value; empty where there is one.
    """

    statistic: float | None
    effect: float | None
    p_value: float | None
    low: float | None
    high: float | None
    reference_rows: int
    window_rows: int
    effective_rows: float
    reason: str = ""

    @property
    def needs_more_data(self) -> bool:
        """Whether there are too few rows for an answer."""
        return self.p_value is None


def has_too_few(reference_rows: int, window_rows: int, minimum_rows: int) -> bool:
    """Whether there are too few rows for an answer, where a window needs ``minimum_rows``."""
    return window_rows < max(minimum_rows, 1) or reference_rows < max(min(minimum_rows, REFERENCE_ROWS), 1)


def too_few(reference_rows: int, window_rows: int, reason: str) -> Measurement:
    """The answer of a statistic that has too few rows, and why."""
    return Measurement(None, None, None, None, None, reference_rows, window_rows, float(window_rows), reason)
