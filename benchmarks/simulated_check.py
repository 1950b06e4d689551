"""``python -m benchmarks.simulated_check [--windows N]``: the simulated watch beside the product's, over the same rows.

What belongs here: judging every window of some traffic by ``core.drift.watch`` from sketches, with a ledger, and by
``simulated_year.Watch``; and counting where they differ. What does not: either of them.

Two thirds of the windows are calm, then a feature moves, so that there are alerts, and windows that are not calm.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.simulated_traffic import FEATURES, SUB_WINDOWS, Change, Rows, Traffic, draw, reference_of
from benchmarks.simulated_year import (
    ALARMED,
    FAMILIES,
    HOURS,
    LEVELS,
    MONITORING,
    THRESHOLDS,
    UNALARMED,
    WINDOWS,
    Watch,
)
from nethical_assets.core.drift.budget import Budget, Period, Spending, spend
from nethical_assets.core.drift.monitors import WindowMeasurements
from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.watch import Timeline, WatchLimits, watch
from nethical_assets.core.drift.windows import Window

_START = datetime(2026, 1, 1, tzinfo=UTC)
_SUB_WINDOW = timedelta(hours=HOURS) / SUB_WINDOWS
_MOVED = 0.4
_LIMITS = WatchLimits(
    threshold=THRESHOLDS.drift_alert_threshold,
    accuracy_drop=THRESHOLDS.accuracy_drop_alert,
    minimum_rows=MONITORING.drift_minimum_rows,
    minimum_labelled_rows=MONITORING.drift_minimum_labelled_rows,
    trailing_hours=MONITORING.drift_window_hours,
    minutes=MONITORING.sub_window_minutes,
)


def compared(seed: int, windows: int, correlated: bool) -> dict[str, int]:
    """How many judgements there were, how many the simulation made and spared, and how many of both are not those of
    the product: a verdict that alarms, or a corrected p-value below the largest level that is counted."""
    generator = np.random.default_rng(seed)
    reference, _ = reference_of(generator)
    rows = draw(windows, generator, correlated=correlated, change=Change())
    rows.features[rows.sub_window >= SUB_WINDOWS * (2 * windows // 3), 0] += _MOVED
    simulated = Watch(reference, Traffic.of(reference, rows, windows))
    timeline = Timeline(reference, MONITORING.sub_window_minutes, _sketches(reference, rows, windows))
    found = dict.fromkeys(("judgements", "made", "alarms", "made_otherwise", "hidden"), 0)
    budget = Budget(MONITORING.false_alerts_a_year, FAMILIES, 2 * WINDOWS)
    ledger: list[Spending] = []
    not_calm: list[Window] = []
    for number in range(windows):
        start = _START + number * timedelta(hours=HOURS)
        window = Window(start, start + timedelta(hours=HOURS))

        def spent(period: Period, measured: WindowMeasurements, at: datetime = start) -> Any:
            ledger.append(spend(ledger, budget, "family", at, measured.evidence, period=period))
            return ledger[-1], measured

        watched = watch(timeline, window, model="", since=_START, without=not_calm, limits=_LIMITS, spend=spent)
        for one, other in zip(watched.judgements, simulated.look(number), strict=True):
            smallest = min(item.adjusted_p_value for item in one.report.outcomes if item.adjusted_p_value is not None)
            made = other.verdict != UNALARMED
            same = other.verdict == one.report.verdict and math.isclose(other.p_value, smallest, rel_tol=1e-9)
            found["judgements"] += 1
            found["made"] += made
            found["alarms"] += one.report.verdict in ALARMED
            found["made_otherwise"] += made and not (same and one.report.level == simulated.levels[one.span.name])
            found["hidden"] += not made and (one.report.verdict in ALARMED or smallest < LEVELS[0])
        if watched.verdict in ALARMED:
            not_calm.append(window)
    return found


def _sketches(reference: Reference, rows: Rows, windows: int) -> dict[datetime, Sketch]:
    limits = np.searchsorted(rows.sub_window, np.arange(windows * SUB_WINDOWS + 1))
    found = {}
    for number in range(windows * SUB_WINDOWS):
        cut = slice(limits[number], limits[number + 1])
        frame = pd.DataFrame(rows.features[cut], columns=list(FEATURES))
        labels = np.where(rows.known[cut], rows.labels[cut], np.nan)
        sketch = Sketch.of(reference, rows.probabilities[cut], rows.scores[cut], frame)
        labelled = Reliability.of(rows.probabilities[cut], labels, reference.decision_threshold)
        found[_START + number * _SUB_WINDOW] = sketch.with_labels(labelled)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON document; the exit code is 1 where the two differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    document = {
        name: compared(given.seed, given.windows, name == "correlated") for name in ("independent", "correlated")
    }
    print(json.dumps(document, indent=2))
    return int(any(found["made_otherwise"] or found["hidden"] for found in document.values()))


if __name__ == "__main__":
    sys.exit(main())
