"""The ethical drift report over all stores: two training runs, one refused, traffic over two routes, and its labels."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nethical_assets.core.drift.segments import FeedbackRow, LoggedRow
from nethical_assets.core.rows.catalog import Catalog
from nethical_assets.home import workspace as module
from nethical_assets.home.inference import InferenceStore
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.judging import ETHICAL_DRIFT_REPORT
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.stage import PLATFORM
from tests.stage_runs import fetch_all, publish, run_family
from tests.tiny_mirror import CATALOG, connections, write_connections

ROWS = 1200
NANOSECONDS = 10**9


def train(settings: Settings, run: str, **options: Any) -> StageRecord:
    """The logistic family's part of a cycle, up to its release."""
    workspace = Workspace(settings, CycleOptions(source="mirror", **options), run)
    released = run_family(workspace, "logistic", fetch_all(workspace, "logistic"), until=RELEASES)[RELEASES]
    workspace.seal()
    workspace.end()
    return released


def traffic(workspace: Workspace, model: str, since: datetime) -> None:
    """Two days over two routes: every answer of v1 is right, of v2 a third of the positives is missed; labels come for
    every second request; every tenth request of v2 held an address."""
    step = int(timedelta(days=2).total_seconds() * NANOSECONDS / ROWS)
    begin = int(since.timestamp() * NANOSECONDS) + NANOSECONDS
    rows: list[LoggedRow | FeedbackRow] = []
    for number in range(ROWS):
        route, positive = ("v1", "v2")[number % 2], number % 4 < 2
        missed = route == "v2" and positive and number // 4 % 3 == 0
        called = int(positive and not missed)
        name, at = f"request-{number}", begin + number * step
        found = {"EMAIL": 1} if route == "v2" and number % 20 == 1 else {}
        sketch = {"length": 1.0}
        rows.append(LoggedRow(at, name, "logistic", model, route, called, 0.1 + 0.8 * called, 1.0, sketch, 100, found))
        if number // 4 % 2 == 0:
            rows.append(FeedbackRow(at + NANOSECONDS, name, int(positive), "analyst"))
    writer = InferenceStore(workspace).writer()
    writer.append(rows)
    writer.close()


def judged(settings: Settings, run: str) -> tuple[Workspace, StageRecord]:
    workspace = Workspace(settings, CycleOptions(), run)
    return workspace, publish(workspace, ETHICAL_DRIFT_REPORT, PLATFORM)


@pytest.mark.slow
def test_two_runs_and_traffic_over_two_routes(
    mirrored: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = CATALOG.entry("nslkdd").model_copy(update={"cohort_column": "service"})
    settings = replace(mirrored, catalog=Catalog(dataset=(declared,)))
    promoted = train(settings, "first")
    assert promoted.facts["verdict"] == "promoted"
    # Labels that nothing can learn.
    write_connections(tmp_path / "worse", connections(900, np.random.default_rng(3), learnable=False))
    refused = train(replace(settings, mirror=tmp_path / "worse"), "second")
    assert refused.facts["gate"]["verdict"] == "fail"

    now = datetime.fromisoformat(promoted.facts["decided_at"]) + timedelta(days=2, hours=1)
    monkeypatch.setattr(module, "utc_now", lambda: now)
    traffic(Workspace(settings, CycleOptions(), "serving"), promoted.facts["model"], now - timedelta(days=2, hours=1))
    workspace, record = judged(settings, "watch")
    facts = record.facts
    assert (facts["end_time"], facts["generated_at"]) == (now.isoformat(timespec="seconds"),) * 2
    family = facts["families"]["logistic"]
    by_kind: dict[str, dict[str, Any]] = {}
    for cohort in family["cohorts"]:
        by_kind.setdefault(cohort["kind"], {})[cohort["name"]] = cohort
    assert facts["drift_metrics"]["cohort_count"] == len(family["cohorts"])

    first, second = by_kind["training_run"].values()
    assert first["violation_stats"]["by_type"].keys().isdisjoint({"low_accuracy", "calibration_error"})
    assert second["violation_stats"]["by_type"].keys() & {"low_accuracy", "calibration_error"}
    assert first["at"] < second["at"]
    assert family["comparisons"]["training_run.removed"]["rows"] > 0

    # Whoever asks for the second time, labels included, is counted once.
    v1, v2 = by_kind["route"]["v1"], by_kind["route"]["v2"]
    assert (v1["action_count"], v2["action_count"]) == (ROWS // 2, ROWS // 2)
    assert v1["labelled_count"] + v2["labelled_count"] == ROWS // 2
    assert "missed" not in v1["violation_stats"]["by_type"]
    assert v2["violation_stats"]["by_type"]["personal_data.EMAIL"] == ROWS // 20
    assert v2["accuracy"]["low"] < v2["accuracy"]["value"] < v2["accuracy"]["high"] < v1["accuracy"]["value"]
    assert family["comparisons"]["route.missed"]["verdict"] == "fail"
    assert family["drift"]["route"]["has_drift"] and facts["drift_metrics"]["has_drift"]
    windows = list(by_kind["time_window"].values())
    assert 8 <= len(windows) <= 10
    assert sum(one["action_count"] for one in windows) == ROWS
    assert family["trends"]["time_window.missed"]["cohorts"] == len(windows)
    assert set(by_kind["column"]) == {"http", "private"}

    assert facts["verdict"] == "fail"
    assert any("of v2" in line and "missed" in line for line in facts["recommendations"])
    report = workspace.objects.get(record.objects["report"]).decode()
    assert "| logistic | missed by route | fail |" in report
    assert "traffic is told apart by route and window only" in report
    shown = ETHICAL_DRIFT_REPORT.shows(workspace, record)
    assert shown["trends"].png.startswith(b"\x89PNG")  # type: ignore[union-attr]
    assert len(shown["cohorts"].rows) == len(family["cohorts"])  # type: ignore[union-attr]
    told = [one.event for one in workspace.audit_log.find_events(event_type="drift_judged", digest=record.output)]
    assert [workspace.audit_log.payload(event)["verdict"] for event in told] == ["fail"]

    # The same again says the same; what it is made of is nothing that changes by itself.
    again = judged(settings, "watch-again")[1]
    assert again.facts["report_id"] == facts["report_id"]

    # Damaged traffic is said, stops no report, and is no absence of it.
    for path in (mirrored.home / "serving" / "inference" / "logistic").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    damaged = judged(settings, "watch-damaged")[1].facts
    assert any(one["kind"] == "unreadable_traffic" for one in damaged["families"]["logistic"]["violations"])
    assert "route" not in {cohort["kind"] for cohort in damaged["families"]["logistic"]["cohorts"]}
    assert str(mirrored.home) not in json.dumps(damaged)
