"""Comparing a retrained model with the stored one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.lineage.reproduction import compare_models
from nethical_assets.core.models.registry import ModelManifest

STORED = ModelManifest(
    family="logistic",
    files={"model.json": digest_bytes(b"one")},
    training={"seed": 42, "code": "c1", "hyperparameters": {"trees": 40, "range": [1, 2]}},
    input_columns=("a", "b"),
    libraries={"numpy": "2.4.0", "scipy": "1.16.0"},
)
ROWS = np.array([0.1, 0.5, 0.9])


def test_the_same_model_is_reproduced_and_nothing_differs() -> None:
    outcome = compare_models(STORED, STORED, ROWS, ROWS, context={"python": ("3.11", "3.11")})
    assert outcome.same
    assert outcome.differences == ()
    assert outcome.largest_probability_difference == 0.0


def test_a_tuple_is_the_list_it_is_stored_as() -> None:
    training = {**STORED.training, "hyperparameters": {"trees": 40, "range": (1, 2)}}
    assert compare_models(STORED, replace(STORED, training=training), ROWS, ROWS, context={}).differences == ()


def test_everything_that_differs_is_named_with_both_values() -> None:
    retrained = replace(
        STORED,
        files={"model.json": digest_bytes(b"two")},
        training={**STORED.training, "code": "c2", "hyperparameters": {"trees": 50, "range": [1, 2]}},
        input_columns=("a",),
        libraries={"numpy": "2.5.0"},
    )
    outcome = compare_models(
        STORED, retrained, ROWS, ROWS + np.array([0, 0, 0.05]), context={"python": ("3.11", "3.12")}
    )
    assert not outcome.same
    assert outcome.causes == (
        'library numpy: "2.4.0" -> "2.5.0"',
        'library scipy: "1.16.0" -> none',
        'training code: "c1" -> "c2"',
        "training hyperparameters.trees: 40 -> 50",
        "python: 3.11 -> 3.12",
    )
    file, columns, predictions = outcome.differences[len(outcome.causes) :]
    assert file.startswith("file model.json: ")
    assert columns == "input columns: 2 -> 1 or other names"
    assert predictions == "predictions: 1 of 3 rows differ, probabilities by up to 0.05"


def test_no_rows_to_compare_is_no_difference() -> None:
    empty = np.array([])
    assert compare_models(STORED, STORED, empty, empty, context={}).largest_probability_difference == 0.0
