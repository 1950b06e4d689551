from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nethical_assets.core.drift.reference import ColumnSketch, Reference, build_reference
from nethical_assets.core.ground.digests import canonical_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError

columns = arrays(np.float64, st.integers(0, 60), elements=st.floats(width=64))


@settings(max_examples=200, deadline=None)
@given(columns, columns)
def test_histograms_count_every_value_once_and_documents_come_back_equal(values, others):
    sketch = ColumnSketch.of("x", values)
    assert sketch.own_histogram().tolist() == sketch.histogram(values).tolist()
    assert sketch.rows == len(values) and sketch.missing == np.isnan(values).sum()
    histogram = sketch.histogram(others)
    assert histogram.sum() == len(others) and histogram[-1] == np.isnan(others).sum()
    assert list(sketch.edges) == sorted(set(sketch.edges)) and np.isfinite(sketch.edges).all()
    reference = Reference(len(values), 0, 0.5, (sketch,))
    assert Reference.from_json(json.loads(canonical_json(reference.to_json()))) == reference


def test_continuous_columns_get_ten_bins_of_equal_size():
    sketch = ColumnSketch.of("x", np.random.default_rng(0).normal(size=1000))
    assert sketch.counts == (100,) * 10


def test_few_values_get_a_bin_each_and_new_values_one_outside():
    sketch = ColumnSketch.of("flag", np.array([0.0, 0.0, 1.0, np.nan]))
    assert sketch.counts == (0, 2, 1, 0) and sketch.missing == 1
    assert sketch.histogram(np.array([-1.0, 0.0, 1.0, 2.0])).tolist() == [1, 1, 1, 1, 0]


def test_reference_of_a_batch():
    probabilities = np.array([0.1, 0.5, 0.9, 0.2])
    sketch = pd.DataFrame({"length": [1, 2, 3, 4], "known": pd.array([True, None, False, True], dtype="boolean")})
    reference = build_reference(np.array([-1.0, 0.0, 1.0, -0.5]), probabilities, sketch)
    assert reference.rows == 4 and reference.positive_rate == 0.5
    assert {column.name for column in reference.columns} == {"score", "probability", "length", "known"}
    assert next(column for column in reference.columns if column.name == "known").missing == 1


def test_counts_of_other_cells_are_refused():
    probabilities = np.array([0.1, 0.5, 0.9, 0.2])
    reference = build_reference(probabilities, probabilities, pd.DataFrame(index=range(4)), labels=np.ones(4))
    document = reference.to_json()
    assert Reference.from_json(document) == reference
    for changes in (
        {"probability_counts": document["probability_counts"][1:]},
        {"reliability": {**document["reliability"], "rows": [4]}},
    ):
        with pytest.raises(IntegrityError, match=r"^home: its counts"):
            Reference.from_json({**document, **changes}, "home")


def test_texts_and_wrong_shapes_never_become_a_reference():
    two = np.array([0.1, 0.2])
    with pytest.raises(DatasetError, match="only numbers"):
        build_reference(two, two, pd.DataFrame({"message": ["Ada's mail", "b"]}))
    with pytest.raises(DatasetError, match="different numbers of rows"):
        build_reference(two, two, pd.DataFrame({"x": [1.0]}))
    with pytest.raises(DatasetError, match="reserved"):
        build_reference(two, two, pd.DataFrame({"score": [1.0, 2.0]}))
    with pytest.raises(DatasetError, match="needs rows"):
        build_reference(two[:0], two[:0], pd.DataFrame({"x": []}, dtype="float64"))
