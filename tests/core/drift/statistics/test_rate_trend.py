"""The trend of a rate: published values, how often noise looks like one, and what too little data says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nethical_assets.core.drift.statistics.rate_trend import rate_trend

SMOKERS, PATIENTS = [83, 90, 129, 70], [86, 93, 136, 82]
"""Fleiss 1981, lung cancer in four studies: the example of R's prop.trend.test."""
MALFORMED, BORN = [48, 38, 5, 1, 1], [17114, 14502, 793, 127, 38]
"""Graubard and Korn 1987, with the scores of Agresti 2002, table 3.7."""
DRINKS = [0.0, 0.5, 1.5, 4.0, 7.0]


def test_published_values() -> None:
    found = rate_trend(SMOKERS, PATIENTS)
    assert found is not None
    assert found.statistic**2 == pytest.approx(8.2249, abs=5e-5)
    assert found.statistic < 0 and found.change < 0
    found = rate_trend(MALFORMED, BORN, DRINKS)
    assert found is not None
    assert found.statistic**2 == pytest.approx(6.5701, abs=5e-4)
    assert 2 * stats.norm.sf(found.statistic) == pytest.approx(0.0104, abs=5e-5)
    # Two of the samples have one case each, and vary more than the others let expect.
    assert found.dispersion > 1.0
    assert found.p_value == pytest.approx(2 * stats.t.sf(found.statistic / found.dispersion**0.5, 3))
    straight = rate_trend([100, 150, 200], [1000, 1000, 1000])
    assert straight is not None
    assert straight.dispersion == 1.0
    assert straight.p_value == pytest.approx(2 * stats.norm.sf(straight.statistic))


def test_the_line_is_that_of_weighted_least_squares() -> None:
    found = rate_trend(MALFORMED, BORN, DRINKS)
    rows = np.repeat(DRINKS, BORN)
    happened = np.concatenate([np.arange(n) < k for k, n in zip(MALFORMED, BORN, strict=True)])
    line = stats.linregress(rows, happened.astype(float))
    assert found is not None
    assert found.change == pytest.approx(line.slope * 7.0)


def test_a_rate_that_goes_up_and_down_is_no_trend() -> None:
    wave = [500, 100, 500, 100, 500, 120]
    found = rate_trend(wave, [1000] * 6)
    assert found is not None
    assert abs(found.statistic) > 5  # what rows that are drawn at random would call certain
    assert found.p_value > 0.3
    assert found.low < 0 < found.high


@pytest.mark.parametrize("samples", [3, 5, 28])
def test_noise_alone_is_rarely_a_trend(samples: int) -> None:
    generator = np.random.default_rng(5)
    sizes = generator.integers(30, 3000, samples)
    draws = generator.binomial(sizes, 0.07, (1000, samples))
    found = [rate_trend(row.tolist(), sizes.tolist()) for row in draws]
    assert np.mean([one is not None and one.p_value < 0.05 for one in found]) < 0.065
    assert np.mean([one is not None and not one.low <= 0.0 <= one.high for one in found]) < 0.065


def test_a_real_rise_is_found_and_bounded() -> None:
    generator = np.random.default_rng(6)
    truth = np.linspace(0.05, 0.25, 10)
    found = [rate_trend(row.tolist(), [1000] * 10) for row in generator.binomial(1000, truth, (300, 10))]
    assert all(one is not None and one.p_value < 0.001 for one in found)
    assert np.mean([one is not None and one.low <= 0.2 <= one.high for one in found]) > 0.93


def test_correlated_rows_count_as_fewer() -> None:
    alone, together = (rate_trend([30, 45, 60], [500] * 3, design_effects=[effect] * 3) for effect in (1.0, 20.0))
    assert alone is not None and together is not None
    assert alone.change == pytest.approx(together.change)
    assert alone.p_value < 0.01 < 0.2 < together.p_value
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_nothing_seen_on_few_rows_is_not_certainly_nothing() -> None:
    few, many = (rate_trend([0, 0, 0], [rows] * 3) for rows in (10, 10_000))
    assert few is not None and many is not None
    assert (few.p_value, many.p_value) == (1.0, 1.0)
    assert few.high > 0.1 > 0.002 > many.high


@pytest.mark.parametrize(
    ("happened", "rows", "places"),
    [([], [], None), ([1, 2], [10, 10], None), ([1, 2, 0], [10, 10, 0], None), ([1, 2, 3], [9, 9, 9], [1.0, 1.0, 1.0])],
)
def test_two_samples_are_no_trend(happened: list[float], rows: list[float], places: list[float] | None) -> None:
    assert rate_trend(happened, rows, places) is None


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="more happened"):
        rate_trend([11, 1, 1], [10, 10, 10])
    with pytest.raises(ValueError, match=r"longer|shorter"):
        rate_trend([1, 1], [10, 10, 10])


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=8))
def test_it_stays_in_its_ranges_and_turns_with_the_order(samples: list[tuple[int, int]]) -> None:
    found = rate_trend(*([list(column) for column in zip(*samples, strict=True)] or [[], []]))
    backwards = rate_trend(*([list(column) for column in zip(*samples[::-1], strict=True)] or [[], []]))
    assert (found is None) == (backwards is None)
    if found is None or backwards is None:
        return
    assert -1 <= found.low <= found.high <= 1
    assert 0 <= found.p_value <= 1 <= found.dispersion
    assert found.p_value == pytest.approx(backwards.p_value, abs=1e-9)
    assert found.change == pytest.approx(-backwards.change, abs=1e-9)
