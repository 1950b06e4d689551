from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.drift.statistics.quadratic_form import tail


@pytest.mark.parametrize("statistic", [0.5, 5.0, 30.0, 80.0])
@pytest.mark.parametrize("freedom", [1, 4, 9])
def test_equal_weights_are_chi_square_and_f(statistic, freedom):
    from scipy.stats import chi2, f

    assert tail(2.0 * statistic, np.full(freedom, 2.0)) == pytest.approx(chi2.sf(statistic, freedom), rel=1e-9)
    expected = f.sf(statistic / freedom, freedom, 17.0)
    assert tail(statistic, np.ones(freedom), 17.0) == pytest.approx(expected, rel=1e-9)


def test_the_tail_that_imhof_published():
    # Imhof 1961, table 1: P(0.6 X1 + 0.3 X2 + 0.1 X3 > 2) = 0.1240.
    assert exact_tail(2.0, (0.6, 0.3, 0.1)) == pytest.approx(0.1240, abs=5e-5)
    assert tail(2.0, np.array([0.6, 0.3, 0.1])) == pytest.approx(0.1240, rel=0.03)


@pytest.mark.parametrize("statistic", [6.0, 10.0, 14.0, 20.0])
@pytest.mark.parametrize("weights", [(0.6, 0.3, 0.1), (0.7,) * 6 + (0.3,) * 2, (3.0, 1.0, 1.0, 0.2)])
def test_tails_agree_with_imhofs_integral(weights, statistic):
    assert tail(statistic, np.array(weights)) == pytest.approx(exact_tail(statistic, weights), rel=0.15, abs=1e-9)


def exact_tail(statistic, weights):
    """Imhof's integral of the characteristic function."""
    from scipy.integrate import quad

    weights = np.array(weights)

    def integrand(u):
        angle = 0.5 * (np.arctan(weights * u).sum() - statistic * u)
        return math.sin(angle) / (u * float(np.prod((1.0 + (weights * u) ** 2) ** 0.25)))

    return 0.5 + quad(integrand, 1e-12, 400.0, limit=2000)[0] / math.pi


@pytest.mark.parametrize("degrees", [12.0, 60.0, math.inf])
def test_small_tails_of_unequal_weights_agree_with_a_simulation(degrees):
    random = np.random.default_rng(0)
    weights = np.array([6.0, 2.0, 1.0, 1.0, 0.5])
    drawn = (random.standard_normal((400_000, 5)) ** 2) @ weights
    if math.isfinite(degrees):
        drawn = drawn / (random.chisquare(degrees, size=len(drawn)) / degrees)
    for share in (0.05, 0.01, 0.001):
        limit = float(np.quantile(drawn, 1.0 - share))
        assert tail(limit, weights, degrees) == pytest.approx(share, rel=0.12)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(0.0, 50.0), max_size=12),
    st.floats(-1.0, 1e6),
    st.floats(0.0, 1e4),
    st.sampled_from([4.0, 30.0, math.inf]),
)
def test_a_tail_is_a_chance_and_falls(weights, statistic, more, degrees):
    first, second = (tail(value, np.array(weights), degrees) for value in (statistic, statistic + more))
    # Between the middle and the tail the approximations meet within a twentieth.
    assert 0.0 <= second <= 1.0 and second <= first * 1.1 + 1e-12
