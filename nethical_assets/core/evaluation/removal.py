"""Whether screening removes one class more than the other.

What belongs here: the test on removal rates per label. What does not: removing rows (``frames``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nethical_assets.core.evaluation.estimate import clopper_pearson
from nethical_assets.core.governance.frames import ALL_ROWS

MAXIMUM_DIFFERENCE = 0.05
"""By how much the share of removed rows may differ between labels."""

PASS = "pass"  # noqa: S105 - a verdict
FAIL = "fail"
NEEDS_MORE_DATA = "needs more data"


@dataclass(frozen=True)
class RemovalVerdict:
    """``verdict`` is pass, fail or needs more data; ``smallest`` and ``largest`` bound the difference (95 %)."""

    verdict: str
    difference: float
    smallest: float
    largest: float
    rows: int
    reason: str


def compare_removal_rates(
    removed_by_label: Mapping[str, tuple[int, int]], *, maximum_difference: float = MAXIMUM_DIFFERENCE
) -> RemovalVerdict:
    """Judge ``ScreeningResult.removed_by_label``: (rows removed, rows) for each label.

    The exact intervals of the labels' rates bound the difference between the highest and the lowest rate: above the
    maximum for certain fails, below it for certain passes, anything else needs more rows.
    """
    labels = {label: counts for label, counts in removed_by_label.items() if label != ALL_ROWS and counts[1] > 0}
    rows = sum(counts[1] for counts in labels.values())
    if len(labels) < 2:
        return RemovalVerdict(PASS, 0.0, 0.0, 0.0, rows, "there is only one label, so nothing to compare")
    rates = {label: removed / total for label, (removed, total) in labels.items()}
    high, low = max(rates, key=rates.__getitem__), min(rates, key=rates.__getitem__)
    high_interval, low_interval = clopper_pearson(*labels[high]), clopper_pearson(*labels[low])
    difference = rates[high] - rates[low]
    smallest = max(0.0, high_interval[0] - low_interval[1])
    largest = high_interval[1] - low_interval[0]
    if smallest > maximum_difference:
        verdict, comparison = FAIL, "certainly more"
    elif largest <= maximum_difference:
        verdict, comparison = PASS, "certainly not more"
    else:
        verdict, comparison = NEEDS_MORE_DATA, "not certain to be more or less"
    reason = (
        f"label {high} loses {rates[high]:.2%} of its rows, label {low} {rates[low]:.2%}; the difference is"
        f" {comparison} than {maximum_difference:.0%}"
    )
    return RemovalVerdict(verdict, difference, smallest, largest, rows, reason)
