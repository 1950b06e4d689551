"""What drift reports of this and of older versions say of the positive rate."""

from __future__ import annotations

from typing import Any

import pytest

from nethical_assets.core.drift.reference import build_reference
from nethical_assets.core.drift.verdict import compare
from nethical_assets.core.evaluation.drift_facts import TrafficShift, traffic_shift

MODEL = "sha256:" + "a" * 64


def facts(**changes: Any) -> dict[str, Any]:
    monitors = [
        {"kind": "positive_rate", "period": "window", "statistic": 0.3, "low": 0.1, "high": 0.5},
        {"kind": "positive_rate", "period": "trailing", "statistic": 0.2, "low": 0.15, "high": 0.25},
        {"kind": "accuracy", "period": "trailing", "statistic": -0.1, "low": -0.2, "high": 0.0},
    ]
    rates = [
        {"rows": 100, "positive_rate": 0.5},
        {"rows": 300, "positive_rate": 0.7},
        {"rows": 0, "positive_rate": None},
    ]
    return {"verdict": "changed", "model": MODEL, "rows": 100, "monitors": monitors, "rates": rates, **changes}


def test_the_longest_period_counts() -> None:
    found = traffic_shift(facts())
    assert found is not None
    assert (found.rows, found.difference, found.low, found.high) == (400, 0.2, 0.15, 0.25)
    assert (found.window, found.reference) == (pytest.approx(0.65), pytest.approx(0.45))
    (one, *_) = facts()["monitors"]
    assert traffic_shift(facts(monitors=[one])) == TrafficShift(100, 0.3, 0.1, 0.5)


def test_a_report_of_the_version_before_is_read() -> None:
    import numpy as np
    import pandas as pd

    values, generator = np.linspace(0, 1, 400), np.random.default_rng(1)
    sketch = pd.DataFrame({"x": generator.random(400)})
    reference = build_reference(values, values, sketch)
    report = compare(
        reference, np.sqrt(values), sketch, window_scores=np.sqrt(values), threshold=0.15, alpha=0.01, minimum_rows=100
    )
    found = traffic_shift({**report.to_json(), "model": MODEL})
    assert found is not None
    assert found.difference == pytest.approx(0.25, abs=0.01)
    assert found.low is not None and found.high is not None
    assert found.low < 0.25 < found.high
    little = {**report.to_json(), "minimum_rows": 1000, "model": MODEL}
    assert traffic_shift(little) == TrafficShift(400)


@pytest.mark.parametrize(
    "said",
    [
        {"verdict": "needs_more_data", "window_rows": 0, "reasons": [], "columns": [], "model": MODEL},
        {"verdict": "hold", "rows": 0, "model": MODEL, "monitors": []},
        facts(model=""),
        {},
    ],
)
def test_no_traffic_or_champion_is_no_shift(said: dict[str, Any]) -> None:
    assert traffic_shift(said) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"monitors": []},
        {"monitors": None},
        {"monitors": ["positive_rate"]},
        {"monitors": [{"kind": "positive_rate", "period": "window", "statistic": None, "low": None, "high": None}]},
        {"monitors": [{"kind": "positive_rate", "period": "window", "statistic": True, "low": "0", "high": 1}]},
    ],
)
def test_what_is_not_told_is_too_little_and_never_no_shift(changes: dict[str, Any]) -> None:
    assert traffic_shift(facts(**changes)) == TrafficShift(100)
