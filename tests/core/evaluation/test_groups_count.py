"""Rows that come in groups count as many as there are groups, wherever a verdict asks whether there are enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nethical_assets.core.delivery.release import watch_champion
from nethical_assets.core.evaluation.clusters import count_units
from nethical_assets.core.evaluation.estimate import Estimate
from nethical_assets.core.evaluation.ethical_report import FamilyEvidence, ethical_drift_report
from nethical_assets.core.evaluation.gate import decide
from nethical_assets.core.evaluation.metrics import Evaluation, evaluate
from nethical_assets.core.evaluation.rates import compare_rates
from nethical_assets.core.evaluation.regression import compare_with_champion

ROWS, GROUPS = 900, 30
NAMES = np.repeat([f"g{number}" for number in range(GROUPS)], ROWS // GROUPS)
MEASURED: dict[str, Any] = {"ece_bins": 10, "bootstrap_samples": 200, "seed": 1}


def sample(right_share: float = 0.87) -> tuple[Any, Any]:
    """Labels and probabilities of a model that is right in whole groups, or wrong."""
    labels = np.tile(np.array([0, 1], dtype=np.int8), ROWS // 2)
    right = np.repeat(np.arange(GROUPS) < round(right_share * GROUPS), ROWS // GROUPS)
    return labels, np.where(right == (labels == 1), 0.86, 0.14)


def measured(groups: Any, **options: Any) -> Evaluation:
    labels, probabilities = sample()
    return evaluate(labels, probabilities, probabilities, groups=groups, **MEASURED, **options)


def test_an_evaluation_says_how_many_groups_there_are() -> None:
    assert (measured(None).groups, measured(None).units) == (None, ROWS)
    assert (measured(NAMES).groups, measured(NAMES).units) == (GROUPS, GROUPS)
    singles = np.where(NAMES == "g0", "", NAMES)
    assert measured(singles).units == GROUPS - 1 + ROWS // GROUPS
    assert Evaluation.from_json(measured(NAMES).to_json()) == measured(NAMES)


def test_the_gate_does_not_take_rows_of_few_groups_for_a_large_sample() -> None:
    limits = {"accuracy_min": 0.85, "ece_max": 0.08}
    alone, together = (decide(measured(groups), **limits) for groups in (None, NAMES))
    assert (alone.verdict, together.verdict) == ("pass", "needs_more_data")
    assert "900 test rows in 30 groups) cannot be told from the minimum 0.85" in together.reasons[0]
    assert "500 groups are needed" in together.reasons[0]
    assert together.groups == GROUPS
    assert decide(measured(NAMES), **limits, minimum_rows=GROUPS).reasons[0].endswith("reaches the minimum 0.85.")


def test_calibration_noise_is_that_of_the_groups() -> None:
    alone, together = (decide(measured(groups), accuracy_min=0.5, ece_max=0.08) for groups in (None, NAMES))
    assert alone.ece_noise is not None
    assert together.ece_noise is not None
    assert alone.ece_noise < 0.08 < together.ece_noise
    assert together.ece_at_limit is not None
    assert alone.ece_at_limit is not None
    assert together.ece_at_limit[1] > alone.ece_at_limit[1]
    # Groups that tell nothing of each other's rows cost little.
    unrelated = np.random.default_rng(2).permutation(NAMES)
    spread = decide(measured(unrelated), accuracy_min=0.5, ece_max=0.08)
    assert spread.ece_noise is not None
    assert spread.ece_noise < together.ece_noise / 2


def test_a_champion_is_not_beaten_by_the_rows_of_few_groups() -> None:
    labels, champion = sample(1.0)
    _, candidate = sample(0.9)
    options: dict[str, Any] = {"tolerance": 0.05, **MEASURED}
    alone, together = (
        compare_with_champion(labels, candidate, champion, groups=groups, **options) for groups in (None, NAMES)
    )
    assert (alone.verdict, together.verdict) == ("fail", "needs_more_data")
    assert (alone.groups, together.groups) == (None, GROUPS)
    assert "900 rows in 30 groups" in together.reasons[0]


def test_rates_of_sources_are_compared_by_what_their_groups_tell() -> None:
    """One source with no error, one whose every error is of a few groups."""
    sources = np.where(np.arange(ROWS) < ROWS // 2, "one", "two")
    labels = np.tile(np.array([0, 1], dtype=np.int8), ROWS // 2)
    wrong = np.isin(NAMES, ["g20", "g21", "g22", "g23"])
    probabilities = np.where((labels == 1) != wrong, 0.9, 0.1)

    def compared(groups: Any) -> Any:
        found = evaluate(labels, probabilities, probabilities, sources=sources, groups=groups, **MEASURED)
        return ethical_drift_report([FamilyEvidence("logistic", found)]).families["logistic"].comparisons

    for name in ("missed", "false_alarms"):
        alone, together = compared(None)[name], compared(NAMES)[name]
        assert alone.difference == together.difference
        assert alone.verdict == "fail"
        assert together.verdict == "needs_more_data"
        assert together.largest - together.smallest > alone.largest - alone.smallest


@pytest.mark.parametrize("effect", [1.0, 4.0, 40.0])
def test_a_design_effect_is_as_many_times_fewer_rows(effect: float) -> None:
    given = compare_rates(
        {"a": (40, 400), "b": (80, 400)}, maximum_difference=0.1, event="x", design_effects={"a": effect, "b": effect}
    )
    fewer = compare_rates(
        {"a": (round(40 / effect), round(400 / effect)), "b": (round(80 / effect), round(400 / effect))},
        maximum_difference=0.1,
        event="x",
    )
    assert (given.smallest, given.largest) == pytest.approx((fewer.smallest, fewer.largest))
    assert given.rows == 800


def test_a_champion_does_not_fall_by_the_rows_of_few_groups() -> None:
    recorded, now = Estimate(0.9, 0.86, 0.94), Estimate(0.83, 0.8, 0.86)
    options: dict[str, Any] = {"limit": 0.05}
    assert watch_champion(recorded, ROWS, now, ROWS, **options).verdict == "fell"
    for units in ((GROUPS, ROWS), (ROWS, GROUPS)):
        assert watch_champion(recorded, ROWS, now, ROWS, **options, units=units).verdict == "needs_more_data"
    assert count_units(NAMES, None, ROWS) == GROUPS
    assert count_units(NAMES, np.where(np.arange(ROWS) % 2, "one", "two"), ROWS) == 2 * GROUPS
    assert count_units(None, None, ROWS) == count_units([""] * ROWS, None, ROWS) == ROWS
