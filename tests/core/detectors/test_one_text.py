"""One text is read as Arrow reads a column of texts, whatever characters it holds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from nethical_assets.core.detectors.families import prompt_injection
from nethical_assets.core.rows.characters import CharacterTable
from nethical_assets.core.rows.frames import categories, texts
from nethical_assets.core.rows.one_cell import category_of, number_of, text_of
from nethical_assets.core.rows.one_record import frame_of_one

SURROGATES = range(0xD800, 0xE000)
EVERY = [point for point in range(0x110000) if point not in SURROGATES]
SOME = [point for point in EVERY if point < 0x3100 or point % 97 == 0 or 0xFB00 <= point < 0x10000]
A_TEXT = 60


def texts_of(points: list[int]) -> list[str]:
    """The characters in texts that are shorter than what is cut, each as a word and within one."""
    parts = [points[at : at + A_TEXT] for at in range(0, len(points), A_TEXT)]
    return ["".join(f"A{chr(point)}b {chr(point)} " for point in part) for part in parts]


@pytest.mark.parametrize("points", [SOME, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["some", "every"])
def test_every_character_is_read_as_in_a_column(points: list[int]) -> None:
    written = texts_of(points)
    column = pa.array(written, pa.large_string())
    readable = prompt_injection._readable(column)
    one_by_one = [prompt_injection._readable_one(text) for text in written]
    assert one_by_one == readable.to_pylist()
    for at in range(0, len(written), 500):
        counts = prompt_injection._count(readable.slice(at, 500))
        for row, text in enumerate(one_by_one[at : at + 500]):
            one, here = prompt_injection._count_one(text), slice(counts.offsets[row], counts.offsets[row + 1])
            np.testing.assert_array_equal(one.buckets, counts.buckets[here])
            np.testing.assert_array_equal(one.counts, counts.counts[here])


@pytest.mark.parametrize("points", [SOME, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["some", "every"])
@pytest.mark.parametrize("pattern", [r"\p{Lu}", r"\pP", r"[^\pL\pN\s]", r"[\p{Cf}\p{Mn}]", r"[\s\p{Z}\x00-\x1f]"])
def test_a_class_of_characters_is_that_of_arrow(points: list[int], pattern: str) -> None:
    table, characters = CharacterTable(pattern), [chr(point) for point in points]
    counted = pc.count_substring_regex(pa.array(characters, pa.large_string()), pattern).to_pylist()
    assert [table.count(character) for character in characters] == counted


def test_words_that_depend_on_their_place_are_lowered_as_arrow_does() -> None:
    for text in ("ΟΔΟΣ", "ΣΑΣ ΣΑΣ", "İstanbul", "ǅungla", "ﬁne", "Å A\u030a", "\u1e9eß", "½ ㎏", "e\u0301\u0301"):
        (wanted,) = prompt_injection._readable(pa.array([text], pa.large_string())).to_pylist()
        assert prompt_injection._readable_one(text) == wanted


def test_long_texts_are_cut_at_the_same_characters() -> None:
    for text in ("é" * 1500, "é" * 1501, "x" * 1000 + "é" * 900, "😀 " * 2000):
        (wanted,) = prompt_injection._readable(pa.array([text], pa.large_string())).to_pylist()
        assert prompt_injection._readable_one(text) == wanted


@pytest.mark.parametrize(
    "cell",
    [
        None,
        "",
        " x ",
        "\u00a0x\u2003",
        "\x1cx",
        "\ud83d broken",
        7,
        -7,
        10**18,
        7.0,
        0.1,
        1e16,
        1e-7,
        1e300,
        True,
        "[EMAIL]",
    ],
)
def test_a_category_and_a_text_are_those_of_a_column(cell: object) -> None:
    column = frame_of_one({"cell": cell})["cell"]
    assert category_of(cell) == categories(column).iloc[0]
    assert text_of(cell) == texts(column)[0].as_py()


def test_a_number_has_one_meaning() -> None:
    from nethical_assets.core.rows.cells import read_numbers

    cells = [
        "1",
        " 1 ",
        "+1.",
        ".5",
        "1e5",
        "-1E-400",
        "1e999",
        "0x1",
        "1_0",
        "\u0661",
        "nan",
        "",
        "Infinity",
        "1 2",
        "--1",
    ]
    cells += ["9" * 309, "1\n", "4.9e-324", "2.4703282292062327208e-324", "0.1000000000000000055511151231257827"]
    read = read_numbers(pd.Series(cells, dtype="str"))
    for cell, wanted in zip(cells, read, strict=True):
        assert np.float64(number_of(cell)).tobytes() == wanted.tobytes(), cell
    for cell in (2**53 + 1, 2**63, 2**64 + 1, 10**308, -(10**309), True, None, 1e308, float("inf")):
        (wanted,) = read_numbers(pd.DataFrame([{"cell": cell}])["cell"])
        assert np.float64(number_of(cell)).tobytes() == np.float64(wanted).tobytes(), cell
