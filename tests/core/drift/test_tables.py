from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.tables import compare_tables
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.reading.tables import read_records, write_records
from nethical_assets.core.rows.labels import FILE_COLUMN

OPTIONS = {"threshold": 0.15, "alpha": 0.01, "minimum_rows": 50}


def table(rows, seed, **changes):
    random = np.random.default_rng(seed)
    columns = {
        "amount": random.normal(size=rows),
        "protocol": random.choice(["tcp", "udp", "icmp"], p=[0.7, 0.2, 0.1], size=rows),
        "port": random.zipf(1.6, size=rows) % 1000,
        "message": [f"message {n} " + "x" * int(n) for n in random.integers(0, 90, size=rows) + np.arange(rows) / 1e6],
        "seen": pd.date_range("2026-01-01", periods=rows, freq="min"),
    }
    return pd.DataFrame(columns | changes)


def drifted(report):
    return {column.name for column in report.columns if column.drifted}


def test_equal_distributions_are_stable():
    found = [compare_tables(table(2000, seed), table(400, seed + 100), **OPTIONS).verdict for seed in range(15)]
    assert found == ["stable"] * 15


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("amount", np.linspace(2, 3, 400)),
        ("amount", np.full(400, np.nan)),
        ("amount", ["n/a"] * 400),
        ("protocol", ["udp"] * 400),
        ("protocol", ["quic"] * 400),
        ("protocol", [None] * 400),
        ("port", np.zeros(400)),
        ("message", [f"{n}" for n in range(400)]),
    ],
)
def test_a_changed_column_of_any_type_is_found(name, values):
    report = compare_tables(table(2000, 0), table(400, 1, **{name: values}), **OPTIONS)
    assert report.verdict == "drift" and drifted(report) == {name}


def test_moments_and_missing_columns_are_named_not_compared():
    report = compare_tables(table(300, 0), table(300, 1).drop(columns="port").assign(extra=1), **OPTIONS)
    assert report.not_compared == (
        "port: not in the window",
        "seen: a moment in time",
        "extra: not in the reference",
    )


def test_values_never_reach_the_report():
    report = compare_tables(table(300, 0), table(300, 1, protocol=["secret-value"] * 300), **OPTIONS)
    text = str(report.to_json()) + report.to_markdown()
    assert "secret-value" not in text and "message 1" not in text


def test_bad_input_is_one_line():
    good = table(100, 0)
    with pytest.raises(DatasetError, match="column 'nope' is not in the reference table"):
        compare_tables(good, good, columns=["nope"], **OPTIONS)
    with pytest.raises(DatasetError, match="window table has no rows"):
        compare_tables(good, good[:0], **OPTIONS)
    with pytest.raises(DatasetError, match="no column to compare"):
        compare_tables(good[["seen"]], good[["seen"]], **OPTIONS)


def test_a_table_survives_its_file_formats(tmp_path):
    frame = table(200, 0).drop(columns="seen")
    paths = [tmp_path / name for name in ("t.csv", "t.parquet", "t.jsonl")]
    for path in paths:
        write_records(frame, path)
    first, *others = (read_records(path).drop(columns=FILE_COLUMN) for path in paths)
    for other in others:
        report = compare_tables(first, other, **OPTIONS)
        assert len(report.columns) == 4 and {column.effect for column in report.columns} == {0.0}
