from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.evaluation import Evaluation, evaluate
from nethical_assets.core.evaluation.operating_points import MAXIMUM_POINTS, OperatingPoints, operating_points
from nethical_assets.core.ground.documents import from_document, to_document


def points_of(labels, scores):
    return operating_points(np.asarray(labels, dtype=np.int8), np.asarray(scores, dtype=np.float64))


def test_points_by_hand():
    points = points_of([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1])
    assert points.false_positive_rate == (0.0, 0.0, 0.5, 0.5, 1.0)
    assert points.recall == (0.0, 0.5, 0.5, 1.0, 1.0)
    assert points.precision == (None, 1.0, 0.5, 0.666667, 0.5)


def test_equal_scores_are_called_together():
    points = points_of([1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5])
    assert (points.false_positive_rate, points.recall, points.precision) == ((0.0, 1.0), (0.0, 1.0), (None, 0.5))


@pytest.mark.parametrize("labels", [[], [0, 0], [1]])
def test_one_class_has_no_curve(labels):
    assert points_of(labels, np.linspace(0, 1, len(labels))) == OperatingPoints((), (), ())


rows = st.lists(st.tuples(st.integers(0, 1), st.integers(-5, 5).map(float)), max_size=300)


@given(rows, st.randoms())
def test_curves_rise_stay_bounded_and_ignore_row_order(labelled, random):
    points = points_of([label for label, _ in labelled], [score for _, score in labelled])
    shuffled = random.sample(labelled, len(labelled))
    assert points_of([label for label, _ in shuffled], [score for _, score in shuffled]) == points
    for rates in (points.false_positive_rate, points.recall):
        assert list(rates) == sorted(rates)
        assert not rates or (rates[0], rates[-1]) == (0.0, 1.0)
    assert from_document(OperatingPoints, to_document(points), "here") == points


def test_many_scores_are_reduced_without_losing_the_shape():
    generator = np.random.default_rng(5)
    labels = (generator.random(20_000) < 0.1).astype(np.int8)
    scores = generator.normal(size=20_000) + 1.5 * labels
    result = evaluate(labels, None, scores, ece_bins=10, bootstrap_samples=2, seed=0)
    points = result.operating_points
    assert 50 < len(points.recall) <= MAXIMUM_POINTS
    assert len(points.recall) == len(points.false_positive_rate) == len(points.precision)
    area = np.trapezoid(points.recall, points.false_positive_rate)
    assert area == pytest.approx(result.value("roc_auc"), abs=0.003)
    positives, negatives = labels.sum(), len(labels) - labels.sum()
    hits = np.round(np.array(points.recall[1:]) * positives)
    alarms = np.round(np.array(points.false_positive_rate[1:]) * negatives)
    assert points.precision[1:] == pytest.approx(hits / (hits + alarms), abs=1e-5)


def test_an_evaluation_stored_before_there_were_points_still_reads():
    labels, scores = np.array([0, 1], dtype=np.int8), np.array([0.2, 0.8])
    result = evaluate(labels, scores, scores, ece_bins=10, bootstrap_samples=2, seed=0)
    document = result.to_json()
    assert Evaluation.from_json(document) == result
    del document["operating_points"]
    assert Evaluation.from_json(document).operating_points is None


def test_predictions_that_are_not_numbers_have_no_points():
    labels, scores = np.array([0, 1], dtype=np.int8), np.array([np.nan, 0.8])
    assert evaluate(labels, None, scores, ece_bins=10, bootstrap_samples=2, seed=0).operating_points is None
