"""What is exported of a home: values, of every store; what is damaged is told; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations import collecting, declared_metrics, exposition, log_tally
from nethical_assets.operations.collecting import collect
from nethical_assets.operations.declared_metrics import METRICS, Collected
from nethical_assets.stages.sealing import finalize_run
from nethical_assets.stages.watching import DRIFT_REPORTS
from tests.conftest import Once
from tests.operations.measured_home import (
    FAMILY,
    MEASURED,
    MeasuredHome,
    build,
    conclude_with,
    copied,
    decide,
    drift_facts,
    samples,
)
from tests.serving.conftest import _build as build_served
from tests.stage_runs import fetch_all, publish, run_family

START, END = datetime(2026, 11, 29, 6, tzinfo=UTC), datetime(2026, 11, 29, 12, tzinfo=UTC)
OF_OTHERS = {
    "nethical_daemon_heartbeat_timestamp_seconds",
    "nethical_tick_timestamp_seconds",
    "nethical_audit_problems",
}
"""What is collected only where it is asked for."""


@pytest.fixture(scope="session")
def measured(once: Once) -> Path:
    served = once("served", build_served)
    return once("measured", lambda folder: build(folder / "state", served))


@pytest.fixture
def home(measured: Path, tmp_path: Path) -> MeasuredHome:
    return copied(measured, tmp_path / "state")


def values(settings: Settings, **asked: bool) -> dict[tuple[str, ...], float]:
    return samples(exposition.to_json(collect(settings, **asked)))


def failed(found: Collected) -> list[str]:
    told = found.values[declared_metrics.COLLECTION_FAILED]
    return sorted(store for (store,), value in told.items() if value)


def judge(home: MeasuredHome, facts: Mapping[str, Any], run_id: str) -> None:
    workspace = home.workspace(run_id)
    conclude_with(workspace, DRIFT_REPORTS, FAMILY, facts)
    finalize_run(workspace)
    workspace.end()


def files(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_a_home_without_anything_has_no_figures_and_no_failures(settings: Settings) -> None:
    (settings.home / "audit").mkdir(parents=True)
    found = collect(settings)
    assert found.problems == [] and failed(found) == []
    told = samples(exposition.to_json(found))
    assert told["nethical_audit_leaves",] == 0.0
    assert not [key for key in told if "champion" in key[0] or "drift_verdict" in key[0]]
    assert [str(path.relative_to(settings.home)) for path in settings.home.rglob("*")] == ["audit"], "nothing is made"


def test_every_store_is_measured_and_nothing_is_changed(home: MeasuredHome) -> None:
    judge(home, drift_facts(END, START), "watch-1")
    before = files(home.settings.home)
    found = collect(home.settings)
    assert found.problems == [] and failed(found) == []
    assert {metric.name for metric in METRICS} - {metric.name for metric in found.values} == OF_OTHERS
    told = samples(exposition.to_json(found))
    for name, metric in declared_metrics.EVALUATED.items():
        assert told.get((metric.name, FAMILY, "newest")) == MEASURED[name]
    expected = {
        ("nethical_champion_verified", FAMILY): 1.0,
        ("nethical_release_decisions", FAMILY, "candidate"): 3.0,
        ("nethical_promotion_success_ratio", FAMILY): 0.25,
        ("nethical_training_duration_seconds", FAMILY): 1.5,
        ("nethical_screening_findings", FAMILY, "EMAIL"): 12.0,
        ("nethical_screening_quarantined_rows", FAMILY): 3.0,
        ("nethical_prediction_findings", FAMILY, "EMAIL"): 1.0,
        ("nethical_dataset_refreshed_timestamp_seconds", home.settings.catalog.dataset[0].name): datetime(
            2026, 11, 20, tzinfo=UTC
        ).timestamp(),
        ("nethical_dataset_checks", "failed"): 2.0,
        ("nethical_drift_window_end_timestamp_seconds", FAMILY): END.timestamp(),
        ("nethical_drift_verdict", FAMILY, "drift"): 1.0,
        ("nethical_drift_verdict", FAMILY, "stable"): 0.0,
        ("nethical_drift_high_priority", FAMILY): 1.0,
        ("nethical_drift_score", FAMILY): 0.31,
        ("nethical_drift_window_rows", FAMILY): 500.0,
        ("nethical_drift_positive_ratio", FAMILY): 0.4,
        ("nethical_drift_accuracy_ratio", FAMILY, "measured"): 0.8,
        ("nethical_drift_accuracy_ratio", FAMILY, "estimated"): 0.9,
        ("nethical_drift_estimates_held_ratio", FAMILY): 0.75,
        ("nethical_drift_monitor_score", FAMILY, "distribution", "window"): 0.31,
        ("nethical_drift_monitors", FAMILY, "trailing", "needs_more_data"): 1.0,
        ("nethical_drift_labels_given", FAMILY): 40.0,
        ("nethical_drift_labels_unknown", FAMILY): 3.0,
        ("nethical_false_alert_budget",): 1.0,
        ("nethical_false_alert_budget_spent",): 6.8e-05,
        ("nethical_alerts_open", "drift", "high"): 1.0,
        ("nethical_alerts_open", "drift", "low"): 0.0,
        ("nethical_alerts_undelivered", "webhook 1234"): 1.0,
        ("nethical_monitors_watched_timestamp_seconds",): END.timestamp(),
        ("nethical_audit_head_verified",): 1.0,
        ("nethical_inference_segments", "waiting"): 1.0,
    }
    assert {key: told.get(key) for key in expected} == expected
    after = files(home.settings.home)
    assert after.keys() - before.keys() == {"cache/log_tally.json"}
    assert {name: after[name] for name in before} == before


def test_a_target_that_is_named_no_more_is_not_told_where_others_are(
    home: MeasuredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETHICAL_WEBHOOK_URL", "https://example.org/hook-with-a-secret")
    monkeypatch.setenv("NETHICAL_WEBHOOK_FORM", "slack")
    found = collect(home.settings)
    assert declared_metrics.UNDELIVERED not in found.values
    assert b"secret" not in exposition.text(found)


def test_the_newest_window_is_told_however_late_an_older_one_is_judged_again(home: MeasuredHome) -> None:
    judge(home, drift_facts(END, START, verdict="stable", priority="none"), "watch-1")
    values(home.settings)
    older = timedelta(hours=-6)
    judge(home, drift_facts(END + older, START + older), "watch-2")
    judge(home, drift_facts(END + older, START + older, look=2, level=1e-05), "watch-3")
    judge(home, drift_facts(END + older, START + older, look=2, level=1e-05), "watch-4")
    told = values(home.settings)
    assert told["nethical_drift_verdict", FAMILY, "stable"] == 1.0
    assert told["nethical_drift_window_end_timestamp_seconds", FAMILY] == END.timestamp()
    assert told["nethical_false_alert_budget_spent",] == pytest.approx(2 * 6.8e-05 + 1e-05), "each look once"
    periods = [
        {"name": n, "hours": h, "report": {"level": 2e-05, "rows": h}} for n, h in (("window", 6), ("trailing", 9))
    ]
    judge(home, drift_facts(END + older, START + older, look=3, level=2e-05, periods=periods), "watch-5")
    spent = values(home.settings)["nethical_false_alert_budget_spent",]
    assert spent == pytest.approx(2 * 6.8e-05 + 5e-05), "each period of a judgement has a level of its own"
    same = [{**one, "report": {"level": 4e-06}} for one in periods]
    judge(home, drift_facts(END + older, START + older, look=4, level=4e-06, periods=same), "watch-6")
    spent = values(home.settings)["nethical_false_alert_budget_spent",]
    assert spent == pytest.approx(2 * 6.8e-05 + 5.4e-05), "one judgement that both periods show is paid for once"


def test_reports_of_older_versions_are_read(home: MeasuredHome) -> None:
    old = {
        "verdict": "needs_more_data",
        "window_rows": 7,
        "reasons": [],
        "columns": [],
        "drift_score": None,
        "model": "",
    }
    judge(home, old, "watch-1")
    told = values(home.settings)
    assert told["nethical_drift_verdict", FAMILY, "needs_more_data"] == 1.0
    assert told["nethical_drift_window_rows", FAMILY] == 7.0
    assert ("nethical_drift_score", FAMILY) not in told
    assert told["nethical_drift_window_end_timestamp_seconds", FAMILY] > END.timestamp(), "as new as it was judged"


def test_labels_that_a_report_could_not_count_are_no_number(home: MeasuredHome) -> None:
    judge(home, {**drift_facts(END, START), "labels_unknown": None, "labels_not_counted": "so"}, "watch-1")
    told = values(home.settings)
    assert told["nethical_drift_labels_given", FAMILY] == 40.0
    assert ("nethical_drift_labels_unknown", FAMILY) not in told


def test_the_report_that_the_stage_writes_is_read(home: MeasuredHome) -> None:
    workspace = home.workspace("watch-1")
    record = publish(workspace, DRIFT_REPORTS, "anomaly")  # without a champion
    told = values(home.settings)
    assert told["nethical_drift_verdict", "anomaly", record.facts["verdict"]] == 1.0


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_only_new_leaves_are_read_and_the_counts_are_those_of_all(
    home: MeasuredHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = values(home.settings)
    assert (home.settings.home / "cache" / "log_tally.json").exists()
    workspace = home.workspace("more")
    decide(workspace, FAMILY, "promoted")
    finalize_run(workspace)
    workspace.end()
    taken: list[str] = []
    take = log_tally._take
    monkeypatch.setattr(
        log_tally, "_take", lambda tally, event, *rest: taken.append(event.type) or take(tally, event, *rest)
    )
    second = values(home.settings)
    grown = second["nethical_audit_leaves",] - first["nethical_audit_leaves",]
    assert len(taken) == grown > 0
    assert second["nethical_release_decisions", FAMILY, "promoted"] == 2.0
    assert second["nethical_promotion_success_ratio", FAMILY] == 0.4
    cache = home.settings.home / "cache" / "log_tally.json"
    for spoilt in (b"", b"{}", cache.read_bytes().replace(b'"candidate": 3', b'"candidate": 4'), b"[1, NaN]"):
        cache.write_bytes(spoilt)
        again = values(home.settings)
        assert {key: value for key, value in again.items() if "collection" not in key[0]} == {
            key: value for key, value in second.items() if "collection" not in key[0]
        }
    with monkeypatch.context() as patched:
        patched.setattr(log_tally, "write_json", _full)
        cache.unlink()
        assert values(home.settings)["nethical_audit_leaves",] == second["nethical_audit_leaves",]
        assert not cache.exists(), "where nothing can be written, everything is counted again"
    other = log_tally.LogTally(size=3, root="00" * 32, events={"run_failed": 9})
    document = log_tally.to_document(other)
    log_tally.write_json(cache, {"digest": log_tally._digest(document), "tally": document})
    assert ("nethical_audit_events", "run_failed") not in values(home.settings), "another log's counts"


def damage_checkpoint(home: Path) -> None:
    path = home / "audit" / "checkpoint"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\nA", 1))


def damage_record(home: Path) -> None:
    path = home / "data" / "records" / "newest" / "models" / f"{FAMILY}.json"
    path.write_bytes(path.read_bytes().replace(b"1000", b"1001"))


def damage_report(home: Path) -> None:
    name = digest_of_report(home)
    (home / "data" / "objects" / name[:2] / name).write_bytes(b"{}")


def digest_of_report(home: Path) -> str:
    (path,) = [one for one in (home / "data" / "objects").glob("*/*") if b'"accuracy_drop"' in one.read_bytes()]
    return path.name


@pytest.mark.parametrize(
    ("damage", "stores"),
    [
        (damage_checkpoint, ["audit", "records", "registry"]),
        (damage_record, ["records"]),
        (damage_report, ["reports"]),
        (lambda home: (home / "models" / "current" / f"{FAMILY}.json").write_bytes(b"[]"), ["registry"]),
        (lambda home: (home / "alerts" / "issues.sqlite").write_bytes(b"no database" * 100), ["tracker"]),
        (lambda home: next((home / "data" / "snapshots" / "datasets").glob("*")).write_text("x"), ["snapshots"]),
        (lambda home: os.replace(home / "audit" / "checkpoint", home / "audit" / "gone"), ["records", "registry"]),
    ],
    ids=["log", "record", "report", "champion", "tracker", "dataset", "no log"],
)
def test_what_is_damaged_is_told_and_everything_else_is_measured(
    home: MeasuredHome, damage: Callable[[Path], object], stores: list[str]
) -> None:
    judge(home, drift_facts(END, START), "watch-1")
    whole = values(home.settings)
    damage(home.settings.home)
    found = collect(home.settings)
    assert failed(found) == stores
    assert found.problems and all("\n" not in line and "Traceback" not in line for line in found.problems)
    assert len(set(found.problems)) == len(found.problems)
    told = samples(exposition.to_json(found))
    assert len(told) > len(whole) / 3
    if stores == ["registry"]:
        assert told["nethical_champion_verified", FAMILY] == 0.0
        assert told["nethical_champion_verified", "prompt_injection"] == 1.0
    if "audit" in stores:
        assert told["nethical_audit_head_verified",] == 0.0
    b"".join([exposition.text(found)])


def test_what_nobody_expected_is_told_without_its_words(home: MeasuredHome, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ValueError("anna@example.org")

    monkeypatch.setattr(collecting, "_segments", fails)
    found = collect(home.settings)
    assert failed(found) == ["inference_log"]
    assert "ValueError" in found.problems[0] and "anna" not in found.problems[0]


def test_a_whole_verification_is_counted_where_it_is_asked_for(home: MeasuredHome) -> None:
    found = collect(home.settings, verify=True)
    count = found.values[declared_metrics.AUDIT_PROBLEMS][()]
    assert count == len(found.problems) > 0, "what this home was given without acts"
    assert digest_bytes(b"") not in found.problems


@pytest.mark.slow
def test_what_real_stages_record_is_read(settings: Settings) -> None:
    workspace = Workspace(settings, CycleOptions(source="synthetic"), "run-1")
    run_family(workspace, "heuristic", fetch_all(workspace, "heuristic"))
    publish(workspace, DRIFT_REPORTS, "heuristic")
    finalize_run(replace(workspace, run_id="run-1"))
    workspace.end()
    found = collect(settings)
    assert found.problems == []
    families = {key[0] for metric in found.values if metric.labels[:1] == ("family",) for key in found.values[metric]}
    assert "heuristic" in families
    measured = {metric.name for metric, told in found.values.items() if any(key[:1] == ("heuristic",) for key in told)}
    for name in ("training_duration_seconds", "evaluation_accuracy_ratio", "screened_records", "release_decisions"):
        assert f"nethical_{name}" in measured
