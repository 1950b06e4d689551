from __future__ import annotations

import json

import numpy as np
import pytest

from nethical_assets.core.evaluation import RegressionReport, compare_with_champion
from nethical_assets.core.ground.documents import from_document

OPTIONS = {"tolerance": 0.02, "ece_bins": 10, "bootstrap_samples": 300, "seed": 0}


def two_models(rows, candidate_accuracy, champion_accuracy, seed=0):
    generator = np.random.default_rng(seed)
    labels = (generator.random(rows) < 0.5).astype(np.int8)
    luck = generator.random(rows)

    def model(accuracy):
        called = np.where(luck < accuracy, labels, 1 - labels)
        return np.where(called == 1, accuracy, 1 - accuracy)

    return labels, model(candidate_accuracy), model(champion_accuracy)


def test_no_champion():
    labels, candidate, _ = two_models(10, 0.9, 0.9)
    report = compare_with_champion(labels, candidate, None, **OPTIONS)
    assert report.verdict == "no_champion" and report.reasons == ("There is no champion to compare with.",)


def test_the_same_model_is_no_regression_at_any_size():
    for rows in (5, 100, 2000):
        labels, candidate, _ = two_models(rows, 0.9, 0.9)
        report = compare_with_champion(labels, candidate, candidate.copy(), **OPTIONS)
        assert report.verdict == "pass"
        assert {comparison.loss for comparison in report.comparisons} == {0.0}


def test_a_worse_model_regresses_and_a_better_one_does_not():
    labels, candidate, champion = two_models(3000, 0.85, 0.92)
    worse = compare_with_champion(labels, candidate, champion, **OPTIONS)
    assert worse.verdict == "fail"
    accuracy = worse.comparisons[0]
    assert accuracy.loss == pytest.approx(0.07, abs=0.02) and accuracy.loss_low > 0.02
    assert "is a regression" in worse.reasons[0] and f"{accuracy.candidate:.4f}" in worse.reasons[0]
    assert compare_with_champion(labels, champion, candidate, **OPTIONS).verdict == "pass"


def test_calibration_alone_can_regress():
    labels, candidate, champion = two_models(3000, 0.9, 0.9)
    blurred = 0.5 + (candidate - 0.5) * 0.7
    report = compare_with_champion(labels, blurred, champion, **OPTIONS)
    assert report.verdict == "fail"
    assert [reason for reason in report.reasons if "is a regression" in reason] == [report.reasons[2]]


def test_a_loss_of_exactly_the_tolerance_is_within_it():
    labels = np.array([0, 1] * 500, dtype=np.int8)
    champion = np.where(labels == 1, 1.0, 0.0)
    candidate = champion.copy()
    candidate[:20] = 1 - candidate[:20]
    report = compare_with_champion(labels, candidate, champion, **OPTIONS | {"tolerance": 0.03})
    assert report.comparisons[0].loss == pytest.approx(0.02) and report.verdict == "pass"
    assert compare_with_champion(labels, candidate, champion, **OPTIONS | {"tolerance": 0.0199}).verdict == "fail"


def test_few_rows_need_more_data_and_nothing_needs_more_data():
    labels, candidate, champion = two_models(60, 0.87, 0.9)
    assert compare_with_champion(labels, candidate, champion, **OPTIONS).verdict == "needs_more_data"
    nothing = compare_with_champion(labels[:0], candidate[:0], champion[:0], **OPTIONS)
    assert nothing.verdict == "needs_more_data"


def test_false_alarm_rate_of_equal_models():
    alarms = 0
    for seed in range(120):
        generator = np.random.default_rng(seed)
        labels = (generator.random(600) < 0.5).astype(np.int8)
        flips = [generator.random(600) < 0.1 for _ in range(2)]
        first, second = (np.where(np.where(flip, 1 - labels, labels) == 1, 0.9, 0.1) for flip in flips)
        alarms += compare_with_champion(labels, first, second, **OPTIONS | {"bootstrap_samples": 20}).verdict == "fail"
    # By the point difference of independent errors: a loss above 0.02 happens by chance in about one of eight.
    assert alarms / 120 <= 0.25


def test_unusable_predictions():
    labels, candidate, champion = two_models(600, 0.9, 0.9)
    broken = np.where(np.arange(600) == 7, np.nan, candidate)
    assert compare_with_champion(labels, broken, champion, **OPTIONS).verdict == "fail"
    report = compare_with_champion(labels, candidate, broken, **OPTIONS)
    assert report.verdict == "no_champion" and "1 of 600" in report.reasons[0]


def test_pairing_narrows_the_interval():
    labels, candidate, champion = two_models(1000, 0.88, 0.9)
    shuffled = np.random.default_rng(0).permutation(1000)
    paired = compare_with_champion(labels, candidate, champion, **OPTIONS).comparisons[0]
    order = np.argsort(labels[shuffled], kind="stable"), np.argsort(labels, kind="stable")
    unpaired_champion = np.empty(1000)
    unpaired_champion[order[1]] = champion[shuffled][order[0]]
    unpaired = compare_with_champion(labels, candidate, unpaired_champion, **OPTIONS).comparisons[0]
    assert paired.loss == pytest.approx(unpaired.loss)
    assert paired.loss_high - paired.loss_low < 0.6 * (unpaired.loss_high - unpaired.loss_low)


def test_report_is_json():
    report = compare_with_champion(*two_models(600, 0.88, 0.9), **OPTIONS)
    assert from_document(RegressionReport, json.loads(json.dumps(report.to_json(), allow_nan=False)), "here") == report


@pytest.mark.slow
def test_rows_of_one_group_count_as_what_they_are():
    # Two equally good models, each right or wrong by group: the interval of their difference excludes 0 in 5 %.
    generator = np.random.default_rng(0)
    groups, size, samples = 40, 25, 150
    excluded = {"grouped": 0, "independent": 0}
    for _ in range(samples):
        rows = groups * size
        labels = (generator.random(rows) < 0.5).astype(np.int8)

        def model(truth=labels, rows=rows):
            ease = np.repeat(generator.normal(0, 1, groups), size) + generator.normal(0, 1, rows)
            return 1 / (1 + np.exp(-((2 * truth - 1) * 1.6 + ease)))

        candidate, champion = model(), model()
        names = np.repeat(np.arange(groups).astype(str), size)
        for how, given in (("grouped", names), ("independent", None)):
            report = compare_with_champion(labels, candidate, champion, groups=given, **OPTIONS)
            (accuracy,) = (row for row in report.comparisons if row.metric == "accuracy")
            excluded[how] += accuracy.loss_low > 0 or accuracy.loss_high < 0
    assert excluded["grouped"] / samples <= 0.08
    assert excluded["independent"] / samples > 0.12


def test_models_that_are_equally_good_on_a_few_rows_or_one_group_are_not_settled():
    labels = np.array([0, 1] * 4, dtype=np.int8)
    candidate, champion = np.where(labels == 1, 0.9, 0.1), np.where(labels == 1, 0.8, 0.2)
    report = compare_with_champion(labels, candidate, champion, **OPTIONS)
    assert report.verdict == "needs_more_data"
    (accuracy,) = (row for row in report.comparisons if row.metric == "accuracy")
    assert accuracy.loss == 0.0 and accuracy.loss_low < -0.2 and accuracy.loss_high > 0.2
    labels, candidate, champion = two_models(400, 0.9, 0.88)
    report = compare_with_champion(labels, candidate, champion, groups=["g"] * 400, **OPTIONS)
    assert report.verdict == "needs_more_data"
