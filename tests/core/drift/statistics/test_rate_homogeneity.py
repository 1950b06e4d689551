"""One rate or several: against scipy, and what correlation takes away."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nethical_assets.core.drift.statistics.rate_homogeneity import rate_homogeneity

SAMPLES = st.lists(
    st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=2, max_size=8
)


@settings(max_examples=40)
@given(SAMPLES)
def test_it_is_pearsons_test(samples: list[tuple[int, int]]) -> None:
    happened, rows = zip(*samples, strict=True)
    found = rate_homogeneity(happened, rows)
    if sum(happened) in (0, sum(rows)):
        assert found == 1.0
        return
    table = [happened, [n - k for k, n in samples]]
    assert found == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, abs=1e-9)


def test_a_design_effect_is_as_many_times_fewer_rows() -> None:
    assert rate_homogeneity([40, 80], [400, 400], [4.0, 4.0]) == pytest.approx(rate_homogeneity([10, 20], [100, 100]))


def test_one_sample_is_no_comparison() -> None:
    assert rate_homogeneity([], []) is None
    assert rate_homogeneity([3, 0], [10, 0]) is None
