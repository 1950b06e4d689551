from __future__ import annotations

import numpy as np
import pytest

from nethical_assets.core.drift.traffic_noise import MINIMUM_SUB_WINDOWS, block_noise


def totals(random, blocks, *, rate=0.3, rows=40, memory=0.0, wander=0.0, repeats=1):
    """Counts of two kinds of rows, and rows, of each sub-window."""
    numbers = random.poisson(rows / repeats, size=blocks) * repeats
    level = np.zeros(blocks)
    for number in range(1, blocks):
        level[number] = memory * level[number - 1] + np.sqrt(1 - memory**2) * random.normal()
    happened = random.binomial(numbers // repeats, np.clip(rate + wander * level, 0, 1)) * repeats
    return np.stack([happened, numbers - happened], axis=1).astype(float), numbers


def effect(random, blocks, **options):
    counts, rows = totals(random, blocks, **options)
    share = counts.sum(axis=0) / rows.sum()
    return block_noise([(counts, rows)]).design_effects(share)[0]


def test_independent_rows_have_a_design_effect_of_one():
    random = np.random.default_rng(0)
    found = [effect(random, 600) for _ in range(60)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.1)


def test_repeated_rows_count_once():
    random = np.random.default_rng(1)
    assert np.mean([effect(random, 600, repeats=5) for _ in range(60)]) == pytest.approx(5.0, rel=0.15)


@pytest.mark.slow
def test_sub_windows_that_follow_each_other_count_as_fewer():
    random = np.random.default_rng(2)
    options = {"memory": 0.78, "wander": 0.05}
    # The variance of the mean over many windows is what the estimate of one is of.
    drawn = [totals(random, 600, **options) for _ in range(300)]
    truth = np.var([counts[:, 0].sum() / rows.sum() for counts, rows in drawn]) / (0.21 / (600 * 40))
    found = np.mean([effect(random, 600, **options) for _ in range(40)])
    assert truth > 3.0 and found == pytest.approx(truth, rel=0.25)


@pytest.mark.slow
def test_degrees_of_freedom_are_those_of_the_estimates_spread():
    random = np.random.default_rng(3)
    counts, rows = totals(random, 600)
    degrees = block_noise([(counts, rows)]).degrees
    found = np.array([effect(random, 600) for _ in range(300)])
    # A chi-square divided by its degrees has variance 2 / degrees.
    assert 2.0 / np.var(found / found.mean()) == pytest.approx(degrees, rel=0.35)


def test_a_level_that_moved_between_the_periods_is_no_noise():
    random = np.random.default_rng(4)
    before, window = totals(random, 600, rate=0.2), totals(random, 24, rate=0.7)
    apart, together = (
        block_noise([before, window]),
        block_noise([tuple(map(np.concatenate, zip(before, window, strict=True)))]),
    )
    assert together.covariance[0, 0] > 2 * apart.covariance[0, 0]
    assert apart.covariance[0, 0] == pytest.approx(0.17, rel=0.5)


def test_few_sub_windows_say_nothing_and_empty_ones_count_as_none():
    random = np.random.default_rng(5)
    counts, rows = totals(random, MINIMUM_SUB_WINDOWS - 1)
    assert block_noise([(counts, rows)]) is None
    silent = np.concatenate([rows, np.zeros(50, dtype=rows.dtype)])
    assert block_noise([(np.concatenate([counts, np.zeros((50, 2))]), silent)]) is None
    assert block_noise([]) is None
    more = totals(random, MINIMUM_SUB_WINDOWS)
    assert block_noise([more, (np.zeros((3, 2)), np.zeros(3, dtype=rows.dtype))]) is not None


def test_design_effects_of_shares_and_of_a_mean_agree():
    random = np.random.default_rng(6)
    counts, rows = totals(random, 300, repeats=3)
    noise = block_noise([(counts, rows)])
    share = counts.sum(axis=0) / rows.sum()
    mean = noise.design_effect(np.array([1.0, 0.0]), float(share[0] * share[1]))
    assert noise.design_effects(share)[0] == pytest.approx(mean)
    assert noise.design_effect(np.array([1.0, 0.0]), 0.0) == 1.0
