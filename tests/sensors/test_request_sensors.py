"""The sensors that ask for runs: drift and changed code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from nethical_assets.assets.factory import DEPENDS_ON
from nethical_assets.assets.requests import TRAINING_JOB
from nethical_assets.core.alerts import Alert, LocalIssueTracker
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.orchestration.build import build_defs, build_resources
from nethical_assets.sensors import drift
from nethical_assets.stages.graph import dependencies_digest
from tests.assets.assets_graph import materialize

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


class Ticking:
    """One sensor, ticked again and again with its own cursor."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, name: str) -> None:
        self.repository = build_defs(settings).get_repository_def()
        self.sensor = self.repository.get_sensor_def(name)
        self.instance = instance
        self.resources = (
            {"issue_tracker": build_resources(settings)["issue_tracker"]} if name == "drift_sensor" else None
        )
        self.cursor: str | None = None

    def tick(self) -> Any:
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=self.repository,
            sensor_name=self.sensor.name,
            resources=self.resources,
        )
        data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        return data


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, datetime]:
    """The time as the drift sensor sees it."""
    times = {"now": NOW}
    monkeypatch.setattr(drift, "utc_now", lambda: times["now"])
    return times


def report(
    instance: dg.DagsterInstance,
    family: str,
    verdict: str,
    score: float | None,
    digest: str,
    model: str = "none",
    *,
    window: str | None = None,
    partition: str | None = None,
    cause: str = "none",
) -> None:
    """What a drift report leaves behind: about a window, of a run with or without its partition, or about none, as
    reports of older versions are."""
    metadata: dict[str, Any] = {"verdict": verdict, "digest": digest, "model": model}
    if window is not None:
        metadata |= {"window": f"the one from {window}", "window_start": f"{window}:00+00:00", "cause": cause}
    if score is not None:
        metadata["drift_score"] = score
    instance.report_runless_asset_event(
        dg.AssetMaterialization(dg.AssetKey(["drift_reports", family]), metadata=metadata, partition=partition)
    )


def depends_on(settings: Settings, family: str) -> str:
    """What a model that is trained now depends on."""
    return dependencies_digest(Workspace(settings, CycleOptions(), "test"), family)


def trained(instance: dg.DagsterInstance, family: str, depends: str) -> None:
    """What a trained model leaves behind."""
    instance.report_runless_asset_event(
        dg.AssetMaterialization(dg.AssetKey(["models", family]), metadata={DEPENDS_ON: depends})
    )


def test_drift_sensor_without_reports_skips_and_says_so(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    data = Ticking(settings, instance, "drift_sensor").tick()
    assert data.run_requests == []
    assert "no drift report yet" in data.skip_message


@pytest.mark.parametrize(
    ("verdict", "score"), [("stable", 0.4), ("drift", 0.15), ("drift", 0.1), ("needs_more_data", None)]
)
def test_drift_sensor_asks_for_nothing_at_or_below_the_threshold_or_without_evidence(
    verdict: str, score: float | None, settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    report(instance, "logistic", verdict, score, "sha256:a")
    data = Ticking(settings, instance, "drift_sensor").tick()
    assert data.run_requests == []
    assert f"logistic: {verdict}" in data.skip_message


def test_drift_sensor_asks_once_for_a_forced_run_of_the_family(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    report(instance, "logistic", "drift", 0.151, "sha256:a")
    report(instance, "heuristic", "stable", 0.01, "sha256:b")
    sensor = Ticking(settings, instance, "drift_sensor")
    assert sensor.sensor.minimum_interval_seconds <= 60

    (request,) = sensor.tick().run_requests
    assert request.tags["nethical/family"] == "logistic"
    assert "0.151" in request.tags["nethical/reason"]
    assert request.run_config["resources"]["cycle"]["config"]["force"] is True
    assert dg.AssetKey(["models", "logistic"]) in request.asset_selection
    assert dg.AssetKey(["models", "heuristic"]) not in request.asset_selection

    assert sensor.tick().run_requests == []
    clock["now"] = NOW + timedelta(hours=23)
    # A new report within the cool-down asks for nothing either.
    report(instance, "logistic", "drift", 0.9, "sha256:c")
    assert sensor.tick().run_requests == []


EARLIER, NEWER = "2026-11-22T18:00", "2026-11-23T00:00"


def test_the_newest_report_is_that_of_the_newest_window_as_it_was_judged_last(instance: dg.DagsterInstance) -> None:
    def newest() -> str:
        found = drift.newest_report(instance, "logistic")
        assert found is not None
        return found.digest

    assert drift.newest_report(instance, "logistic") is None
    report(instance, "logistic", "drift", 0.5, "of an older version")
    assert newest() == "of an older version"
    report(instance, "logistic", "stable", 0.1, "first", window=EARLIER, partition=EARLIER)
    report(instance, "logistic", "stable", 0.1, "newer", window=NEWER, partition=NEWER)
    for number in range(30):
        report(instance, "logistic", "drift", 0.5, f"again {number}", window=EARLIER, partition=EARLIER)
    assert newest() == "newer"
    report(instance, "logistic", "stable", 0.1, "without a partition", window=NEWER)
    assert newest() == "without a partition"
    report(instance, "logistic", "drift", 0.5, "newer again", window=NEWER, partition=NEWER)
    assert newest() == "newer again"
    report(instance, "logistic", "drift", 0.5, "earlier without a partition", window=EARLIER)
    assert newest() == "newer again"


def test_an_older_window_that_drifts_when_it_is_judged_again_asks_for_nothing(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    report(instance, "logistic", "stable", 0.1, "sha256:b", window=NEWER, partition=NEWER)
    report(instance, "logistic", "drift", 0.5, "sha256:a", window=EARLIER, partition=EARLIER, cause="sha256:c")
    assert Ticking(settings, instance, "drift_sensor").tick().run_requests == []


def test_the_reason_names_report_and_window_and_the_run_is_told_the_report(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    report(instance, "logistic", "drift", 0.5, "sha256:a", window=NEWER, partition=NEWER, cause="sha256:c")
    sensor = Ticking(settings, instance, "drift_sensor")
    (request,) = sensor.tick().run_requests
    reason = request.tags["nethical/reason"]
    assert reason == f"drift score 0.500 is above 0.15: drift report sha256:a of window the one from {NEWER}"
    assert request.run_config["resources"]["cycle"]["config"] == {"force": True, "drift_report": "sha256:a"}
    # The window that follows drifts for the same cause: nothing new, also when the cool-down is over.
    released(instance, "logistic", "sha256:m2", "sha256:m1", "drift")
    later = "2026-11-23T06:00"
    report(instance, "logistic", "drift", 0.6, "sha256:d", window=later, partition=later, cause="sha256:c")
    cursor = json.loads(sensor.cursor or "")
    cursor["families"]["logistic"]["champion"] = "sha256:m2"
    sensor.cursor = json.dumps(cursor)
    clock["now"] = NOW + timedelta(days=3)
    data = sensor.tick()
    assert data.run_requests == []
    assert "requested for this cause before" in data.skip_message


def test_drift_sensor_asks_again_with_a_new_key_after_the_cool_down(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    report(instance, "logistic", "drift", 0.5, "sha256:a")
    sensor = Ticking(settings, instance, "drift_sensor")
    (first,) = sensor.tick().run_requests
    clock["now"] = NOW + timedelta(hours=24)
    (second,) = sensor.tick().run_requests
    assert first.run_key != second.run_key
    assert second.run_key.endswith(":2")


def test_drift_sensor_survives_a_cursor_it_cannot_read(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    report(instance, "logistic", "drift", 0.5, "sha256:a")
    sensor = Ticking(settings, instance, "drift_sensor")
    sensor.cursor = "not JSON"
    assert len(sensor.tick().run_requests) == 1
    assert json.loads(sensor.cursor)["families"]["logistic"]["digest"] == "sha256:a"


def released(instance: dg.DagsterInstance, family: str, model: str, before: str, trigger: str) -> None:
    """What a run that decided about ``family`` leaves behind."""

    @dg.asset(key=dg.AssetKey(["releases", family]))
    def release() -> dg.MaterializeResult[None]:
        verdict = "unchanged" if model == before else "promoted"
        shown = {"verdict": verdict, "model": model, "champion_before": before, "stage": "current", "version": "1.0.0"}
        return dg.MaterializeResult(metadata=shown)

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    assert dg.materialize([release], instance=instance, run_config=quiet, tags={"nethical/trigger": trigger}).success


def test_the_same_model_again_is_said_once_on_the_open_issue_and_not_asked_for_again(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    clock["now"] = datetime.now(UTC)
    tracker = LocalIssueTracker(settings.home / "alerts" / "issues.sqlite")
    tracker.file(Alert("drift", "drift_reports/logistic", "drift", "score: 0.5", clock["now"], "run-1"))
    released(instance, "logistic", "sha256:m1", "", "weekly")
    report(instance, "logistic", "drift", 0.5, "sha256:a", model="sha256:m1")
    sensor = Ticking(settings, instance, "drift_sensor")
    assert len(sensor.tick().run_requests) == 1
    # A preview of the tick would have looked as well: nothing is said before the request was made.
    assert tracker.show(1).comments == ()

    released(instance, "logistic", "sha256:m1", "sha256:m1", "drift")
    for days in range(4):
        clock["now"] += timedelta(days=days)
        data = sensor.tick()
        assert data.run_requests == []
        assert "needs new labelled data" in data.skip_message
    said = [comment.body for comment in tracker.show(1).comments]
    assert len([one for one in said if "Retraining was requested at" in one]) == 1
    assert len([one for one in said if "the same model: it needs new labelled data" in one]) == 1
    assert tracker.show(1).state == "open"

    # New data arrived.
    tagged = {"dagster/data_version": "sha256:new"}
    instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["raw", "nslkdd"]), tags=tagged))
    assert len(sensor.tick().run_requests) == 1


def test_a_broken_tracker_stops_no_request(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    (settings.home / "alerts" / "issues.sqlite").mkdir(parents=True)
    report(instance, "logistic", "drift", 0.5, "sha256:a")
    sensor = Ticking(settings, instance, "drift_sensor")
    assert len(sensor.tick().run_requests) == 1
    assert "not commented" in sensor.tick().skip_message


@pytest.mark.parametrize("name", ["drift_sensor", "code_sensor"])
def test_a_request_names_the_training_job_and_every_check_of_its_assets(
    name: str, settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    report(instance, "logistic", "drift", 0.5, "sha256:a")
    trained(instance, "logistic", "sha256:" + "0" * 64)
    sensor = Ticking(settings, instance, name)
    (request,) = sensor.tick().run_requests
    assert request.job_name == TRAINING_JOB
    # The UI's "Apply requests & commit" runs exactly the checks that the request names: those of the daemon's own run.
    job, assets = sensor.repository.get_job(TRAINING_JOB), set(request.asset_selection)
    applied = job.get_subset(asset_selection=assets, asset_check_selection=set(request.asset_check_keys))
    assert set(applied.graph.node_names()) == set(job.get_subset(asset_selection=assets).graph.node_names())
    named = {(key.asset_key.to_user_string(), key.name) for key in request.asset_check_keys}
    assert {
        ("datasets/logistic", "schema"),
        ("releases/logistic", "gate"),
        ("releases/logistic", "regression"),
        ("audit_roots", "log_verifies"),
        ("audit_roots", "events_reconciled"),
    } <= named
    assert not [asset for asset, _ in named if asset.endswith("/heuristic")]


def test_the_request_of_the_drift_sensor_runs(
    settings: Settings, instance: dg.DagsterInstance, clock: dict[str, datetime]
) -> None:
    known = materialize(settings, instance, keys=[dg.AssetKey(["drift_reports", "logistic"])])
    digest = known.metadata("drift_reports", "logistic")["digest"]
    report(instance, "logistic", "drift", 0.5, digest, window="2999-01-01T00:00")
    (request,) = Ticking(settings, instance, "drift_sensor").tick().run_requests
    result = (
        build_defs(settings)
        .resolve_job_def(TRAINING_JOB)
        .execute_in_process(
            instance=instance,
            asset_selection=list(request.asset_selection),
            run_config={**request.run_config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    )
    assert result.success


def test_code_sensor_asks_for_nothing_without_models_or_with_current_ones(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    sensor = Ticking(settings, instance, "code_sensor")
    assert sensor.tick().run_requests == []
    trained(instance, "logistic", depends_on(settings, "logistic"))
    assert sensor.tick().run_requests == []


def test_code_sensor_asks_for_the_family_whose_code_changed(settings: Settings, instance: dg.DagsterInstance) -> None:
    trained(instance, "logistic", "sha256:" + "0" * 64)
    trained(instance, "heuristic", depends_on(settings, "heuristic"))
    sensor = Ticking(settings, instance, "code_sensor")
    (request,) = sensor.tick().run_requests
    assert request.tags["nethical/family"] == "logistic"
    assert dg.AssetKey(["releases", "logistic"]) in request.asset_selection
    # The next tick has the same key, for which Dagster starts no second run.
    assert [again.run_key for again in sensor.tick().run_requests] == [request.run_key]


def test_code_that_returns_to_an_earlier_state_asks_under_a_new_key(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    sensor = Ticking(settings, instance, "code_sensor")
    trained(instance, "logistic", "sha256:" + "0" * 64)
    (first,) = sensor.tick().run_requests
    trained(instance, "logistic", depends_on(settings, "logistic"))
    assert sensor.tick().run_requests == []
    trained(instance, "logistic", "sha256:" + "1" * 64)
    (second,) = sensor.tick().run_requests
    assert first.run_key != second.run_key
