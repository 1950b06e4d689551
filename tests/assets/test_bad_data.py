"""Bad datasets: a recorded skip or a failed check with columns and counts; no value, and no other family's loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.quality.checks import CheckOutcome
from nethical_assets.core.rows.catalog import Catalog, DatasetEntry
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations.verification import verify
from nethical_assets.orchestration.cycle import run_cycle
from nethical_assets.orchestration.instance import open_instance
from nethical_assets.stages import checking as quality
from tests.assets.assets_graph import materialize
from tests.orchestration import write_settings
from tests.tiny_mirror import CATALOG, build_mirror, connections, write_connections

# Looks like a value that a person wrote; no check, log line or record may repeat it.
SECRET = "jane.doe.1987@private-clinic.example"
SECRET_BYTES = SECRET.encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "mirror"
    write_connections(place, connections(400, np.random.default_rng(2)))
    return place


@pytest.fixture
def file(folder: Path) -> Path:
    return next((folder / CATALOG.entry("nslkdd").slug).iterdir())


@pytest.fixture
def settings_with(environment: dict[str, str], folder: Path) -> Callable[..., Settings]:
    def load(*entries: DatasetEntry) -> Settings:
        catalog = Catalog(dataset=entries) if entries else None
        return load_settings({**environment, "NETHICAL_DATA_MIRROR": str(folder)}, catalog=catalog)

    return load


def everything_below(home: Path) -> bytes:
    """All bytes that Dagster, records and the audit log keep; not the data itself (objects and snapshots)."""
    data = home / "data"
    kept = [p for p in home.rglob("*") if p.is_file() and not p.is_relative_to(data)]
    kept += [p for f in ("records", "stages") for p in (data / f).rglob("*") if p.is_file()]
    return b"\0".join(path.read_bytes() for path in kept)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\x00\x01\x02\xff\xfe" * 2000, "kddtrain"),
        ("0,tcp,http,SF,caf\xe9\n".encode("latin-1") * 50, "kddtrain"),
    ],
    ids=["empty file", "junk", "mis-encoded"],
)
def test_an_unreadable_file_is_a_recorded_skip(
    content: bytes, reason: str, file: Path, settings_with: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    file.write_bytes(content)
    graph = materialize(settings_with(), instance, "logistic", samples=700)

    raw = graph.metadata("raw", "nslkdd")
    assert raw["status"] == "skipped"
    assert reason in raw["reason"].lower()
    assert "\n" not in raw["reason"]
    available = graph.checks("raw", "nslkdd")["available"]
    assert not available.passed
    # The family goes on without it, and says what it did without.
    assert graph.success
    dataset = graph.metadata("datasets", "logistic")
    assert dataset["synthetic"] is True
    assert "nslkdd" in {row.data["dataset"] for row in dataset["skipped"].records}


def test_a_file_with_one_class_is_a_recorded_skip(
    folder: Path, settings_with: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    write_connections(folder, connections(400, np.random.default_rng(2)).assign(attack="normal"))
    graph = materialize(settings_with(), instance, keys=[dg.AssetKey(["raw", "nslkdd"])])
    assert graph.metadata("raw", "nslkdd")["status"] == "skipped"
    assert "two classes are needed" in graph.metadata("raw", "nslkdd")["reason"]


def test_a_label_column_without_values_is_a_recorded_skip(
    folder: Path, settings_with: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    write_connections(folder, connections(400, np.random.default_rng(2)).assign(attack=None))
    graph = materialize(settings_with(), instance, keys=[dg.AssetKey(["raw", "nslkdd"])])
    assert graph.metadata("raw", "nslkdd")["status"] == "skipped"
    assert "'attack'" in graph.metadata("raw", "nslkdd")["reason"]
    assert "missing" in graph.metadata("raw", "nslkdd")["reason"]


def phishing_with(**changes: Any) -> DatasetEntry:
    return CATALOG.entry("nslkdd").model_copy(
        update={"files": (CATALOG.entry("phishing_websites").files[0],), "slug": "owner/table", **changes}
    )


def test_an_absent_label_column_is_a_recorded_skip_that_lists_the_columns(
    folder: Path, settings_with: Callable[..., Settings], instance: dg.DagsterInstance
) -> None:
    place = folder / "owner" / "table"
    place.mkdir(parents=True)
    pd.DataFrame({"duration": range(300), "verdict": [0, 1] * 150}).to_csv(place / "phishing.csv", index=False)
    entry = phishing_with(numeric_columns=("duration",), categorical_columns=())
    graph = materialize(settings_with(entry), instance, keys=[dg.AssetKey(["raw", "nslkdd"])])
    reason = graph.metadata("raw", "nslkdd")["reason"]
    assert graph.metadata("raw", "nslkdd")["status"] == "skipped"
    assert "'target'" in reason
    assert "verdict" in reason


def test_a_wrong_table_fails_its_checks_with_columns_and_counts_and_no_value(
    folder: Path, settings_with: Callable[..., Settings]
) -> None:
    place = folder / "owner" / "table"
    place.mkdir(parents=True)
    rows = 400
    table = pd.DataFrame({"target": [0, 1] * (rows // 2), "duration": [SECRET] * rows, "half": range(rows)})
    table["half"] = table["half"].where(table.index % 2 == 0)
    table["count"] = range(rows)
    table.to_csv(place / "phishing.csv", index=False)
    entry = phishing_with(numeric_columns=("duration", "half", "count"), categorical_columns=())
    settings = settings_with(entry)
    with open_instance(settings) as kept:
        graph = materialize(settings, kept, keys=[dg.AssetKey(["raw", "nslkdd"])])
        checks = graph.checks("raw", "nslkdd")
    # A check that the settings name stops what reads the table, here by default.
    assert graph.failures()["check__raw__nslkdd"].startswith("raw/nslkdd: blocking check schema failed: wrong columns")

    schema = checks["schema"]
    assert not schema.passed
    assert schema.severity is dg.AssetCheckSeverity.ERROR
    failing = {row.data["column"]: row.data for row in schema.metadata["failing"].value.records}
    assert failing["duration"]["rows"] == rows
    assert failing["duration"]["share"] == 1.0
    missing = checks["missing_values"]
    assert not missing.passed
    assert [
        (row.data["column"], row.data["rows"], row.data["share"]) for row in missing.metadata["failing"].value.records
    ] == [("half", rows // 2, 0.5)]
    assert missing.metadata["what_to_do"].value
    personal = checks["personal_data"]
    assert personal.metadata["findings"].value == rows
    assert personal.severity is dg.AssetCheckSeverity.WARN
    assert checks["class_balance"].passed
    assert SECRET_BYTES not in everything_below(settings.home)
    assert b"private-clinic" not in everything_below(settings.home)


def test_few_rows_and_duplicates_are_warned_about_with_numbers(
    environment: dict[str, str], folder: Path, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    write_settings(tmp_path / "state", datasets={"minimum_samples": 5000, "maximum_rows": 5000})
    rows = connections(300, np.random.default_rng(2))
    write_connections(folder, pd.concat([rows] * 3))
    settings = load_settings({**environment, "NETHICAL_DATA_MIRROR": str(folder)})
    checks = materialize(settings, instance, keys=[dg.AssetKey(["raw", "nslkdd"])]).checks("raw", "nslkdd")
    assert not checks["minimum_samples"].passed
    assert checks["minimum_samples"].metadata["rows"].value == 900
    assert checks["minimum_samples"].metadata["minimum"].value == 5000
    assert not checks["duplicates"].passed
    assert checks["duplicates"].metadata["rows"].value == 600
    assert checks["schema"].passed
    assert checks["freshness"].passed


def test_a_failed_blocking_check_stops_its_family_and_no_other(
    environment: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings({**environment, "NETHICAL_DATA_MIRROR": str(folder)})
    assert "schema" in settings.file.datasets.blocking_checks
    assess = quality.assess_family

    def broken(workspace: Workspace, family: str) -> tuple[CheckOutcome, ...]:
        outcomes = assess(workspace, family)
        if family != "heuristic":
            return outcomes
        return tuple(replace(o, status="fail", message="wrong columns") if o.name == "schema" else o for o in outcomes)

    monkeypatch.setattr(quality, "assess_family", broken)
    summary = run_cycle(settings, ("heuristic", "logistic"), CycleOptions())

    assert summary["families"]["heuristic"]["verdict"] == "error"
    (reason,) = summary["families"]["heuristic"]["reasons"]
    assert "blocking check schema failed: wrong columns" in reason
    assert summary["families"]["logistic"]["verdict"] in ("promoted", "candidate")
    workspace = Workspace(settings, CycleOptions(), "test")
    assert workspace.records.newest("datasets", "heuristic") is not None
    assert workspace.records.newest("splits", "heuristic") is None
    assert verify(settings)["problems"] == []


@pytest.mark.slow
def test_one_bad_family_stops_no_other_and_the_audit_is_finalised(environment: dict[str, str], tmp_path: Path) -> None:
    mirror = build_mirror(tmp_path / "mirror", rows=900)
    # Twenty traces cannot fill three splits with both classes; only the anomaly family reads them.
    hdfs = mirror / CATALOG.entry("hdfs").slug
    (hdfs / "normal.txt").write_text("5 22 11\n5 5 22\n")
    (hdfs / "abnormal.txt").write_text("5 20 27\n")
    next((mirror / CATALOG.entry("adfa_ld").slug).iterdir()).unlink()
    settings = load_settings({**environment, "NETHICAL_DATA_MIRROR": str(mirror)})

    summary = run_cycle(settings, ("anomaly", "heuristic", "logistic"), CycleOptions())

    verdicts = {family: result["verdict"] for family, result in summary["families"].items()}
    assert verdicts["anomaly"] == "error"
    assert {verdicts["heuristic"], verdicts["logistic"]} <= {"promoted", "candidate"}
    (reason,) = summary["families"]["anomaly"]["reasons"]
    assert "split" in reason
    assert "\n" not in reason
    assert summary["families"]["anomaly"]["model_digest"] is None
    assert summary["datasets"]["adfa_ld"]["status"] == "skipped"
    assert summary["datasets"]["nslkdd"]["status"] == "new"
    report = verify(settings)
    assert report["problems"] == []
    assert (summary["audit"]["size"], summary["audit"]["root"]) == (report["size"], report["root"])
    assert json.loads(json.dumps(summary)) == summary
