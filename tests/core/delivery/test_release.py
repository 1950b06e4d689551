"""Release decisions and semantic versions."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from nethical_assets.core.delivery.release import decide_release, is_severe_drop, next_version
from nethical_assets.core.ground.errors import IntegrityError

from .conftest import manifest_of

GATE = ("pass", "fail", "needs_more_data")
REGRESSION = (*GATE, "no_champion")


@pytest.mark.parametrize(("gate", "regression"), list(itertools.product(GATE, REGRESSION)))
def test_promotes_exactly_when_the_gate_passed_and_nothing_is_worse(gate: str, regression: str) -> None:
    decision = decide_release(
        {"verdict": gate, "reasons": ["g"], "n": 1}, {"verdict": regression, "reasons": ["r1", "r2"]}
    )
    promoted = gate == "pass" and regression in ("pass", "no_champion")
    assert decision.verdict == ("promoted" if promoted else "candidate")
    assert decision.reasons == ("g", "r1", "r2")
    assert decision.gate["n"] == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "2.3.5"),
        ({"training": {"code": "c1", "seed": 43}}, "2.3.5"),
        ({"libraries": {"numpy": "2.5"}}, "2.3.5"),
        ({"training": {"code": "c2", "seed": 42}}, "2.4.0"),
        ({"input_columns": ("a",)}, "3.0.0"),
        ({"input_columns": ("b", "a"), "training": {"code": "c2"}}, "3.0.0"),
    ],
)
def test_the_version_says_what_changed(changes: dict[str, Any], expected: str) -> None:
    assert next_version(manifest_of({}, **changes), manifest_of({}), "2.3.4") == expected


def test_the_first_version() -> None:
    assert next_version(manifest_of({}), None, None) == "1.0.0"


@pytest.mark.parametrize("version", ["1.0", "v1.0.0", "1.0.0-rc1", "", "1.0.0\n"])
def test_a_champion_without_a_semantic_version_is_one_line(version: str) -> None:
    with pytest.raises(IntegrityError, match="is not a semantic version such as"):
        next_version(manifest_of({}), manifest_of({}), version)


@pytest.mark.parametrize(
    ("loss", "severe"), [(0.051, True), (0.05, False), (0.02, False), (-0.2, False), (None, False)]
)
def test_a_drop_is_severe_above_the_limit(loss: float | None, severe: bool) -> None:
    regression = {"comparisons": [{"metric": "ece", "loss": 0.9}, {"metric": "accuracy", "loss": loss}]}
    assert is_severe_drop(regression, 0.05) is severe


def test_without_a_comparison_there_is_no_drop() -> None:
    assert not is_severe_drop({"verdict": "no_champion", "comparisons": []}, 0.05)
