"""Rows that several sources of one family share after normalisation.

What belongs here: counting them, and the outcome of the check. What does not: what makes two rows the same record
(``canonical`` and the families' identities).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pandas as pd

from nethical_assets.core.quality.checks import CheckOutcome


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


def source_overlap_outcome(found: Sequence[Overlap], sources: int, maximum_share: float) -> CheckOutcome | None:
    """The outcome; None where there is one source only, which has nothing to overlap with."""
    if sources < 2:
        return None
    shares = [pair["rows"] / pair["smaller"] for pair in found]
    worst = max(shares, default=0.0)
    return CheckOutcome(
        "source_overlap",
        "pass" if worst <= maximum_share else "warn",
        f"{sum(pair['rows'] for pair in found)} records are in two of the {sources} sources; the pair that shares most "
        f"shares {worst:.1%} of its smaller source",
        {"pairs": len(found), "worst_share": round(worst, 6), "maximum_share": maximum_share},
        tuple(
            {
                "column": f"{pair['first']} and {pair['second']}",
                "check": "records in both sources",
                "rows": pair["rows"],
                "share": round(share, 6),
            }
            for pair, share in zip(found, shares, strict=True)
        ),
    )
