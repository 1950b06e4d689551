"""Calibration: known answers, monotone maps, refusal of what cannot be calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nethical_assets.core.detectors.calibration import Calibration, fit_calibration
from nethical_assets.core.ground.errors import TrainingError


def sample(rows: int, slope: float, intercept: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=rows)
    truth = 1 / (1 + np.exp(-(slope * scores + intercept)))
    return scores, (generator.random(rows) < truth).astype(np.int8)


def test_small_samples_get_a_sigmoid_that_finds_the_truth() -> None:
    scores, labels = sample(900, slope=2.0, intercept=-0.5)
    fitted = fit_calibration(scores, labels)
    assert fitted.method == "sigmoid" and fitted.rows == 900 and fitted.positives == labels.sum()
    assert fitted.slope == pytest.approx(2.0, abs=0.35)
    assert fitted.intercept == pytest.approx(-0.5, abs=0.2)


def test_the_sigmoid_is_platts_smoothed_optimum() -> None:
    """At the optimum the mean probability equals the mean of Platt's targets, which are not 0 and 1."""
    scores, labels = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1], dtype=np.int8)
    fitted = fit_calibration(scores, labels)
    targets = np.where(labels == 1, 3 / 4, 1 / 4)
    probability = fitted.probability(scores)
    assert probability.mean() == pytest.approx(targets.mean(), abs=1e-3)
    assert (probability * scores).mean() == pytest.approx((targets * scores).mean(), abs=1e-3)


def test_large_samples_get_isotonic_steps_close_to_the_truth() -> None:
    scores, labels = sample(20_000, slope=3.0, intercept=0.7)
    fitted = fit_calibration(scores, labels)
    grid = np.linspace(-2, 2, 41)
    truth = 1 / (1 + np.exp(-(3.0 * grid + 0.7)))
    assert fitted.method == "isotonic"
    assert np.abs(fitted.probability(grid) - truth).max() < 0.08
    assert 0 < fitted.probability(np.array([-1e9]))[0] < fitted.probability(np.array([1e9]))[0] < 1


def test_a_large_sample_with_a_rare_class_keeps_the_sigmoid() -> None:
    scores, labels = sample(2000, slope=1.0, intercept=-4.5)
    assert labels.sum() < 100
    assert fit_calibration(scores, labels).method == "sigmoid"


@pytest.mark.parametrize("rows", [200, 5000])
def test_a_score_that_ranks_backwards_gives_the_base_rate(rows: int) -> None:
    scores, labels = sample(rows, slope=-3.0, intercept=0.0)
    probability = fit_calibration(scores, labels).probability(scores)
    assert np.ptp(probability) < 0.1
    assert probability.mean() == pytest.approx(labels.mean(), abs=0.03)


def test_a_constant_score_gives_the_base_rate() -> None:
    labels = np.array([1, 0, 0, 0] * 50, dtype=np.int8)
    probability = fit_calibration(np.full(200, 3.0), labels).probability(np.array([-1.0, 3.0, 9.0]))
    np.testing.assert_allclose(probability, 0.25, atol=0.01)


@pytest.mark.parametrize("labels", [[], [0, 0, 0], [1, 1]])
def test_one_class_is_refused_with_what_to_do(labels: list[int]) -> None:
    with pytest.raises(TrainingError, match=r"both classes.*validation_ratio"):
        fit_calibration(np.zeros(len(labels)), np.array(labels, dtype=np.int8))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_probabilities_never_fall_as_scores_rise(data: st.DataObject) -> None:
    rows = data.draw(st.sampled_from([4, 50, 1500]))
    generator = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    scores = np.round(generator.normal(size=rows) * data.draw(st.sampled_from([1e-9, 1.0, 1e9])), 12)
    labels = generator.integers(0, 2, rows).astype(np.int8)
    labels[:2] = [0, 1]
    fitted = fit_calibration(scores, labels)
    probability = fitted.probability(np.sort(np.concatenate([scores, [-1e300, 1e300]])))
    assert np.isfinite(probability).all() and (probability >= 0).all() and (probability <= 1).all()
    assert (np.diff(probability) >= 0).all()
    again = Calibration.model_validate_json(fitted.model_dump_json())
    np.testing.assert_array_equal(again.probability(scores), fitted.probability(scores))


@pytest.mark.parametrize(
    "change",
    [
        {"slope": -1.0},
        {"slope": float("nan")},
        {"intercept": float("inf")},
        {"method": "magic"},
        {"method": "isotonic"},
        {"knot_scores": (1.0,), "knot_probabilities": (0.5,)},
        {"method": "isotonic", "knot_scores": (1.0, 2.0), "knot_probabilities": (0.5, 0.4)},
        {"method": "isotonic", "knot_scores": (2.0, 1.0), "knot_probabilities": (0.4, 0.5)},
        {"method": "isotonic", "knot_scores": (1.0, 2.0), "knot_probabilities": (0.4, 1.5)},
        {"method": "isotonic", "knot_scores": (1.0, 2.0), "knot_probabilities": (0.4,)},
        {"more": 1},
    ],
)
def test_a_map_that_is_not_one_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate({"method": "sigmoid", "rows": 5, "positives": 2, **change})
