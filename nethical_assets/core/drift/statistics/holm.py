"""Holm's correction for many tests.

What belongs here: adjusted p-values. What does not: the tests they are of.
"""

from __future__ import annotations


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values: rejecting those below alpha keeps the chance of any false rejection at alpha (Holm 1979)."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
