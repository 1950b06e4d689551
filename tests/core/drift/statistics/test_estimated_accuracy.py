from __future__ import annotations

import numpy as np
import pytest

from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.statistics.estimated_accuracy import Confidence, estimated_accuracy


def drawn(random, rows, truth=lambda p: p, spread=2.0, middle=-1.0):
    probabilities = 1 / (1 + np.exp(-random.normal(middle, spread, size=rows)))
    return probabilities, (random.random(rows) < truth(probabilities)).astype(float)


def estimate(reference, window, **options):
    counts = Reliability.of(*window, 0.5)
    confidence = Confidence.of(Reliability.of(*reference, 0.5), 0.5)
    return estimated_accuracy(confidence, np.array(counts.rows), np.array(counts.probability_sums), **options)


def accuracy(window):
    return float(((window[0] >= 0.5) == window[1]).mean())


def test_a_calibrated_model_is_right_as_often_as_it_is_sure():
    # NannyML's example: rows called positive at 0.9 are right in nine of ten.
    random = np.random.default_rng(0)
    reference = np.repeat([0.1, 0.9], 5000), np.tile(np.arange(10) > 0, 1000).astype(float)
    reference[1][:5000] = 1.0 - reference[1][:5000]
    found = estimate(reference, (np.full(400, 0.9), np.ones(400)))
    assert found.statistic == pytest.approx(0.9, abs=0.001) and found.low < 0.9 < found.high
    assert estimate(reference, (np.full(400, 0.1), random.random(400).round())).statistic == pytest.approx(
        0.9, abs=0.001
    )


@pytest.mark.parametrize("rows", [200, 2000])
@pytest.mark.parametrize(
    "truth",
    [lambda p: p, lambda p: p**2 / (p**2 + (1 - p) ** 2), lambda p: 0.1 + 0.7 * p],
    ids=["calibrated", "sharp", "flat"],
)
def test_intervals_hold_the_truth_also_where_inputs_move(rows, truth):
    random = np.random.default_rng(rows)
    held = []
    for _ in range(150):
        reference = drawn(random, 1000, truth)
        for middle in (-1.0, 0.0):
            window = drawn(random, rows, truth, middle=middle)
            found = estimate(reference, window)
            held.append(found.low <= accuracy(window) <= found.high)
    assert np.mean(held) >= 0.92


def test_intervals_of_nearly_certain_models_hold_the_truth():
    random = np.random.default_rng(9)
    held = []
    for _ in range(200):
        reference, window = (drawn(random, rows, spread=3.0, middle=-9.0) for rows in (2000, 250))
        found = estimate(reference, window)
        held.append(found.low <= accuracy(window) <= found.high)
    assert np.mean(held) >= 0.9


def test_inputs_that_become_doubtful_are_found_and_other_labels_are_not():
    random = np.random.default_rng(1)
    reference = drawn(random, 4000)
    doubtful = drawn(random, 2000, spread=0.5, middle=0.0)
    found = estimate(reference, doubtful)
    assert found.p_value < 1e-9 and found.effect == pytest.approx(accuracy(reference) - accuracy(doubtful), abs=0.04)
    turned = drawn(random, 2000, truth=lambda p: 1 - p)
    blind = estimate(reference, turned)
    assert blind.p_value > 1e-3 and not blind.low <= accuracy(turned) <= blind.high


def test_p_values_keep_their_level():
    random = np.random.default_rng(2)
    found = np.array([estimate(drawn(random, 1500), drawn(random, 300)).p_value for _ in range(500)])
    for alpha in (0.01, 0.05, 0.2):
        assert np.mean(found <= alpha) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / 500)


def test_correlation_and_few_degrees_widen_the_interval():
    random = np.random.default_rng(3)
    reference, window = drawn(random, 4000), drawn(random, 500)
    widths = [
        found.high - found.low
        for found in (
            estimate(reference, window),
            estimate(reference, window, design_effect=4.0),
            estimate(reference, window, design_effect=4.0, degrees=8.0),
        )
    ]
    assert widths == sorted(widths) and widths[0] < widths[1] < widths[2]


def test_probabilities_that_the_reference_never_had_are_uncertain():
    random = np.random.default_rng(4)
    reference = drawn(random, 2000, spread=0.2, middle=-3.0)
    seen, unseen = (estimate(reference, (np.full(500, value), np.ones(500))) for value in (0.05, 0.7))
    assert seen.high - seen.low < 0.06 and unseen.high - unseen.low > 0.5


def test_too_few_rows_need_more_data():
    random = np.random.default_rng(5)
    assert estimate(drawn(random, 500), drawn(random, 99), minimum_rows=100).needs_more_data
    assert estimate(drawn(random, 99), drawn(random, 500), minimum_rows=100).needs_more_data


@pytest.mark.parametrize("rows", [500, 5000])
def test_models_that_are_sure_one_way_or_the_other_raise_no_alarm_by_themselves(rows):
    # Nearly all that varies lies within two bins, of which only the means are known.
    random = np.random.default_rng(rows)

    def two_ends(count):
        high = random.random(count) < 0.3
        probabilities = np.where(high, random.uniform(0.96, 1.0, count), random.uniform(0.0, 0.06, count))
        return probabilities, (random.random(count) < probabilities).astype(float)

    reference = two_ends(4000)
    found = [estimate(reference, two_ends(rows)).p_value for _ in range(200)]
    assert np.mean(np.array(found) < 0.01) <= 0.03
