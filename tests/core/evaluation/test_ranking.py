"""The interval of ROC AUC: against brute force, in degenerate samples, and how often it holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from nethical_assets.core.evaluation.measures import columns_of
from nethical_assets.core.evaluation.ranking import auc_interval

STEPS = np.arange(-40, 41) / 2


def interval_of(positive, scores, clusters=None):
    found = columns_of(positive.astype(np.int8), None, scores, 0.5, 1)
    return found.roc_auc, *auc_interval(found.roc_auc, found.auc_components, positive, clusters)


def normal(rows, positive, auc, generator, spread=1.0):
    distance = ndtri(auc) * math.sqrt(1 + spread**2)
    return generator.normal(size=rows) * np.where(positive, spread, 1.0) + distance * positive


def exponential(rows, positive, auc, generator):
    return generator.exponential(size=rows) * np.where(positive, auc / (1 - auc), 1.0)


def tied(rows, positive, auc, generator):
    return np.round(2 * normal(rows, positive, auc, generator)) / 2


def some_undetected(rows, positive, auc, generator):
    """A share of the positives is ranked at random, all others above every negative."""
    return generator.random(rows) + 2 * (positive & (generator.random(rows) > 2 * (1 - auc)))


def truth_of(draw, auc):
    if draw is not tied:
        return auc
    of_positives, of_negatives = (
        ndtr(STEPS + 0.25 - mean) - ndtr(STEPS - 0.25 - mean) for mean in (ndtri(auc) * math.sqrt(2), 0.0)
    )
    below = np.concatenate([[0.0], np.cumsum(of_negatives)[:-1]])
    return float((of_positives * (below + of_negatives / 2)).sum())


DRAWS = {
    "normal": normal,
    "wider positives": lambda *sample: normal(*sample, spread=2.0),
    "narrower positives": lambda *sample: normal(*sample, spread=0.5),
    "exponential": exponential,
    "tied": tied,
    "some undetected": some_undetected,
}


def misses(draw, rows, auc, share, samples):
    """The share of intervals that do not hold the true AUC."""
    generator = np.random.default_rng(20_260_104)
    truth, positive = truth_of(draw, auc), np.arange(rows) < max(1, round(rows * share))
    outside = 0
    for _ in range(samples):
        _, low, high = interval_of(positive, draw(rows, positive, auc, generator))
        outside += not low - 1e-6 <= truth <= high + 1e-6
    return outside / samples


@pytest.mark.slow
@pytest.mark.parametrize("rows", [40, 200, 1000])
@pytest.mark.parametrize("auc", [0.6, 0.9, 0.99])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("draw", [DRAWS["normal"], DRAWS["exponential"]], ids=["normal", "exponential"])
def test_it_misses_the_truth_in_at_most_eight_percent(draw, rows, auc, share):
    assert misses(draw, rows, auc, share, 400) <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("rows", [40, 100, 200, 500, 1000])
def test_it_misses_the_truth_in_few_percent_over_a_fuller_grid(name, rows):
    found = {
        (auc, share): misses(DRAWS[name], rows, auc, share, 1000)
        for auc in (0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
        for share in (0.05, 0.1, 0.2, 0.5)
    }
    assert max(found.values()) <= (0.12 if name == "some undetected" else 0.08), found


def brute_force(positive, scores):
    """AUC and the variance of DeLong et al. (1988), pair by pair."""
    pairs = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
    of_positives, of_negatives = pairs.mean(axis=1), pairs.mean(axis=0)
    return pairs.mean(), of_positives.var(ddof=1) / len(of_positives) + of_negatives.var(ddof=1) / len(of_negatives)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=list(DRAWS))
def test_its_components_give_the_variance_of_delong(draw):
    generator = np.random.default_rng(0)
    positive = generator.permutation(np.arange(150) < 40)
    scores = draw(150, positive, 0.8, generator)
    found = columns_of(positive.astype(np.int8), None, scores, 0.5, 1)
    auc, variance = brute_force(positive, scores)
    squares = [found.auc_components[rows] ** 2 for rows in (positive, ~positive)]
    assert found.roc_auc == pytest.approx(auc)
    assert sum(part.sum() / (len(part) - 1) / len(part) for part in squares) == pytest.approx(variance)


@pytest.mark.slow
def test_in_large_samples_it_is_the_interval_of_delong():
    generator = np.random.default_rng(1)
    positive = np.arange(40_000) % 4 == 0
    scores = normal(40_000, positive, 0.8, generator, spread=2.0)
    auc, variance = brute_force(positive, scores)
    found, low, high = interval_of(positive, scores)
    assert found == pytest.approx(auc)
    assert (low, high) == pytest.approx((auc - 1.96 * variance**0.5, auc + 1.96 * variance**0.5), abs=2e-4)


@pytest.mark.parametrize("positives", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("negatives", [1, 5, 100, 900])
def test_degenerate_samples_say_what_their_size_allows(positives, negatives):
    positive = np.arange(positives + negatives) < positives
    perfect, constant = positive.astype(np.float64), np.zeros(len(positive))
    for scores, auc in ((perfect, 1.0), (-perfect, 0.0), (constant, 0.5)):
        found, low, high = interval_of(positive, scores)
        assert found == auc and 0.0 <= low <= auc <= high <= 1.0
        assert high - low > 0.3 / min(positives, negatives), (scores[:2], low, high)
    _, low, high = interval_of(positive, perfect)
    _, low_mirrored, high_mirrored = interval_of(positive, -perfect)
    assert (low, high) == pytest.approx((1.0 - high_mirrored, 1.0 - low_mirrored), abs=1e-5)
    if min(positives, negatives) >= 20:
        assert low > 0.8


def test_more_rows_narrow_it_and_one_group_says_next_to_nothing():
    widths = []
    for rows in (20, 80, 320, 1280):
        positive = np.arange(rows) % 4 == 0
        _, low, high = interval_of(positive, normal(rows, positive, 0.85, np.random.default_rng(2)))
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    positive = np.arange(400) % 4 == 0
    _, low, high = interval_of(
        positive, normal(400, positive, 0.85, np.random.default_rng(2)), np.zeros(400, dtype=int)
    )
    assert high - low > 0.8


@pytest.mark.parametrize(("groups", "size"), [(20, 30), (60, 10)])
def test_groups_of_rows_are_what_varies(groups, size):
    # Rows of a group share half of their spread, and of a group all have one label: AUC is 0.76 over all groups.
    generator = np.random.default_rng(4)
    clusters = np.repeat(np.arange(groups), size)
    outside = {"grouped": 0, "independent": 0}
    for _ in range(200):
        positive = np.repeat(generator.permutation(np.arange(groups) % 3 == 0), size)
        shared = np.repeat(generator.normal(size=groups), size)
        scores = shared + generator.normal(size=len(positive)) + ndtri(0.76) * 2 * positive
        for name, given in (("grouped", clusters), ("independent", None)):
            _, low, high = interval_of(positive, scores, given)
            outside[name] += not low <= 0.76 <= high
    assert outside["grouped"] / 200 <= 0.08
    assert outside["independent"] / 200 > 0.25
