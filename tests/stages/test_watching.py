"""What is shown of a drift report."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from nethical_assets.core.drift.watch import WatchLimits
from nethical_assets.core.drift.watch_report import About, hold_report
from nethical_assets.core.drift.windows import Window
from nethical_assets.stages.watching import DRIFT_REPORTS
from tests.core.drift.logged import NOON


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({}, {}),
        ({"labels_given": 4, "labels_unknown": 0}, {"labels_given": 4, "labels_unknown": 0}),
        (
            {"labels_given": 4, "labels_unknown": None, "labels_not_counted": "a reason"},
            {"labels_given": 4, "labels_unknown": "not known: a reason"},
        ),
    ],
)
def test_labels_are_shown_as_numbers_or_in_words(told: dict[str, Any], shown: dict[str, Any]) -> None:
    limits = WatchLimits(0.15, 0.05, 100, 100, 168, 60)
    facts = {**hold_report(About(Window.at(NOON, 6), NOON + timedelta(hours=6), limits), "no traffic"), **told}
    assert DRIFT_REPORTS.shows is not None
    found = DRIFT_REPORTS.shows(None, SimpleNamespace(facts=facts))  # type: ignore[arg-type]
    assert {name: value for name, value in found.items() if name.startswith("labels_")} == shown
