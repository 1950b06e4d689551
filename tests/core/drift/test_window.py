from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.monitors import MonitorReport, judge_window
from nethical_assets.core.drift.reference import build_reference
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.window import measure_window
from nethical_assets.core.ground.documents import from_document
from nethical_assets.core.ground.errors import DatasetError

ROWS, SUB_WINDOWS = 25, 24
LEVEL = 7e-5
OPTIONS = {"threshold": 0.15, "accuracy_drop": 0.05}
MINIMUMS = {"minimum_rows": 200, "minimum_labelled_rows": 100}


def batch(random, rows, *, moved=0.0, wrong=0.0, kinds=4, spread=2.5, repeats=1):
    logits = np.repeat(random.normal(-1.0, spread, size=rows // repeats), repeats)
    probabilities = 1 / (1 + np.exp(-logits))
    labels = random.random(len(logits)) < probabilities
    labels ^= (labels == (probabilities >= 0.5)) & (random.random(len(logits)) < wrong)
    frame = pd.DataFrame(
        {
            "size": np.repeat(random.normal(moved, 1.0, size=rows // repeats), repeats),
            "kind": random.integers(0, kinds, size=len(logits)),
        }
    )
    return logits, probabilities, frame, labels.astype(float)


@pytest.fixture(scope="module")
def reference():
    scores, probabilities, frame, labels = batch(np.random.default_rng(1), 4000)
    return build_reference(scores, probabilities, frame, labels=labels)


def sketches(reference, number, seed, rows=ROWS, labelled=True, **changes):
    random = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        scores, probabilities, frame, labels = batch(random, rows, **changes)
        found.append(Sketch.of(reference, probabilities, scores, frame, labels if labelled else None))
    return found


@pytest.fixture(scope="module")
def calm(reference):
    return sketches(reference, 14 * SUB_WINDOWS, 2)


def judged(reference, window, before=(), level=LEVEL):
    return judge_window(measure_window(reference, window, before=before, **MINIMUMS), level=level, **OPTIONS)


def outcomes(report):
    return {(one.monitor.name, one.monitor.kind): one for one in report.outcomes}


def test_a_calm_window_is_stable_and_every_monitor_answers(reference, calm):
    report = judged(reference, sketches(reference, SUB_WINDOWS, 3), calm)
    assert (report.verdict, report.priority, report.drift_score, report.level) == ("stable", "none", 0.0, LEVEL)
    assert {one.outcome for one in report.outcomes} <= {"calm"}
    assert set(outcomes(report)) == {
        ("probability", "distribution"),
        ("probability", "cumulative_distribution"),
        ("score", "distribution"),
        ("size", "distribution"),
        ("size", "unseen_levels"),
        ("kind", "distribution"),
        ("kind", "unseen_levels"),
        ("positive_rate", "positive_rate"),
        ("estimated_accuracy", "estimated_accuracy"),
        ("accuracy", "accuracy"),
        ("calibration", "calibration"),
    }
    assert (
        report.measured.correlated and report.measured.notes == () and "11 monitors over 600 rows" in report.reasons[0]
    )


def test_a_large_shift_is_drift_and_a_small_one_changed(reference, calm):
    large = judged(reference, sketches(reference, SUB_WINDOWS, 4, moved=0.8), calm)
    assert (large.verdict, large.priority) == ("drift", "normal") and large.drift_score > 0.15
    assert large.outcomes[0].monitor.name == "size" and "size moved" in large.reasons[0]
    assert "retraining is asked for" in large.what_next
    small = judged(reference, sketches(reference, SUB_WINDOWS, 5, rows=250, moved=0.25), calm)
    assert (small.verdict, small.priority) == ("changed", "none") and 0.0 < small.drift_score <= 0.15
    assert "Nothing is retrained" in small.what_next and "chance is ruled out" in small.reasons[0]


@pytest.mark.parametrize("moved", [0.0, 0.25, 0.8])
def test_without_a_level_left_nothing_is_decided_least_of_all_that_all_is_well(reference, calm, moved):
    broke = judged(reference, sketches(reference, SUB_WINDOWS, 4, moved=moved), calm, level=0.0)
    assert (broke.verdict, broke.level, broke.priority) == ("needs_more_data", 0.0, "none")
    assert {one.outcome for one in broke.outcomes} == {"needs_more_data"}
    assert len(broke.reasons) == 1 and "monitoring.false_alerts_a_year" in broke.reasons[0]


def test_a_fall_of_accuracy_is_high_priority(reference, calm):
    report = judged(reference, sketches(reference, SUB_WINDOWS, 6, wrong=0.2), calm)
    assert (report.verdict, report.priority) == ("drift", "high")
    fallen = outcomes(report)["accuracy", "accuracy"]
    assert fallen.outcome == "drifted" and fallen.monitor.measurement.statistic < -0.05
    assert fallen.score == pytest.approx(min(1.0, -fallen.monitor.measurement.statistic * 3))
    assert outcomes(report)["calibration", "calibration"].outcome in ("changed", "drifted")
    assert "Label recent rows first" in report.what_next
    # Labels alone moved: nothing that is known without them says so.
    assert {
        outcomes(report)[key].outcome for key in outcomes(report) if key[1] in ("distribution", "positive_rate")
    } == {"calm"}


def test_a_fall_that_no_label_shows_is_estimated(reference, calm):
    window = sketches(reference, SUB_WINDOWS, 7, rows=100, spread=0.4, labelled=False)
    report = judged(reference, window, calm)
    estimated = outcomes(report)["estimated_accuracy", "estimated_accuracy"]
    assert estimated.outcome == "drifted" and report.priority == "high"
    assert outcomes(report)["accuracy", "accuracy"].outcome == "needs_more_data"
    assert "accuracy is estimated at 0." in " ".join(report.reasons).lower()


def test_a_rise_of_accuracy_is_never_drift(reference, calm):
    random = np.random.default_rng(8)
    window = []
    for _ in range(SUB_WINDOWS):
        scores, probabilities, frame, _ = batch(random, 100)
        window.append(Sketch.of(reference, probabilities, scores, frame, (probabilities >= 0.5).astype(float)))
    found = outcomes(judged(reference, window, calm))
    assert found["accuracy", "accuracy"].outcome == "changed" and found["accuracy", "accuracy"].score == 0.0


def test_unseen_levels_are_named_by_their_column(reference, calm):
    report = judged(reference, sketches(reference, SUB_WINDOWS, 9, kinds=5), calm)
    assert outcomes(report)["kind", "unseen_levels"].outcome == "drifted"
    assert any("values of kind that the reference never had" in reason for reason in report.reasons)


def test_no_traffic_is_on_hold_and_few_rows_need_more_data(reference, calm):
    for window in ([], [Sketch.empty(reference)] * SUB_WINDOWS):
        measured = measure_window(reference, window, before=calm, **MINIMUMS)
        report = judge_window(measured, level=LEVEL, **OPTIONS)
        assert not measured.has_answers and (report.verdict, report.level) == ("hold", 0.0)
        assert report.reasons == ("The window has no traffic.",) and "still being sent requests" in report.what_next
    few = judged(reference, sketches(reference, 3, 10, moved=5.0), calm)
    assert (few.verdict, few.level, few.drift_score) == ("needs_more_data", 0.0, 0.0)
    assert any("75 rows in the window" in reason for reason in few.reasons)


def test_alike_rows_count_as_fewer_and_one_batch_alone_says_so(reference):
    before = sketches(reference, 14 * SUB_WINDOWS, 11, repeats=5)
    window = sketches(reference, SUB_WINDOWS, 12, repeats=5)
    known = outcomes(judged(reference, window, before))["size", "distribution"].monitor.measurement
    assert known.window_rows == 600 and known.effective_rows == pytest.approx(120, rel=0.35)
    alone = judged(reference, [sum(window[1:], window[0])])
    assert not alone.measured.correlated and "count as independent" in alone.measured.notes[0]
    blind = outcomes(alone)["size", "distribution"].monitor.measurement
    assert blind.effective_rows == 600 and blind.p_value < known.p_value


def test_traffic_of_few_sub_windows_is_not_taken_for_independent_rows(reference, monkeypatch):
    """Means that wander by two standard deviations of those in ``benchmarks.monitors``: an alarm where rows count as
    independent. What moves far more is found all the same."""
    monkeypatch.setattr("nethical_assets.core.drift.statistics.jensen_shannon.PERMUTATIONS", 200)

    def verdicts(moved, is_traffic):
        found = []
        for seed, wander in enumerate((-0.4, 0.4, -0.4, 0.4)):
            window = sketches(reference, 2, 60 + seed, rows=1000, moved=moved + wander, labelled=False)
            measured = measure_window(reference, window, is_traffic=is_traffic, **MINIMUMS)
            found.append(judge_window(measured, level=LEVEL, **OPTIONS).verdict)
        return found

    assert {*verdicts(0.0, False)} <= {"changed", "drift"}
    assert not {"changed", "drift"} & set(verdicts(0.0, True))
    assert set(verdicts(2.5, True)) == {"drift"}


def test_few_sub_windows_of_traffic_say_by_what_they_are_judged(reference, calm):
    window, before = sketches(reference, 15, 41, rows=40), calm[:SUB_WINDOWS]
    known = measure_window(reference, window, before=before, is_traffic=True, **MINIMUMS)
    assert known == measure_window(reference, window, before=before, **MINIMUMS)
    alone = measure_window(reference, window, is_traffic=True, **MINIMUMS)
    assert "at most 70 independent" in alone.notes[0] and not alone.correlated
    worth = {one.name: one.measurement.effective_rows for one in alone.monitors if one.kind == "distribution"}
    assert max(worth.values()) < 70.0


def test_a_shift_that_lasts_is_not_taken_for_noise(reference, calm):
    window = sketches(reference, SUB_WINDOWS, 13, moved=0.6)
    assert judged(reference, window, calm).verdict == "drift"
    # The window's own level counts as a period of its own.
    mixed = outcomes(judged(reference, window, calm))["size", "distribution"].monitor.measurement
    assert mixed.effective_rows > 400


def test_old_references_are_judged_by_what_they_have(reference):
    old = replace(reference, probability_counts=(), reliability=None)
    report = judged(old, sketches(old, SUB_WINDOWS, 14, labelled=False))
    kinds = {one.monitor.kind: one.outcome for one in report.outcomes}
    assert "cumulative_distribution" not in kinds and report.verdict == "stable"
    assert {kinds["accuracy"], kinds["calibration"], kinds["estimated_accuracy"]} == {"needs_more_data"}


def test_sketches_of_another_reference_are_refused(reference, calm):
    other = replace(reference, rows=reference.rows + 1)
    with pytest.raises(DatasetError, match="cannot be compared"):
        judged(other, calm[:2])
    with pytest.raises(DatasetError, match="cannot be compared"):
        judged(reference, calm[:2], sketches(other, 2, 15))


def test_the_evidence_names_what_was_judged(reference, calm):
    window = sketches(reference, 2, 16, labelled=False)
    found = measure_window(reference, window, **MINIMUMS).evidence
    assert found == measure_window(reference, window, before=calm, **MINIMUMS).evidence
    labelled = [window[0].with_labels(calm[0].labelled), window[1]]
    assert measure_window(reference, labelled, **MINIMUMS).evidence != found


def test_reports_are_the_same_again_and_documents(reference, calm):
    window = sketches(reference, SUB_WINDOWS, 17, moved=0.8)
    report = judged(reference, window, calm)
    assert report == judged(reference, window, calm)
    document = json.loads(json.dumps(report.to_json(), allow_nan=False))
    read = from_document(MonitorReport, {**document, "measured": {**document["measured"], "monitors": []}}, "here")
    assert read == replace(report, measured=replace(report.measured, monitors=()))


@pytest.mark.slow
def test_p_values_keep_their_level_with_repeated_rows(reference, monkeypatch):
    monkeypatch.setattr("nethical_assets.core.drift.statistics.jensen_shannon.PERMUTATIONS", 200)
    monkeypatch.setattr("nethical_assets.core.drift.statistics.calibration_change.DRAWS", 200)
    before = sketches(reference, 10 * SUB_WINDOWS, 18, repeats=5)
    alarms = blind = 0
    for seed in range(60):
        window = sketches(reference, SUB_WINDOWS, 100 + seed, repeats=5)
        alarms += judged(reference, window, before, level=0.05).verdict in ("drift", "changed")
        blind += judged(reference, [sum(window[1:], window[0])], level=0.05).verdict in ("drift", "changed")
    assert alarms <= 8  # 3 are expected, more than 8 has a chance of 0.4 %
    assert blind > 30  # rows that count as independent alarm all the time
