"""Rates of groups: three verdicts, and a false alarm rate that holds for many groups too."""

from __future__ import annotations

import numpy as np
import pytest

from nethical_assets.core.evaluation.rates import compare_rates


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"0": (0, 1000), "1": (500, 1000)}, "fail"),
        ({"0": (10, 1000), "1": (12, 1000)}, "pass"),
        ({"0": (0, 10), "1": (1, 10)}, "needs_more_data"),
        ({"0": (5, 10)}, "needs_more_data"),
        ({"0": (5, 10), "1": (0, 0)}, "needs_more_data"),
        ({}, "needs_more_data"),
    ],
)
def test_rates_have_three_verdicts(counts: dict[str, tuple[int, int]], expected: str) -> None:
    found = compare_rates(counts, maximum_difference=0.05, event="removed")
    assert found.verdict == expected
    assert found.smallest <= found.difference <= found.largest
    assert found.rows == sum(rows for _, rows in counts.values())


def test_more_events_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 successes of 2 trials"):
        compare_rates({"a": (3, 2), "b": (1, 2)}, maximum_difference=0.05, event="removed")


@pytest.mark.parametrize("groups", [2, 8, 30])
@pytest.mark.parametrize("rows", [20, 300])
def test_groups_that_differ_by_no_more_than_is_allowed_rarely_fail(groups: int, rows: int) -> None:
    """Each group has the same true rate and nothing may differ: at most 5 % fail, however many groups there are."""
    random = np.random.default_rng(groups * rows)
    failed = 0
    for _ in range(300):
        happened = random.binomial(rows, 0.3, groups).tolist()
        counts = {str(index): (count, rows) for index, count in enumerate(happened)}
        failed += compare_rates(counts, maximum_difference=0.0, event="missed").verdict == "fail"
    assert failed / 300 <= 0.05
