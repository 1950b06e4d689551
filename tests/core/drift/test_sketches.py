from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.drift.reference import PROBABILITY, Reference, build_reference
from nethical_assets.core.drift.reliability import FIXED_POINT, Reliability
from nethical_assets.core.drift.sketches import Sketch, added
from nethical_assets.core.ground.digests import canonical_json, pretty_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError

COLUMNS = ("length", "kind")


def batch(rows, seed=0, shift=0.0):
    random = np.random.default_rng(seed)
    scores = random.normal(size=rows) * 2 + shift
    frame = pd.DataFrame(
        {
            "length": np.where(random.random(rows) < 0.1, np.nan, random.lognormal(3, 1, size=rows)),
            "kind": random.integers(0, 4, size=rows),
        }
    )
    probabilities = np.round(1 / (1 + np.exp(-scores)), 3)
    return scores, probabilities, frame, (random.random(rows) < probabilities).astype(float)


@pytest.fixture(scope="module")
def reference():
    scores, probabilities, frame, labels = batch(1500)
    return build_reference(scores, probabilities, frame, labels=labels)


def sketch_of(reference, scores, probabilities, frame, labels):
    return Sketch.of(reference, probabilities, scores, frame, labels)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 700), max_size=4), st.randoms(use_true_random=False), st.integers(0, 50))
def test_any_cut_in_any_order_adds_up_to_the_whole(reference, cuts, random, seed):
    scores, probabilities, frame, labels = batch(700, seed)
    labels[np.arange(700) % 3 == 0] = np.nan
    whole = sketch_of(reference, scores, probabilities, frame, labels)
    order = np.array(random.sample(range(700), 700))
    parts = [
        sketch_of(
            reference,
            *(values[order[low:high]] for values in (scores, probabilities)),
            frame.iloc[order[low:high]],
            labels[order[low:high]],
        )
        for low, high in pairwise(sorted({0, 700, *cuts}))
    ]
    random.shuffle(parts)
    total = added(reference, parts)
    assert total == whole and total.to_bytes() == whole.to_bytes() and total.digest == whole.digest
    read = [Sketch.from_bytes(part.to_bytes(), reference) for part in parts]
    assert added(reference, read) == whole and hash(whole) == hash(total)


def test_counts_are_those_of_the_rows(reference):
    scores, probabilities, frame, labels = batch(900, 5, shift=0.4)
    sketch = sketch_of(reference, scores, probabilities, frame, labels)
    assert sketch.rows == 900 and sketch.positives(reference) == int((probabilities >= 0.5).sum())
    for column in reference.columns:
        values = {"score": scores, PROBABILITY: probabilities}.get(column.name)
        values = frame[column.name].to_numpy(dtype=float) if values is None else values
        expected = column.histogram(np.asarray(values, dtype=float))
        assert sketch.histogram(reference, column.name).tolist() == expected.tolist()
    assert sketch.columns["length"][-1] == frame["length"].isna().sum()
    bins = np.searchsorted(reference.grid.bins, probabilities, side="left")
    assert sketch.reliability_rows(reference).tolist() == np.bincount(bins, minlength=16).tolist()
    assert int(sketch.probability_sums.sum()) == pytest.approx(probabilities.sum() * FIXED_POINT, abs=900)
    right = int(((probabilities >= 0.5) == labels).sum())
    assert sketch.labelled.total == 900 and sketch.labelled.correct(0.5) == right
    assert sketch.labelled.rows == tuple(sketch.reliability_rows(reference).tolist())


def test_the_reference_counts_itself(reference):
    scores, probabilities, frame, labels = batch(1500)
    sketch = sketch_of(reference, scores, probabilities, frame, labels)
    assert tuple(sketch.columns[PROBABILITY][:-1].tolist()) == reference.probability_counts
    assert sketch.labelled == reference.reliability
    for column in reference.columns:
        assert sketch.histogram(reference, column.name).tolist() == column.own_histogram().tolist()


def test_labels_that_come_later_replace_those_of_a_sketch(reference):
    scores, probabilities, frame, labels = batch(300)
    without = Sketch.of(reference, probabilities, scores, frame)
    assert without.labelled == Reliability.none(0.5)
    later = without.with_labels(Reliability.of(probabilities, labels, 0.5))
    assert later == sketch_of(reference, scores, probabilities, frame, labels) != without


def test_sketches_of_another_reference_are_refused(reference):
    other = build_reference(*batch(800, 9)[:3])
    one, two = (Sketch.of(which, *np.array(batch(50)[:2])[::-1], batch(50)[2]) for which in (reference, other))
    with pytest.raises(DatasetError, match="two references"):
        one + two
    with pytest.raises(DatasetError, match="two references"):
        added(reference, [two])
    with pytest.raises(IntegrityError, match=r"batch-7: a sketch of reference sha256:.*, not of sha256:"):
        Sketch.from_bytes(two.to_bytes(), reference, "batch-7")


def test_columns_of_another_model_are_refused(reference):
    scores, probabilities, frame, _ = batch(20)
    with pytest.raises(DatasetError, match="'kind' of a batch: the reference has it"):
        Sketch.of(reference, probabilities, scores, frame.drop(columns="kind"))
    with pytest.raises(DatasetError, match="'new' of a batch: the reference has no such one"):
        Sketch.of(reference, probabilities, scores, frame.assign(new=1.0))
    with pytest.raises(DatasetError, match="different numbers of rows"):
        Sketch.of(reference, probabilities, scores[:-1], frame)
    with pytest.raises(DatasetError, match="neither 0 nor 1"):
        Sketch.of(reference, probabilities, scores, frame, np.full(20, 2.0))
    with pytest.raises(DatasetError, match="19 labels"):
        Sketch.of(reference, probabilities, scores, frame, np.zeros(19))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_bytes_are_named_and_never_another_error(reference, data):
    good = sketch_of(reference, *batch(200)).to_bytes()
    kind = data.draw(st.sampled_from(["cut", "flip", "more", "noise"]))
    position = data.draw(st.integers(0, len(good) - 1))
    changed = {
        "cut": good[:position],
        "flip": good[:position] + bytes([good[position] ^ data.draw(st.integers(1, 255))]) + good[position + 1 :],
        "more": good + b"\0",
        "noise": data.draw(st.binary(max_size=300)),
    }[kind]
    try:
        found = Sketch.from_bytes(changed, reference, "here")
    except IntegrityError as error:
        assert str(error).startswith("here: ")
    else:
        assert kind == "flip" and found.to_bytes() == changed


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        "null",
        "{}",
        '{"arrays":[],"columns":0,"reference":"x"}',
        '{"arrays":[[]],"columns":1,"reference":1}',
        "[" * 100_000,
    ],
)
def test_headers_of_other_shapes_are_damage(reference, header):
    with pytest.raises(IntegrityError, match=r"^x: "):
        Sketch.from_bytes(b"nethical-sketch 1\n" + header.encode() + b"\n", reference, "x")


def test_bytes_are_as_narrow_as_their_counts_and_hold_large_ones(reference):
    sketch = sketch_of(reference, *batch(100))
    assert len(sketch.to_bytes()) < 6_000
    total = sketch
    for _ in range(24):  # 2^24 times the rows
        total = total + total
    assert total.rows == 100 << 24
    assert Sketch.from_bytes(total.to_bytes(), reference) == total


def test_references_of_older_versions_read_and_keep_their_digest(reference):
    document = reference.to_json()
    old = {key: value for key, value in document.items() if key not in ("probability_counts", "reliability")}
    read = Reference.from_json(json.loads(canonical_json(old)))
    assert read.probability_counts == () and read.reliability is None
    assert pretty_json(read.to_json()) == pretty_json(old)
    assert read.digest != reference.digest == Reference.from_json(document).digest
    sketch = Sketch.of(read, *np.array(batch(60)[:2])[::-1], batch(60)[2])
    assert sketch.reference == read.digest and sketch.rows == 60


def test_missing_probabilities_are_counted_as_missing(reference):
    scores, probabilities, frame, labels = batch(40)
    probabilities[:4] = np.nan
    sketch = sketch_of(reference, scores, probabilities, frame, labels)
    assert sketch.rows == 40 and sketch.columns[PROBABILITY][-1] == 4 and sketch.labelled.total == 36
