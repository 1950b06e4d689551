"""Hashed n-grams against a slow, obvious implementation."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.rows.ngrams import characters, hash_strings, ngrams, split_tokens

TEXTS = st.lists(st.text(st.sampled_from("ab é\u2003😀x"), max_size=12), max_size=8)

PINNED_READ = 18_165_418_469_392_062_390
PINNED_WRITE = 11_285_216_031_221_757_479
PINNED_PAIR = 16_875_367_812_723_545_167


def arrow(texts: list[str]) -> pa.Array:
    return pa.array(texts, type=pa.large_string())


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.integers(1, 4))
def test_runs_are_those_of_each_row_alone(texts: list[str], size: int) -> None:
    tokens = split_tokens(arrow(texts))
    expected = [text.split() for text in texts]
    assert tokens.lengths.tolist() == [len(row) for row in expected]
    found = ngrams(tokens, size)
    runs = [
        (row, tuple(words[i : i + size])) for row, words in enumerate(expected) for i in range(len(words) - size + 1)
    ]
    assert found.rows.tolist() == [row for row, _ in runs]
    names = {run: value for (_, run), value in zip(runs, found.hashes.tolist(), strict=True)}
    assert [names[run] for _, run in runs] == found.hashes.tolist(), "equal runs have equal hashes"
    assert len(set(names.values())) == len(names), "different runs have different hashes"


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_characters_are_code_points(texts: list[str]) -> None:
    points = characters(arrow(texts))
    assert points.lengths.tolist() == [len(text) for text in texts]
    assert points.hashes.tolist() == [ord(letter) for letter in "".join(texts)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=30), st.integers(0, 5))
def test_a_strings_hash_depends_on_the_string_only(texts: list[str], skipped: int) -> None:
    whole = hash_strings(arrow(texts)).tolist()
    assert hash_strings(arrow(texts).slice(skipped)).tolist() == whole[skipped:]
    assert len({*zip(texts, whole, strict=True)}) == len(set(texts)) == len(set(whole))


def test_hashes_are_pinned_because_models_store_them() -> None:
    assert hash_strings(arrow(["read", "write"])).tolist() == [PINNED_READ, PINNED_WRITE]
    assert ngrams(split_tokens(arrow(["read write"])), 2).hashes.tolist() == [PINNED_PAIR]
