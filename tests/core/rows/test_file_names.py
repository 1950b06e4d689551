"""Names of files: what a declared name means, and what is never data."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.rows.file_names import (
    choose_files,
    is_litter,
    names_file,
    plain_files,
    private_files,
    with_plain_files,
)
from tests.core.conftest import entry_of


def chosen(patterns: list[str], available: list[str]) -> list[str | None]:
    entry = entry_of(files=[{"path": [pattern], "format": "csv"} for pattern in patterns])
    return [name for _, name in choose_files(entry, available)]


@pytest.mark.parametrize(
    "name",
    [
        "__MACOSX/._a.csv", "__MACOSX/a.csv", "x/__macosx/y/a.csv", "._a.csv", "deep/._a.csv", ".DS_Store",
        "x/.ds_store", "Thumbs.db",
        "THUMBS.DB", "ehthumbs.db", "desktop.ini", "~$table.csv", ".~lock.a.csv#", "@eaDir/a.csv",
        ".ipynb_checkpoints/a-checkpoint.csv", ".git/index", "._folder/a.csv",
    ],
)  # fmt: skip
def test_what_systems_leave_behind_is_never_data(name: str) -> None:
    assert is_litter(name)
    assert chosen(["*.csv"], [name, "z/real.csv"]) == ["z/real.csv"]
    assert chosen([name], [name]) == [None]


@pytest.mark.parametrize(
    "name", ["a.csv", "_a.csv", ".hidden.csv", "MACOSX/a.csv", "thumbs.csv", "x/a~.csv", "icon.csv"]
)
def test_other_names_are_data(name: str) -> None:
    assert not is_litter(name)
    assert chosen(["*.csv"], [name]) == [name]


@pytest.mark.parametrize(
    "name", ["train[1].csv", "a?.csv", "*.csv", "[a-z].csv", "x/data [final].csv", "!(a).csv", "[.csv"]
)
def test_a_name_is_taken_to_the_letter_before_it_is_a_pattern(name: str) -> None:
    others = ["a.csv", "train1.csv", "ab.csv"]
    assert chosen([name], [*others, name]) == [name]


def test_a_pattern_is_still_a_pattern_and_alternatives_keep_their_order() -> None:
    assert chosen(["train[1].csv"], ["train1.csv"]) == ["train1.csv"]
    assert chosen(["*.csv", "*.csv"], ["b/z.csv", "a.csv"]) == ["a.csv", "b/z.csv"]
    assert chosen(["a.csv"], ["A/a.csv", "a.csv"]) == ["a.csv"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(
    ("declared", "there"), [("données.csv", "données.CSV"), ("*é.csv", "x/é.Csv"), ("*.CSV", "é.csv")]
)
def test_names_are_compared_composed_and_endings_without_case(form: str, declared: str, there: str) -> None:
    there = unicodedata.normalize(form, there)
    for written in ("NFC", "NFD"):
        assert chosen([unicodedata.normalize(written, declared)], [there]) == [there]


def test_the_same_spelling_comes_first_and_only_endings_fold_case() -> None:
    assert chosen(["a.csv"], ["a.CSV", "a.csv"]) == ["a.csv"]
    assert chosen(["data.csv"], ["DATA.csv"]) == [None]


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_every_name_means_itself(stem: str) -> None:
    name = f"x{stem}.csv"
    assert chosen([name], ["a.csv", name]) == [name]
    assert names_file([name], name)


def test_a_catalog_name_is_recognised_alone() -> None:
    assert names_file(["spam[1].csv"], "spam[1].CSV")
    assert names_file(["KDD*.txt"], "KDDTrain.TXT")
    assert not names_file(["spam.csv"], "ham.csv")


@pytest.mark.parametrize(
    ("declared", "there"),
    [
        ("data [v1]/*.csv", "data [v1]/x.csv"),
        ("data [v1]/x.csv", "deep/data [v1]/x.csv"),
        ("a*b/[1]/train*.csv", "a*b/[1]/train2.csv"),
        ("train[1]*.csv", "train[1] final.csv"),
        ("12:30 [log]/*.csv", "12:30 [log]/a:b.csv"),
        ("donn\u00e9es [1]/*.csv", "donne\u0301es [1]/x.CSV"),
    ],
)
def test_each_part_of_a_pattern_may_be_meant_to_the_letter(declared: str, there: str) -> None:
    assert chosen([declared], ["other/y.csv", there]) == [there]


def test_a_folder_that_a_pattern_does_not_name_is_not_chosen() -> None:
    assert chosen(["data [v1]/*.csv"], ["data [v2]/x.csv", "x.csv"]) == [None]
    assert chosen(["data [v1]/*.csv"], ["data v/x.csv"]) == ["data v/x.csv"], "it is a set of letters too"
    assert names_file(["data [v1]/spam.csv"], "spam.csv")


def test_names_that_are_personal_data_are_replaced_but_for_those_that_somebody_declared() -> None:
    names = ["a.csv", "b/anna@example.org.csv", "carl@example.org.csv"]
    entry = entry_of(files=[{"path": ["carl@example.org.csv", "*.csv"], "format": "csv"}])

    def private_names(texts: Sequence[str]) -> frozenset[str]:
        return frozenset(text for text in texts if text.endswith("example.org"))

    private = private_files(entry, names, private_names)
    assert private == {"b/anna@example.org.csv"}
    plain = plain_files(names, private)
    assert plain == {"a.csv": "a.csv", names[1]: "file 2.csv", names[2]: names[2]}
    found = entry_of(files=[{"path": [names[1]], "format": "csv"}])
    assert with_plain_files(found, plain).files[0].path == ("file 2.csv",)
