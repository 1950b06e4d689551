"""Texts as they are compared, against the obvious way of making them so."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.rows import frames
from nethical_assets.core.rows.frames import normalised_text, strings

SPACES = " \t\n\r\f\u00a0\u1680\u2003\u2028\u202f\u205f\u3000"
TEXTS = st.lists(
    st.one_of(st.none(), st.text(st.sampled_from(SPACES + "aB\u00c9\uff21\u00df"), max_size=12)), max_size=8
)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.booleans())
def test_texts_are_folded_and_their_spaces_are_single(values: list[str | None], alone: bool) -> None:
    index = pd.Index(range(5, 5 + len(values)))
    series = pd.Series(values, index=index, dtype="str")
    folded = normalised_text(series.iloc[:1] if alone else series)
    expected = [
        re.sub(rf"[{SPACES}]+", " ", unicodedata.normalize("NFKC", value or "").casefold()).strip(SPACES)
        for value in (values[:1] if alone else values)
    ]
    assert folded.tolist() == expected
    assert folded.index.tolist() == index[: len(expected)].tolist()


def test_texts_that_are_passed_over_hold_single_spaces_only() -> None:
    points = [chr(point) for point in range(1, 0x3100) if not 0xD800 <= point < 0xE000]
    texts = pa.array([f"a{point}b" for point in points] + [f"a {point}b" for point in points], pa.large_string())
    replaced = pc.replace_substring_regex(texts, frames._SPACE, " ")
    uneven = pc.match_substring_regex(texts, frames._UNEVEN_SPACE)
    assert uneven.equals(pc.not_equal(replaced, texts))


def test_strings_keep_their_index_and_what_is_missing() -> None:
    array = pa.array(["a", None, ""], pa.large_string())
    series = strings(array, pd.Index([3, 1, 2]))
    assert series.dtype == "str"
    assert series.isna().tolist() == [False, True, False]
    assert series.index.tolist() == [3, 1, 2]
