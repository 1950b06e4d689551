"""The levels of a declared cohort column: they follow their rows, and nobody's words are shown by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.datasets.canonical import CanonicalDataset, build_dataset, synthetic_dataset
from nethical_assets.core.datasets.cohort_levels import (
    MAXIMUM_LEVELS,
    MINIMUM_LEVEL_ROWS,
    NOT_GIVEN,
    OTHER,
    safe_levels,
)
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.rows.catalog import DatasetEntry
from tests.core.datasets.test_canonical import SPEC, entry_named, raw_of
from tests.core.record_screening import record_screener
from tests.tiny_mirror import CATALOG, incidents

TEXTS = [f"message number {number}" for number in range(60)]
LABELS = [number % 2 for number in range(60)]
REGIONS = [("north", "south", None)[number % 3] for number in range(60)]


def built(*sources: tuple[DatasetEntry, pd.DataFrame], maximum_rows: int = 10_000) -> CanonicalDataset:
    return build_dataset(SPEC, sources, maximum_rows=maximum_rows, screener=record_screener())


def token(kind: str, found: str) -> str:
    return f"[{kind} {len(found)}]"


def shown(levels: list[Any]) -> list[Any]:
    found: list[Any] = safe_levels(pd.Series(levels, dtype=object), record_screener()._screener, token).tolist()
    return found


@pytest.mark.parametrize("maximum", [10_000, 20])
def test_levels_follow_their_rows(maximum: int) -> None:
    declared, plain = entry_named(cohort_column="region"), entry_named("others")
    raw = raw_of(TEXTS, LABELS, region=REGIONS).sample(frac=1.0, random_state=1).reset_index(drop=True)
    # One row without a usable label, and one that is there twice.
    raw.loc[3, "_label"] = -1
    raw = pd.concat([raw, raw.iloc[[5]]], ignore_index=True)
    others = raw_of([f"another {number}" for number in range(20)], [number % 2 for number in range(20)])
    dataset = built((declared, raw), (plain, others), maximum_rows=maximum)
    expected = {text: region or NOT_GIVEN for text, region in zip(TEXTS, REGIONS, strict=True)}
    assert len(dataset.levels) == len(dataset.frame)
    for text, level in zip(dataset.frame["text"], dataset.levels, strict=True):
        assert level == expected.get(text) if text in expected else pd.isna(level)


def test_the_rows_themselves_are_as_without_it() -> None:
    raw = raw_of(TEXTS, LABELS, region=REGIONS)
    with_column, without = built((entry_named(cohort_column="region"), raw)), built((entry_named(), raw))
    pd.testing.assert_frame_equal(with_column.frame, without.frame)
    assert without.levels.isna().all()
    assert synthetic_dataset(SPEC, rows=200, seed=1).levels.isna().all()


def test_of_equal_records_the_order_of_delivery_decides_nothing() -> None:
    entry = entry_named(cohort_column="region")
    twice = raw_of([*TEXTS, *TEXTS], [*LABELS, *LABELS], region=["north"] * 60 + ["south"] * 60)
    first, second = (built((entry, raw.reset_index(drop=True))).levels for raw in (twice, twice[::-1]))
    assert first.tolist() == second.tolist() == ["north"] * 60


def test_rows_that_are_made_of_several_records_have_none() -> None:
    entry = CATALOG.entry("guide").model_copy(update={"cohort_column": "Category"})
    raw = incidents(300, np.random.default_rng(2))
    raw["_label"] = np.arange(len(raw)) % 2
    raw["_file"] = "GUIDE_Train.csv"
    spec = load_family("correlation")
    dataset = build_dataset(spec, [(entry, raw)], maximum_rows=1000, screener=record_screener())
    assert dataset.levels.isna().all()


def test_few_rows_personal_data_and_long_texts_are_not_named() -> None:
    many = MINIMUM_LEVEL_ROWS
    levels = ["north"] * many + ["rare"] * (many - 1) + ["jane.doe@example.org"] * many + ["x " * 40] * many + [None]
    found = shown(levels)
    assert set(found[:-1]) == {"north", OTHER, "[EMAIL 20]", "[LEVEL 80]"}
    assert found[many] == OTHER
    assert pd.isna(found[-1])
    assert shown([None, None]) == [None, None]


@pytest.mark.parametrize("count", [MAXIMUM_LEVELS, MAXIMUM_LEVELS + 1, 60])
def test_there_are_at_most_so_many(count: int) -> None:
    levels = [f"level {number}" for number in range(count) for _ in range(MINIMUM_LEVEL_ROWS + number)]
    found = set(shown(levels))
    assert len(found) == MAXIMUM_LEVELS
    assert (OTHER in found) == (count > MAXIMUM_LEVELS)
    assert "level 59" in found or count < 60


def test_a_cohort_column_is_one_that_the_file_has_to_have() -> None:
    assert "region" in entry_named(cohort_column="region").read_columns()
