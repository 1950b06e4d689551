"""Which rows are labelled first: uncertain and novel ones, none twice, in the same order however they are stored."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift import label_queue as module
from nethical_assets.core.drift.label_queue import LabelQueue, label_queue
from nethical_assets.core.drift.reference import Reference, build_reference
from tests.core.drift.logged import MODEL, NOON, OTHER, scored, told
from tests.core.drift.test_feedback import Logs

ROWS = 1000


@pytest.fixture(scope="module")
def reference() -> Reference:
    """A reference whose rows are certain, with a column of two levels (one of them rare) and one of quantiles."""
    generator = np.random.default_rng(1)
    probabilities = np.where(np.arange(ROWS) % 2, 0.98, 0.02)
    sketch = pd.DataFrame({"level": (np.arange(ROWS) % 100 == 0).astype(float), "size": generator.normal(size=ROWS)})
    return build_reference(probabilities, probabilities, sketch)


@pytest.fixture
def logs(tmp_path) -> Logs:
    return Logs(tmp_path)


def row(number, probability=0.02, level=0.0, size=0.0, **changes):
    return scored(number, probability=probability, sketch={"level": level, "size": size}, **changes)


def queue(logs: Logs, reference: Reference, rows: int = 10, since=NOON, until=None) -> LabelQueue:
    return label_queue(logs.log, logs.feedback, "logistic", reference, MODEL, since, until, rows=rows)


def numbers(found: LabelQueue) -> list[int]:
    return [int(one.request_id.partition("-")[2]) for one in found.rows]


def test_what_is_near_the_decision_comes_first_on_either_side(logs, reference):
    logs.add(row(1, 0.9, size=0.1), row(2, 0.55, size=0.2), row(3, 0.02, size=0.3), row(4, 0.42, size=0.4))
    found = queue(logs, reference)
    assert numbers(found) == [2, 4, 1, 3]
    assert [one.uncertainty for one in found.rows] == pytest.approx([0.9, 0.84, 0.2, 0.04])
    assert [one.predicted for one in found.rows] == [1, 0, 1, 0]
    assert "probability 0.550 is near the decision at 0.5" in found.rows[0].why
    assert found.rows[0].at == "2026-03-01T12:00:02.000000+00:00"


def test_what_the_reference_never_or_seldom_had_comes_first_and_is_named(logs, reference):
    logs.add(row(1), row(2, level=7.0), row(3, level=1.0), row(4, size=99.0))
    found = queue(logs, reference)
    assert numbers(found)[:2] == [2, 3], "a value beyond a continuous column's range is in its outer tenth"
    unseen, rare = found.rows[:2]
    assert unseen.why == "the reference never had such a value of level" and unseen.novelty > rare.novelty > 0.9
    assert rare.why == "the reference has 1.00% of its rows where this one is in level"
    assert found.rows[-1].why == "no row that is left is less certain or more unusual"


def test_equal_rows_are_listed_once_with_their_number(logs, reference):
    logs.add(*(row(number, 0.5) for number in range(30)), row(40, 0.3, size=2.0), row(41, 0.9, size=-2.0))
    found = queue(logs, reference)
    assert numbers(found) == [0, 40, 41] and [one.alike for one in found.rows] == [29, 0, 0]


def test_rows_in_the_same_bins_take_turns_with_others(logs, reference):
    crowd = [row(number, 0.5 + number / 1000) for number in range(20)]
    logs.add(*crowd, row(40, 0.6, size=2.0), row(41, 0.7, size=-2.0))
    assert numbers(queue(logs, reference))[:3] == [0, 40, 41]


def test_a_row_that_equals_one_with_a_label_comes_behind_what_is_not_known_yet(logs, reference):
    logs.add(row(1, 0.5), row(2, 0.5), row(3, 0.62, size=2.0))
    assert numbers(queue(logs, reference)) == [1, 3]
    logs.add(told(1, 1))
    found = queue(logs, reference)
    assert numbers(found) == [3, 2]
    assert (found.window_rows, found.labelled, found.conflicting) == (3, 1, 0)


def test_labelled_rows_other_models_other_times_and_rows_without_an_id_are_left_out(logs, reference):
    logs.add(row(1), row(2, model=OTHER), row(3, family="anomaly"), row(4), row(5000), told(4, 1), told(4, 0, later=90))
    logs.log.append(
        "logistic", MODEL, np.array([0.5]), np.array([0.5]), pd.DataFrame({"level": [0.0]}), occasion="o", when=NOON
    )
    found = queue(logs, reference, until=NOON + timedelta(hours=1))
    assert numbers(found) == [1]
    assert (found.window_rows, found.labelled, found.conflicting) == (2, 1, 1)
    assert numbers(queue(logs, reference, since=NOON + timedelta(hours=1))) == [5000]


def test_nothing_to_label_is_an_empty_queue(logs, reference):
    assert queue(logs, reference) == LabelQueue((), 0, 0, 0)
    logs.add(row(1), told(1, 1))
    assert queue(logs, reference).rows == ()


def test_the_order_is_that_of_all_rows_however_they_are_stored_and_whatever_is_forgotten(
    tmp_path, reference, monkeypatch
):
    generator = np.random.default_rng(2)
    rows = [
        row(number, float(generator.integers(0, 20)) / 20, float(generator.integers(0, 9) == 0), float(number % 4))
        for number in range(120)
    ]
    labels = [told(number, number % 2) for number in range(0, 120, 7)]
    whole, pieces = Logs(tmp_path / "whole"), Logs(tmp_path / "pieces")
    whole.add(*rows, *labels)
    shuffled = [rows[place] for place in generator.permutation(len(rows))]
    for start in range(0, len(shuffled), 9):
        pieces.add(*shuffled[start : start + 9])
    for label in labels:
        pieces.add(label)
    expected = queue(whole, reference, rows=12)
    assert len(expected.rows) == 12 and len({one.worth for one in expected.rows}) > 5
    assert any(one.alike for one in expected.rows)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 10)
    assert queue(pieces, reference, rows=12) == expected
    # What is forgotten on the way never comes back, so what stays was counted from the beginning.
    monkeypatch.setattr(module, "_LEAST_POOL", 1)
    monkeypatch.setattr(module, "_POOL_A_ROW", 4)
    assert queue(pieces, reference, rows=12) == expected


def test_a_model_without_sketch_is_judged_by_its_probabilities(logs):
    probabilities = np.linspace(0, 1, 50)
    bare = build_reference(probabilities, probabilities, pd.DataFrame(index=range(50)))
    logs.add(scored(1, probability=0.9, sketch={}), scored(2, probability=0.5, sketch={}))
    found = queue(logs, bare)
    assert numbers(found) == [2, 1] and found.rows[0].novelty == 0.0


def test_a_missing_value_is_novel_only_where_the_reference_had_none(logs, reference):
    logs.add(row(1), row(2, level=float("nan")))
    assert numbers(queue(logs, reference))[0] == 2
