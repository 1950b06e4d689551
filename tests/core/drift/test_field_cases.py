"""Tables from public bug reports, each with the verdicts that are right, both as they are and exchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nethical_assets.core.drift.tables import compare_tables
from nethical_assets.core.reading.tables import read_records
from nethical_assets.core.rows.labels import FILE_COLUMN

CASES = sorted(Path(__file__).parents[4].glob("shared/field/*/expect.json"))


@pytest.mark.skipif(not CASES, reason="the field cases are not beside this checkout")
@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.parent.name)
def test_a_field_case_gets_one_of_its_verdicts(case: Path, exchanged: bool) -> None:
    names = ("window", "reference") if exchanged else ("reference", "window")
    tables = [read_records(next(case.parent.glob(f"{name}.*"))).drop(columns=[FILE_COLUMN]) for name in names]
    report = compare_tables(*tables, threshold=0.15, alpha=0.01, minimum_rows=50)
    assert report.verdict in json.loads(case.read_text())["verdict"]
