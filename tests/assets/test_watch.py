"""Drift reports as partitions of windows: which window a run judges, what it shows, and what its checks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from nethical_assets.assets import factory
from nethical_assets.assets.factory import asset_key, window_partitions
from nethical_assets.core.drift.windows import Window
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.orchestration.build import build_defs
from nethical_assets.stages.graph import STAGES
from nethical_assets.stages.watching import DRIFT_REPORTS
from tests.assets.assets_graph import materialize
from tests.orchestration import write_settings

WATCHED = asset_key(DRIFT_REPORTS, "logistic")
ETHICAL = dg.AssetKey("ethical_drift_report")


def test_drift_reports_alone_are_partitioned_by_windows(settings: Settings) -> None:
    graph = build_defs(settings).resolve_asset_graph()
    partitioned = {key.path[0] for key in graph.get_all_asset_keys() if graph.get(key).partitions_def is not None}
    assert partitioned == {stage.name for stage in STAGES if stage.in_windows} == {DRIFT_REPORTS.name}


@pytest.mark.parametrize("hours", [1, 6, 24])
def test_the_partitions_are_the_windows_up_to_the_one_that_now_is_in(
    hours: int, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
    monkeypatch.setattr(factory, "utc_now", lambda: now)
    write_settings(tmp_path / "state", monitoring={"drift_interval_hours": hours})
    partitions = window_partitions(load_settings(environment))
    window = Window.at(now, hours)
    assert partitions.get_partition_keys(current_time=now) == [window.before().key, window.key]
    later = partitions.get_partition_keys(current_time=now + timedelta(days=1))
    assert len(later) == 2 + 24 // hours
    assert [Window.from_key(key, hours).key for key in later] == later


def test_a_run_judges_the_window_of_its_partition_and_the_unpartitioned_reports_follow(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    window = Window.at(utc_now(), 6).before()
    graph = materialize(settings, instance, keys=[WATCHED, ETHICAL], partition_key=window.key)
    assert (graph.success, graph.failures()) == (True, {})
    shown = graph.metadata(*WATCHED.path)
    assert (shown["window_start"], shown["window_end"]) == (window.start.isoformat(), window.end.isoformat())
    assert shown["complete"] is True
    assert shown["what_next"]
    assert instance.get_materialized_partitions(WATCHED) == {window.key}
    assert instance.get_materialized_partitions(ETHICAL) == set()
    # Judged again, it is a new materialization of the same partition.
    assert materialize(settings, instance, keys=[WATCHED], partition_key=window.key).success
    assert len(instance.fetch_materializations(WATCHED, limit=10).records) == 2


def test_a_run_without_a_partition_judges_the_window_that_now_is_in(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    before = Window.at(utc_now(), 6)
    graph = materialize(settings, instance, keys=[WATCHED])
    assert graph.success
    shown = graph.metadata(*WATCHED.path)
    assert shown["window_start"] in {before.start.isoformat(), Window.at(utc_now(), 6).start.isoformat()}
    assert shown["complete"] is False
    assert "before its end" in shown["window"]
    record = Workspace(settings, CycleOptions(), "test").records.load(DRIFT_REPORTS.name, "logistic", "")
    assert record.facts["window"]["start"] == shown["window_start"]


def test_a_check_that_could_not_tell_is_a_warning_and_says_which_window_it_is_about(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    window = Window.at(utc_now(), 6).before()
    graph = materialize(settings, instance, keys=[WATCHED], partition_key=window.key)
    checks = graph.checks(*WATCHED.path)
    assert set(checks) == {"drift", "accuracy", "calibration"}
    for check in checks.values():
        shown = {name: value.value for name, value in check.metadata.items()}
        assert (check.passed, check.severity, shown["verdict"]) == (
            False,
            dg.AssetCheckSeverity.WARN,
            "needs_more_data",
        )
        assert shown["window_end"] == window.end.isoformat()
