"""Near-duplicate texts: MinHash signatures and locality-sensitive hashing, vectorised over all rows.

What belongs here: grouping texts whose shingles largely agree, and the outcome of the check. What does not: rows that
are equal after normalisation (``quality`` counts them as duplicates).

Source: Broder, On the resemblance and containment of documents, 1997; Leskovec, Rajaraman and Ullman, Mining of massive
datasets, chapter 3 (banding).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc

from nethical_assets.core.quality.checks import EXAMPLES, CheckOutcome
from nethical_assets.core.rows.frames import normalised_text, texts
from nethical_assets.core.rows.ngrams import FlatTokens, HashArray, IndexArray, mix, ngrams, split_tokens

SIMILARITY = 0.8
"""The share of shingles (runs of three words) that two near-duplicates have in common, at least."""

MAXIMUM_ROWS = 100_000
"""Of more rows, this many are compared: every n-th."""

_MAXIMUM_CHARACTERS = 2_000
_SHINGLE_WORDS = 3
_BANDS, _BAND_ROWS = 16, 4
_SIGNATURE = _BANDS * _BAND_ROWS
_PAIRS_AT_ONCE = 1 << 14
_SHINGLES_AT_ONCE = 1 << 13
_SEED = 20_260_102


@dataclass(frozen=True)
class NearDuplicates:
    """Which texts are near-duplicates of which.

    Attributes:
        rows: how many rows the dataset has.
        compared: positions of the compared rows, ascending: one a distinct text that has words.
        group: a number a compared row; near-duplicates have the same.
    """

    rows: int
    compared: IndexArray
    group: IndexArray

    @property
    def repeated(self) -> IndexArray:
        """Positions of the compared rows that are near-duplicates of an earlier one, ascending."""
        _, first = np.unique(self.group, return_index=True)
        later = np.ones(len(self.group), dtype=bool)
        later[first] = False
        return self.compared[later]

    def straddling(self, part: npt.NDArray[np.object_]) -> int:
        """How many compared rows are near-duplicates of a row of another part; ``part`` has one value a dataset row."""
        codes = pd.factorize(part[self.compared])[0]
        parts = pd.Series(codes).groupby(self.group).transform("nunique")
        return int((parts > 1).sum())


def group_near_duplicates(values: pd.Series, *, maximum_rows: int = MAXIMUM_ROWS) -> NearDuplicates:
    """Group the texts whose estimated Jaccard similarity reaches ``SIMILARITY``, directly or over others in between.

    The estimate of a pair has a standard error of 0.05 (64 hashes). Case, width, and white space do not count; only the
    first 2000 characters of a text do, so that time is bounded by the number of rows.
    """
    step = -(-len(values) // maximum_rows) if len(values) else 1
    folded = normalised_text(values.iloc[::step].str.slice(0, _MAXIMUM_CHARACTERS).reset_index(drop=True))
    distinct = folded[~folded.duplicated()]
    tokens = split_tokens(pc.fill_null(texts(distinct), ""))
    worded = np.flatnonzero(tokens.lengths > 0)
    positions = distinct.index.to_numpy(dtype=np.int64)[worded] * step
    signatures = minhash(tokens)
    return NearDuplicates(len(values), positions, _components(signatures))


def minhash(tokens: FlatTokens) -> HashArray:
    """The signature of every row that has tokens, shape ``(64, rows with tokens)``."""
    lengths = tokens.lengths
    long, short = ngrams(tokens, _SHINGLE_WORDS), ngrams(tokens, 1)
    brief = (lengths < _SHINGLE_WORDS)[short.rows]
    rows = np.concatenate([long.rows, short.rows[brief]])
    hashes = np.concatenate([long.hashes, short.hashes[brief]])
    order = np.argsort(rows, kind="stable")
    rows, hashes = rows[order], hashes[order]
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    found = np.empty((_SIGNATURE, len(starts)), dtype=np.uint64)
    factors, addends = np.random.default_rng(_SEED).integers(0, 2**64, (_SIGNATURE, 2), dtype=np.uint64).T
    # An odd factor permutes the 64-bit numbers; the shingles are well mixed already.
    factors = factors | np.uint64(1)
    ends = np.append(starts[1:], len(hashes))
    first = 0
    # So many at once as stay in the processor's cache over all 64 passes.
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + _SHINGLES_AT_ONCE, side="right")))
        piece = hashes[starts[first] : ends[last - 1]]
        within, permuted = starts[first:last] - starts[first], np.empty_like(piece)
        for number in range(_SIGNATURE):
            np.multiply(piece, factors[number], out=permuted)
            permuted += addends[number]
            np.minimum.reduceat(permuted, within, out=found[number, first:last])
        first = last
    return found


def near_duplicates_outcome(
    found: NearDuplicates, maximum_share: float, sources: npt.NDArray[np.object_] | None = None
) -> CheckOutcome:
    """The outcome: share of the compared rows that repeat another one nearly, and examples.

    Args:
        sources: the source of every row, where near-duplicates across sources are to be counted.
    """
    repeated = found.repeated
    share = len(repeated) / max(len(found.compared), 1)
    across = {} if sources is None else {"rows_across_sources": found.straddling(sources)}
    sampled = ""
    if found.rows > MAXIMUM_ROWS:
        sampled = f"; one row in {-(-found.rows // MAXIMUM_ROWS)} was compared, so there may be more"
    return CheckOutcome(
        "near_duplicates",
        "pass" if share <= maximum_share else "warn",
        f"{len(repeated)} of {len(found.compared)} distinct texts ({share:.1%}) nearly repeat another one{sampled}",
        {
            "rows": len(repeated),
            "compared": len(found.compared),
            "share": round(share, 6),
            "maximum_share": maximum_share,
            "similarity": SIMILARITY,
            **across,
        },
        example_rows=tuple(repeated[:EXAMPLES].tolist()),
    )


def _agreement(signatures: HashArray, left: IndexArray, right: IndexArray) -> npt.NDArray[np.float64]:
    """The share of equal minima of every pair of rows, shape (pairs,)."""
    # The last 16 bits of a minimum tell it from another one well enough, and are faster to gather, most of all where
    # those of a row lie together.
    short = np.ascontiguousarray(signatures.astype(np.uint16).T)
    found = np.empty(len(left))
    for start in range(0, len(left), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        found[part] = (short[left[part]] == short[right[part]]).mean(axis=1)
    return found


def _components(signatures: HashArray) -> IndexArray:
    """A group number a row: rows joined by candidate pairs whose signatures agree often enough."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = signatures.shape[1]
    bits = np.uint64(count.bit_length())
    numbers = np.arange(count, dtype=np.uint64)
    edges: list[IndexArray] = []
    for band in range(_BANDS):
        key = np.zeros(count, dtype=np.uint64)
        for column in range(band * _BAND_ROWS, (band + 1) * _BAND_ROWS):
            key = mix(key ^ signatures[column])
        # Key and row in one number: sorting those is several times as fast as an order of the keys. What is cut off
        # of the keys makes no bucket smaller, and the pairs are compared below.
        packed = np.sort(key >> bits << bits | numbers)
        key, order = packed >> bits, (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
        repeats = key[1:] == key[:-1]
        same = np.flatnonzero(repeats)
        opened = np.flatnonzero(np.concatenate([np.ones(min(count, 1), dtype=bool), ~repeats]))
        first = order[opened[np.searchsorted(opened, same, side="right") - 1]]
        # Each row of a bucket is compared with its neighbour and with the bucket's first row.
        edges += [np.stack([order[same], order[same + 1]]), np.stack([first, order[same + 1]])]
    one, other = np.concatenate(edges, axis=1)
    # Sorted by hand: for millions of pairs np.unique takes ten times as long.
    pairs = np.sort(np.minimum(one, other) * count + np.maximum(one, other))
    left, right = np.divmod(pairs[np.flatnonzero(np.diff(pairs, prepend=-1))], max(count, 1))
    if len(left):
        agree = _agreement(signatures, left, right) >= SIMILARITY
        left, right = left[agree], right[agree]
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
