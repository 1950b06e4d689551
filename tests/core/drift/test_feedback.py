"""Labels that come later: which request they are of, which one counts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.drift import feedback as module
from nethical_assets.core.drift.batch_files import BatchFile
from nethical_assets.core.drift.feedback import (
    FeedbackLog,
    LabelsGiven,
    answered_rows,
    labelled_rows,
    labels_given,
    unknown_feedback,
)
from nethical_assets.core.drift.inference_log import InferenceLog
from nethical_assets.core.drift.sealing import gather
from nethical_assets.core.drift.segments import FeedbackRow
from nethical_assets.core.ground.errors import IntegrityError
from tests.core.drift.logged import NOON, NOON_NS, OTHER, SECOND, at, scored, told


def nobody(family, ids, first, last):
    return pa.array(np.zeros(len(ids), dtype=bool))


def nothing(name, digest):
    """Nobody is told."""


class Logs:
    """Both logs in one folder."""

    def __init__(self, folder):
        self.log, self.feedback = InferenceLog(folder / "inference"), FeedbackLog(folder / "feedback")
        self._batches = 0

    def add(self, *rows):
        self._batches += 1
        gathered, occasion = gather([rows], nobody), str(self._batches)
        for one in gathered.predictions:
            known_by = one.occasion(occasion)
            self.log.append_table(one.family, one.model, one.table, occasion=known_by, when=one.moment, record=nothing)
        if gathered.feedback is not None:
            newest = gathered.feedback["at"][-1].as_py().to_pydatetime()
            self.feedback.append_table(gathered.feedback, occasion=occasion, when=newest, record=nothing)

    def labels(self, since=NOON, **options):
        found = list(labelled_rows(self.log, self.feedback, "logistic", since, **options))
        labels = {
            request: label
            for one in found
            for request, label in zip(
                one.rows["request_id"].to_pylist(), one.rows["true_label"].to_pylist(), strict=True
            )
        }
        return labels, sum(one.labelled for one in found), sum(one.conflicting for one in found)


@pytest.fixture
def logs(tmp_path):
    return Logs(tmp_path)


def test_the_last_label_by_its_time_counts_in_whatever_order_they_come(logs):
    logs.add(told(1, 1, later=300))
    logs.add(told(1, 0, later=100), told(2, 0, later=50))
    logs.add(scored(1), scored(2), scored(3))
    logs.add(told(1, 0, later=200), told(2, 0, later=70))
    assert logs.labels() == ({"request-1": 1, "request-2": 0, "request-3": None}, 2, 1)


def test_labels_of_a_window_are_those_of_its_requests(logs):
    logs.add(*(scored(number) for number in (1, 10, 4000)), told(1, 1), told(10, 1), told(4000, 1, later=5000))
    assert logs.labels(at(5), until=at(20), columns=["probability"])[0] == {"request-10": 1}
    assert logs.labels(at(20))[0] == {"request-4000": 1}


def test_labels_of_no_request_are_kept_and_counted_and_found_when_the_request_comes(logs):
    logs.add(told(7, 1), told(8, 0), told(8, 1))
    assert unknown_feedback(logs.log, logs.feedback) == 3
    logs.add(scored(7, family="anomaly"), scored(1))
    assert unknown_feedback(logs.log, logs.feedback) == 2
    logs.add(scored(8))
    assert unknown_feedback(logs.log, logs.feedback) == 0
    assert logs.labels()[0] == {"request-1": None, "request-8": 1}


def test_batches_without_request_ids_have_no_labels(logs):
    import pandas as pd

    ones = np.ones(2)
    logs.log.append("logistic", "sha256:" + "a" * 64, ones, ones, pd.DataFrame(index=[0, 1]), occasion="o", when=NOON)
    assert logs.labels() == ({}, 0, 0)
    logs.add(scored(1), told(1, 1))
    assert logs.labels() == ({"request-1": 1}, 1, 0)


def test_a_changed_batch_of_labels_is_named_and_one_that_does_not_count_is_not_read(logs, tmp_path):
    logs.add(scored(1), told(1, 1))
    assert FeedbackLog(logs.feedback.folder, counts=lambda name, digest: False).labels_of(
        pa.array(["request-1"]), NOON
    )[0].to_pylist() == [None]
    (path,) = logs.feedback.folder.iterdir()
    assert list(logs.feedback.batch_digests()) == [path.name] and logs.feedback.problems() == []
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=path.name):
        logs.labels()
    assert path.name in logs.feedback.problems()[0]


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 50)), max_size=30),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_joining_in_rounds_is_joining_at_once(tmp_path_factory, labels, rows, size):
    logs = Logs(tmp_path_factory.mktemp("logs"))
    for number in range(8):
        logs.add(scored(number))
    for start in range(0, len(labels), size):
        logs.add(*(told(number, label, later) for number, label, later in labels[start : start + size]))
    wanted, given_labels = {}, {}
    for number, label, _ in sorted(labels, key=lambda one: (one[2], one[1])):
        wanted[f"request-{number}"] = label
        given_labels.setdefault(number, set()).add(label)
    expected = {f"request-{number}": wanted.get(f"request-{number}") for number in range(8)}
    conflicting = sum(len(given_labels.get(number, ())) > 1 for number in range(8))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_ROWS_JOINED", rows)
        patched.setattr(module, "_LABELS_JOINED", size)
        found, _, differing = logs.labels()
    assert (found, differing) == (expected, conflicting)


def test_answered_rows_are_the_labelled_ones_whatever_is_joined_at_once(logs, monkeypatch):
    generator = np.random.default_rng(8)
    logs.add(*(scored(number) for number in range(200)), scored(7, request_id="else", model=OTHER))
    for later in range(3):
        asked = generator.choice(250, 40, replace=False).tolist()
        logs.add(*(told(number, int(generator.integers(2)), later=300 + later) for number in asked))
    expected = {request: label for request, label in logs.labels()[0].items() if label is not None}
    for at_once in (1 << 18, 16):
        monkeypatch.setattr(module, "_LABELS_JOINED", at_once)
        found = list(answered_rows(logs.log, logs.feedback, "logistic", NOON, columns=["route"]))
        pairs = [
            pair
            for one in found
            for pair in zip(one.rows["request_id"].to_pylist(), one.rows["true_label"].to_pylist(), strict=True)
        ]
        assert len(pairs) == len(expected)
        assert dict(pairs) == expected
        assert all("route" in one.rows.column_names for one in found)


def test_labels_that_were_given_in_a_period_and_are_of_no_request_are_counted(logs):
    def of(number, family="logistic"):
        return {"request_id": f"{family}-{number}"}

    def said(number, later, family="logistic"):
        return FeedbackRow(NOON_NS + int(later * SECOND), f"{family}-{number}", 1, "analyst")

    logs.add(scored(1, **of(1)), scored(4000, **of(4000)), scored(2, family="anomaly", **of(2, "anomaly")))
    logs.add(said(1, 10), said(1, 20), said(4000, 30), said(7, 40), said(8, 50), said(8, 60))
    logs.add(said(9, 3600), said(2, 30, "anomaly"), said(3, 30, "anomaly"), said(1, 30, "nobody"))
    hour = at(0), at(3600)
    assert labels_given(logs.log, logs.feedback, "logistic", *hour) == LabelsGiven(4, 2)
    assert labels_given(logs.log, logs.feedback, "anomaly", *hour) == LabelsGiven(2, 1)
    assert labels_given(logs.log, logs.feedback, "logistic", at(3600), at(7200)) == LabelsGiven(1, 1)
    assert labels_given(logs.log, logs.feedback, "logistic", at(7200), at(9000)) == LabelsGiven(0, 0)
    logs.add(scored(8, **of(8)))
    assert labels_given(logs.log, logs.feedback, "logistic", *hour) == LabelsGiven(4, 1)


def test_no_more_batches_are_read_than_it_takes_to_find_the_requests(logs, monkeypatch):
    for number in range(5):
        logs.add(scored(3600 * number, request_id=f"logistic-{number}"))
    logs.add(FeedbackRow(NOON_NS + 20_000 * SECOND, "logistic-3", 1, "analyst"))
    read = []
    whole = BatchFile.read
    monkeypatch.setattr(BatchFile, "read", lambda batch: read.append(batch.moment) or whole(batch))
    assert labels_given(logs.log, logs.feedback, "logistic", at(0), at(30_000)) == LabelsGiven(1, 0)
    assert read[1:] == [at(4 * 3600), at(3 * 3600)]


def given_for(logs, *numbers, later=20_000):
    logs.add(*(FeedbackRow(NOON_NS + later * SECOND, f"logistic-{number}", 1, "analyst") for number in numbers))


def spoil(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_labels_whose_requests_a_damaged_batch_may_have_are_not_counted_and_nothing_is_raised(logs):
    for number in range(4):
        logs.add(scored(3600 * number, request_id=f"logistic-{number}"))
    given_for(logs, 0, 3)
    asked = logs.log, logs.feedback, "logistic", at(0), at(30_000)
    spoil(logs.log.files("logistic", NOON)[1].path)
    assert labels_given(*asked) == LabelsGiven(2, 0), "found elsewhere"
    given_for(logs, 7, later=20_001)
    found = labels_given(*asked)
    assert (found.labels, found.unknown) == (3, None) and "batch of requests cannot be read" in found.reason
    spoil(min(logs.feedback.folder.iterdir()))
    found = labels_given(*asked)
    assert (found.labels, found.unknown) == (None, None) and "batch of labels cannot be read" in found.reason


def test_so_many_requests_are_looked_at_for_labels_of_none_and_then_nobody_knows(logs, monkeypatch):
    for number in range(5):
        logs.add(scored(3600 * number, request_id=f"logistic-{number}"), scored(3600 * number + 1))
    given_for(logs, 2, 9)
    asked = logs.log, logs.feedback, "logistic", at(0), at(30_000)
    read = []
    whole = BatchFile.read
    monkeypatch.setattr(BatchFile, "read", lambda batch: read.append(batch.moment) or whole(batch))
    monkeypatch.setattr(module, "_ROWS_LOOKED_AT", 10)
    assert labels_given(*asked) == LabelsGiven(2, 1), "all ten were looked at"
    monkeypatch.setattr(module, "_ROWS_LOOKED_AT", 6)
    read.clear()
    found = labels_given(*asked)
    assert (found.labels, found.unknown) == (2, None) and "more than 6 requests" in found.reason
    assert at(3600 * 2) in read and at(0) not in read
    given_for(logs, 3, later=40_000)
    assert labels_given(logs.log, logs.feedback, "logistic", at(30_000), at(50_000)) == LabelsGiven(1, 0)


def test_requests_after_the_period_are_not_looked_at_for_its_labels(logs, monkeypatch):
    logs.add(scored(1, request_id="logistic-1"))
    logs.add(scored(5 * 3600, request_id="logistic-2"))
    given_for(logs, 1, 9, later=10)
    monkeypatch.setattr(module, "_ROWS_LOOKED_AT", 2)
    assert labels_given(logs.log, logs.feedback, "logistic", at(0), at(3600)) == LabelsGiven(2, 1)
    read = []
    whole = BatchFile.read
    monkeypatch.setattr(BatchFile, "read", lambda batch: read.append(batch.moment) or whole(batch))
    labels_given(logs.log, logs.feedback, "logistic", at(0), at(3600))
    assert at(5 * 3600) not in read
