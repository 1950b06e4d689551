"""Held-out rows as traffic: which records are sent, in which order, and how they are changed.

What belongs here: choosing and changing. What does not: sending (``operations.traffic``).

What is shifted is said in one number. Numbers move by that many of their standard deviations over the held-out rows;
texts and sequences stay what they are, and the share of attacks among them grows by it, since what changes about texts
first is which of them come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd

from nethical_assets.core.ground.errors import DatasetError


def replayed(
    rows: pd.DataFrame, columns: list[str], kind: Literal["text", "sequence", "records"], *, shift: float, seed: int
) -> Iterator[tuple[dict[str, Any], int]]:
    """Records of plain JSON values with their labels, without end: the held-out ``rows`` in a random order, and then
    again in another.

    Args:
        rows: with ``columns`` and ``label`` (0 or 1).
        shift: for records any finite number, for texts and sequences in [0, 1].

    Raises:
        DatasetError: there are no rows, no attacks to take more of, or the shift is none.
    """
    if rows.empty:
        raise DatasetError("there are no held-out rows to replay")
    if not math.isfinite(shift) or (kind != "records" and not 0.0 <= shift <= 1.0):
        allowed = "a finite number" if kind == "records" else "from 0 to 1: the share of attacks is what it moves"
        raise DatasetError(f"a shift of {shift:g} is none for {kind}; it is {allowed}")
    labels = rows["label"].to_numpy()
    positives = np.flatnonzero(labels == 1)
    if shift and kind != "records" and not len(positives):
        raise DatasetError("there are no held-out attacks to take more of")
    inputs = _moved(rows[columns], shift) if kind == "records" else rows[columns]
    records = inputs.astype("object").where(inputs.notna(), None).to_dict("records")
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(len(rows))
        if shift and kind != "records":
            replaced = generator.random(len(order)) < shift
            order[replaced] = generator.choice(positives, int(replaced.sum()))
        for row in order.tolist():
            yield {str(name): value for name, value in records[row].items()}, int(labels[row])


def _moved(inputs: pd.DataFrame, shift: float) -> pd.DataFrame:
    numeric = [name for name in inputs.columns if pd.api.types.is_numeric_dtype(inputs[name].dtype)]
    if not shift:
        return inputs
    moved = {name: inputs[name].astype("float64") for name in numeric}
    return inputs.assign(**{name: values + shift * float(values.std(ddof=0)) for name, values in moved.items()})
