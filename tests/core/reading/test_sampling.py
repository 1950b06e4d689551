"""The bounded sample: a function of the set of rows, capped, stable when rows are added."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.reading.sampling import RowSample, hash_rows

CELLS = st.one_of(st.none(), st.text(max_size=8))
PROPERTY = settings(deadline=None, derandomize=True)
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=60)


def batch_of(rows: list[tuple[str | None, str | None]]) -> pa.RecordBatch:
    columns = [pa.array([row[index] for row in rows], pa.string()) for index in (0, 1)]
    return pa.record_batch(columns, names=["a", "b"])


def sample_of(rows: list[tuple[str | None, str | None]], cap: int, cuts: tuple[int, ...] = ()) -> Counter[object]:
    sample = RowSample(cap, salt="s")
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for low, high in itertools.pairwise(edges):
        sample.add(batch_of(rows[low:high]))
    return Counter(tuple(row.values()) for row in sample.table().to_pylist())


@PROPERTY
@given(rows=ROWS, cap=st.integers(1, 30), seed=st.integers(0, 1000), cut=st.integers(1, 59))
def test_the_sample_does_not_depend_on_order_or_batches(rows, cap, seed, cut):
    shuffled = [rows[index] for index in np.random.default_rng(seed).permutation(len(rows))]
    assert sample_of(rows, cap) == sample_of(shuffled, cap, (cut, cut // 2 + 1))


@PROPERTY
@given(rows=ROWS, cap=st.integers(1, 80))
def test_the_sample_is_capped_full_and_made_of_the_rows(rows, cap):
    sample = sample_of(rows, cap)
    assert sum(sample.values()) == min(cap, len(rows))
    assert sample <= Counter(rows)


@PROPERTY
@given(rows=ROWS, more=ROWS, cap=st.integers(1, 30))
def test_rows_that_survive_more_rows_were_in_the_sample_before(rows, more, cap):
    later = sample_of(rows + more, cap)
    new = Counter(more)
    assert later - new <= sample_of(rows, cap)


@PROPERTY
@given(rows=ROWS)
def test_the_hash_ignores_column_order_and_columns_without_values(rows):
    batch = batch_of(rows)
    swapped = batch.select(["b", "a"]).append_column("c", pa.nulls(len(rows), pa.string()))
    np.testing.assert_array_equal(hash_rows(batch, "s"), hash_rows(swapped, "s"))


@PROPERTY
@given(rows=ROWS, start=st.integers(0, 59))
def test_the_hash_of_a_row_does_not_depend_on_its_neighbours(rows, start):
    batch = batch_of(rows)
    np.testing.assert_array_equal(hash_rows(batch, "s")[start:], hash_rows(batch.slice(start), "s"))


def test_equal_hashes_mean_equal_rows():
    texts = [f"{left}{separator}{right}" for left in range(300) for right in range(300) for separator in ("", " ")]
    batch = pa.record_batch([pa.array(texts), pa.array(texts[::-1])], names=["a", "b"])
    assert len(np.unique(hash_rows(batch, "s"))) == len({*zip(texts, texts[::-1], strict=True)})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("x", None), (None, "x")),
        (("", "x"), (None, "x")),
        (("ab", "c"), ("a", "bc")),
        (("a\0", "b"), ("a", "b")),
        (("a", "a"), ("b", "b")),
    ],
)
def test_rows_that_look_alike_hash_apart(one, other):
    hashes = hash_rows(batch_of([one, other]), "s")
    assert hashes[0] != hashes[1]


def test_values_longer_than_a_piece_hash_like_everything_else():
    long, longer = "x" * (3 << 20), "x" * (3 << 20) + "y"
    hashes = hash_rows(pa.record_batch([pa.array(["a", long, "b", longer, long])], names=["a"]), "s")
    assert hashes[1] == hashes[4]
    assert len(set(hashes.tolist())) == 4


def test_a_content_that_repeats_without_end_does_not_fill_the_sample():
    rows = pa.record_batch([pa.array([str(index) for index in range(5_000)] + ["again"] * 20_000)], names=["a"])
    shares = []
    for salt in range(20):
        sample = RowSample(500, salt=str(salt))
        sample.add(rows)
        kept = Counter(sample.table().column("a").to_pylist())
        shares.append(kept["again"] / 500)
    # It is 80 % of the rows and one of 5001 contents; a plain sample of rows would hold 400 of it.
    assert np.mean(shares) < 0.1


def test_distinct_rows_are_sampled_uniformly():
    # 40 disjoint blocks of 500 rows, 25 of each expected; the chi-square bound is the 99.99 % quantile for 39 degrees.
    sample = RowSample(1000, salt="u")
    sample.add(pa.record_batch([pa.array([str(index) for index in range(20_000)])], names=["a"]))
    counts = np.bincount([int(value) // 500 for value in sample.table().column("a").to_pylist()], minlength=40)
    assert float(((counts - 25) ** 2 / 25).sum()) < 83.0


def test_the_sample_keeps_the_order_of_arrival_and_all_columns():
    sample = RowSample(10, salt="s")
    sample.add(pa.record_batch([pa.array(["3", "1"])], names=["a"]))
    sample.add(pa.record_batch([pa.array(["2"]), pa.array(["z"])], names=["b", "a"]))
    assert sample.table().to_pydict() == {"a": ["3", "1", "z"], "b": [None, None, "2"]}


def test_known_answer_so_that_stored_samples_stay_comparable():
    batch = pa.record_batch([pa.array(["", "é", None]), pa.array(["x", "y", "z"])], names=["a", "b"])
    assert hash_rows(batch, "0").tolist() == KNOWN_HASHES


KNOWN_HASHES = [13005882841081983795, 750919225711198128, 8704395574272239683]
