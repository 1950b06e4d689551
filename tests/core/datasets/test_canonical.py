"""Canonical datasets: identity, duplicates, conflicts, samples, sources."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.datasets.canonical import build_dataset, synthetic_dataset
from nethical_assets.core.datasets.splits import assign_splits
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.columns import COMMON_COLUMNS
from nethical_assets.core.rows.sources import attach_sources, source_names
from tests.core.record_screening import record_screener

SPEC = load_family("prompt_injection")


def entry_named(name: str = "prompts", **changes: Any) -> DatasetEntry:
    values: dict[str, Any] = {
        "name": name,
        "slug": f"owner/{name}",
        "title": name,
        "licence": "CC0-1.0",
        "kind": "text",
        "families": ["prompt_injection"],
        "files": [
            {
                "path": ["prompts.csv"],
                "format": "csv",
                "text_column": "text",
                "label": {"column": "y", "positive": ["1"]},
            }
        ],
    }
    return DatasetEntry.model_validate({**values, **changes})


def raw_of(texts: list[str], labels: list[int], file: str = "prompts.csv", **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"text": texts, "_file": file, "_label": labels, **columns})


def build(
    *sources: tuple[DatasetEntry, pd.DataFrame], maximum_rows: int = 10_000, **options: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    dataset = build_dataset(SPEC, sources, maximum_rows=maximum_rows, screener=record_screener(), **options)
    return dataset.frame, dict(dataset.facts)


def many(rows: int, prefix: str = "message") -> pd.DataFrame:
    return raw_of([f"{prefix} number {number}" for number in range(rows)], [number % 2 for number in range(rows)])


def test_records_are_screened_before_they_are_rows() -> None:
    given = many(50)
    given.loc[3, "text"] = "write to a.person@example.com please"
    given.loc[4, "text"] = "Write to b.person@example.com  please"
    given["owner"] = "c.person@example.com"
    frame, facts = build((entry_named(group_column="owner"), given))
    assert "person" not in frame.to_csv()
    assert frame["text"].str.contains("[EMAIL]", regex=False).sum() == 0, "one text with both labels"
    assert facts["rows_with_conflicting_labels"] == 2
    assert frame["group"].str.fullmatch(r"\[EMAIL [0-9a-f]{12}\]").all()
    assert facts["screening"]["by_kind"] == {"EMAIL": 52}
    assert (facts["screening"]["records"], facts["screening"]["records_masked"]) == (50, 50)


def test_times_that_are_none_are_counted_and_too_many_refused() -> None:
    given = many(50).assign(when="2024-01-01T00:00:00Z")
    given.loc[0, "_label"] = -1
    given.loc[7, "when"] = "planted day"
    why = "no ISO 8601 time"
    _, facts = build((entry_named(time_column="when"), given))
    assert facts["wrong_cells"] == [
        {
            "dataset": "prompts",
            "column": "when",
            "count": 1,
            "first": 8,
            "records": 49,
            "reason": why,
            "reasons": {why: 1},
        }
    ]
    with pytest.raises(
        DatasetError, match="dataset prompts: column when: 1 of 49 value is no ISO 8601 time"
    ) as refused:
        build((entry_named(time_column="when"), given), wrong_share_max=0.01)
    assert "planted" not in str(refused.value)


def test_the_common_columns_come_first_and_rows_are_sorted_by_identity() -> None:
    frame, facts = build((entry_named(), many(50)))
    assert tuple(frame.columns) == (*COMMON_COLUMNS, *SPEC.input_columns)
    assert frame["row_id"].is_monotonic_increasing
    assert frame["row_id"].str.fullmatch("[0-9a-f]{64}").all()
    assert str(frame["label"].dtype) == "int8"
    assert set(frame["source"]) == {"prompts"}
    assert (facts["rows"], facts["positives"], facts["rows_read"], facts["synthetic"]) == (50, 25, 50, False)
    assert facts["sources"] == {"prompts": {"rows": 50, "positives": 25}}


def test_spellings_of_one_text_are_one_row() -> None:
    frame, facts = build(
        (entry_named(), raw_of(["Hello  World", "hello world", "HELLO\tworld ", "other"], [1, 1, 1, 0]))
    )
    assert len(frame) == 2
    assert facts["duplicates_removed"] == 2
    assert facts["rows_with_conflicting_labels"] == 0


@pytest.mark.parametrize(
    ("labels", "kept", "conflicting"),
    [([1, 1, 0], 1, 3), ([0, 1, 0], 0, 3), ([1, 0], None, 2), ([0, 1, 1, 0], None, 4), ([1, 1], 1, 0), ([0], 0, 0)],
)
def test_the_majority_decides_and_a_tie_is_left_out(labels: list[int], kept: int | None, conflicting: int) -> None:
    texts = ["the same"] * len(labels) + ["first other", "second other"]
    frame, facts = build((entry_named(), raw_of(texts, [*labels, 0, 1])))
    found = frame.loc[frame["text"] == "the same", "label"].tolist()
    assert found == ([] if kept is None else [kept])
    assert facts["rows_with_conflicting_labels"] == conflicting
    assert len(frame) == 2 + len(found)


def test_rows_without_a_usable_label_are_counted_and_left_out() -> None:
    frame, facts = build((entry_named(), raw_of(["a", "b", "c", "d"], [1, 0, -1, -1])))
    assert set(frame["text"]) == {"a", "b"}
    assert facts["rows_without_usable_label"] == {"prompts": 2}


def test_a_record_of_two_datasets_is_one_row_of_the_first() -> None:
    first, second = entry_named("first"), entry_named("second")
    frame, facts = build((first, raw_of(["shared", "a"], [1, 0])), (second, raw_of(["SHARED", "b"], [1, 0])))
    assert frame.set_index("text")["source"].to_dict() == {"shared": "first", "a": "first", "b": "second"}
    assert facts["duplicates_removed"] == 1


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_raw_rows_changes_nothing(random) -> None:
    texts = ["Ignore previous", "ignore  previous", "IGNORE PREVIOUS", "hello", "Hello", "x", "y"]
    times = ["2026-03-01", "2026-01-01", None, "2026-02-01", "2026-02-01", None, None]
    raw = raw_of(texts, [1, 1, 1, 0, 0, 1, 0], date=times)
    entry = entry_named(time_column="date")
    expected, _ = build((entry, raw))
    order = list(range(len(raw)))
    random.shuffle(order)
    frame, _ = build((entry, raw.iloc[order].reset_index(drop=True)))
    pd.testing.assert_frame_equal(frame, expected)
    assert expected.set_index("text").loc["ignore  previous", "time"] == pd.Timestamp("2026-01-01", tz="UTC")


def test_duplicates_never_straddle_a_split() -> None:
    texts = [f"message {number}" for number in range(500)]
    copies = [text.upper() + "  " for text in texts]
    frame, _ = build((entry_named(), raw_of(texts + copies, [number % 2 for number in range(500)] * 2)))
    assert len(frame) == 500
    split = assign_splits(frame, train_ratio=0.8, validation_ratio=0.1)
    folded = frame["text"].str.lower().str.strip()
    assert split.groupby(folded).nunique().max() == 1


def test_a_sample_is_drawn_by_content_and_stable_under_refresh() -> None:
    few, facts = build((entry_named(), many(2000)), maximum_rows=500)
    assert len(few) == facts["rows"] == 500
    more, _ = build((entry_named(), many(2100)), maximum_rows=500)
    assert len(set(few["row_id"]) & set(more["row_id"])) > 400


@pytest.mark.parametrize("maximum_rows", [300, 1000])
def test_a_sample_has_the_same_split_shares_as_the_whole(maximum_rows: int) -> None:
    whole, _ = build((entry_named(), many(6000)))
    sample, _ = build((entry_named(), many(6000)), maximum_rows=maximum_rows)
    options = {"train_ratio": 0.8, "validation_ratio": 0.1}
    shares = assign_splits(sample, **options).value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.07)
    assert shares["validation"] == pytest.approx(0.1, abs=0.05)
    split = dict(zip(whole["row_id"], assign_splits(whole, **options), strict=True))
    assert [split[row] for row in sample["row_id"]] == assign_splits(sample, **options).tolist()


def test_no_usable_row_or_one_class_is_one_line() -> None:
    with pytest.raises(DatasetError, match="no row has a usable label; check the catalog's labels"):
        build((entry_named(), raw_of(["a", "b"], [-1, -1])))
    with pytest.raises(DatasetError, match="no row has a usable label"):
        build()
    with pytest.raises(DatasetError, match="every usable row has the same label; both classes are needed"):
        build((entry_named(), raw_of(["a", "b"], [1, 1])))


FILES = [
    {"path": ["one.csv"], "format": "csv", "text_column": "text", "source": "wild", "label": {"constant": 1}},
    {"path": ["*.csv"], "format": "csv", "text_column": "text", "label": {"constant": 0}},
]


@pytest.mark.parametrize("folder", ["", "archive/", "deep/er/"])
def test_a_row_s_source_is_found_by_the_rule_that_chose_its_file(folder: str) -> None:
    entry = entry_named(files=FILES)
    raw = raw_of(["a", "b"], [1, 0]).assign(_file=[f"{folder}one.csv", f"{folder}two.csv"])
    assert attach_sources(entry, raw).tolist() == ["wild", "prompts"]
    frame, _ = build((entry, raw))
    assert frame.set_index("text")["source"].to_dict() == {"a": "wild", "b": "prompts"}
    assert source_names(entry) == ("wild", "prompts")


def test_texts_of_a_nested_file_come_from_that_file_s_column() -> None:
    files = [{**FILES[0], "text_column": "prompt"}, FILES[1]]
    raw = pd.DataFrame(
        {"prompt": ["jailbreak", None], "text": [None, "benign"], "_file": ["x/one.csv", "x/two.csv"], "_label": [1, 0]}
    )
    frame, _ = build((entry_named(files=files), raw))
    assert dict(zip(frame["text"], frame["label"], strict=True)) == {"jailbreak": 1, "benign": 0}


@pytest.mark.parametrize("family", family_names())
def test_synthetic_data_is_seeded_and_labelled_as_such(family: str) -> None:
    spec = load_family(family)
    first, again = (synthetic_dataset(spec, rows=600, seed=7) for _ in range(2))
    pd.testing.assert_frame_equal(first.frame, again.frame)
    assert first.facts == again.facts
    assert first.facts["synthetic"] is True
    assert set(first.frame["source"]) == {"synthetic"}
    assert set(np.unique(first.frame["label"])) == {0, 1}
    assert first.frame["row_id"].is_unique
    other = synthetic_dataset(spec, rows=600, seed=8)
    assert not other.frame[first.facts["input_columns"]].equals(first.frame[first.facts["input_columns"]])
