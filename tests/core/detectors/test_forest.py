"""The stored forest: the same answers as scikit-learn, and every unsound structure refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from nethical_assets.core.detectors.families.correlation.forest import Forest, fit_forest, read_forest
from nethical_assets.core.ground.errors import IntegrityError

FEATURES = 4


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    inputs = generator.random((3000, FEATURES)).astype(np.float32).astype(np.float64)
    labels = ((inputs[:, 0] > 0.5) ^ (inputs[:, 1] > 0.7) ^ (generator.random(3000) < 0.1)).astype(np.int8)
    return inputs, labels


@pytest.fixture(scope="module")
def forest(data: tuple[np.ndarray, np.ndarray]) -> Forest:
    return fit_forest(*data, trees=12, minimum_leaf_rows=5, seed=4)


def test_it_answers_like_scikit_learn(forest: Forest, data: tuple[np.ndarray, np.ndarray]) -> None:
    inputs, labels = data
    reference = ExtraTreesClassifier(12, min_samples_leaf=5, max_features=None, random_state=4).fit(
        inputs.astype(np.float32), labels
    )
    unseen = np.random.default_rng(9).random((5000, FEATURES)).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(forest.score(unseen), reference.predict_proba(unseen)[:, 1], atol=1e-12)


def test_no_rows_give_no_scores(forest: Forest) -> None:
    assert forest.score(np.zeros((0, FEATURES))).shape == (0,)


def test_bytes_round_trip(forest: Forest, data: tuple[np.ndarray, np.ndarray]) -> None:
    loaded = read_forest({"f": forest.to_bytes()}, "f", FEATURES)
    np.testing.assert_array_equal(loaded.score(data[0]), forest.score(data[0]))
    assert loaded.to_bytes() == forest.to_bytes()


def first_inner(forest: Forest) -> int:
    return int(np.flatnonzero(forest.left != np.arange(len(forest.left)))[0])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left", -1),
        ("left", 2**30),
        ("right", 0),
        ("left", "own"),
        ("left", "next tree"),
        ("feature", FEATURES),
        ("feature", -2),
        ("threshold", np.nan),
        ("threshold", np.inf),
        ("value", 1.5),
        ("value", -0.1),
        ("roots", 1),
    ],
)
def test_an_unsound_node_is_refused(forest: Forest, field: str, value: float | str) -> None:
    changed = getattr(forest, field).copy()
    node = 0 if field == "roots" else first_inner(forest)
    changed[node] = {"own": node, "next tree": int(forest.roots[1])}.get(str(value), value)
    broken = dataclasses.replace(forest, **{field: changed})
    with pytest.raises(IntegrityError, match=r"^f: "):
        read_forest({"f": broken.to_bytes()}, "f", FEATURES)


def test_node_arrays_of_different_length_are_refused(forest: Forest) -> None:
    broken = dataclasses.replace(forest, value=forest.value[:-1])
    with pytest.raises(IntegrityError, match="different lengths"):
        read_forest({"f": broken.to_bytes()}, "f", FEATURES)


def test_no_trees_are_refused(forest: Forest) -> None:
    broken = dataclasses.replace(forest, roots=forest.roots[:0])
    with pytest.raises(IntegrityError, match="0 trees"):
        read_forest({"f": broken.to_bytes()}, "f", FEATURES)
