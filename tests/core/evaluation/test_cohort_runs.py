"""A training run as a cohort: the counts of its evaluation, and what groups take away."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nethical_assets.core.drift.reliability import FIXED_POINT
from nethical_assets.core.evaluation import evaluate
from nethical_assets.core.evaluation.cohort_runs import effects_of_run, run_counts
from nethical_assets.core.evaluation.cohorts import CohortCounts

ROWS = 600
GENERATOR = np.random.default_rng(4)
PROBABILITY = GENERATOR.random(ROWS)
LABELS = (GENERATOR.random(ROWS) < PROBABILITY).astype(np.int8)
SOURCES = np.where(np.arange(ROWS) % 3 == 0, "a", "b").astype(object)
MEASURED = {"ece_bins": 8, "bootstrap_samples": 2, "seed": 0}


def test_the_counts_are_those_of_the_rows() -> None:
    counts = run_counts(evaluate(LABELS, PROBABILITY, PROBABILITY, sources=SOURCES, **MEASURED))
    assert counts is not None
    expected = CohortCounts.of_test_rows(LABELS, PROBABILITY, 0.5)
    # Bins of an eighth never lie in two tiers.
    assert replace(counts, risk_sum=0) == replace(expected, risk_sum=0)
    assert counts.risk_sum / FIXED_POINT == pytest.approx(expected.risk_sum / FIXED_POINT)


def test_predictions_that_are_no_numbers_are_no_cohort() -> None:
    bad = np.full(ROWS, np.nan)
    assert run_counts(evaluate(LABELS, bad, bad, **MEASURED)) is None


def test_rows_in_groups_count_as_fewer() -> None:
    assert effects_of_run(evaluate(LABELS, PROBABILITY, PROBABILITY, sources=SOURCES, **MEASURED)) == {}
    groups = np.array([f"g{number // 10}" for number in range(ROWS)], dtype=object)
    # All rows of a group are right, or all are wrong.
    wrong = np.arange(ROWS) // 10 % 4 == 0
    said = np.where((LABELS == 1) != wrong, 0.9, 0.1)
    found = evaluate(LABELS, said, said, sources=SOURCES, groups=groups, **MEASURED)
    effects = effects_of_run(found)
    sources = [one.missed_effect for one in found.sources]
    assert min(sources) <= effects["missed"] <= max(sources)
    assert effects["wrong"] >= effects["missed"] > 1.0
    assert effects["risk"] == pytest.approx(ROWS / found.groups)
