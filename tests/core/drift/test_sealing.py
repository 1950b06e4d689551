"""From segments to batches: each request once, the same batches from the same segments."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.drift.inference_log import InferenceLog
from nethical_assets.core.drift.sealing import gather
from tests.core.drift.logged import MODEL, NOON, NOON_NS, OTHER, SECOND, at, scored, told


def nobody(family, ids, first, last):
    return pa.array(np.zeros(len(ids), dtype=bool))


def rows_of(gathered):
    return [
        (one.family, one.model, request)
        for one in gathered.predictions
        for request in one.table["request_id"].to_pylist()
    ]


def test_a_batch_is_of_one_family_one_model_and_one_hour(tmp_path):
    rows = [
        scored(1),
        scored(2, model=OTHER),
        scored(3, family="anomaly", sketch={"steps": 1.0}),
        scored(4),
        scored(3600),
        scored(3599),
    ]
    gathered = gather([rows], nobody)
    found = {
        (one.family, one.model[7], one.moment): one.table["request_id"].to_pylist() for one in gathered.predictions
    }
    assert found == {
        ("anomaly", "a", at(3)): ["request-3"],
        ("logistic", "a", at(1)): ["request-1", "request-4", "request-3599"],
        ("logistic", "a", at(3600)): ["request-3600"],
        ("logistic", "b", at(2)): ["request-2"],
    }
    assert (gathered.rows, gathered.again, gathered.feedback) == (6, 0, None)


def test_what_a_row_says_is_what_its_batch_says(tmp_path):
    rows = [scored(number) for number in range(6)]
    log = InferenceLog(tmp_path)
    for one in gather([rows], nobody).predictions:
        log.append_table(
            one.family, one.model, one.table, occasion="x", when=one.moment, record=lambda name, digest: None
        )
    (part,) = log.parts("logistic", NOON)
    names = ("request_id", "label", "probability", "score", "route", "latency_us")
    for name in names:
        assert part.rows[name].to_pylist() == [getattr(row, name) for row in rows]
    assert part.rows["at"].cast(pa.int64()).to_pylist() == [row.at_ns for row in rows]
    assert [dict(found) for found in part.rows["findings"].to_pylist()] == [row.findings for row in rows]
    assert part.sketch().to_pylist() == [row.sketch for row in rows]


def test_of_a_retry_the_first_answer_stays_whichever_worker_gave_it():
    again = scored(9, request_id="request-1", model=OTHER, probability=0.9)
    for segments in ([[scored(1), again]], [[again], [scored(1)]], [[again, scored(1)], [scored(1)]]):
        gathered = gather(segments, nobody)
        assert rows_of(gathered) == [("logistic", MODEL, "request-1")]
        assert gathered.again == sum(map(len, segments)) - 1
    other_family = gather([[scored(1), scored(1, family="anomaly")]], nobody)
    assert other_family.rows == 2, "another family's request of this name is another request"


def test_what_the_log_has_is_left_out():
    asked = []

    def known(family, ids, first, last):
        asked.append((family, first, last))
        return pa.array([one == "request-2" for one in ids.to_pylist()])

    gathered = gather([[scored(1), scored(2)], [scored(3)]], known)
    assert rows_of(gathered) == [("logistic", MODEL, "request-1"), ("logistic", MODEL, "request-3")]
    assert gathered.again == 1
    ((family, first, last),) = asked
    assert family == "logistic" and first == at(1) and at(3) < last <= at(4)


def test_rows_whose_sketches_differ_have_missing_values():
    rows = [scored(1, sketch={"a": 1.0}), scored(2, sketch={"b": 2.0}), scored(3, sketch={})]
    (one,) = gather([rows], nobody).predictions
    sketch = one.table.select(["sketch.a", "sketch.b"]).to_pandas()
    assert sketch.fillna(-1).to_numpy().tolist() == [[1, -1], [-1, 2], [-1, -1]]


def test_labels_are_kept_all_in_order_of_time():
    feedback = gather([[told(2, 1, later=9)], [told(1, 0, later=5), told(2, 0, later=7)]], nobody).feedback
    assert feedback.select(["request_id", "label"]).to_pylist() == [
        {"request_id": "request-1", "label": 0},
        {"request_id": "request-2", "label": 0},
        {"request_id": "request-2", "label": 1},
    ]
    assert feedback["actor"].to_pylist() == ["analyst"] * 3


row = st.builds(
    lambda number, later, model, family: scored(
        number, at_ns=NOON_NS + later * SECOND, model=model, family=family, sketch={"x": 1.0}
    ),
    st.integers(0, 12),
    st.integers(0, 9000),
    st.sampled_from([MODEL, OTHER]),
    st.sampled_from(["logistic", "anomaly"]),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(row, max_size=6), max_size=4))
def test_every_request_is_in_exactly_one_batch_and_batches_are_the_same_again(segments):
    first, again = gather(segments, nobody), gather(segments, nobody)
    wanted = {(one.family, one.request_id) for segment in segments for one in segment}
    found = [(family, request) for family, _, request in rows_of(first)]
    assert len(found) == len(set(found)) and set(found) == wanted
    assert first.rows + first.again == sum(map(len, segments))
    assert [(one.moment, one.table) for one in first.predictions] == [
        (one.moment, one.table) for one in again.predictions
    ]
    for one in first.predictions:
        times = one.table["at"].cast(pa.int64()).to_pylist()
        assert times == sorted(times) and len({time // (3600 * SECOND) for time in times}) == 1
