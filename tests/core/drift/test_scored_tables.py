"""Two tables of predictions: what the watch would say of the same rows, and what no table of predictions is."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.monitors import judge_window
from nethical_assets.core.drift.reference import build_reference
from nethical_assets.core.drift.scored_tables import ScoredTablesReport, compare_scored_tables
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.tables import compare_tables
from nethical_assets.core.drift.window import measure_window
from nethical_assets.core.ground.errors import DatasetError

LIMITS = {"threshold": 0.15, "alpha": 0.01, "minimum_rows": 200}
LABELLED = {"accuracy_drop": 0.05, "minimum_labelled_rows": 100}


def table(rows: int, seed: int, *, power: float = 1.0, flipped: float = 0.0, size: float = 0.0) -> pd.DataFrame:
    """Calibrated probabilities with labels that were drawn by them; ``power`` moves them, ``flipped`` labels are
    wrong."""
    generator = np.random.default_rng(seed)
    p = generator.beta(0.4, 0.4, rows) ** power
    y = (generator.random(rows) < p) ^ (generator.random(rows) < flipped)
    return pd.DataFrame({"p": p, "y": y.astype(int), "size": generator.normal(size, 1.0, rows)})


def compare(reference: pd.DataFrame, window: pd.DataFrame, label: str | None = "y") -> ScoredTablesReport:
    return compare_scored_tables(reference, window, score="p", label=label, **LIMITS, **LABELLED)


def outcomes(report: ScoredTablesReport) -> dict[str, str]:
    return {one.monitor.kind: one.outcome for one in report.predictions.outcomes}


def test_the_same_rows_have_the_numbers_of_a_drift_report() -> None:
    before, after = table(3000, 1), table(800, 2, power=1.6)
    bare = pd.DataFrame(index=range(3000))
    reference = build_reference(None, before["p"].to_numpy(), bare, labels=before["y"].to_numpy(dtype=float))
    window = Sketch.of(reference, after["p"].to_numpy(), None, bare.iloc[:800], after["y"].to_numpy(dtype=float))
    measured = measure_window(reference, [window], minimum_rows=200, minimum_labelled_rows=100)
    expected = judge_window(measured, level=0.005, threshold=0.15, accuracy_drop=0.05)
    report = compare(before, after)
    assert report.predictions == expected
    assert report.columns == compare_tables(before[["size"]], after[["size"]], **{**LIMITS, "alpha": 0.005})
    alone = compare(before[["p", "y"]], after[["p", "y"]])
    assert alone.columns is None and alone.predictions.level == 0.01, "what nobody else needs is not kept back"


@pytest.mark.parametrize(
    ("changes", "verdict", "found"),
    [
        ({}, "stable", {}),
        ({"power": 3.0}, "drift", {"positive_rate": "changed", "cumulative_distribution": "drifted"}),
        ({"flipped": 0.15}, "drift", {"accuracy": "drifted", "calibration": "changed", "positive_rate": "calm"}),
        ({"size": 1.0}, "drift", {"accuracy": "calm"}),
    ],
)
def test_what_changed_is_found_by_its_monitor(changes: dict[str, float], verdict: str, found: dict[str, str]) -> None:
    report = compare(table(4000, 3), table(1500, 4, **changes))
    assert report.verdict == verdict
    assert {kind: outcomes(report)[kind] for kind in found} == found
    document = json.loads(json.dumps(report.to_json()))
    assert document["verdict"] == verdict and (document["drift_score"] > 0.15) == (verdict == "drift")
    assert document["predictions"]["measured"]["labelled_rows"] == 1500
    assert "what_next" not in document["predictions"] and "Rows count as independent" in document["notes"][0]
    assert f"**{verdict}**" in report.to_markdown() and "| estimated accuracy |" in report.to_markdown()


def test_labels_may_be_missing_and_without_any_accuracy_is_estimated_or_needs_more_data() -> None:
    before, after = table(4000, 5), table(1500, 6)
    some = after.assign(y=after["y"].astype("float64").where(np.arange(1500) < 50))
    report = compare(before, some)
    assert outcomes(report)["accuracy"] == "needs_more_data" == outcomes(report)["calibration"]
    assert outcomes(report)["estimated_accuracy"] == "calm" and report.verdict == "stable"
    unlabelled = compare(before.drop(columns="y"), after.drop(columns="y"), label=None)
    assert outcomes(unlabelled)["estimated_accuracy"] == "needs_more_data"
    assert outcomes(unlabelled)["positive_rate"] == "calm"


def test_too_few_rows_are_no_verdict() -> None:
    assert compare(table(4000, 7), table(100, 8, power=3.0)).verdict == "needs_more_data"


def spoilt(column: str, value: object) -> pd.DataFrame:
    frame = table(300, 9).astype({column: "object"})
    frame.loc[[3, 7], column] = value
    return frame


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (spoilt("p", 1.5), r"--score: row 4 of the window table is no probability from 0 to 1 \(2 such rows\)"),
        (spoilt("p", None), "--score: row 4"),
        (spoilt("p", "secret"), "--score: row 4"),
        (spoilt("p", float("inf")), "--score: row 4"),
        (spoilt("y", 2), r"--label: row 4 of the window table is neither 0 nor 1, nor empty \(2 such rows\)"),
        (spoilt("y", "secret"), "--label: row 4"),
        (table(300, 9).astype({"y": bool}), "--label: row 1"),
        (table(300, 9).drop(columns="p"), "--score: the window table has no column 'p'; the columns are y, size"),
        (table(300, 9).drop(columns="y"), "--label: the window table has no column 'y'"),
        (table(0, 9), "the window table has no rows"),
    ],
)
def test_what_is_no_table_of_predictions_is_one_line_whichever_table_it_is(window: pd.DataFrame, said: str) -> None:
    with pytest.raises(DatasetError, match=said) as told:
        compare(table(300, 1), window)
    assert "secret" not in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(DatasetError, match=said.replace("window", "reference")):
        compare(window, table(300, 1))


def test_probabilities_and_labels_are_two_columns() -> None:
    with pytest.raises(DatasetError, match="two columns"):
        compare(table(300, 1), table(300, 2), label="p")
