from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.evaluation import Estimate, Evaluation, evaluate
from nethical_assets.core.evaluation.bootstrap import BLOCK_LIMIT, resampled_sums
from nethical_assets.core.evaluation.estimate import clopper_pearson
from nethical_assets.core.evaluation.measures import METRICS
from nethical_assets.core.ground.errors import DatasetError


def measure(labels, probabilities, scores=None, **options):
    options = {"ece_bins": 10, "bootstrap_samples": 50, "seed": 1} | options
    labels = np.asarray(labels, dtype=np.int8)
    probabilities = None if probabilities is None else np.asarray(probabilities, dtype=np.float64)
    return evaluate(labels, probabilities, probabilities if scores is None else np.asarray(scores), **options)


def test_a_perfect_model_scores_perfectly_and_its_ece_is_zero():
    result = measure([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0])
    assert result.values() == {
        "accuracy": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "roc_auc": 1.0,
        "brier": 0.0,
        "ece": 0.0,
    }


def test_sure_and_wrong_has_ece_and_brier_one():
    result = measure([0, 1], [1.0, 0.0])
    assert result.value("ece") == result.value("brier") == 1.0
    assert result.value("roc_auc") == result.value("accuracy") == 0.0


def test_ece_by_hand():
    # Bin [0.2, 0.3): mean 0.25, rate 1/2. Bin [0.9, 1]: mean 0.95, rate 1. Weights one half each.
    result = measure([0, 1, 1, 1], [0.2, 0.3 - 1e-12, 0.9, 1.0])
    assert result.value("ece") == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)
    occupied = [row for row in result.reliability if row.rows]
    assert [(row.low, row.rows, row.observed_rate) for row in occupied] == [(0.2, 2, 0.5), (0.9, 2, 1.0)]


def test_confusion_by_hand():
    result = measure([1, 1, 1, 0, 0, 0, 0], [0.9, 0.5, 0.4, 0.6, 0.1, 0.1, 0.1])
    matrix = result.confusion
    counts = (matrix.true_positives, matrix.false_positives, matrix.true_negatives, matrix.false_negatives)
    assert counts == (2, 1, 3, 1)
    assert result.value("f1") == pytest.approx(2 / 3)


labelled = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 1), min_size=n, max_size=n),
        st.lists(st.integers(0, 20).map(lambda k: k / 20), min_size=n, max_size=n),
    )
)


@settings(max_examples=150, deadline=None)
@given(labelled)
def test_agrees_with_scikit_learn(case):
    from sklearn import metrics

    labels, probabilities = np.array(case[0], dtype=np.int8), np.array(case[1])
    result, called = measure(labels, probabilities), probabilities >= 0.5
    assert result.value("accuracy") == pytest.approx(metrics.accuracy_score(labels, called))
    assert result.value("brier") == pytest.approx(np.mean((labels - probabilities) ** 2))
    both = 0 < labels.sum() < len(labels)
    assert (result.value("roc_auc") is not None) == both
    if both:
        assert result.value("roc_auc") == pytest.approx(metrics.roc_auc_score(labels, probabilities))
    for name, reference in (("precision", metrics.precision_score), ("recall", metrics.recall_score)):
        if result.value(name) is not None:
            assert result.value(name) == pytest.approx(reference(labels, called))
    if result.value("f1") is not None:
        assert result.value("f1") == pytest.approx(metrics.f1_score(labels, called))


@settings(max_examples=100, deadline=None)
@given(labelled)
def test_every_document_is_json_without_nan_and_comes_back_equal(case):
    result = measure(*case, sources=np.array(["a", "b"])[np.arange(len(case[0])) % 2])
    text = json.dumps(result.to_json(), allow_nan=False)
    assert Evaluation.from_json(json.loads(text)) == result
    for estimate in [*result.metrics.values(), *(e for s in result.sources for e in s.metrics.values())]:
        if estimate.value is None:
            assert estimate.reason and estimate.low is None and estimate.high is None
        else:
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@given(labelled)
def test_row_order_does_not_change_a_value(case):
    labels, probabilities = case
    forwards, backwards = measure(labels, probabilities), measure(labels[::-1], probabilities[::-1])
    for name in METRICS:
        assert forwards.value(name) == pytest.approx(backwards.value(name))


def test_undefined_metrics_say_why():
    all_negative = measure([0, 0, 0], [0.1, 0.2, 0.3])
    assert {name for name in METRICS if all_negative.value(name) is None} == {"precision", "recall", "f1", "roc_auc"}
    assert "no positive rows" in all_negative.metrics["recall"].reason
    assert "one class" in all_negative.metrics["roc_auc"].reason
    missed = measure([1, 0], [0.1, 0.2])
    assert missed.value("f1") == 0.0 and missed.value("precision") is None
    assert all(measure([], []).value(name) is None for name in METRICS)


def test_without_probabilities_scores_decide_and_calibration_is_undefined():
    result = measure([0, 1, 1], None, scores=[-3.0, 4.0, 0.2])
    assert result.value("accuracy") == pytest.approx(2 / 3)
    assert result.value("roc_auc") == 1.0
    assert result.value("ece") is None and "no probabilities" in result.metrics["ece"].reason
    assert not result.has_probabilities and result.reliability == ()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_predictions_that_are_no_probabilities_make_every_metric_undefined(bad):
    result = measure([0, 1, 1], [0.1, bad, 0.8])
    assert all(result.value(name) is None for name in METRICS)
    assert "1 of 3 probabilities" in result.metrics["accuracy"].reason
    assert result.confusion is None


def test_labels_that_are_not_labels_and_lengths_that_differ_are_refused():
    with pytest.raises(DatasetError, match="label 2"):
        measure([0, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="shapes"):
        measure([0, 1], [0.1])
    with pytest.raises(ValueError, match="sources"):
        measure([0, 1], [0.1, 0.2], sources=["a"])


def test_clopper_pearson_matches_published_values_and_covers():
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 0.30850), abs=1e-5)
    assert clopper_pearson(8, 10) == pytest.approx((0.44390, 0.97479), abs=1e-5)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    draws = np.random.default_rng(3).binomial(40, 0.9, size=2000)
    intervals = {int(k): clopper_pearson(int(k), 40) for k in set(draws)}
    covered = np.mean([intervals[k][0] <= 0.9 <= intervals[k][1] for k in draws.tolist()])
    assert covered >= 0.95


def normal_cdf(value):
    return 0.5 * (1 + math.erf(value / math.sqrt(2)))


def coverage(truth, intervals):
    """The share of intervals that hold the truth, ends included."""
    return float(np.mean([low - 1e-9 <= truth <= high + 1e-9 for low, high in intervals]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "share", "distance", "spread"),
    [
        (20, 0.5, 2.0, 1.0),
        (40, 0.3, 3.0, 1.0),
        (60, 0.2, 2.5, 1.0),
        (100, 0.9, 2.0, 1.0),
        (300, 0.4, 1.0, 1.0),
        (500, 0.5, 3.0, 1.0),
        (1000, 0.05, 3.0, 1.0),
        (1000, 0.02, 2.0, 1.0),
        (200, 0.2, 2.5, 3.0),
        (300, 0.4, 1.0, 0.3),
    ],
)
def test_intervals_of_roc_auc_cover_the_truth_over_a_grid(rows, share, distance, spread):
    truth = normal_cdf(distance / math.sqrt(1 + spread**2))
    generator = np.random.default_rng(11)
    intervals = []
    for _ in range(800):
        labels = (generator.random(rows) < share).astype(np.int8)
        scores = generator.normal(size=rows) * np.where(labels == 1, spread, 1.0) + distance * labels
        estimate = measure(labels, None, scores=scores, bootstrap_samples=200).metrics["roc_auc"]
        if estimate.value is not None:
            intervals.append((estimate.low, estimate.high))
    assert coverage(truth, intervals) >= 0.93
    assert all(0.0 <= low < high <= 1.0 for low, high in intervals)


@pytest.mark.parametrize(("rows", "hit", "alarm"), [(60, 0.95, 0.02), (1000, 0.9, 0.02), (300, 0.6, 0.4)])
def test_intervals_of_roc_auc_cover_where_scores_are_tied(rows, hit, alarm):
    generator = np.random.default_rng(5)
    intervals = []
    for _ in range(300):
        labels = (generator.random(rows) < 0.2).astype(np.int8)
        scores = (generator.random(rows) < np.where(labels == 1, hit, alarm)).astype(np.float64)
        estimate = measure(labels, None, scores=scores, bootstrap_samples=200).metrics["roc_auc"]
        if estimate.value is not None:
            intervals.append((estimate.low, estimate.high))
    assert coverage(0.5 + (hit - alarm) / 2, intervals) >= 0.91


@pytest.mark.parametrize(("rows", "share", "hit", "alarm"), [(20, 0.5, 0.95, 0.02), (60, 0.2, 0.9, 0.05)])
@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1"])
def test_intervals_of_shares_cover_the_truth(name, rows, share, hit, alarm):
    precision = share * hit / (share * hit + (1 - share) * alarm)
    truth = {
        "accuracy": share * hit + (1 - share) * (1 - alarm),
        "precision": precision,
        "recall": hit,
        "f1": 2 * precision * hit / (precision + hit),
    }[name]
    generator = np.random.default_rng(7)
    intervals = []
    for _ in range(300):
        labels = (generator.random(rows) < share).astype(np.int8)
        called = (generator.random(rows) < np.where(labels == 1, hit, alarm)).astype(np.float64)
        estimate = measure(labels, called, bootstrap_samples=1).metrics[name]
        if estimate.value is not None:
            intervals.append((estimate.low, estimate.high))
    assert coverage(truth, intervals) >= 0.93


@pytest.mark.parametrize("groups", [None, "in groups"])
@pytest.mark.parametrize("rows", [8, 30, 400])
def test_a_perfect_sample_is_no_certainty(rows, groups):
    labels = np.arange(rows) % 4 == 0
    named = None if groups is None else [f"g{number // 4}" for number in range(rows)]
    result = measure(labels, np.where(labels, 0.9, 0.1), groups=named)
    for name in ("accuracy", "precision", "recall", "f1", "roc_auc"):
        estimate = result.metrics[name]
        assert (estimate.value, estimate.high) == (1.0, 1.0)
        assert 0.0 < estimate.low < 1.0 - 0.3 / rows, name


def grouped_sample(generator, groups, size):
    """Labels and probabilities of a model that is right or wrong by group: its accuracy is 0.8 over all groups."""
    labels = (generator.random(groups * size) < 0.5).astype(np.int8)
    ease = np.repeat(generator.normal(0, 1.0, groups), size)
    # Right where the sum of two standard normals is above a quantile of N(0, 2).
    right = ease + generator.normal(size=groups * size) > -0.8416212 * math.sqrt(2)
    return labels, np.where(right == (labels == 1), 0.8, 0.2), np.repeat(np.arange(groups).astype(str), size)


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "size"), [(12, 30), (40, 25), (150, 4)])
def test_intervals_of_grouped_rows_cover_the_truth(groups, size):
    generator = np.random.default_rng(3)
    # Brier is 0.04 where it is right and 0.64 where it is wrong.
    truths = {"accuracy": 0.8, "recall": 0.8, "f1": 0.8, "roc_auc": 0.8, "brier": 0.16}
    found = {name: [] for name in truths}
    for _ in range(200):
        labels, probabilities, names = grouped_sample(generator, groups, size)
        metrics = measure(labels, probabilities, groups=names, bootstrap_samples=200).metrics
        for name in truths:
            found[name].append((metrics[name].low, metrics[name].high))
    covered = {name: coverage(truths[name], found[name]) for name in truths}
    assert min(covered.values()) >= 0.91, covered


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "size"), [(25, 40), (100, 6), (800, 1)])
@pytest.mark.parametrize("error", [0.0, 0.03, 0.1])
def test_intervals_of_ece_cover_the_truth(groups, size, error):
    # The stated probability is off by `error` in every bin, and the share of positives varies by group.
    generator = np.random.default_rng(3)
    found = []
    for _ in range(150):
        stated = generator.choice([0.25, 0.35, 0.45, 0.55, 0.65, 0.75], groups * size)
        ease = np.repeat(generator.choice([-0.15, 0.15], groups), size) * (size > 1)
        labels = generator.random(groups * size) < stated + error + ease
        names = np.repeat(np.arange(groups).astype(str), size)
        estimate = measure(labels, stated, groups=names, bootstrap_samples=150).metrics["ece"]
        found.append((estimate.low, estimate.high))
    assert coverage(error, found) >= 0.9


def test_one_group_says_next_to_nothing_and_groups_of_one_row_change_nothing():
    generator = np.random.default_rng(3)
    labels, probabilities, _ = grouped_sample(generator, 40, 25)
    alone = measure(labels, probabilities, groups=["g"] * 1000)
    for estimate in alone.metrics.values():
        assert estimate.high - estimate.low > 0.5
    independent = measure(labels, probabilities)
    assert measure(labels, probabilities, groups=[""] * 1000) == independent
    singles = measure(labels, probabilities, groups=[f"g{number}" for number in range(1000)])
    assert singles.values() == independent.values()
    assert singles.metrics["accuracy"].low == pytest.approx(independent.metrics["accuracy"].low, abs=0.001)


def test_groups_of_the_same_name_in_two_sources_are_two_groups():
    generator = np.random.default_rng(3)
    labels, probabilities, names = grouped_sample(generator, 40, 25)
    sources = np.where(names.astype(int) < 20, "west", "east")
    renamed = (names.astype(int) % 20).astype(str)
    first, second = (measure(labels, probabilities, groups=given, sources=sources) for given in (renamed, names))
    for name in ("accuracy", "f1", "roc_auc"):
        assert first.metrics[name].low == pytest.approx(second.metrics[name].low)
    merged = measure(labels, probabilities, groups=renamed)
    assert merged.metrics["accuracy"].low != pytest.approx(first.metrics["accuracy"].low)
    with pytest.raises(ValueError, match="groups"):
        measure(labels, probabilities, groups=["g"])


def test_resampled_sums_have_the_variance_of_the_bootstrap_with_and_without_blocks():
    generator = np.random.default_rng(2)
    for rows in (1000, 3 * BLOCK_LIMIT + 7):
        column = generator.exponential(size=(rows, 1))
        sums = resampled_sums(column, 400, seed=9)
        assert sums.mean() == pytest.approx(column.sum(), rel=0.01)
        assert sums.std() == pytest.approx(np.sqrt(rows * column.var()), rel=0.15)


def test_same_seed_same_bytes_other_seed_other_interval():
    generator = np.random.default_rng(0)
    probabilities = generator.random(500)
    labels = generator.random(500) < probabilities
    first, again, other = (measure(labels, probabilities, seed=seed) for seed in (4, 4, 5))
    assert first == again
    assert first.metrics["brier"].low != other.metrics["brier"].low
    assert first.values() == other.values()


def test_per_source_metrics_are_those_of_the_source_alone():
    generator = np.random.default_rng(0)
    probabilities = generator.random(300)
    labels = (generator.random(300) < probabilities).astype(np.int8)
    sources = np.array(["west", "east", "north"])[np.arange(300) % 3]
    result = measure(labels, probabilities, sources=sources)
    assert [source.source for source in result.sources] == ["east", "north", "west"]
    east = measure(labels[sources == "east"], probabilities[sources == "east"])
    assert result.sources[0].metrics == east.metrics
    assert sum(source.rows for source in result.sources) == 300


def test_estimate_reads_as_a_sentence():
    assert str(Estimate(0.5, 0.4, 0.6)) == "0.5000 (95 % interval 0.4000 to 0.6000)"
    assert "no rows" in str(Estimate(None, reason="no rows"))
