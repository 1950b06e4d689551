"""The columns that every canonical dataset has, and the arrays that rows become.

What belongs here: names and types that everything about rows shares. What does not: any family's own columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

GROUP = "group"
COMMON_COLUMNS = ("row_id", "label", "source", GROUP, "time")
"""Of every canonical dataset: ``row_id`` (hexadecimal SHA-256 of the record's normalised content, unique), ``label``
(int8, 0 or 1), ``source`` (catalog entry name or ``synthetic``), ``group`` (string, empty without groups), ``time``
(UTC timestamp, missing without one). A family's input columns follow."""

MASKED_VALUE = r"\[([A-Z][A-Z0-9_]*)(?: [0-9a-f]{12})?\]"
"""What stands where screening found something: its kind, and a pseudonym where rows belong together by it."""
PSEUDONYM = r"\[[A-Z][A-Z0-9_]* [0-9a-f]{12}\]"
"""A ``MASKED_VALUE`` that says whose it is, and not only of which kind."""
