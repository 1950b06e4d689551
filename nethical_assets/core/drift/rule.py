"""The one rule of drift: what is told of a change by its size and its significance.

What belongs here: the rule. What does not: sizes and p-values (``statistics``), or what a window's verdict is
(``verdict`` for two tables, ``monitors`` for a window of predictions).
"""

from __future__ import annotations

from typing import Literal

Outcome = Literal["drifted", "changed", "suspected", "calm"]


def outcome(effect: float, p_value: float, *, threshold: float, level: float) -> Outcome:
    """``drifted``: larger than the threshold, and not by chance. ``changed``: not by chance, but smaller.
    ``suspected``: larger, but chance is not ruled out. ``calm``: neither.

    Args:
        effect, threshold: in [0, 1], on one scale.
        p_value: corrected for everything that is looked at together.
        level: below it, chance is ruled out.
    """
    if p_value < level:
        return "drifted" if effect > threshold else "changed"
    return "suspected" if effect > threshold else "calm"


def is_significant(found: Outcome) -> bool:
    """Whether chance is ruled out."""
    return found in ("drifted", "changed")
