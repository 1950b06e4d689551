from __future__ import annotations

import math

import numpy as np
import pytest

from nethical_assets.core.drift.probability_grid import ProbabilityGrid
from nethical_assets.core.drift.statistics.kolmogorov_smirnov import kolmogorov_smirnov

GRID = ProbabilityGrid(np.empty(0), 0.5)


def counted(values):
    return GRID.counts(values)


@pytest.mark.parametrize(("rows", "shape"), [(300, 2.0), (2_000, 2.2), (20_000, 2.05)])
def test_distance_and_p_value_are_scipys_within_the_cells(rows, shape):
    from scipy.stats import ks_2samp

    random = np.random.default_rng(rows)
    reference, window = random.beta(2.0, 5.0, size=4_000), random.beta(shape, 5.0, size=rows)
    found = kolmogorov_smirnov(counted(reference), counted(window))
    exact = ks_2samp(reference, window, method="asymp")
    largest = max((counted(values) / len(values)).max() for values in (reference, window))
    assert exact.statistic - largest <= found.statistic <= exact.statistic + 1e-12
    assert found.p_value == pytest.approx(exact.pvalue, rel=0.3, abs=0.02)
    assert found.low <= exact.statistic <= found.high


def test_values_on_the_edges_of_cells_have_scipys_distance_exactly():
    from scipy.stats import ks_2samp

    random = np.random.default_rng(1)
    reference, window = (random.integers(0, 4097, size=size) / 4096 for size in (900, 400))
    found = kolmogorov_smirnov(counted(reference), counted(window))
    assert found.statistic == pytest.approx(ks_2samp(reference, window).statistic, abs=1e-12)


@pytest.mark.parametrize("degrees", [30.0, math.inf])
def test_p_values_keep_their_level_without_a_change(degrees):
    random = np.random.default_rng(2)
    reference = np.array([kolmogorov_smirnov_of(random, degrees) for _ in range(500)])
    for alpha in (0.01, 0.05, 0.2):
        assert np.mean(reference <= alpha) <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / 500)
    assert np.mean(reference <= 0.2) > 0.12


def kolmogorov_smirnov_of(random, degrees):
    # An estimated design effect of so many degrees, true value 1.
    effect = 1.0 if math.isinf(degrees) else random.chisquare(degrees) / degrees
    first, second = counted(random.random(3000)), counted(random.random(500))
    return kolmogorov_smirnov(first, second, design_effect=effect, degrees=degrees).p_value


def test_an_uncertain_scale_tends_to_a_known_one():
    first, second = counted(np.linspace(0, 0.9, 2000)), counted(np.linspace(0, 1, 500))
    known = kolmogorov_smirnov(first, second).p_value
    assert kolmogorov_smirnov(first, second, degrees=1e7).p_value == pytest.approx(known, rel=1e-3)
    assert kolmogorov_smirnov(first, second, degrees=20.0).p_value > known
    assert kolmogorov_smirnov(first, second, design_effect=4.0).effective_rows == 125.0


def test_too_few_rows_need_more_data():
    some = counted(np.linspace(0, 1, 30))
    assert kolmogorov_smirnov(some, some, minimum_rows=31).needs_more_data
    nothing = kolmogorov_smirnov(some, counted(np.empty(0)))
    assert nothing.needs_more_data and nothing.effect is None and "0 rows" in nothing.reason
    same = kolmogorov_smirnov(some, some)
    assert same.p_value == 1.0 and same.statistic == same.effect == same.low == 0.0
