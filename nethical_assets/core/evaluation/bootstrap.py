"""The bootstrap, vectorised: resampled column sums, from which every resampled metric follows.

What belongs here: drawing resamples and quantiles over them. What does not: what the columns mean (``metrics``,
``regression``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nethical_assets.core.evaluation.clusters import IntArray, cluster_sums
from nethical_assets.core.evaluation.estimate import CONFIDENCE, few_units_factor

FloatArray = npt.NDArray[np.float64]

BLOCK_LIMIT = 20_000
"""Above this many rows, rows are first summed in this many random blocks and blocks are resampled instead of rows.
Random blocks are exchangeable, so a sum over resampled blocks varies as a sum over resampled rows does."""

_CHUNK_CELLS = 1_500_000
_DRAWN_AT_ONCE = 1 << 16
"""Counting is random access: so many cells of counts stay in the processor's cache."""

_DECIMALS = 6


def resampled_sums(columns: FloatArray, samples: int, seed: int, clusters: IntArray | None = None) -> FloatArray:
    """Sums of ``columns`` (rows x k) over ``samples`` resamples of the rows with replacement: shape (samples, k).

    Every resample has as many rows (or blocks, see ``BLOCK_LIMIT``) as there are; with ``clusters`` (rows,) whole
    clusters are drawn, as many as there are. Deterministic in ``seed``.
    """
    generator = np.random.default_rng(seed)
    columns = cluster_sums(columns, clusters)
    units = _blocks(columns, generator) if len(columns) > BLOCK_LIMIT else columns
    count = len(units)
    sums = np.empty((samples, columns.shape[1]))
    at_once, drawn_at_once = (max(1, cells // max(count, 1)) for cells in (_CHUNK_CELLS, _DRAWN_AT_ONCE))
    weights = np.empty((min(at_once, samples), count))
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        for first in range(0, size, drawn_at_once):
            part = min(drawn_at_once, size - first)
            drawn = generator.integers(0, count, size=(part, count), dtype=np.int64)
            drawn += (np.arange(part) * count)[:, None]
            weights[first : first + part] = np.bincount(drawn.ravel(), minlength=part * count).reshape(part, count)
        sums[start : start + size] = weights[:size] @ units
    return sums


def percentile_interval(
    replicates: FloatArray, confidence: float = CONFIDENCE, *, clusters: IntArray | None = None
) -> tuple[float, float]:
    """The central ``confidence`` range of the finite replicates; wider where they were drawn from few clusters.

    Rounded to six decimals, so that the last bits of a matrix product cannot change stored documents.
    """
    finite = replicates[np.isfinite(replicates)]
    tail = (1.0 - confidence) / 2.0
    low, middle, high = np.quantile(finite, (tail, 0.5, 1.0 - tail))
    if clusters is not None:
        units = len(np.unique(clusters))
        factor = few_units_factor(units, confidence) * np.sqrt(units / max(units - 1, 1))
        low, high = middle - factor * (middle - low), middle + factor * (high - middle)
    return round(float(low), _DECIMALS), round(float(high), _DECIMALS)


def _blocks(columns: FloatArray, generator: np.random.Generator) -> FloatArray:
    shuffled = columns[generator.permutation(len(columns))]
    starts = np.linspace(0, len(columns), BLOCK_LIMIT, endpoint=False).astype(np.int64)
    return np.asarray(np.add.reduceat(shuffled, starts, axis=0))
