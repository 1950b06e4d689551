"""How much is tried: what stands for its kind (``make test``), or everything (``make sweep``).

What belongs here: the switch. What does not: what a test leaves out without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

COMPLETE = os.environ.get("NETHICAL_SWEEP") == "all"
"""Whether everything is wanted: every write to die at, every variant of a case."""


def cases(*always: Any, more: Sequence[Any] = ()) -> tuple[Any, ...]:
    """The variants of a test: those that stand for their kind, and ``more`` in the complete sweep."""
    return (*always, *more) if COMPLETE else always
