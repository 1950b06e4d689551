"""Release decisions and semantic versions."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nethical_assets.core.delivery.release import (
    FALLEN_HOLD,
    FALLEN_REPLACED,
    beats_champion,
    decide_release,
    is_severe_drop,
    is_superseded,
    next_version,
    watch_champion,
)
from nethical_assets.core.evaluation.estimate import Estimate, proportion, undefined
from nethical_assets.core.ground.errors import IntegrityError
from tests.core.models.conftest import manifest_of

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


def watch(before: tuple[int, int], after: tuple[int, int], limit: float = 0.05, effect: float = 1.0) -> Any:
    """The watch over a champion that was right on so many of so many rows, then and now."""
    recorded, now = (proportion(*numbers, "no rows", effect) for numbers in (before, after))
    return watch_champion(recorded, before[1], now, after[1], limit=limit)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((4886, 4981), (4341, 4981), "fell"),  # 0.981 to 0.8715: 12 % of the labels were flipped
        ((4886, 4981), (4880, 4981), "held"),
        ((4886, 4981), (4700, 4981), "held"),
        ((4000, 5000), (4900, 5000), "held"),
        ((950, 1000), (890, 1000), "fell"),
        ((95, 100), (88, 100), "needs_more_data"),
        ((95, 100), (60, 100), "fell"),
        ((4886, 4981), (88, 100), "needs_more_data"),
        ((4886, 4981), (50, 100), "fell"),
        ((95, 100), (95, 100), "needs_more_data"),
        ((395, 400), (399, 400), "held"),
        ((5, 5), (0, 1), "needs_more_data"),
    ],
)
def test_the_watch_over_the_champion_has_three_values(
    before: tuple[int, int], after: tuple[int, int], verdict: str
) -> None:
    found = watch(before, after)
    assert found.verdict == verdict
    assert (found.recorded_rows, found.rows) == (before[1], after[1])
    assert found.drop == pytest.approx(before[0] / before[1] - after[0] / after[1])
    assert found.drop_low < found.drop <= found.drop_high
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


def test_rows_in_few_groups_are_no_proof_of_a_fall() -> None:
    assert watch((950, 1000), (880, 1000)).verdict == "fell"
    assert watch((950, 1000), (880, 1000), effect=25.0).verdict == "needs_more_data"


@pytest.mark.parametrize("unknown", [undefined("no rows"), Estimate(0.9)])
def test_a_champion_that_cannot_be_measured_is_not_said_to_have_fallen(unknown: Estimate) -> None:
    known = proportion(900, 1000, "")
    for recorded, now in ((known, unknown), (unknown, known)):
        found = watch_champion(recorded, 1000, now, 0, limit=0.05)
        assert (found.verdict, found.drop) == ("needs_more_data", None)


@pytest.mark.parametrize("rows", [60, 200, 600, 5000])
def test_noise_alone_rarely_is_a_fall_and_a_large_fall_is_seen(rows: int) -> None:
    generator = np.random.default_rng(rows)

    def falls(first: float, second: float) -> float:
        pairs = generator.binomial(rows, (first, second), size=(300, 2)).tolist()
        return float(np.mean([watch((before, rows), (after, rows)).verdict == "fell" for before, after in pairs]))

    assert falls(0.9, 0.9) <= 0.01
    assert falls(0.9, 0.88) <= 0.1
    assert falls(0.95, 0.6) >= 0.99


FELL = watch((4886, 4981), (4341, 4981))
LOSSES = {"better": (-0.09, -0.13, -0.05), "maybe better": (-0.01, -0.03, 0.01), "same": (0.0, 0.0, 0.0)}


def compared(verdict: str, loss: str) -> dict[str, Any]:
    """A comparison in which the candidate's accuracy is so much lower, and its F1 anything."""
    keys = ("loss", "loss_low", "loss_high")
    rows = [
        {"metric": "f1", **dict.fromkeys(keys, -0.5)},
        {"metric": "accuracy", **dict(zip(keys, LOSSES[loss], strict=True))},
    ]
    return {"verdict": verdict, "reasons": ["r"], "comparisons": rows}


@pytest.mark.parametrize("gate", GATE)
@pytest.mark.parametrize("regression", REGRESSION)
@pytest.mark.parametrize("loss", LOSSES)
def test_only_who_is_better_for_certain_replaces_a_champion_that_fell(gate: str, regression: str, loss: str) -> None:
    decision = decide_release({"verdict": gate, "reasons": ["g"]}, compared(regression, loss), champion=FELL)
    better = loss == "better"
    promoted = better and gate == "pass" and regression in ("pass", "no_champion")
    assert decision.verdict == ("promoted" if promoted else "candidate")
    (told,) = [reason for reason in decision.reasons if reason.startswith(FELL.reason)]
    assert told == (f"{FELL.reason} {FALLEN_REPLACED}" if promoted else FELL.reason if better else decision.reasons[0])
    assert (f"{FELL.reason} {FALLEN_HOLD}" in decision.reasons) is not better
    assert "0.9809 on 4981 rows" in FELL.reason and "0.8715 on these 4981" in FELL.reason
    assert decision.champion_watch is not None
    assert [decision.champion_watch[name] for name in ("recorded_rows", "rows", "limit")] == [4981, 4981, 0.05]


@pytest.mark.parametrize("refusal", ["replaces_real_data", "is_trial"])
def test_what_else_refuses_a_candidate_holds_after_a_fall_too(refusal: str) -> None:
    passed = {"verdict": "pass", "reasons": ["g"]}
    options: dict[str, Any] = {refusal: True}
    decision = decide_release(passed, compared("pass", "better"), champion=FELL, **options)
    assert decision.verdict == "candidate" and FELL.reason in decision.reasons


def test_what_the_older_rule_held_back_is_decided_again_and_only_that() -> None:
    passed, refusals = {"verdict": "pass", "reasons": ["g"]}, ("replaces_real_data", "is_trial")
    now = decide_release(passed, compared("pass", "better"), champion=FELL)
    assert is_superseded(replace(now, verdict="candidate", reasons=("The champion fell.", "g", "r")))
    assert not is_superseded(now)
    for loss in ("maybe better", "same"):
        assert not is_superseded(decide_release(passed, compared("pass", loss), champion=FELL))
    for options in ({one: True} for one in refusals):
        assert not is_superseded(decide_release(passed, compared("pass", "better"), champion=FELL, **options))
    for gate, regression in (("fail", "pass"), ("pass", "fail"), ("needs_more_data", "pass")):
        decision = decide_release({"verdict": gate, "reasons": []}, compared(regression, "better"), champion=FELL)
        assert not is_superseded(decision)
    assert not is_superseded(decide_release(passed, compared("fail", "better")))


def test_without_a_comparison_nothing_is_better() -> None:
    assert not beats_champion({"verdict": "no_champion", "comparisons": []})
    assert not beats_champion(
        {"verdict": "needs_more_data", "comparisons": [{"metric": "accuracy", "loss_high": None}]}
    )


@pytest.mark.parametrize(("after", "said"), [((4880, 4981), False), ((88, 100), True)])
def test_a_champion_that_held_or_cannot_be_told_stops_nothing(after: tuple[int, int], said: bool) -> None:
    held = watch((4886, 4981), after)
    decision = decide_release(
        {"verdict": "pass", "reasons": ["g"]}, {"verdict": "pass", "reasons": ["r"]}, champion=held
    )
    assert decision.verdict == "promoted"
    assert decision.champion_watch == held.to_json()
    assert (held.reason in decision.reasons) is said
