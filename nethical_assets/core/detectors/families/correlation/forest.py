"""A tree ensemble as plain arrays: fitting, walking and checking.

What belongs here: extremely randomised trees (Geurts, Ernst and Wehenkel 2006) fitted by scikit-learn and kept as
arrays, so that a stored model is numbers in a safetensors file, walked here with bounds known to hold. What does not:
features, calibration.

Why not skops: its files hold memory addresses and times (two dumps of one model differ), need the very scikit-learn
that wrote them, and load trees into C structures that are not checked. Arrays have none of these problems.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nethical_assets.core.detectors.artifact import Tensor, read_tensors, write_tensors
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.rows.columns import FloatArray

MAXIMUM_TREES = 1000
MAXIMUM_NODES = 4_000_000
_ROWS_AT_A_TIME = 2048

Integers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Forest:
    """All trees' nodes in one set of arrays.

    Attributes:
        roots: first node of each tree; a tree's nodes end where the next one's begin.
        left, right: child nodes as positions in these arrays, greater than their parent's; a leaf is its own child.
        feature, threshold: rows with ``inputs[feature] <= threshold`` go left.
        value: share of positives among the training rows of a leaf (0 in inner nodes).
    """

    roots: Integers
    left: Integers
    right: Integers
    feature: Integers
    threshold: FloatArray
    value: FloatArray

    def score(self, inputs: FloatArray) -> FloatArray:
        """The mean leaf value over all trees, shape ``(rows,)``; ``inputs`` is ``(rows, features)``, finite."""
        parts = [self._score(inputs[at : at + _ROWS_AT_A_TIME]) for at in range(0, len(inputs), _ROWS_AT_A_TIME)]
        return np.concatenate([np.zeros(0), *parts])

    def _score(self, inputs: FloatArray) -> FloatArray:
        rows, width = inputs.shape
        flat = inputs.ravel()
        base = np.tile(np.arange(rows, dtype=np.int64) * width, len(self.roots))
        node = np.repeat(self.roots.astype(np.int64), rows)
        walking = np.arange(len(node))
        while len(walking):
            here = node[walking]
            goes_left = flat[base[walking] + self.feature[here]] <= self.threshold[here]
            following = np.where(goes_left, self.left[here], self.right[here])
            node[walking] = following
            walking = walking[self.left[following] != following]
        leaves = self.value[node].reshape(len(self.roots), rows)
        # One tree after another: a sum over the axis would add a single row's in another order than those of many.
        return np.asarray(np.cumsum(leaves, axis=0)[-1] / len(self.roots), dtype=np.float64)

    def to_bytes(self) -> bytes:
        """As safetensors."""
        return write_tensors({name: getattr(self, name) for name in _TENSORS})


_TENSORS: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "roots": ("I32", (None,)),
    "left": ("I32", (None,)),
    "right": ("I32", (None,)),
    "feature": ("I32", (None,)),
    "threshold": ("F64", (None,)),
    "value": ("F64", (None,)),
}


def fit_forest(
    inputs: FloatArray, labels: npt.NDArray[np.int8], *, trees: int, minimum_leaf_rows: int, seed: int
) -> Forest:
    """Fit ``trees`` extremely randomised trees on ``inputs`` ``(rows, features)``; same rows and seed, same forest."""
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(
        n_estimators=trees, min_samples_leaf=minimum_leaf_rows, max_features=None, random_state=seed, n_jobs=1
    ).fit(inputs.astype(np.float32), labels)
    parts: list[tuple[Tensor, ...]] = []
    roots, offset = [], 0
    for estimator in model.estimators_:
        tree = estimator.tree_
        nodes = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        parts.append(
            (
                np.where(leaf, nodes, tree.children_left) + offset,
                np.where(leaf, nodes, tree.children_right) + offset,
                np.where(leaf, 0, tree.feature),
                np.where(leaf, 0.0, tree.threshold),
                np.where(leaf, tree.value[:, 0, 1], 0.0),
            )
        )
        roots.append(offset)
        offset += tree.node_count
    left, right, feature, threshold, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Forest(
        roots=np.array(roots, dtype=np.int32),
        left=left.astype(np.int32),
        right=right.astype(np.int32),
        feature=feature.astype(np.int32),
        threshold=threshold.astype(np.float64),
        value=value.astype(np.float64),
    )


def read_forest(files: Mapping[str, bytes], name: str, features: int) -> Forest:
    """The forest in the safetensors file ``name``, its structure checked so that walking it ends and stays inside.

    Raises:
        IntegrityError: shapes or node counts do not fit, a child leaves its tree or points backwards (a cycle), a
            feature does not exist, or a value is not finite or not in [0, 1].
    """
    forest = Forest(**read_tensors(files, name, _TENSORS))
    problem = _problem(forest, features)
    if problem:
        raise IntegrityError(f"{name}: {problem}")
    return forest


def _problem(forest: Forest, features: int) -> str:
    """What is wrong with the structure, or nothing."""
    nodes, trees = len(forest.left), len(forest.roots)
    if not 1 <= trees <= MAXIMUM_TREES or not 1 <= nodes <= MAXIMUM_NODES:
        return f"{trees} trees and {nodes} nodes, allowed are 1 to {MAXIMUM_TREES} and 1 to {MAXIMUM_NODES}"
    if any(len(getattr(forest, each)) != nodes for each in ("right", "feature", "threshold", "value")):
        return "the node arrays have different lengths"
    if forest.roots[0] != 0 or (np.diff(forest.roots) <= 0).any() or forest.roots[-1] >= nodes:
        return "the roots do not divide the nodes into trees"
    own = np.arange(nodes)
    end = np.repeat(np.append(forest.roots[1:], nodes), np.diff(np.append(forest.roots, nodes)))
    inner = (forest.left > own) & (forest.right > own) & (forest.left < end) & (forest.right < end)
    leaf = (forest.left == own) & (forest.right == own)
    checks = {
        "a node's children lie outside its tree or before it": inner | leaf,
        f"a node asks for a feature that does not exist (there are {features})": (forest.feature >= 0)
        & (forest.feature < features),
        "a leaf's value is not in [0, 1]": (forest.value >= 0) & (forest.value <= 1),
    }
    return next((problem for problem, fine in checks.items() if not fine.all()), "")
