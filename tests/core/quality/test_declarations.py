"""Quality checks: what fails, with which numbers, and that no value of the data is ever told."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.datasets.canonical import synthetic_dataset
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.quality.checks import BLOCKABLE, CHECKS, CheckOutcome, enforced, stopping
from nethical_assets.core.quality.declarations import QualityThresholds, assess, canonical_schema, freshness, raw_schema
from nethical_assets.core.quality.report import DatasetReport, render_validation_report, unremarkable
from nethical_assets.core.rows.catalog import DatasetEntry, load_catalog
from tests.core.conftest import ENTRY

ROOT = Path(__file__).resolve().parents[3]
THRESHOLDS = QualityThresholds(
    minimum_samples=10_000, missing_share_max=0.2, minority_share_min=0.05, duplicate_share_max=0.5
)
NOW = datetime(2026, 11, 22, tzinfo=UTC)
SECRET = "jane.doe@example.org"


def entry_of(**changes: Any) -> DatasetEntry:
    values: dict[str, Any] = {
        **ENTRY,
        "numeric_columns": ["amount", "count"],
        "categorical_columns": ["colour"],
        "files": [{"path": ["rows.csv"], "format": "csv", "label": {"column": "y", "positive": ["1"]}}],
    }
    return DatasetEntry.model_validate({**values, **changes})


def frame_of(rows: int = 20) -> pd.DataFrame:
    numbers = np.arange(rows)
    return pd.DataFrame(
        {
            "amount": numbers * 0.5,
            "count": numbers,
            "colour": pd.array([f"c{number}" for number in numbers], dtype="str"),
            "y": numbers % 2,
            "_file": "rows.csv",
            "_label": (numbers % 2).astype("int8"),
        }
    )


def outcomes_of(
    frame: pd.DataFrame, entry: DatasetEntry | None = None, thresholds: QualityThresholds = THRESHOLDS, **changes: Any
) -> dict[str, CheckOutcome]:
    options: dict[str, Any] = {
        "label": "_label",
        "identity": [],
        "required": ["amount", "count", "colour"],
        "part_column": "_file",
        **changes,
    }
    outcomes = assess(frame, raw_schema(entry or entry_of()), thresholds, **options)
    return {outcome.name: outcome for outcome in outcomes}


def rows_of(outcome: CheckOutcome) -> dict[str, tuple[Any, Any]]:
    return {str(row["column"]): (row["rows"], row["share"]) for row in outcome.failures}


def test_a_good_dataset_passes_everything() -> None:
    outcomes = outcomes_of(frame_of(10_000))
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "schema": "pass", "minimum_samples": "pass", "missing_values": "pass", "class_balance": "pass",
        "duplicates": "pass",
    }  # fmt: skip
    assert set(outcomes) <= set(CHECKS)


def test_all_wrong_columns_are_reported_at_once_and_no_value_of_the_data() -> None:
    frame = frame_of()
    frame["amount"] = SECRET
    frame["count"] = pd.array([SECRET] + ["1"] * 19, dtype="str")
    frame["colour"] = np.arange(20) + 424242
    frame.loc[3:4, "_label"] = 7
    del frame["y"]
    outcomes = outcomes_of(frame)
    schema = outcomes["schema"]
    assert schema.status == "fail"
    assert set(rows_of(schema)) == {"amount", "count", "colour", "_label", "y"}
    assert rows_of(schema)["_label"] == (2, 0.1)
    assert rows_of(schema)["y"] == (20, 1.0)
    assert schema.numbers["columns_failing"] == 5
    said = json.dumps([outcome.to_json() for outcome in outcomes.values()])
    assert SECRET not in said
    assert "424242" not in said


@pytest.mark.parametrize("word", ["unknown", "1,000", "0x10", "True", "007", "1e", "9" * 30, SECRET])
def test_one_value_that_is_no_number_is_one_row_and_is_numbered(word: str) -> None:
    frame = frame_of(60)
    frame["amount"] = frame["amount"].astype("str")
    frame.loc[36, "amount"] = word
    frame.loc[40, "amount"] = None
    schema = outcomes_of(frame)["schema"]
    assert schema.status == "fail"
    assert rows_of(schema) == {"amount": (1, 0.016667)}
    assert schema.example_rows == (36,)
    assert schema.message == "wrong columns: amount (1 of 60 rows)"
    assert word not in json.dumps(schema.to_json()) or len(word) < 4


def test_up_to_ten_rows_are_numbered_and_all_are_counted() -> None:
    frame = frame_of(60)
    frame["count"] = frame["count"].astype("str")
    frame.loc[5:29, "count"] = "many"
    schema = outcomes_of(frame)["schema"]
    assert rows_of(schema) == {"count": (25, round(25 / 60, 6))}
    assert schema.example_rows == tuple(range(5, 15))


def test_numbers_written_as_text_are_numbers() -> None:
    frame = frame_of(60)
    frame["amount"] = [" 1.5", "-2", "3e4", ".5"] * 15
    assert outcomes_of(frame)["schema"].status == "pass"


def test_text_columns_are_text_and_several_files_may_lack_columns() -> None:
    entry = entry_of(
        kind="text", numeric_columns=[], categorical_columns=[], time_column="day",
        files=[
            {"path": ["a.csv"], "format": "csv", "text_column": "prompt", "label": {"constant": 1}},
            {"path": ["b.csv"], "format": "csv", "text_column": "text", "label": {"column": "y", "positive": ["1"]}},
        ],
    )  # fmt: skip
    frame = pd.DataFrame({"prompt": ["a", None], "text": [None, "b"], "y": [None, 1], "_label": [1, 1]})
    (outcome, *_) = assess(frame, raw_schema(entry), THRESHOLDS, label=None, identity=[], required=[])
    assert rows_of(outcome) == {"day": (2, 1.0)}


@pytest.mark.parametrize("entry", load_catalog(ROOT / "config" / "datasets.toml", family_names()).dataset,
                         ids=lambda entry: entry.name)  # fmt: skip
def test_every_shipped_entry_has_a_schema_that_an_empty_frame_fails(entry: DatasetEntry) -> None:
    outcomes = assess(pd.DataFrame(), raw_schema(entry), THRESHOLDS, label=None, identity=[], required=[])
    assert outcomes[0].status == "fail"
    assert "_label" in rows_of(outcomes[0])


@pytest.mark.parametrize("family", family_names())
def test_canonical_datasets_satisfy_their_schema_and_broken_ones_do_not(family: str) -> None:
    spec = load_family(family)
    dataset = synthetic_dataset(spec, rows=400, seed=1)
    schema = canonical_schema(spec, dataset.facts["input_columns"])

    def schema_of(frame: pd.DataFrame) -> CheckOutcome:
        return assess(frame, schema, THRESHOLDS, label="label", identity=["row_id"], required=[])[0]

    assert schema_of(dataset.frame).status == "pass"
    broken = dataset.frame.copy()
    broken.loc[1, "row_id"] = broken.loc[0, "row_id"]
    broken.loc[2, "row_id"] = SECRET
    broken["label"] = broken["label"].astype("int64")
    broken["source"] = ""
    found = schema_of(broken)
    assert {"row_id", "label", "source"} <= set(rows_of(found))
    assert SECRET not in json.dumps(found.to_json())


@pytest.mark.parametrize(("rows", "status"), [(9_999, "warn"), (10_000, "pass")])
def test_minimum_samples(rows: int, status: str) -> None:
    outcome = outcomes_of(frame_of(rows))["minimum_samples"]
    assert (outcome.status, outcome.numbers) == (status, {"rows": rows, "minimum": 10_000})


@pytest.mark.parametrize(("missing", "status"), [(0, "pass"), (19, "pass"), (20, "fail"), (100, "fail")])
def test_less_than_a_fifth_of_a_column_may_be_missing(missing: int, status: str) -> None:
    frame = frame_of(100)
    frame.loc[: missing - 1, "amount"] = np.nan
    outcome = outcomes_of(frame)["missing_values"]
    assert outcome.status == status
    assert rows_of(outcome) == ({} if status == "pass" else {"amount": (missing, missing / 100)})
    assert outcome.numbers["worst_share"] == missing / 100


def test_a_column_that_nobody_reads_only_warns() -> None:
    frame = frame_of(10).assign(unused=None)
    outcome = outcomes_of(frame)["missing_values"]
    assert (outcome.status, rows_of(outcome)) == ("warn", {"unused": (10, 1.0)})
    assert "no family reads" in str(outcome.failures[0]["check"])


def test_no_gap_at_all_may_be_asked_for() -> None:
    strict = QualityThresholds(1, 0.0, 0.0, 1.0)
    assert outcomes_of(frame_of(10), thresholds=strict)["missing_values"].status == "pass"
    frame = frame_of(10)
    frame.loc[0, "amount"] = np.nan
    assert rows_of(outcomes_of(frame, thresholds=strict)["missing_values"]) == {"amount": (1, 0.1)}


def test_a_column_counts_only_in_the_files_that_have_it() -> None:
    frame = pd.DataFrame(
        {"first": [1.0] * 9 + [None] + [None] * 90, "second": [None] * 10 + [1.0] * 60 + [None] * 30,
         "nowhere": [None] * 100, "_file": ["a"] * 10 + ["b"] * 90}
    )  # fmt: skip
    outcome = outcomes_of(frame, label=None, required=["first", "second", "nowhere"])["missing_values"]
    assert rows_of(outcome) == {"second": (30, round(30 / 90, 6)), "nowhere": (100, 1.0)}
    whole = outcomes_of(frame, label=None, required=[], part_column=None)["missing_values"]
    assert rows_of(whole) == {"first": (91, 0.91), "second": (40, 0.4), "nowhere": (100, 1.0)}


@pytest.mark.parametrize(
    ("positives", "negatives", "status", "degree", "hint"),
    [
        (500, 500, "pass", "balanced", False),
        (286, 714, "pass", "balanced", False),
        (285, 715, "pass", "imbalanced", False),
        (199, 801, "pass", "imbalanced", True),
        (800, 200, "pass", "imbalanced", False),
        (91, 909, "pass", "imbalanced", True),
        (90, 910, "pass", "critically imbalanced", True),
        (50, 950, "pass", "critically imbalanced", True),
        (49, 951, "warn", "critically imbalanced", True),
        (951, 49, "warn", "critically imbalanced", False),
        (1000, 0, "fail", "one class only", False),
        (0, 1000, "fail", "one class only", True),
        (0, 0, "fail", "one class only", True),
    ],
)
def test_class_balance(positives: int, negatives: int, status: str, degree: str, hint: bool) -> None:
    frame = pd.DataFrame({"_label": np.array([1] * positives + [0] * negatives + [-1] * 5, dtype="int8"), "_file": "a"})
    outcome = outcomes_of(frame, required=[])["class_balance"]
    assert outcome.status == status
    assert f": {degree}" in outcome.message
    assert ("adversarial training" in outcome.message) is hint
    assert (outcome.numbers["positives"], outcome.numbers["negatives"]) == (positives, negatives)
    assert outcome.numbers["unusable_labels"] == 5


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=1, max_size=40))
def test_duplicates_are_rows_that_repeat_another(values: list[str]) -> None:
    frame = pd.DataFrame({"key": values, "noise": range(len(values)), "_file": "a"})
    outcome = outcomes_of(frame, label=None, required=[], identity=["key"])["duplicates"]
    repeated = len(values) - len(set(values))
    assert outcome.numbers["rows"] == repeated
    assert outcome.status == ("pass" if repeated / len(values) <= 0.5 else "warn")
    assert outcomes_of(frame, label=None, required=[])["duplicates"].numbers["rows"] == 0


@pytest.mark.parametrize(
    ("age", "status"),
    [(timedelta(0), "pass"), (timedelta(days=29, hours=23), "pass"), (timedelta(days=30), "warn"),
     (timedelta(days=400), "warn")],
)  # fmt: skip
def test_freshness(age: timedelta, status: str) -> None:
    outcome = freshness(NOW - age, NOW, 30)
    assert outcome.status == status
    assert outcome.numbers == {"age_days": round(age / timedelta(days=1), 3), "maximum_days": 30}
    assert outcome.advice == "run: nethical data fetch"


def test_an_empty_dataset_is_judged_not_crashed_on() -> None:
    outcomes = outcomes_of(frame_of(0))
    assert (outcomes["minimum_samples"].status, outcomes["class_balance"].status) == ("warn", "fail")
    assert outcomes["missing_values"].status == outcomes["duplicates"].status == "pass"


def test_outcomes_round_trip_through_json() -> None:
    frame = frame_of()
    del frame["y"]
    for outcome in outcomes_of(frame).values():
        assert CheckOutcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome


def test_the_report_shows_every_check_and_what_to_do() -> None:
    frame = frame_of()
    del frame["y"]
    good = DatasetReport("good", "Good set", (freshness(NOW, NOW, 30),))
    bad = DatasetReport("bad", "Bad set", tuple(outcomes_of(frame).values()))
    text = render_validation_report([good, bad])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in table} == {len(CHECKS) + 2}
    assert "## Bad set (`bad`)" in text
    assert "## Good set" not in text
    assert "- **FAIL** schema: wrong columns: y. What to do: compare the file with its catalog entry" in text
    assert "  - column `y`: column is present, 20 rows" in text
    idle, passed = unremarkable([good, bad])
    assert f"Passed wherever they looked: {', '.join(passed).replace('_', ' ')}. Nothing to look at: " in text
    seen = [{report.status(check) for report in (good, bad)} - {""} for check in CHECKS]
    assert passed == [check for check, found in zip(CHECKS, seen, strict=True) if found == {"pass"}] != []
    assert idle == [check for check, found in zip(CHECKS, seen, strict=True) if not found] != []
    assert bad.to_row()["schema"] == "fail"
    assert good.to_row() == {"dataset": "good", **dict.fromkeys(CHECKS, ""), "freshness": "pass"}


class TestBlocking:
    @pytest.mark.parametrize("name", CHECKS)
    def test_every_check_that_may_be_named_stops_somewhere_and_its_warning_is_a_failure_there(self, name: str) -> None:
        assert name in BLOCKABLE
        places = CHECKS[name].stops_at
        assert set(places) <= set(CHECKS[name].subjects)
        for subject in CHECKS[name].subjects:
            for status in ("pass", "warn", "fail"):
                outcomes = [CheckOutcome(name, status, "said", {})]
                stopped = status != "pass" and subject in places
                assert stopping(outcomes, subject, [name]) == (outcomes if stopped else [])
                assert stopping(outcomes, subject, []) == []
                (outcome,) = enforced(outcomes, subject, [name])
                assert outcome.status == ("fail" if stopped else status)
                assert enforced(outcomes, subject, []) == tuple(outcomes)

    def test_duplicates_stop_where_there_can_be_any(self) -> None:
        # A canonical dataset has one row a record, so the check cannot fail there.
        assert CHECKS["duplicates"].stops_at == ("delivered",)
