"""Rows that several sources of one family share after normalisation.

What belongs here: the outcome of the check. What does not: counting them (``core.datasets.overlap``).
"""

from __future__ import annotations

from collections.abc import Sequence

from nethical_assets.core.datasets.overlap import Overlap
from nethical_assets.core.quality.checks import CheckOutcome


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
