from __future__ import annotations

import numpy as np
import pytest

from nethical_assets.core.drift.statistics.unseen_levels import unseen_levels


def test_the_exact_binomial_test_is_scipys():
    from scipy.stats import binomtest

    reference, window = np.array([0, 3000, 995, 1, 4, 0]), np.array([3, 300, 95, 0, 0, 2])
    found = unseen_levels(reference, window)
    # One row of the reference has a level of its own, five rows of the window have unseen ones.
    expected = binomtest(5, 6, 400 / 4400, alternative="greater").pvalue
    assert found.p_value == pytest.approx(expected, rel=1e-9)
    exact = binomtest(5, 400).proportion_ci(method="exact")
    assert found.statistic == found.effect == 5 / 400
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_nothing_unseen_and_everything():
    counts = np.array([10, 20, 0])
    calm = unseen_levels(counts, np.array([5, 5, 0]))
    assert calm.p_value == 1.0 and calm.effect == 0.0 and calm.low == 0.0 < calm.high
    all_new = unseen_levels(counts, np.array([0, 0, 30]))
    assert all_new.p_value < 1e-8 and all_new.effect == all_new.high == 1.0
    assert unseen_levels(counts, np.zeros(3, dtype=np.int64)).needs_more_data


def test_a_burst_of_one_client_counts_once():
    reference, window = np.array([2000, 0]), np.array([480, 20])
    assert unseen_levels(reference, window).p_value < 1e-10
    assert unseen_levels(reference, window, design_effect=20.0).p_value > 0.01


def test_rare_levels_are_expected_to_be_unseen():
    random = np.random.default_rng(4)
    shares = 1.0 / np.arange(1, 2001) ** 1.3
    shares /= shares.sum()
    found = [
        unseen_levels(random.multinomial(1000, shares), random.multinomial(300, shares)).p_value for _ in range(300)
    ]
    # New levels in every window, and no more alarms than the level allows.
    assert np.mean(np.array(found) < 0.01) <= 0.01 + 3 * np.sqrt(0.01 * 0.99 / 300)
