"""Splits look at a row alone: not at its neighbours, not at their order."""

from __future__ import annotations

import hashlib
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.datasets.splits import SPLITS, assign_splits, input_keys
from nethical_assets.core.ground.errors import DatasetError

ROWS = 400


def frame_of(rows: int, *, source: str = "a", groups: int = 0, first: int = 0) -> pd.DataFrame:
    numbers = range(first, first + rows)
    return pd.DataFrame(
        {
            "row_id": pd.array([hashlib.sha256(f"{source}{number}".encode()).hexdigest() for number in numbers], "str"),
            "label": pd.array([number % 2 for number in numbers], dtype="int8"),
            "source": source,
            "group": pd.array([f"g{number % groups}" if groups else "" for number in numbers], dtype="str"),
            "time": pd.to_datetime([None] * rows, utc=True),
        }
    )


def split_of(frame: pd.DataFrame, **changes: object) -> pd.Series:
    options: dict[str, object] = {"train_ratio": 0.8, "validation_ratio": 0.1, **changes}
    return assign_splits(frame, **options)  # type: ignore[arg-type]


def by_row(frame: pd.DataFrame, **changes: object) -> dict[str, str]:
    return dict(zip(frame["row_id"], split_of(frame, **changes), strict=True))


BASE = frame_of(ROWS)
GROUPED = frame_of(2000, groups=150)


def test_shares_are_the_asked_ones() -> None:
    shares = split_of(frame_of(20_000)).value_counts(normalize=True)
    assert set(shares.index) <= set(SPLITS)
    assert shares["test"] == pytest.approx(0.2, abs=0.01)
    assert shares["validation"] == pytest.approx(0.1, abs=0.01)
    assert shares["train"] == pytest.approx(0.7, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random) -> None:
    order = list(range(ROWS))
    random.shuffle(order)
    shuffled = BASE.iloc[order].reset_index(drop=True)
    assert by_row(shuffled) == by_row(BASE)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 300), st.integers(0, 2), st.booleans())
def test_other_rows_do_not_matter(more: int, other: int, grouped: bool) -> None:
    base = GROUPED if grouped else BASE
    added = [frame_of(more, first=10_000, groups=7 * grouped), frame_of(50 * other, source="b", groups=3)]
    refreshed = pd.concat([*added, base], ignore_index=True)
    before, after = by_row(base), by_row(refreshed)
    assert {row: after[row] for row in before} == before


def test_a_row_keeps_its_split_when_other_rows_go() -> None:
    before, after = by_row(BASE), by_row(BASE.iloc[::3])
    assert after == {row: before[row] for row in after}


@settings(max_examples=20, deadline=None)
@given(st.integers(60, 400), st.floats(0.3, 0.9), st.floats(0.05, 0.25))
def test_a_group_never_straddles(groups: int, train: float, validation: float) -> None:
    frame = frame_of(2000, groups=groups)
    try:
        split = split_of(frame, train_ratio=train, validation_ratio=validation)
    except DatasetError:
        return
    assert split.groupby(frame["group"]).nunique().max() == 1


def test_groups_of_the_same_name_in_two_sources_are_two_groups() -> None:
    frame = pd.concat([GROUPED, frame_of(2000, source="b", groups=150)], ignore_index=True)
    split = split_of(frame)
    assert split.groupby([frame["source"], frame["group"]]).nunique().max() == 1
    assert split.groupby(frame["group"]).nunique().max() > 1


def test_rows_without_a_group_are_split_by_themselves() -> None:
    mixed = pd.concat([GROUPED, frame_of(300, first=5000)], ignore_index=True)
    alone = mixed["group"] == ""
    assert by_row(mixed[alone]) == by_row(frame_of(300, first=5000))
    assert mixed.index.equals(split_of(mixed).index)


def dated(rows: int) -> pd.DataFrame:
    days = pd.date_range("2026-01-01", periods=rows, freq="6h", tz="UTC")
    return frame_of(rows).assign(time=days)


def test_rows_from_the_day_on_are_tested_and_earlier_ones_never() -> None:
    frame = dated(400)
    split = split_of(frame, test_from={"a": date(2026, 3, 1)})
    late = frame["time"] >= pd.Timestamp("2026-03-01", tz="UTC")
    assert set(split[late]) == {"test"}
    assert set(split[~late]) == {"train", "validation"}
    early = split[~late].value_counts(normalize=True)
    assert early["validation"] == pytest.approx(0.1 / 0.8, abs=0.05)


def test_the_day_begins_at_midnight_utc() -> None:
    frame = dated(400)
    frame.loc[0, "time"] = pd.Timestamp("2026-03-01T00:00:00Z")
    frame.loc[1, "time"] = pd.Timestamp("2026-02-28T23:59:59.999999Z")
    frame.loc[2, "time"] = pd.Timestamp("2026-03-01T01:00:00+02:00").tz_convert("UTC")
    split = split_of(frame, test_from={"a": date(2026, 3, 1)})
    assert split[0] == "test"
    assert split[1] != "test"
    assert split[2] != "test"


def test_other_sources_and_undated_rows_keep_their_own_rule() -> None:
    frame = pd.concat([dated(400), frame_of(400, source="b"), frame_of(200, first=900)], ignore_index=True)
    split = split_of(frame, test_from={"a": date(2026, 3, 1)})
    unaffected = frame["time"].isna()
    assert dict(zip(frame["row_id"][unaffected], split[unaffected], strict=True)) == by_row(frame[unaffected])


def test_sources_that_only_measure_are_never_trained_on() -> None:
    frame = pd.concat([dated(400), frame_of(300, source="b", groups=5)], ignore_index=True)
    split = split_of(frame, evaluation_sources=frozenset({"b"}), test_from={"b": date(2020, 1, 1)})
    assert set(split[frame["source"] == "b"]) == {"evaluation"}
    assert "evaluation" not in set(split[frame["source"] == "a"])


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_too_few_rows_are_one_line_that_says_what_to_do(rows: int) -> None:
    with pytest.raises(DatasetError, match=r"^the \w+ split has \d+ rows and not both classes; .*--samples"):
        split_of(frame_of(rows))


def test_a_split_of_one_class_is_refused() -> None:
    frame = BASE.copy()
    frame.loc[split_of(frame) == "test", "label"] = 0
    with pytest.raises(DatasetError, match="the test split has"):
        split_of(frame)


USED = ["train", "validation", "test"]


def with_inputs(frame: pd.DataFrame, values: int, seed: int = 0) -> pd.DataFrame:
    """Add two input columns with about ``values`` different contents, the first ones far more common."""
    generator = np.random.default_rng(seed)
    content = np.minimum(generator.geometric(10.0 / values, len(frame)), generator.integers(1, values, len(frame)))
    return frame.assign(size=content / 8.0, kind=pd.array([f"kind {number % 3}" for number in content], dtype="str"))


def straddling(frame: pd.DataFrame, split: pd.Series, columns: list[str]) -> int:
    used = split.isin(USED)
    return int((split[used].groupby([frame.loc[used, name] for name in columns]).nunique() > 1).sum())


MIXED = pd.concat([frame_of(1500, groups=90), frame_of(1500, source="b")], ignore_index=True)
DATED = MIXED.assign(time=pd.to_datetime("2026-01-01", utc=True) + pd.to_timedelta(np.arange(3000) % 89, unit="D"))


@pytest.mark.parametrize("values", [400, 2000])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("rule", ["rows", "groups", "days", "groups and days"])
def test_neither_an_input_nor_a_group_straddles_whatever_decides(rule: str, seed: int, values: int) -> None:
    frame = with_inputs(DATED if "days" in rule else MIXED, values, seed)
    if "groups" not in rule:
        frame = frame.assign(group="")
    test_from = {"a": date(2026, 3, 10), "b": date(2026, 3, 1)} if "days" in rule else {}
    split = split_of(frame, test_from=test_from)
    assert straddling(frame, split, ["size", "kind"]) == 0
    grouped = frame[frame["group"] != ""]
    assert straddling(grouped, split[grouped.index], ["source", "group"]) == 0
    for source, day in test_from.items():
        late = frame["time"] >= pd.Timestamp(day, tz="UTC")
        assert not set(split[(frame["source"] == source) & late]) & {"train", "validation"}
        assert "test" not in set(split[(frame["source"] == source) & ~late])


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("dated_rows", [False, True])
def test_a_refresh_may_leave_a_row_out_but_never_moves_it_between_training_and_test(
    dated_rows: bool, grouped: bool
) -> None:
    frame = with_inputs(DATED if dated_rows else MIXED, 300)
    frame = frame if grouped else frame.assign(group="")
    options = {"test_from": {"a": date(2026, 3, 1)}} if dated_rows else {}
    whole = by_row(frame, **options)
    for part in (frame.sample(frac=0.5, random_state=1), frame.iloc[300:2400], frame[frame["time"].dt.day != 7]):
        before = by_row(part, **options)
        moved = {row for row, name in before.items() if {name, whole[row]} <= set(USED) and name != whole[row]}
        assert not moved
        if not grouped and not dated_rows:
            assert before == {row: whole[row] for row in before}


def test_new_groups_are_tested_and_of_earlier_ones_some_with_their_later_rows() -> None:
    frame = DATED[DATED["source"] == "a"].reset_index(drop=True)
    day = pd.Timestamp("2026-01-20", tz="UTC")
    new = frame["group"].isin(["g1", "g2"])
    frame["time"] = pd.to_datetime("2026-01-01", utc=True) + pd.to_timedelta(np.arange(len(frame)) // 50, unit="D")
    frame.loc[new, "time"] = day + pd.Timedelta(days=3)
    split = split_of(frame, test_from={"a": day.date()})
    late = frame["time"] >= day
    assert set(split[new]) == {"test"}
    tested, fitted = (
        frame["group"].isin(frame.loc[~new & split.isin(names), "group"])
        for names in (["test"], ["train", "validation"])
    )
    assert not (tested & fitted).any()
    assert (new | tested | fitted).all()
    assert 0.1 < tested.mean() < 0.3
    for groups, when, names in ((tested, late, "test"), (tested, ~late, "left_out"), (fitted, late, "left_out")):
        assert set(split[groups & when & ~new]) == {names}
    assert set(split[fitted & ~late]) == {"train", "validation"}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("days", [False, True])
def test_a_group_in_several_sources_of_one_dataset_never_straddles(seed: int, days: bool) -> None:
    generator = np.random.default_rng(seed)
    frame = frame_of(3000, groups=120).assign(time=DATED["time"])
    frame["source"] = pd.array(generator.choice(["early", "late"], 3000), dtype="str")
    # Some rows of a group have no day, some groups are one source's alone.
    frame.loc[generator.random(3000) < 0.1, "time"] = pd.NaT
    frame.loc[frame["group"].isin(["g1", "g2", "g3"]), "source"] = "late"
    test_from = {"early": date(2026, 3, 10), "late": date(2026, 3, 10)} if days else {}
    split = split_of(frame, test_from=test_from, datasets={"early": "guide", "late": "guide"})
    used = split.isin(USED)
    assert split[used].groupby(frame.loc[used, "group"]).nunique().max() == 1
    late = frame["time"] >= pd.Timestamp("2026-03-10", tz="UTC")
    if days:
        assert not set(split[late]) & {"train", "validation"}
        assert {"train", "test"} <= set(split)
    apart = split_of(frame, test_from=test_from)
    assert apart[apart.isin(USED)].groupby(frame["group"]).nunique().max() > 1


def test_an_input_that_every_group_shares_costs_only_its_own_rows() -> None:
    frame = frame_of(4000, groups=200).assign(size=np.arange(4000.0))
    frame.loc[frame.index % 4 == 0, "size"] = -1.0
    split = split_of(frame)
    common = frame["size"] == -1.0
    assert "left_out" not in set(split[~common])
    assert len(set(split[common]) - {"left_out"}) == 1
    assert {"train", "validation", "test"} <= set(split[~common])


def test_inputs_are_compared_by_value() -> None:
    frame = frame_of(6).assign(size=[0.0, -0.0, np.nan, -np.nan, 1.0, 2.0], kind=["Ab  c", "ab C", "x", "x", "x", "x"])
    keys = input_keys(frame)
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys.nunique() == 4
    whole = frame_of(3).assign(size=[1, 2, 3])
    assert input_keys(whole).equals(input_keys(whole.assign(size=[1.0, 2.0, 3.0])))
    assert input_keys(whole).equals(input_keys(whole[whole.columns[::-1]]))
    joined = frame_of(2).assign(first=["a", "ab"], second=["bc", "c"])
    assert input_keys(joined).nunique() == 2
    assert input_keys(frame_of(9)).tolist() == frame_of(9)["row_id"].tolist()


def test_sources_that_only_measure_decide_nothing_about_others() -> None:
    frame = with_inputs(pd.concat([frame_of(900), frame_of(900, source="b")], ignore_index=True), 100)
    split = split_of(frame, evaluation_sources=frozenset({"b"}))
    assert set(split[frame["source"] == "b"]) == {"evaluation"}
    alone = frame[frame["source"] == "a"]
    assert dict(zip(alone["row_id"], split[alone.index], strict=True)) == by_row(alone)
