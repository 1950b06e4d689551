from __future__ import annotations

import numpy as np
import pytest

from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.statistics import calibration_change as module
from nethical_assets.core.drift.statistics.calibration_change import calibration_change


def drawn(random, rows, truth=lambda p: p, spread=1.5, middle=-0.5, repeats=1):
    logits = np.repeat(random.normal(middle, spread, size=rows // repeats), repeats)
    probabilities = 1 / (1 + np.exp(-logits))
    chance = np.repeat(random.random(rows // repeats), repeats)
    return Reliability.of(probabilities, (chance < truth(probabilities)).astype(float), 0.5)


def sharper(p):
    return p**2 / (p**2 + (1 - p) ** 2)


@pytest.mark.slow
@pytest.mark.parametrize("truth", [lambda p: p, sharper, lambda p: p * 0.7])
def test_p_values_keep_their_level_whatever_the_references_own_calibration(truth, monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 400)
    random = np.random.default_rng(1)
    found = [calibration_change(drawn(random, 2000, truth), drawn(random, 400, truth)).p_value for _ in range(300)]
    for alpha in (0.01, 0.05, 0.2):
        assert np.mean(np.array(found) <= alpha) <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / 200)


def test_inputs_that_move_are_no_change_of_calibration():
    random = np.random.default_rng(2)
    for truth in (lambda p: p, lambda p: np.full_like(p, 0.3), lambda p: (p > 0.5) * 1.0):
        moved = drawn(random, 50_000, truth, spread=2.0, middle=0.5)
        found = calibration_change(drawn(random, 50_000, truth), moved)
        assert found.p_value > 1e-4, found


@pytest.mark.parametrize("truth", [sharper, lambda p: np.clip(p - 0.15, 0, 1), lambda p: 1 - p])
def test_changes_are_found_with_their_size(truth, monkeypatch):
    monkeypatch.setattr(module, "DRAWS", 50)
    random = np.random.default_rng(3)
    probabilities = 1 / (1 + np.exp(-random.normal(-0.5, 1.5, size=200_000)))
    size = np.abs(truth(probabilities) - probabilities).mean()
    found = [calibration_change(drawn(random, 4000), drawn(random, 4000, truth)) for _ in range(30)]
    assert max(one.p_value for one in found) < 1e-6
    assert np.mean([one.effect for one in found]) == pytest.approx(size, abs=0.015)
    assert np.mean([one.low <= size <= one.high for one in found]) >= 0.85
    # The reference is calibrated, so the de-biased error of the window is the change.
    assert np.mean([one.statistic for one in found]) == pytest.approx(size, abs=0.02)


def test_spiegelhalters_z_of_rows_is_that_of_narrow_bins():
    # Spiegelhalter 1986: Z = sum (y - p) (1 - 2 p) / sqrt(sum (1 - 2 p)^2 p (1 - p)).
    random = np.random.default_rng(4)
    values = (np.arange(16) + 0.5) / 16
    probabilities = np.repeat(values, 60)
    labels = (random.random(len(probabilities)) < sharper(probabilities)).astype(float)
    slopes = 1 - 2 * probabilities
    exact = ((labels - probabilities) @ slopes) / np.sqrt((slopes**2 * probabilities * (1 - probabilities)).sum())
    reference = Reliability.of(np.repeat(values, 3200), np.tile((np.arange(1600) % 1000 < 500), 32) * 1.0, 0.5)
    rows = np.array(reference.rows)
    calibrated = Reliability(
        reference.rows, tuple(np.round(rows * values).astype(int).tolist()), reference.probability_sums
    )
    window = Reliability.of(probabilities, labels, 0.5)
    before, now = (module._Bins.of(one, np.ones(16, dtype=bool)) for one in (calibrated, window))
    expected = before.probability, now.probability
    p_value = module._spiegelhalter(
        now.gap - before.gap, before, now, expected, np.diag(now.rows * values * (1 - values)), np.inf
    )
    from scipy.stats import norm

    assert p_value == pytest.approx(2 * norm.sf(abs(exact)), rel=0.01)


def test_effect_is_de_biased():
    random = np.random.default_rng(5)
    effects = [calibration_change(drawn(random, 2000), drawn(random, 150)).effect for _ in range(60)]
    assert np.mean(effects) < 0.05  # the bare error of 150 calibrated rows in 16 bins is about 0.1


def test_too_few_labels_need_more_data():
    random = np.random.default_rng(6)
    reference = drawn(random, 500)
    assert calibration_change(reference, drawn(random, 49), minimum_rows=50).needs_more_data
    assert calibration_change(reference, Reliability.none(0.5)).needs_more_data
    low = Reliability.of(np.full(300, 0.01), np.zeros(300), 0.5)
    high = Reliability.of(np.full(300, 0.99), np.ones(300), 0.5)
    assert "that the reference had" in calibration_change(low, high, minimum_rows=50).reason


def test_a_bin_without_positives_is_no_certainty():
    reference = Reliability.of(np.full(4000, 0.011), np.zeros(4000), 0.5)
    window = Reliability.of(np.full(400, 0.013), np.zeros(400), 0.5)
    assert calibration_change(reference, window).p_value == 1.0
