"""Labels in a table that a person filled: what is taken, and what is refused without a word of the data."""

from __future__ import annotations

import pyarrow as pa
import pytest

from nethical_assets.core.drift.given_labels import given_labels
from nethical_assets.core.ground.errors import DatasetError


def batch(ids, labels, name="label", **more):
    columns = {"request_id": pa.array(ids, pa.string()), name: pa.array(labels, pa.string())}
    return pa.RecordBatch.from_pydict({**columns, **{key: pa.array(value) for key, value in more.items()}})


def taken(*batches, **options):
    found = given_labels(batches, "labels.csv", **options)
    return dict(zip(found.ids.to_pylist(), found.labels.to_pylist(), strict=True)), found.blank, found.repeated


def test_rows_with_a_label_are_taken_once_whatever_batches_they_are_in():
    first = batch(["a", "b", "c", None], ["1", None, " 0.0 ", ""], probability=["0.4", "", "x", "y"])
    assert taken(first, batch(["d", "a", "e"], ["0", "1.0", " "])) == ({"a": 1, "c": 0, "d": 0}, 3, 1)


def test_the_column_that_says_what_was_true_can_be_named():
    scored = batch(["a", "b"], ["1", "0"], name="truth", label=["0", "0"], score=["3.1", "-2"])
    assert taken(scored, label_column="truth")[0] == {"a": 1, "b": 0}
    with pytest.raises(DatasetError, match=r"what the model said.*--label"):
        taken(scored)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (batch(["a"], ["1"], name="verdict"), "no column 'label'; the columns are request_id, verdict"),
        (pa.RecordBatch.from_pydict({"label": ["1"]}), "no column 'request_id'"),
        (batch(["a", "b", "secret-1"], ["1", "maybe-secret", "2"]), r"row 2: label is neither 0 nor 1 \(2 such rows\)"),
        (batch(["a", "b"], ["0", "0.5"]), "row 2: label is neither"),
        (batch(["a", "b"], ["0", "true"]), "row 2: label is neither"),
        (batch(["a", None], ["0", "1"]), "row 2: there is a label and no request_id"),
        (batch(["a", "s" * 257], ["0", "1"]), "row 2: there is a label and no request_id"),
        (batch(["a", "secret", "secret"], ["0", "1", "0"]), "between rows 2 and 3 one request has both labels"),
        (batch(["a", "b"], [None, ""]), "no row has a label"),
        (batch([], []), "no row has a label"),
    ],
)
def test_what_cannot_be_meant_is_one_line_without_a_value(rows, said):
    with pytest.raises(DatasetError, match=said) as told:
        taken(batch([], []), rows) if "request_id" in rows.schema.names and "label" in rows.schema.names else taken(
            rows
        )
    assert "secret" not in str(told.value) and "\n" not in str(told.value)
    assert str(told.value).startswith("labels.csv: ")
