"""What each check says of a drift report: passed, failed, or undecided, which is never passed."""

from __future__ import annotations

from typing import Any

import pytest

from nethical_assets.core.drift.watch_checks import CHECKS, WatchCheck, watch_checks


def monitor(kind: str, outcome: str, period: str = "window", statistic: float | None = -0.08) -> dict[str, Any]:
    known = outcome != "needs_more_data"
    return {
        "kind": kind,
        "name": kind,
        "period": period,
        "statistic": statistic if known else None,
        "low": -0.1 if known else None,
        "high": -0.06 if known else None,
        "score": 0.2 if known else None,
        "adjusted_p_value": 0.001 if known else None,
        "outcome": outcome,
    }


def checks(*monitors: dict[str, Any], verdict: str = "stable", **more: Any) -> dict[str, WatchCheck]:
    facts = {
        "verdict": verdict,
        "priority": "none",
        "drift_score": 0.1,
        "threshold": 0.15,
        "accuracy_drop": 0.05,
        "reasons": ["Why."],
        "what_next": "What next.",
        "rows": 500,
        "labelled_rows": 120,
        "monitors": list(monitors),
        **more,
    }
    found = watch_checks(facts)
    assert tuple(one.name for one in found) == tuple(CHECKS)
    assert all(one.reason for one in found)
    return {one.name: one for one in found}


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("stable", "passed"),
        ("drift", "failed"),
        # Real, but smaller than the threshold: neither opens nor closes an alert.
        ("changed", "undecided"),
        ("needs_more_data", "undecided"),
        ("hold", "undecided"),
    ],
)
def test_drift_is_told_by_the_verdict(verdict: str, said: str) -> None:
    score = None if verdict in ("hold", "needs_more_data") else 0.1
    found = checks(verdict=verdict, drift_score=score)["drift"]
    assert found.verdict == said
    assert found.numbers == ({} if score is None else {"drift_score": 0.1})


def test_drift_of_high_priority_says_so() -> None:
    assert checks(verdict="drift", priority="high")["drift"].high_priority
    assert not checks(verdict="drift", priority="normal")["drift"].high_priority


@pytest.mark.parametrize(
    ("measured", "estimated", "said"),
    [
        ((), (), "undecided"),
        (("needs_more_data",), ("needs_more_data",), "undecided"),
        (("unremarkable",), ("needs_more_data",), "passed"),
        # It rose, or fell by less than is allowed.
        (("changed",), ("unremarkable",), "passed"),
        (("suspected",), ("unremarkable",), "undecided"),
        (("drifted",), ("unremarkable",), "failed"),
        (("needs_more_data",), ("drifted",), "failed"),
        (("unremarkable",), ("drifted",), "failed"),
        # An estimate never sees that the same inputs have other labels now.
        (("needs_more_data",), ("unremarkable",), "undecided"),
        # This window has few labels, the trailing period has enough.
        (("needs_more_data", "unremarkable"), (), "passed"),
        (("unremarkable", "drifted"), (), "failed"),
        (("unremarkable", "suspected"), (), "undecided"),
    ],
)
def test_accuracy_fails_by_measure_or_estimate_and_passes_by_measure_only(
    measured: tuple[str, ...], estimated: tuple[str, ...], said: str
) -> None:
    periods = ("window", "trailing")
    found = checks(
        *(monitor("accuracy", one, period) for one, period in zip(measured, periods, strict=False)),
        *(monitor("estimated_accuracy", one, period, 0.8) for one, period in zip(estimated, periods, strict=False)),
    )["accuracy"]
    assert (found.verdict, found.high_priority) == (said, said == "failed")
    assert found.numbers["allowed_drop"] == 0.05
    if measured and measured[0] != "needs_more_data":
        assert found.numbers["accuracy_change_window"] == -0.08


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ((), "undecided"),
        (("needs_more_data",), "undecided"),
        (("unremarkable",), "passed"),
        (("changed",), "undecided"),
        (("drifted",), "failed"),
        (("suspected",), "undecided"),
        (("needs_more_data", "unremarkable"), "passed"),
        (("unremarkable", "drifted"), "failed"),
    ],
)
def test_calibration_is_told_by_its_monitor_in_every_period(outcomes: tuple[str, ...], said: str) -> None:
    periods = ("window", "trailing")
    monitors = [monitor("calibration", one, period) for one, period in zip(outcomes, periods, strict=False)]
    assert checks(*monitors)["calibration"].verdict == said


def test_reasons_say_how_much_of_which_period() -> None:
    found = checks(monitor("accuracy", "drifted", "trailing"), labelled_rows=7)
    assert "-0.080 in the trailing period (95 % interval -0.100 to -0.060)" in found["accuracy"].reason
    assert "7 in the window" in found["calibration"].reason


def test_without_traffic_in_the_window_nothing_passes() -> None:
    before = [monitor(kind, "unremarkable", "trailing") for kind in ("accuracy", "calibration")]
    assert {one.verdict for name, one in checks(*before).items() if name != "drift"} == {"passed"}
    silent = checks(*before, verdict="hold")
    assert {one.verdict for one in silent.values()} == {"undecided"}
    assert "without traffic" in silent["accuracy"].reason
    fallen = checks(monitor("accuracy", "drifted", "trailing"), verdict="hold")
    assert fallen["accuracy"].verdict == "failed", "what is wrong stays wrong"


def test_an_estimate_that_fell_says_what_labels_say() -> None:
    fell = monitor("estimated_accuracy", "drifted", statistic=0.8)
    assert "no labels tell yet" in checks(fell)["accuracy"].reason
    both = checks(fell, monitor("accuracy", "unremarkable", statistic=0.01))["accuracy"]
    assert both.verdict == "failed" and "on labelled rows it changed by +0.010" in both.reason
