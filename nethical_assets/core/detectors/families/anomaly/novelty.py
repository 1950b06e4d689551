"""Novelty of token sequences against normal behaviour: what the anomaly family measures.

What belongs here: a model of normal sequences (n-gram counts, token mixes, modes of behaviour) learned without labels
or anomalies, and the novelty measures of a sequence against it. What does not: calibration, file formats.

Measures: ``surprise``, the mean negative log probability of each token after the five before it (Hofmeyr, Forrest and
Somayaji 1998 use runs of six system calls); ``unseen``, the share of runs of three that normal behaviour never showed;
``distance``, the distance of the sequence's token mix (Hellinger) to the nearest normal one. Each is measured for the
normal training sequences too, as if they had been left out, and standardised within a mode of behaviour, so that
sources with different habits become comparable.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.ngrams import (
    FlatTokens,
    HashArray,
    IndexArray,
    NGrams,
    TokenHashes,
    ngrams,
    split_tokens,
)

MEASURES = ("surprise", "unseen", "distance")
CONTEXT_RUN, SURPRISE_RUN, UNSEEN_RUN = 5, 6, 3
RUNS = (UNSEEN_RUN, CONTEXT_RUN, SURPRISE_RUN)
MODES = 2
MAXIMUM_VOCABULARY = 2048
MAXIMUM_REFERENCES = 4000
MAXIMUM_RUNS = 2_000_000
_SMOOTHING = 0.05
_SMALLEST_SPREAD = 0.01
_MOST_SPREADS = 50.0
_ROWS_AT_A_TIME = 2048
_WHOLE = float(1 << 24)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class NormalBehaviour:
    """What normal sequences look like.

    Attributes:
        vocabulary: token hashes, sorted; all others are one "unknown" token.
        run_hashes, run_counts: for each size in RUNS the hashes of runs, sorted, and how often normal rows have them.
        references: token mixes of normal sequences, ``(references, vocabulary + 1)``.
        modes: centres of the modes of behaviour in the space of token mixes, ``(modes, vocabulary + 1)``.
        centre, spread: of each measure within each mode, ``(modes, measures)``.
    """

    vocabulary: HashArray
    run_hashes: dict[int, HashArray]
    run_counts: dict[int, Counts]
    references: npt.NDArray[np.float32]
    modes: npt.NDArray[np.float32]
    centre: FloatArray
    spread: FloatArray

    def measures(self, sequences: pa.Array) -> FloatArray:
        """The MEASURES of each sequence, shape ``(rows, 3)``, finite."""
        return np.vstack(
            [np.zeros((0, len(MEASURES))), *(self._measures(split_tokens(part))[0] for part in _parts(sequences))]
        )

    def novelty(self, sequences: pa.Array) -> FloatArray:
        """The mean standardised measure of each sequence, shape ``(rows,)``; about 0 for normal ones."""
        results = [np.zeros(0)]
        for part in _parts(sequences):
            results.append(self._novelty(*self._measures(split_tokens(part))))
        return np.concatenate(results)

    def of_one(self, sequence: str) -> tuple[float, list[float]]:
        """The novelty and the MEASURES of one sequence, equal to those of many bit for bit."""
        hashes = self._tokens.of(sequence.split())
        measured, mixes = self._measures(FlatTokens(hashes, np.array([0, len(hashes)])))
        return float(self._novelty(measured, mixes)[0]), measured[0].tolist()

    @functools.cached_property
    def _tokens(self) -> TokenHashes:
        return TokenHashes()

    @functools.cached_property
    def _centres(self) -> tuple[_Centres, _Centres]:
        return _Centres(self.references), _Centres(self.modes)

    def _novelty(self, measured: FloatArray, mixes: FloatArray) -> FloatArray:
        mode = self._centres[1].nearest(mixes)[0]
        standard = (measured - self.centre[mode]) / self.spread[mode]
        return np.asarray(np.clip(standard, -_MOST_SPREADS, _MOST_SPREADS).mean(axis=1), dtype=np.float64)

    def _measures(self, tokens: FlatTokens) -> tuple[FloatArray, FloatArray]:
        mixes = _token_mixes(tokens, self.vocabulary)
        runs = {size: ngrams(tokens, size) for size in RUNS}
        counts = {size: _look_up(runs[size].hashes, self.run_hashes[size], self.run_counts[size]) for size in RUNS}
        return _assemble(runs, counts, self._centres[0].nearest(mixes)[1]), mixes


def learn_normal_behaviour(sequences: pa.Array) -> NormalBehaviour:
    """Learn from normal sequences (at least two), in an order that depends on their content only."""
    tokens = split_tokens(sequences)
    vocabulary = _frequent(tokens.hashes, MAXIMUM_VOCABULARY)[0]
    mixes = _token_mixes(tokens, vocabulary)
    references = mixes[:MAXIMUM_REFERENCES].astype(np.float32)
    runs = {size: ngrams(tokens, size) for size in RUNS}
    known = {size: _frequent(runs[size].hashes, MAXIMUM_RUNS) for size in RUNS}
    # Left out: a sequence's own runs do not count as seen, and it is not its own nearest neighbour.
    counts = {size: np.maximum(_look_up(runs[size].hashes, *known[size]) - _own_counts(runs[size]), 0) for size in RUNS}
    measured = _assemble(runs, counts, _Centres(references).nearest(mixes, leave_out_same=True)[1])
    modes = _modes(mixes).astype(np.float32)
    mode = _Centres(modes).nearest(mixes)[0]
    centre, spread = np.zeros((len(modes), len(MEASURES))), np.ones((len(modes), len(MEASURES)))
    for number in range(len(modes)):
        own = measured[mode == number] if (mode == number).any() else measured
        centre[number] = np.median(own, axis=0)
        spread[number] = own.std(axis=0) + _SMALLEST_SPREAD
    return NormalBehaviour(
        vocabulary=vocabulary,
        run_hashes={size: known[size][0] for size in RUNS},
        run_counts={size: known[size][1] for size in RUNS},
        references=references,
        modes=modes,
        centre=centre,
        spread=spread,
    )


def _parts(sequences: pa.Array) -> list[pa.Array]:
    return [sequences.slice(at, _ROWS_AT_A_TIME) for at in range(0, len(sequences), _ROWS_AT_A_TIME)]


def _assemble(runs: dict[int, NGrams], counts: dict[int, Counts], distance: FloatArray) -> FloatArray:
    rows = len(distance)
    long, context, short = runs[SURPRISE_RUN], runs[CONTEXT_RUN], runs[UNSEEN_RUN]
    before = counts[CONTEXT_RUN][np.searchsorted(context.starts, long.starts)]
    surprise = -np.log((counts[SURPRISE_RUN] + _SMOOTHING) / (before + 1.0))
    return np.column_stack(
        [_row_mean(long.rows, surprise, rows), _row_mean(short.rows, counts[UNSEEN_RUN] == 0, rows), distance]
    )


def _row_mean(rows: IndexArray, values: npt.NDArray[np.generic], height: int) -> FloatArray:
    total = np.bincount(rows, weights=values.astype(np.float64), minlength=height)
    return np.asarray(total / np.maximum(np.bincount(rows, minlength=height), 1), dtype=np.float64)


def _frequent(hashes: HashArray, most: int) -> tuple[HashArray, Counts]:
    """The distinct ``hashes``, sorted, with their counts; only the ``most`` frequent ones (ties: smaller hash)."""
    values, counts = np.unique(hashes, return_counts=True)
    if len(values) > most:
        kept = np.sort(np.lexsort((values, -counts))[:most])
        values, counts = values[kept], counts[kept]
    return values, counts.astype(np.int64)


def _look_up(hashes: HashArray, known: HashArray, counts: Counts) -> Counts:
    if len(known) == 0:
        return np.zeros(len(hashes), dtype=np.int64)
    place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.where(known[place] == hashes, counts[place], 0)


def _own_counts(runs: NGrams) -> Counts:
    """For each run, how often its own row has it."""
    order = np.lexsort((runs.hashes, runs.rows))
    rows, hashes = runs.rows[order], runs.hashes[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]) | (hashes[1:] != hashes[:-1])
    group = np.cumsum(first) - 1
    result = np.empty(len(order), dtype=np.int64)
    result[order] = np.bincount(group)[group] if len(order) else 0
    return result


def _token_mixes(tokens: FlatTokens, vocabulary: HashArray) -> FloatArray:
    """Square roots of the share of each vocabulary token (last column: unknown ones) in each row."""
    width, height = len(vocabulary) + 1, len(tokens.lengths)
    place = np.minimum(np.searchsorted(vocabulary, tokens.hashes), max(len(vocabulary) - 1, 0))
    found = vocabulary[place] == tokens.hashes if len(vocabulary) else np.zeros(len(tokens.hashes), dtype=bool)
    column = np.where(found, place, width - 1)
    counts = np.bincount(tokens.rows * width + column, minlength=height * width).reshape(height, width)
    return np.sqrt(counts / np.maximum(tokens.lengths, 1)[:, None])


class _Centres:
    """Token mixes, and which of them is nearest to others.

    Mixes are compared in whole numbers of 2^-24, whose products and sums 64-bit floats hold exactly: what is nearest
    depends neither on the order in which a library adds nor on how many rows are asked about at once.
    """

    def __init__(self, centres: npt.NDArray[np.float32]) -> None:
        self._centres = centres
        whole = _in_whole_numbers(centres)
        self._squares = (whole**2).sum(axis=1)
        self._columns = np.ascontiguousarray(whole.T.astype(np.float32))

    def nearest(self, points: FloatArray, *, leave_out_same: bool = False) -> tuple[IndexArray, FloatArray]:
        """The nearest centre to each point, the first of several, and its distance; ``leave_out_same``: row i may not
        choose centre i."""
        nearest = np.zeros(len(points), dtype=np.int64)
        for at in range(0, len(points), _ROWS_AT_A_TIME):
            part = _in_whole_numbers(points[at : at + _ROWS_AT_A_TIME])
            gap = self._squares - 2.0 * self._products(part)
            if leave_out_same:
                own = np.arange(at, min(at + len(part), len(self._centres)))
                gap[own - at, own] = np.inf
            nearest[at : at + len(part)] = gap.argmin(axis=1)
        chosen = self._centres[nearest].astype(np.float64)
        return nearest, np.sqrt(((points - chosen) ** 2).sum(axis=1))

    def _products(self, whole: FloatArray) -> FloatArray:
        if len(whole) > 1:
            return np.asarray(whole @ self._columns.astype(np.float64), dtype=np.float64)
        # A sequence has few different tokens.
        there = np.flatnonzero(whole[0])
        return np.asarray(whole[:, there] @ self._columns[there].astype(np.float64), dtype=np.float64)


def _in_whole_numbers(mixes: npt.NDArray[np.floating[Any]]) -> FloatArray:
    return np.asarray(np.rint(mixes.astype(np.float64) * _WHOLE), dtype=np.float64)


def _modes(mixes: FloatArray) -> FloatArray:
    """Centres of MODES clusters: farthest-first start and Lloyd's iterations, without chance."""
    centres = [mixes.mean(axis=0)]
    for _ in range(MODES):
        gaps = np.min([((mixes - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        centres.append(mixes[int(gaps.argmax())])
    found = np.array(centres[1:])
    for _ in range(20):
        own = _Centres(found.astype(np.float32)).nearest(mixes)[0]
        found = np.array([mixes[own == k].mean(axis=0) if (own == k).any() else found[k] for k in range(len(found))])
    return found
