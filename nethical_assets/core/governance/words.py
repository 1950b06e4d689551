"""Sets of words, written as lines.

What belongs here: the one way to write them. What does not: which words tell what (the modules that use them), or words
in disguise (``disguises``).
"""

from __future__ import annotations


def vocabulary(*lines: str) -> frozenset[str]:
    """The words of ``lines``, which blanks divide."""
    return frozenset(" ".join(lines).split())
