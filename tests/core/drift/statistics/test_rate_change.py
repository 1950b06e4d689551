from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.drift.statistics.rate_change import fisher_exact, rate_change
from nethical_assets.core.drift.statistics.rate_difference import rate_difference_interval

rates = st.integers(1, 400).flatmap(lambda rows: st.tuples(st.integers(0, rows), st.just(rows)))


@settings(deadline=None, max_examples=60)
@given(rates, rates)
def test_the_exact_test_is_scipys(first, second):
    from scipy.stats import fisher_exact as reference

    table = [[first[0], first[1] - first[0]], [second[0], second[1] - second[0]]]
    assert fisher_exact(*first, *second) == pytest.approx(reference(table).pvalue, rel=1e-6, abs=1e-12)


def test_the_lady_tasting_tea():
    # Fisher 1935: three of four cups told right; both sides together 0.4857.
    assert fisher_exact(3, 4, 1, 4) == pytest.approx(34 / 70)


@pytest.mark.parametrize("rows", [4_000, 10_000_000])
def test_large_windows_agree_with_the_chi_square_test(rows):
    from scipy.stats import chi2_contingency

    happened = round(rows * 0.46)
    table = [[2000, 2000], [happened, rows - happened]]
    expected = chi2_contingency(table, correction=False).pvalue
    assert math.log10(fisher_exact(2000, 4000, happened, rows)) == pytest.approx(math.log10(expected), abs=0.15)


def test_difference_interval_and_size():
    found = rate_change(400, 1000, 150, 300)
    assert found.statistic == found.effect == pytest.approx(0.1)
    assert (found.low, found.high) == rate_difference_interval(400, 1000, 150, 300)
    less = rate_change(400, 1000, 90, 300)
    assert less.statistic == pytest.approx(-0.1) and less.effect == pytest.approx(0.1)


def test_correlated_rows_count_as_fewer():
    independent = rate_change(400, 1000, 160, 300)
    correlated = rate_change(400, 1000, 160, 300, design_effect=4.0)
    uncertain = rate_change(400, 1000, 160, 300, design_effect=4.0, degrees=10.0)
    assert independent.p_value < correlated.p_value < uncertain.p_value
    assert correlated.effective_rows == 75.0
    assert correlated.low < independent.low < independent.high < correlated.high


def test_p_values_keep_their_level_in_correlated_rows():
    random = np.random.default_rng(3)
    found = []
    for _ in range(600):
        window = np.repeat(random.random(80) < 0.3, 5)  # every row five times
        reference = int((random.random(2000) < 0.3).sum())
        found.append(rate_change(reference, 2000, int(window.sum()), 400, design_effect=5.0).p_value)
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.027)
    naive = [rate_change(600, 2000, int(400 * 0.3 + 40 * z), 400).p_value for z in random.normal(size=50)]
    assert np.mean(np.array(naive) < 0.05) > 0.2


def test_nothing_and_everything():
    assert rate_change(0, 100, 0, 50).p_value == 1.0
    assert rate_change(100, 100, 50, 50).p_value == 1.0
    assert rate_change(5, 100, 0, 0).needs_more_data
    assert rate_change(5, 100, 9, 99, minimum_rows=100).needs_more_data


def test_a_window_needs_more_rows_than_a_reference_of_which_there_is_no_other():
    assert not rate_change(50, 184, 200, 400, minimum_rows=200).needs_more_data
    assert rate_change(50, 184, 100, 199, minimum_rows=200).needs_more_data
    assert rate_change(20, 99, 200, 400, minimum_rows=200).needs_more_data
    assert not rate_change(9, 40, 9, 40, minimum_rows=40).needs_more_data
    assert rate_change(0, 0, 9, 40, minimum_rows=0).needs_more_data
