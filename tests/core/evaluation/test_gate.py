from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from nethical_assets.core.evaluation import Estimate, GateDecision, decide, evaluate
from nethical_assets.core.ground.documents import from_document

LIMITS = {"accuracy_min": 0.85, "ece_max": 0.08}


def verdicts(make_sample, quick, *, rows, accuracy, overconfidence=0.0, trials=200, **options):
    """Shares of verdicts over test samples of one model."""
    generator = np.random.default_rng(rows)
    found = [
        decide(quick(*make_sample(rows, accuracy, overconfidence, generator), seed), **LIMITS | options).verdict
        for seed in range(trials)
    ]
    return {verdict: found.count(verdict) / trials for verdict in ("pass", "fail", "needs_more_data")}


def test_a_good_model_passes_with_sentences_that_hold_the_numbers(make_sample, quick):
    labels, probabilities = make_sample(4000, 0.92, 0.0, np.random.default_rng(0))
    decision = decide(quick(labels, probabilities), **LIMITS)
    assert decision.verdict == "pass"
    assert all(reason.endswith(".") for reason in decision.reasons)
    assert f"{decision.accuracy:.4f}" in decision.reasons[0] and "4000 test rows" in decision.reasons[0]
    assert f"{decision.ece:.4f}" in decision.reasons[1]


@pytest.mark.parametrize("rows", [100, 200, 500])
def test_false_pass_rate_of_a_model_that_is_too_inaccurate(make_sample, quick, rows):
    from scipy.stats import binom

    labels = np.array([0, 1] * (rows // 2), dtype=np.int8)

    def passes(correct: int) -> bool:
        called = np.where(np.arange(rows) < correct, labels, 1 - labels).astype(np.float64)
        return decide(quick(labels, called), **LIMITS, policy="disable").verdict == "pass"

    least = next(correct for correct in range(int(0.8 * rows), rows) if passes(correct))
    assert not any(passes(correct) for correct in range(int(0.7 * rows), least))
    # Deciding by the point estimate alone passes 26 %, 16 % and 4.5 % of the test samples of a model with 0.82.
    assert binom.sf(least - 1, rows, 0.82) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("rows", [100, 200, 500])
def test_false_fail_rate_of_a_perfectly_calibrated_model(make_sample, quick, rows):
    # Deciding by the point estimate alone fails up to 79 %, 35 % and 0.5 % of these.
    assert verdicts(make_sample, quick, rows=rows, accuracy=0.93)["fail"] <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize("rows", [100, 500, 2000])
def test_false_pass_rate_of_a_badly_calibrated_model(make_sample, quick, rows):
    shares = verdicts(make_sample, quick, rows=rows, accuracy=0.8, overconfidence=0.13, accuracy_min=0.5)
    assert shares["pass"] <= 0.05
    if rows >= 500:
        assert shares["fail"] >= 0.9


def test_verdicts_become_definite_with_rows(make_sample, quick):
    unsure = [
        verdicts(make_sample, quick, rows=rows, accuracy=0.9, trials=60)["needs_more_data"] for rows in (50, 200, 600)
    ]
    assert unsure[0] > 0.5 and unsure[2] == 0.0 and unsure[0] >= unsure[1] >= unsure[2]


def test_a_hopeless_model_fails_even_on_a_small_sample(make_sample, quick):
    labels, probabilities = make_sample(80, 0.55, 0.0, np.random.default_rng(0))
    decision = decide(quick(labels, probabilities), **LIMITS, policy="disable")
    assert decision.verdict == "fail" and "below the minimum 0.85" in decision.reasons[0]


def test_the_thresholds_themselves_pass():
    labels = np.array([1] * 500 + [0] * 500, dtype=np.int8)
    probabilities = np.where(labels, 0.9, 0.1)
    probabilities[:75], probabilities[500:575] = 0.1, 0.9
    evaluation = evaluate(labels, probabilities, probabilities, ece_bins=10, bootstrap_samples=5, seed=0)
    assert evaluation.value("accuracy") == 0.85 and evaluation.value("ece") == pytest.approx(0.05)
    assert decide(evaluation, accuracy_min=0.85, ece_max=evaluation.value("ece")).verdict == "pass"
    assert decide(evaluation, accuracy_min=0.8501, ece_max=0.08).verdict == "fail"
    assert decide(evaluation, accuracy_min=0.85, ece_max=0.0499).verdict == "fail"


def test_policies():
    generator = np.random.default_rng(0)
    labels = (generator.random(1000) < 0.5).astype(np.int8)
    miscalibrated = np.where(labels, 0.6, 0.4)
    with_probabilities = evaluate(labels, miscalibrated, miscalibrated, ece_bins=10, bootstrap_samples=5, seed=0)
    without = evaluate(labels, None, miscalibrated, ece_bins=10, bootstrap_samples=5, seed=0)
    verdict = {
        (policy, name): decide(evaluation, **LIMITS, policy=policy).verdict
        for policy in ("strict", "probs_only", "disable")
        for name, evaluation in (("with", with_probabilities), ("without", without))
    }
    assert verdict == {
        ("strict", "with"): "fail",
        ("strict", "without"): "fail",
        ("probs_only", "with"): "fail",
        ("probs_only", "without"): "pass",
        ("disable", "with"): "pass",
        ("disable", "without"): "pass",
    }


def test_nan_and_undefined_metrics_fail_with_the_reason(make_sample, quick):
    labels, probabilities = make_sample(1000, 0.95, 0.0, np.random.default_rng(0))
    probabilities[3] = math.nan
    decision = decide(quick(labels, probabilities), **LIMITS)
    assert decision.verdict == "fail"
    assert "1 of 1000 probabilities are not numbers in [0, 1]" in " ".join(decision.reasons)
    good = quick(*make_sample(1000, 0.95, 0.0, np.random.default_rng(0)))
    broken = dataclasses.replace(good, metrics={**good.metrics, "ece": Estimate(math.nan)})
    assert decide(broken, **LIMITS).verdict == "fail"


def test_no_rows_and_one_class_need_more_data(quick):
    nothing = quick(np.array([], dtype=np.int8), np.array([]))
    assert decide(nothing, **LIMITS).verdict == "needs_more_data"
    one_class = quick(np.zeros(2000, dtype=np.int8), np.full(2000, 0.01))
    decision = decide(one_class, **LIMITS)
    assert decision.verdict == "needs_more_data" and "All 2000 test rows are negative" in decision.reasons[-1]


def test_many_bins_need_more_rows_for_the_ece(make_sample):
    labels, probabilities = make_sample(600, 0.95, 0.0, np.random.default_rng(1))
    probabilities = np.clip(probabilities + np.random.default_rng(2).normal(0, 0.01, 600), 0, 1)
    few, many = (
        decide(evaluate(labels, probabilities, probabilities, ece_bins=bins, bootstrap_samples=5, seed=0), **LIMITS)
        for bins in (10, 100)
    )
    assert few.ece_noise < many.ece_noise


def test_decision_is_json_and_deterministic(make_sample, quick):
    evaluation = quick(*make_sample(300, 0.9, 0.05, np.random.default_rng(0)))
    decision = decide(evaluation, **LIMITS)
    assert from_document(GateDecision, json.loads(json.dumps(decision.to_json(), allow_nan=False)), "here") == decision
    assert decide(evaluation, **LIMITS) == decision
