"""Estimates of accuracy held against labels that came later."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.reference import Reference, build_reference
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.track_record import HeldEstimate, TrackRecord, track_record

BEGIN, HOURS = datetime(2026, 3, 1, tzinfo=UTC), timedelta(hours=6)
Labelled = dict[tuple[datetime, datetime], list[Reliability]]
SUB_WINDOWS = 24
Rows = tuple[np.ndarray, np.ndarray]


def rows(random: np.random.Generator, number: int) -> Rows:
    """Probabilities, and labels that are drawn from them."""
    probabilities = 1 / (1 + np.exp(-random.normal(-1.0, 2.5, size=number)))
    return probabilities, (random.random(number) < probabilities).astype(np.float64)


def turned(told: Rows) -> Rows:
    """One in eight of the labels is another one now."""
    probabilities, labels = told
    other = np.arange(len(labels)) % 8 == 0
    return probabilities, np.where(other, 1.0 - labels, labels)


def unsure(told: Rows) -> Rows:
    """Only rows that the model is not sure of got labels, as the label queue asks for."""
    probabilities, labels = told
    return probabilities, np.where(np.abs(probabilities - 0.5) < 0.2, labels, np.nan)


def repeated(told: Rows) -> Rows:
    """Each row twenty times, one after the other."""
    probabilities, labels = (np.repeat(values[: len(values) // 20], 20) for values in told)
    return probabilities, labels


def windows(number: int, size: int, change: Callable[[Rows], Rows] = lambda told: told, seed: int = 3) -> Labelled:
    random, found = np.random.default_rng(seed), {}
    for index in range(number):
        start = BEGIN + index * HOURS
        probabilities, labels = change(rows(random, size))
        parts = zip(np.array_split(probabilities, SUB_WINDOWS), np.array_split(labels, SUB_WINDOWS), strict=True)
        found[start, start + HOURS] = [Reliability.of(*part, 0.5) for part in parts]
    return found


@pytest.fixture(scope="module")
def reference() -> Reference:
    probabilities, labels = rows(np.random.default_rng(1), 4000)
    return build_reference(probabilities, probabilities, pd.DataFrame(), labels=labels)


def test_estimates_hold_where_probabilities_mean_what_they_meant(reference: Reference) -> None:
    record = track_record(reference, windows(40, 300), 100)
    assert len(record.comparisons) == 40 and record.trust == "held"
    assert sum(one.held for one in record.comparisons) >= 36
    assert json.loads(json.dumps(record.to_json(), allow_nan=False)) == record.to_json()


def test_other_labels_of_the_same_inputs_contradict_them(reference: Reference) -> None:
    record = track_record(reference, windows(8, 300, turned), 100)
    assert record.trust == "contradicted"
    assert "may not be trusted" in record.reason and "only labels tell" in record.reason


def test_labels_of_the_rows_that_the_model_is_unsure_of_contradict_nothing(reference: Reference) -> None:
    """Of such rows fewer are right than of the window, as their probabilities say."""
    record = track_record(reference, windows(20, 1000, unsure), 100)
    assert record.trust == "held"
    whole = track_record(reference, windows(20, 1000), 100)
    assert max(one.accuracy for one in record.comparisons) < min(one.low for one in whole.comparisons)


def test_windows_with_few_labels_are_compared_together(reference: Reference) -> None:
    labelled = windows(7, 30)
    nothing = BEGIN + 7 * HOURS
    labelled[nothing, nothing + HOURS] = [Reliability.none(0.5)]
    record = track_record(reference, labelled, 100)
    assert [(one.start, one.end, one.labelled_rows) for one in record.comparisons] == [(BEGIN, BEGIN + 4 * HOURS, 120)]
    assert track_record(reference, dict(reversed(labelled.items())), 100) == record
    # Windows without labels before those that have some are none of them.
    first = {(BEGIN, BEGIN + HOURS): [Reliability.none(0.5)], **{key: labelled[key] for key in list(labelled)[1:5]}}
    assert track_record(reference, first, 100).comparisons[0].start == BEGIN + HOURS


def test_without_labels_nothing_is_tested(reference: Reference) -> None:
    record = track_record(reference, windows(3, 10), 100)
    assert record == TrackRecord() and record.trust == "untested" and "too few rows" in record.reason
    bare = build_reference(np.full(200, 0.5), np.full(200, 0.5), pd.DataFrame())
    assert track_record(bare, windows(8, 300), 100) == TrackRecord()


def test_rows_that_repeat_each_other_contradict_nothing(reference: Reference) -> None:
    """A client that asks the same twenty times is right or wrong twenty times."""
    contradicted, held = [], []
    for seed in range(12):
        labelled = windows(20, 480, repeated, seed=seed)
        record = track_record(reference, labelled, 100)
        contradicted.append(record.trust == "contradicted")
        held += [one.held for one in record.comparisons]
    assert not any(contradicted)
    assert np.mean(held) >= 0.9


def test_the_truth_far_outside_of_the_interval_contradicts() -> None:
    times = (BEGIN, BEGIN + HOURS, 200, 0.9, 0.86, 0.92)
    for accuracy, trust in (
        (0.9, "held"),
        (0.85, "held"),
        (0.83, "held"),
        (0.81, "contradicted"),
        (0.95, "contradicted"),
    ):
        assert TrackRecord((), HeldEstimate(*times, accuracy)).trust == trust
    assert HeldEstimate(*times, 0.86).held and not HeldEstimate(*times, 0.85).held
