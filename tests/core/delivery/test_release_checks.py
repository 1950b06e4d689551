"""What a release says as checks, over the whole table of its facts."""

from __future__ import annotations

from typing import Any

import pytest

from nethical_assets.core.delivery.release_checks import champion_check, regression_verdict


def facts(**changes: Any) -> dict[str, Any]:
    """The facts of a candidate that waits beside a champion of which nothing is known."""
    values: dict[str, Any] = {
        "verdict": "candidate",
        "stage": "candidates",
        "version": "1.0.1",
        "champion_before": "sha256:old",
        "regression": {"verdict": "pass"},
        "champion_watch": None,
    }
    return {**values, **changes}


def watched(verdict: str) -> dict[str, Any]:
    return {"verdict": verdict, "reason": f"it {verdict}"}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"champion_watch": watched("held")}, "passed"),
        ({"champion_watch": watched("needs_more_data")}, "undecided"),
        ({"champion_watch": watched("needs_more_data"), "verdict": "promoted", "stage": "current"}, "undecided"),
        ({"champion_watch": watched("fell")}, "failed"),
        ({"champion_watch": watched("fell"), "stage": "current"}, "failed"),
        # The champion read other columns, was trained on synthetic data, or an older version decided.
        ({}, "undecided"),
        ({"verdict": "unchanged"}, "undecided"),
        ({"verdict": "promoted", "stage": "current"}, "undecided"),
        ({"champion_before": ""}, "passed"),
        ({"champion_before": "", "verdict": "promoted", "stage": "current"}, "passed"),
        # The champion itself, on the rows that it was released on.
        ({"verdict": "unchanged", "stage": "current"}, "passed"),
        # The same, where it would not pass the limits of today.
        ({"stage": "current"}, "passed"),
    ],
)
def test_a_champion_holds_only_where_something_tells(changes: dict[str, Any], verdict: str) -> None:
    check = champion_check(facts(**changes))
    assert (check.verdict, check.replaced) == (verdict, False)
    assert check.reason


def test_facts_of_an_older_version_are_read() -> None:
    older = {name: value for name, value in facts().items() if name != "champion_watch"}
    assert champion_check({**older, "champion_fell": watched("fell")}).verdict == "failed"
    assert champion_check({**older, "champion_fell": None}).verdict == "undecided"


def test_a_champion_that_fell_and_was_replaced_says_by_what() -> None:
    check = champion_check(facts(champion_watch=watched("fell"), verdict="promoted", stage="current"))
    assert (check.verdict, check.replaced) == ("failed", True)
    assert check.reason.startswith("it fell") and "1.0.1" in check.reason


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "passed"),
        ({"regression": {"verdict": "fail"}}, "failed"),
        ({"regression": {"verdict": "needs_more_data"}}, "undecided"),
        ({"regression": {"verdict": "no_champion"}, "champion_before": ""}, "passed"),
        ({"regression": {"verdict": "no_champion"}, "verdict": "promoted", "stage": "current"}, "passed"),
        # There is one, which cannot be compared: that closes no issue about a worse candidate.
        ({"regression": {"verdict": "no_champion"}}, "undecided"),
    ],
)
def test_a_comparison_that_was_none_passes_only_where_nothing_is_left_to_compare_with(
    changes: dict[str, Any], verdict: str
) -> None:
    assert regression_verdict(facts(**changes)) == verdict
