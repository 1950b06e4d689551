from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nethical_assets.core.drift.statistics import jensen_shannon
from nethical_assets.core.drift.statistics.jensen_shannon import distance, divergence, drift_effect

counts = arrays(np.int64, 6, elements=st.integers(0, 1000))


def generator():
    return np.random.default_rng(0)


def test_divergence_known_answers():
    assert divergence(np.array([5, 0]), np.array([0, 9])) == pytest.approx(1.0)
    assert divergence(np.array([5, 5]), np.array([50, 50])) == pytest.approx(0.0)
    # H(3/4, 1/4) - (H(1/2, 1/2) + H(1, 0)) / 2
    assert divergence(np.array([1, 1]), np.array([2, 0])) == pytest.approx(0.8112781 - 0.5)


@settings(deadline=None)
@given(counts, counts)
def test_divergence_agrees_with_scipy_and_is_symmetric(first, second):
    from scipy.spatial.distance import jensenshannon

    value = float(divergence(first, second))
    assert 0 <= value <= 1 and value == pytest.approx(float(divergence(second, first)))
    if first.sum() and second.sum():
        assert value == pytest.approx(jensenshannon(first, second, base=2) ** 2, abs=1e-7)


@settings(deadline=None)
@given(counts, counts)
def test_effect_and_p_value_stay_in_range(first, second):
    effect, p_value = drift_effect(first, second, generator())
    assert 0 <= effect <= 1 and 0 <= p_value <= 1


def test_equal_shares_have_no_effect_and_separate_ones_nearly_the_largest():
    assert drift_effect(np.array([500, 500]), np.array([50, 50]), generator())[0] == 0.0
    effect, p_value = drift_effect(np.array([1000, 0]), np.array([0, 1000]), generator())
    assert effect > 0.99 and p_value < 1e-50
    assert drift_effect(np.array([0, 0]), np.array([0, 0]), generator()) == (0.0, 1.0)


def test_tail_of_the_p_value_agrees_with_the_chi_square_test():
    from scipy.stats import chi2_contingency

    table = np.array([[1000, 1000, 1000], [130, 100, 70]])
    _, p_value = drift_effect(table[0], table[1], generator())
    assert np.log10(p_value) == pytest.approx(np.log10(chi2_contingency(table).pvalue), abs=0.5)


def test_effect_is_de_biased():
    random = generator()
    effects, raw = [], []
    shares = np.full(10, 0.1)
    for _ in range(200):
        first, second = random.multinomial(5000, shares), random.multinomial(60, shares)
        effects.append(drift_effect(first, second, random)[0] ** 2)
        raw.append(float(divergence(first, second)))
    assert np.mean(raw) > 0.02  # a bare distance of 0.15 and more, without any drift
    assert np.mean(effects) < 0.3 * np.mean(raw)


def test_p_values_are_uniform_without_drift(monkeypatch):
    monkeypatch.setattr(jensen_shannon, "PERMUTATIONS", 300)
    random = generator()
    shares = np.array([0.55, 0.2, 0.1, 0.1, 0.04, 0.01])
    p_values = [
        drift_effect(random.multinomial(500, shares), random.multinomial(60, shares), random)[1] for _ in range(600)
    ]
    for alpha in (0.01, 0.05, 0.2):
        assert np.mean(np.array(p_values) <= alpha) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / 600)
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)


def test_distance_answers_as_the_permutation_test_where_rows_are_independent():
    table = np.array([[1000, 1000, 1000], [130, 100, 70]])
    found = distance(*table)
    effect, p_value = drift_effect(*table, generator())
    assert found.effect == pytest.approx(effect, abs=0.01)
    assert np.log10(found.p_value) == pytest.approx(np.log10(p_value), abs=0.5)
    assert found.low < found.effect < found.high and found.effective_rows == 300


@pytest.mark.parametrize("rows", [60, 500, 50_000])
def test_p_values_of_distance_keep_their_level(rows, monkeypatch):
    monkeypatch.setattr(jensen_shannon, "PERMUTATIONS", 300)
    random = generator()
    shares = np.array([0.55, 0.2, 0.1, 0.1, 0.049, 0.001])
    found = [distance(random.multinomial(3000, shares), random.multinomial(rows, shares)).p_value for _ in range(500)]
    for alpha in (0.01, 0.05, 0.2):
        assert np.mean(np.array(found) <= alpha) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / 500)


def test_p_values_of_correlated_rows_keep_their_level_by_their_design_effects(monkeypatch):
    monkeypatch.setattr(jensen_shannon, "PERMUTATIONS", 300)
    random = generator()
    shares = np.full(8, 0.125)
    right, naive = [], []
    for _ in range(400):
        reference, window = random.multinomial(3000, shares), 4 * random.multinomial(100, shares)
        right.append(distance(reference, window, design_effects=np.full(7, 4.0)).p_value)
        naive.append(distance(reference, window).p_value)
    assert np.mean(np.array(right) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(np.array(naive) <= 0.05) > 0.5


def test_the_interval_of_distance_holds_the_distance():
    random = generator()
    first, second = np.array([0.3, 0.3, 0.2, 0.2]), np.array([0.2, 0.25, 0.25, 0.3])
    truth = float(divergence((first * 1e6).astype(np.int64), (second * 1e6).astype(np.int64))) ** 0.5
    held = []
    for _ in range(120):
        found = distance(random.multinomial(2000, first), random.multinomial(400, second))
        held.append(found.low <= truth <= found.high)
    assert np.mean(held) >= 0.88


def test_distance_of_nothing():
    some = np.array([5, 5])
    assert distance(some, np.array([0, 0])).needs_more_data
    assert distance(some, some, minimum_rows=11).needs_more_data
    assert distance(np.array([5, 0]), np.array([9, 0])).p_value == 1.0
    far = distance(np.array([10**6, 0]), np.array([0, 10**6]))
    assert far.effect == pytest.approx(1.0, abs=0.01) and far.p_value < 1e-100 and far.high == 1.0


def test_more_rows_than_can_be_drawn_from_are_compared_all_the_same():
    reference, window = np.array([6, 3, 1]) * 10**9, np.array([3, 6, 1]) * 10**8
    effect, p_value = jensen_shannon.drift_effect(reference, window, np.random.default_rng(1))
    fewer = jensen_shannon.drift_effect(reference // 1000, window // 1000, np.random.default_rng(1))
    assert effect == pytest.approx(fewer[0], abs=1e-3)
    assert p_value < 1e-6
