"""Rows that several sources of one family share after normalisation.

What belongs here: counting them. What does not: what makes two rows the same record (``canonical`` and the families'
identities), or how much is too much (``core.quality.overlap``).
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import pandas as pd


class Overlap(TypedDict):
    """Distinct records that two sources have in common, and how many the smaller of them has."""

    first: str
    second: str
    rows: int
    smaller: int


def source_overlap(row_ids: pd.Series, sources: pd.Series) -> list[Overlap]:
    """Every pair of sources that shares a record, by name; both columns are as long, duplicates included."""
    pairs = pd.DataFrame({"row": pd.factorize(row_ids)[0], "source": sources.astype("str").to_numpy()})
    distinct = pairs.drop_duplicates()
    sizes = distinct["source"].value_counts()
    several = distinct[distinct["row"].duplicated(keep=False)]
    if several.empty:
        return []
    present = pd.crosstab(several["row"], several["source"]).to_numpy() > 0
    names = sorted(several["source"].unique())
    common = present.T.astype(np.int64) @ present.astype(np.int64)
    return [
        Overlap(
            first=names[i], second=names[j], rows=int(common[i, j]), smaller=int(min(sizes[names[i]], sizes[names[j]]))
        )
        for i in range(len(names))
        for j in range(i + 1, len(names))
        if common[i, j]
    ]
