"""Hashed n-grams of many sequences at once.

What belongs here: 64-bit hashes of words, characters and event tokens and of their n-grams, over one flat array with
row offsets (no Python loop over rows). What does not: what a family makes of them.

The hashes are arithmetic on unsigned 64-bit integers (wrapping), so they are the same on every platform and version;
``mix`` is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

HashArray = npt.NDArray[np.uint64]
IndexArray = npt.NDArray[np.int64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HALF_SHIFT = np.uint64(29)
_LONGEST_KEPT = 64


@dataclass(frozen=True)
class FlatTokens:
    """The tokens of all rows, one after another: row ``i`` owns ``hashes[offsets[i]:offsets[i + 1]]``."""

    hashes: HashArray
    offsets: IndexArray

    @property
    def lengths(self) -> IndexArray:
        """Tokens a row, shape ``(rows,)``."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> IndexArray:
        """The row of every token, shape ``(tokens,)``."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)


@dataclass(frozen=True)
class NGrams:
    """Hashed n-grams in row order: ``rows[i]`` is the row of ``hashes[i]``, ``starts[i]`` its first token's index."""

    hashes: HashArray
    rows: IndexArray
    starts: IndexArray


def mix(values: HashArray) -> HashArray:
    """Spread every input bit over all 64 output bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def split_tokens(texts: pa.Array) -> FlatTokens:
    """The tokens of each text, separated by white space (a text without one has no tokens)."""
    trimmed = pc.utf8_trim_whitespace(texts)
    lists = pc.utf8_split_whitespace(trimmed)
    tokens = lists.flatten().dictionary_encode()
    dictionary = hash_strings(tokens.dictionary)
    hashes = dictionary[tokens.indices.to_numpy(zero_copy_only=False)] if len(tokens) else dictionary
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    # Splitting an empty text yields one empty token.
    empty = pc.equal(pc.binary_length(trimmed), 0).to_numpy(zero_copy_only=False)
    keep = ~np.repeat(empty, counts)
    return FlatTokens(hashes[keep], _offsets(np.where(empty, 0, counts)))


def characters(texts: pa.Array) -> FlatTokens:
    """The Unicode code points of each text, one token each (not hashed: the code point is the value)."""
    counts = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    joined = "".join(texts.to_pylist())
    points = np.frombuffer(joined.encode("utf-32-le", "replace"), dtype=np.uint32)
    return FlatTokens(points.astype(np.uint64), _offsets(counts))


def ngrams(tokens: FlatTokens, size: int) -> NGrams:
    """All runs of ``size`` tokens that lie within one row."""
    hashes = _run_hashes(tokens.hashes, size)
    count = len(hashes)
    if count == 0:
        empty = np.zeros(0, dtype=np.int64)
        return NGrams(hashes, empty, empty)
    rows = tokens.rows
    inside = rows[:count] == rows[size - 1 :]
    starts = np.flatnonzero(inside)
    return NGrams(mix(hashes[inside]), rows[starts], starts)


def ngrams_of_one(tokens: HashArray, sizes: Sequence[int]) -> list[HashArray]:
    """The hashes of ``ngrams`` of a single row for each of the ascending ``sizes``: of the run that begins at each
    token. They are computed together: of few tokens every step costs as much as of many."""
    count = len(tokens)
    padded = np.concatenate([tokens, np.zeros(sizes[-1], dtype=np.uint64)])
    hashes = np.repeat(np.array(sizes, dtype=np.uint64), count).reshape(len(sizes), count)
    for shift in range(sizes[-1]):
        longer = hashes[sum(size <= shift for size in sizes) :]
        longer ^= padded[shift : shift + count]
        longer *= _MULTIPLIER
        longer ^= longer >> _HALF_SHIFT
    mixed = mix(hashes)
    return [row[: max(count - size + 1, 0)] for row, size in zip(mixed, sizes, strict=True)]


def _run_hashes(tokens: HashArray, size: int) -> HashArray:
    count = max(len(tokens) - size + 1, 0)
    hashes = np.full(count, size, dtype=np.uint64)
    for shift in range(size):
        hashes = (hashes ^ tokens[shift : shift + count]) * _MULTIPLIER
        hashes ^= hashes >> _HALF_SHIFT
    return hashes


class TokenHashes:
    """Hashes of tokens by ``hash_strings``, of which those met before are looked up. Safe for threads."""

    def __init__(self, most: int = 100_000) -> None:
        """At most ``most`` tokens are remembered, none of more than ``_LONGEST_KEPT`` characters."""
        self._most = most
        self._known: dict[str, int] = {}

    def of(self, tokens: Sequence[str]) -> HashArray:
        """The hash of each token, shape ``(tokens,)``."""
        known = self._known
        hashes = list(map(known.get, tokens))
        if None in hashes:
            new = list(dict.fromkeys(token for token, hashed in zip(tokens, hashes, strict=True) if hashed is None))
            found = dict(zip(new, hash_strings(pa.array(new, pa.large_string())).tolist(), strict=True))
            if len(known) + len(found) > self._most:
                self._known = known = {}
            known.update((token, hashed) for token, hashed in found.items() if len(token) <= _LONGEST_KEPT)
            hashes = [found[token] if hashed is None else hashed for token, hashed in zip(tokens, hashes, strict=True)]
        return np.array(hashes, dtype=np.uint64)


def hash_strings(strings: pa.Array) -> HashArray:
    """A 64-bit hash of each string's UTF-8 bytes: a polynomial in an odd base, evaluated with prefix sums."""
    array = pa.array(strings, type=pa.large_string())
    if len(array) == 0:
        return np.zeros(0, dtype=np.uint64)
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    buffer = array.buffers()[2]
    data = np.frombuffer(buffer, dtype=np.uint8) if buffer is not None else np.zeros(0, dtype=np.uint8)
    piece = data[offsets[0] : offsets[-1]].astype(np.uint64) + np.uint64(1)
    starts, ends = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    powers = _powers(_MULTIPLIER, len(piece) + 1)
    inverses = _powers(np.uint64(pow(int(_MULTIPLIER), -1, 1 << 64)), len(piece) + 1)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(piece * powers[:-1], dtype=np.uint64)])
    lengths = (ends - starts).astype(np.uint64)
    return mix((sums[ends] - sums[starts]) * inverses[starts] + lengths)


def _powers(base: np.uint64, count: int) -> HashArray:
    factors = np.full(count, base, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


def _offsets(counts: IndexArray) -> IndexArray:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
