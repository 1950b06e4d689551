"""Which sub-windows a window is judged by, and which of its two verdicts counts."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.budget import Budget, Spending, spend
from nethical_assets.core.drift.monitors import WindowMeasurements
from nethical_assets.core.drift.reference import build_reference
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.sketches import Sketch, added
from nethical_assets.core.drift.watch import CALM_PERIOD, Timeline, WatchLimits, earliest, spans, watch
from nethical_assets.core.drift.watch_checks import watch_checks
from nethical_assets.core.drift.watch_report import About, watch_report
from nethical_assets.core.drift.windows import Window

HOUR = timedelta(hours=1)
SINCE = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = Window.at(SINCE + timedelta(days=30), 6)
LIMITS = WatchLimits(0.15, 0.05, 200, 100, 168, 60)
BUDGET = Budget(1.0, 5, 2920)


def drawn(
    random: np.random.Generator, rows: int, moved: float = 0.0
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame, np.ndarray]:
    logits = random.normal(-1.0, 2.5, size=rows)
    probabilities = 1 / (1 + np.exp(-logits))
    labels = (random.random(rows) < probabilities).astype(float)
    return logits, probabilities, pd.DataFrame({"size": random.normal(moved, 1.0, size=rows)}), labels


@pytest.fixture(scope="module")
def reference():
    scores, probabilities, frame, labels = drawn(np.random.default_rng(1), 3000)
    return build_reference(scores, probabilities, frame, labels=labels)


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch):
    monkeypatch.setattr("nethical_assets.core.drift.statistics.jensen_shannon.PERMUTATIONS", 100)


def filled(reference, start: datetime, hours: int, rows: int = 60, *, seed: int = 2, moved: float = 0.0):
    """An hour of rows each."""
    random = np.random.default_rng(seed)
    found = {}
    for number in range(hours):
        scores, probabilities, frame, _ = drawn(random, rows, moved)
        found[start + number * HOUR] = Sketch.of(reference, probabilities, scores, frame)
    return found


class Payer:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.entries: list[Spending] = []
        self.asked: list[tuple[str, int]] = []

    def __call__(self, period, measured: WindowMeasurements):
        self.asked.append((period, measured.rows))
        entry = spend(self.entries, BUDGET, "logistic", WINDOW.start, measured.evidence, period=period)
        if entry not in self.entries:
            self.entries.append(entry)
        return entry, measured


def watched(reference, sketches, *, since=SINCE, without=(), limits=LIMITS, payer=None):
    timeline = Timeline(reference, 60, sketches)
    return timeline, watch(
        timeline,
        WINDOW,
        model="sha256:m",
        since=since,
        without=without,
        limits=limits,
        spend=payer or Payer(),
    )


def test_periods_end_with_the_window_and_begin_not_before_the_champion():
    window, trailing = spans(WINDOW, SINCE, 168)
    assert (window.start, window.end, window.hours) == (WINDOW.start, WINDOW.end, 6)
    assert (trailing.start, trailing.end, trailing.hours) == (WINDOW.end - 168 * HOUR, WINDOW.end, 168)
    assert earliest(WINDOW, SINCE, 168) == trailing.start - CALM_PERIOD
    late = WINDOW.start + HOUR
    assert [span.start for span in spans(WINDOW, late, 168)] == [late, late]
    assert earliest(WINDOW, late, 168) == late
    # A trailing period is never shorter than the window.
    assert [span.start for span in spans(WINDOW, SINCE, 1)] == [WINDOW.start, WINDOW.start]


def test_sub_windows_follow_each_other_from_the_first_with_rows_to_the_last(reference):
    start = WINDOW.start
    sketches = filled(reference, start + HOUR, 1) | filled(reference, start + 4 * HOUR, 1, seed=3)
    timeline = Timeline(reference, 60, sketches)
    found = timeline.between(start - 10 * HOUR, WINDOW.end + 10 * HOUR)
    assert [sketch.rows for sketch in found] == [60, 0, 0, 60]
    assert [sketch.rows for sketch in timeline.between(start, start + 4 * HOUR)] == [60]
    assert timeline.between(start, start + HOUR) == [] == Timeline(reference, 60, {}).between(start, WINDOW.end)
    # The sub-window in which the champion was promoted counts.
    assert len(timeline.between(start + timedelta(minutes=90), WINDOW.end)) == 4
    assert timeline.between(start, WINDOW.end, [Window(start, start + 3 * HOUR)])[-1].rows == 60
    assert len(timeline.between(start, WINDOW.end, [Window(start, start + 3 * HOUR)])) == 2


def test_the_worse_verdict_of_both_periods_counts(reference):
    calm = filled(reference, WINDOW.start - 14 * 24 * HOUR, 14 * 24)
    _, stable = watched(reference, calm | filled(reference, WINDOW.start, 6, seed=4))
    assert (stable.verdict, stable.drift_score, stable.cause) == ("stable", 0.0, "")
    _, sudden = watched(reference, calm | filled(reference, WINDOW.start, 6, seed=5, moved=1.0))
    assert sudden.judgements[0].report.verdict == sudden.verdict == "drift"
    # A small change that lasts for days is seen by the trailing period only.
    lasting = calm | filled(reference, WINDOW.end - 168 * HOUR, 168, seed=6, moved=0.25)
    _, slow = watched(reference, lasting)
    assert [one.report.verdict for one in slow.judgements][1] == "changed" == slow.verdict
    assert slow.worst.span.name == "trailing" and slow.cause == "" and 0 < slow.drift_score <= 0.15
    # Without rows in the window the days before are judged, and say what is wrong, but not that all is well.
    _, before = watched(reference, calm)
    assert [one.report.verdict for one in before.judgements] == ["hold", "stable"] and before.verdict == "hold"
    _, ended = watched(reference, {k: v for k, v in lasting.items() if k < WINDOW.start})
    assert [one.report.verdict for one in ended.judgements] == ["hold", "changed"] and ended.verdict == "changed"
    payer = Payer()
    _, nothing = watched(reference, {}, payer=payer)
    assert (nothing.verdict, nothing.drift_score, payer.asked) == ("hold", None, [])
    few = filled(reference, WINDOW.start, 1, rows=50, moved=4.0)
    _, waiting = watched(reference, few, payer=payer)
    assert (waiting.verdict, waiting.drift_score, payer.asked) == ("needs_more_data", None, [])


def test_each_judgement_is_paid_for_once(reference):
    payer = Payer()
    sketches = filled(reference, WINDOW.start - 24 * HOUR, 30)
    _, first = watched(reference, sketches, payer=payer)
    assert [entry.period for entry in payer.entries] == ["window", "trailing"]
    assert (
        {entry.level for entry in payer.entries} == {BUDGET.share / 2} == {one.report.level for one in first.judgements}
    )
    _, again = watched(reference, sketches, payer=payer)
    assert again == first and len(payer.entries) == 2
    only = filled(reference, WINDOW.start, 6)
    alone = Payer()
    _, found = watched(reference, only, payer=alone)
    assert alone.asked == [("window", 360)] and len(found.judgements) == 1


def test_noise_is_learnt_from_calm_hours_of_a_week_before(reference, monkeypatch):
    asked = []

    def measured(reference, window, *, before, **options):
        asked.append((len(before), sum(sketch.rows for sketch in before)))
        return real(reference, window, before=before, **options)

    from nethical_assets.core.drift import watch as module

    real = module.measure_window
    monkeypatch.setattr(module, "measure_window", measured)
    sketches = filled(reference, WINDOW.start - 20 * 24 * HOUR, 20 * 24 + 6, rows=10)
    watched(reference, sketches)
    assert asked == [(168, 1680), (168, 1680)]
    asked.clear()
    watched(reference, sketches, without=[WINDOW.before(), Window(WINDOW.end - 200 * HOUR, WINDOW.end - 194 * HOUR)])
    assert asked == [(162, 1620), (162, 1620)]
    asked.clear()
    watched(reference, sketches, since=WINDOW.start - 12 * HOUR)
    assert asked == [(12, 120), (0, 0)]


def test_the_report_is_a_document_of_both_periods(reference):
    calm = filled(reference, WINDOW.start - 14 * 24 * HOUR, 14 * 24)
    timeline, found = watched(reference, calm | filled(reference, WINDOW.start, 6, seed=5, moved=1.0))
    about = About(WINDOW, WINDOW.end - HOUR, LIMITS, "sha256:m", reference.digest, SINCE)
    facts = watch_report(about, found, timeline, "nothing came")
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert not facts["window"]["complete"]
    assert watch_report(replace(about, now=WINDOW.end), found, timeline, "")["window"]["complete"]
    assert [rate["rows"] for rate in facts["rates"]] == [360] * 28
    window = added(reference, timeline.between(WINDOW.start, WINDOW.end))
    assert facts["rates"][-1]["positive_rate"] == window.positives(reference) / 360
    assert facts["rates"][-1]["estimated_accuracy"] == pytest.approx(0.82, abs=0.05)
    assert all(reason.startswith("This window: ") for reason in facts["reasons"][:1])
    outcomes = {(one["period"], one["name"], one["kind"]): one["outcome"] for one in facts["monitors"]}
    assert outcomes["window", "size", "distribution"] == "drifted"
    assert set(outcomes.values()) <= {"drifted", "changed", "suspected", "unremarkable", "needs_more_data"}
    # What drifts is the cause, however far.
    _, further = watched(reference, calm | filled(reference, WINDOW.start, 6, seed=7, moved=1.4))
    assert further.cause == facts["cause"] != ""
    assert replace(further, model="sha256:other").cause != facts["cause"]


def test_the_report_holds_estimates_against_labels(reference):
    random, sketches = np.random.default_rng(6), {}
    for number in range(14 * 24):
        scores, probabilities, frame, labels = drawn(random, 60)
        # The same inputs have other labels now.
        told = Reliability.of(probabilities, np.where(np.arange(60) % 6 == 0, 1.0 - labels, labels), 0.5)
        sketches[WINDOW.end - (number + 1) * HOUR] = Sketch.of(reference, probabilities, scores, frame).with_labels(
            told
        )
    timeline, found = watched(reference, sketches)
    facts = watch_report(About(WINDOW, WINDOW.end, LIMITS, "m", reference.digest, SINCE), found, timeline, "")
    estimates = facts["estimates"]
    assert estimates["trust"] == "contradicted" and len(estimates["comparisons"]) == 14 * 4
    assert estimates["comparisons"][-1]["end"] == WINDOW.end.isoformat()
    assert facts["rates"][-1]["estimated_accuracy"] > facts["rates"][-1]["accuracy"] + 0.05
    (accuracy,) = (one for one in watch_checks(facts) if one.name == "accuracy")
    assert "Estimates may not be trusted" in accuracy.reason
    # Labels of before the champion's promotion are no truth about its estimates.
    late = replace(About(WINDOW, WINDOW.end, LIMITS, "m", reference.digest, SINCE), since=WINDOW.start)
    assert len(watch_report(late, found, timeline, "")["estimates"]["comparisons"]) == 1


def test_without_labels_of_the_reference_nothing_is_said_of_accuracy(reference):
    bare = replace(reference, reliability=None, probability_counts=())
    sketches = filled(bare, WINDOW.start, 6)
    timeline, found = watched(bare, sketches)
    facts = watch_report(About(WINDOW, WINDOW.end, LIMITS, "m", bare.digest, SINCE), found, timeline, "")
    assert facts["rates"][-1]["estimated_accuracy"] is None and facts["verdict"] == "stable"
    silent = {one["kind"] for one in facts["monitors"] if one["outcome"] == "needs_more_data"}
    assert silent == {"accuracy", "calibration", "estimated_accuracy"}
