"""Rows that come in groups: how much less they tell than as many independent rows.

What belongs here: the numbering of groups, sums over them, and design effects. What does not: drawing them
(``bootstrap``), or intervals (``estimate``, ``ranking``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nethical_assets.core.evaluation.estimate import few_units_factor

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def cluster_codes(groups: npt.ArrayLike | None, sources: npt.ArrayLike | None, rows: int) -> IntArray | None:
    """A number for every row, equal within a group of one source; None where every row stands for itself.

    Args:
        groups: shape (rows,), text; an empty one is a row without a group, which is a cluster of its own.
        sources: shape (rows,); groups of the same name in two sources are two. None is one source.

    Raises:
        ValueError: lengths differ.
    """
    if groups is None:
        return None
    names = np.asarray(groups).astype(str)
    places = np.zeros(rows, dtype=np.int64)
    if sources is not None:
        places = np.unique(np.asarray(sources).astype(str), return_inverse=True)[1].astype(np.int64)
    if names.shape != (rows,) or places.shape != (rows,):
        raise ValueError(f"{names.shape} groups and {places.shape} sources for {rows} rows")
    grouped = names != ""
    if not grouped.any():
        return None
    _, codes = np.unique(names, return_inverse=True)
    keys = np.where(grouped, places * (int(codes.max()) + 1) + codes, -1 - np.arange(rows))
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def count_units(groups: npt.ArrayLike | None, sources: npt.ArrayLike | None, rows: int) -> int:
    """How many groups there are, a row without one counting as one; see ``cluster_codes``."""
    clusters = cluster_codes(groups, sources, rows)
    return rows if clusters is None else len(np.unique(clusters))


def cluster_sums(columns: FloatArray, clusters: IntArray | None) -> FloatArray:
    """The sums of ``columns`` (rows x k) over every cluster: shape (clusters, k); the rows themselves without any."""
    if clusters is None:
        return columns
    order = np.argsort(clusters, kind="stable")
    _, starts = np.unique(clusters[order], return_index=True)
    return np.asarray(np.add.reduceat(columns[order], starts, axis=0)) if len(starts) else columns


def design_effect(influences: FloatArray, clusters: IntArray | None) -> float:
    """How many times larger the variance of a sum is than if its rows were independent, at least 1 (Kish 1965).

    It includes the price of knowing that variance from few clusters only (Korn and Graubard 1998).

    Args:
        influences: what each row adds to the estimate, centred, shape (rows,). Where they show no variation to learn
            from (all are 0, or there is one cluster), rows of one cluster count as copies of each other.
    """
    if clusters is None or len(influences) == 0:
        return 1.0
    sizes = np.bincount(clusters)
    sizes = sizes[sizes > 0]
    count = len(sizes)
    copies = float((sizes**2).sum() / sizes.sum())
    independent = float((influences**2).sum())
    together = float((cluster_sums(influences[:, None], clusters) ** 2).sum())
    seen = together / independent * count / (count - 1) if count > 1 and independent > 0.0 else copies
    return max(1.0, seen) * few_units_factor(count) ** 2
