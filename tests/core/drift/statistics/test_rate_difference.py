from __future__ import annotations

import pytest

from nethical_assets.core.drift.statistics.rate_difference import rate_difference_interval


def test_newcombe_known_answer():
    # Newcombe 1998, table II, method 10: 56/70 against 48/80.
    low, high = rate_difference_interval(48, 80, 56, 70)
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
