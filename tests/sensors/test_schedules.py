"""The schedules: when they fire, and what a weekly tick and one of the watch ask for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
from croniter import croniter

from nethical_assets.assets.requests import (
    ASKED_TAG,
    DRIFT_JOB,
    FAMILY_TAG,
    RETENTION_JOB,
    RUN_RETENTION_JOB,
    TRAINING_JOB,
    VALIDATION_JOB,
)
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.drift.due import ATTEMPTS
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.home import watched_windows
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.orchestration import watching
from nethical_assets.orchestration.build import build_defs
from nethical_assets.orchestration.instance import open_instance
from tests.orchestration import write_settings
from tests.tiny_mirror import CATALOG

SUNDAY = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def schedule_of(settings: Settings, name: str) -> dg.ScheduleDefinition:
    return build_defs(settings).get_repository_def().get_schedule_def(name)


@pytest.fixture
def kept(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """An instance on the disk: contexts of schedules take no other."""
    with open_instance(settings) as opened:
        yield opened


def watch_tick(settings: Settings, kept: dg.DagsterInstance, when: datetime) -> list[dg.RunRequest]:
    """What the schedule of the watch asks for, as the daemon resolves it: no partition may be missing."""
    repository = build_defs(settings).get_repository_def()
    context = dg.build_schedule_context(instance=kept, scheduled_execution_time=when, repository_def=repository)
    requests = repository.get_schedule_def("drift_watch_schedule").evaluate_tick(context).run_requests
    assert requests is not None
    return list(requests)


def test_a_tick_of_the_watch_asks_for_the_window_that_just_ended_of_all_families_in_one_run(
    settings: Settings, kept: dg.DagsterInstance
) -> None:
    window = Window.at(datetime.now(UTC), 6).before()
    (request,) = watch_tick(settings, kept, window.end)
    assert (request.partition_key, request.run_key, request.job_name) == (window.key, f"watch:{window.key}", DRIFT_JOB)
    keys = {key.to_user_string() for key in request.asset_selection or ()}
    assert keys == {f"drift_reports/{family}" for family in family_names()} | {"ethical_drift_report"}
    checks = {(check.asset_key.path[-1], check.name) for check in request.asset_check_keys or ()}
    assert checks >= {("logistic", "drift"), ("logistic", "accuracy"), ("logistic", "calibration")}


def begun_two_windows_ago(monkeypatch: pytest.MonkeyPatch) -> tuple[Window, Window]:
    """The window that ended, and the one before it, with which the home began and of which there is no report."""
    window = Window.at(datetime.now(UTC), 6).before()
    missed = window.before()
    for module in (watching, watched_windows):
        monkeypatch.setattr(module, "began_at", lambda home: missed.start)
    return window, missed


def test_a_tick_of_the_watch_asks_for_what_was_missed_since_the_home_began(
    settings: Settings, kept: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, missed = begun_two_windows_ago(monkeypatch)
    newest, older = watch_tick(settings, kept, window.end)
    assert (newest.partition_key, older.partition_key) == (window.key, missed.key)
    assert str(older.run_key).startswith(f"watch:{missed.key}:")
    assert older.tags[ASKED_TAG] == ",".join(f"{family}=missed" for family in family_names())
    # Judged before its end, it still is one that was missed; judged after it, it is not.
    for complete, asked in ((False, list(family_names())), (True, [*family_names()][1:])):
        report = dg.AssetMaterialization(
            dg.AssetKey(["drift_reports", family_names()[0]]), metadata={"complete": complete}, partition=missed.key
        )
        kept.report_runless_asset_event(report)
        _, older = watch_tick(settings, kept, window.end)
        assert [key.path[-1] for key in older.asset_selection or ()] == asked


def test_a_tick_counts_failed_runs_by_family_and_waits_for_those_that_go_on(
    settings: Settings, kept: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    window, missed = begun_two_windows_ago(monkeypatch)
    given_up, waits, tried, *others = family_names()
    _, request = watch_tick(settings, kept, window.end)
    failed, going_on = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED
    asked = {ASKED_TAG: f"{given_up}=missed"}
    about = {**request.tags, "dagster/partition": missed.key}
    for status, tags in [
        *[(failed, {**about, FAMILY_TAG: given_up, **asked})] * ATTEMPTS,
        (going_on, {"dagster/partition": missed.key, FAMILY_TAG: waits}),
        # A run that a person started and that failed is no attempt of the schedule.
        *[(failed, {"dagster/partition": missed.key})] * ATTEMPTS,
        (failed, {**about, FAMILY_TAG: tried, ASKED_TAG: f"{tried}=0123456789abcdef"}),
    ]:
        kept.add_run(dg.DagsterRun(job_name=DRIFT_JOB, run_id=str(uuid4()), status=status, tags=tags))
    # What a person executes again has the tags of the first run.
    for _ in range(ATTEMPTS):
        tags = {**about, FAMILY_TAG: tried, ASKED_TAG: f"{tried}=missed"}
        of = {"parent_run_id": request.run_key, "root_run_id": request.run_key}
        kept.add_run(dg.DagsterRun(job_name=DRIFT_JOB, run_id=str(uuid4()), status=failed, tags=tags, **of))
    _, again = watch_tick(settings, kept, window.end)
    assert [key.path[-1] for key in again.asset_selection or ()] == [tried, *others]
    assert again.run_key != request.run_key
    # Labels that came since the last of them have it tried again.
    since: dict[str, datetime] = {}

    def labels(workspace: object, family: str, judged: dict[Window, datetime]) -> dict[Window, str]:
        since.update({family: judged[missed]} if missed in judged else {})
        return {missed: "sha256:00ff"} if missed in judged else {}

    monkeypatch.setattr(watching, "windows_with_new_labels", labels)
    _, labelled = watch_tick(settings, kept, window.end)
    assert list(since) == [given_up]
    assert datetime.now(UTC) - since[given_up] < timedelta(minutes=10)
    assert f"{given_up}=00ff" in labelled.tags[ASKED_TAG].split(",")


def test_damaged_labels_keep_no_window_from_being_judged(
    settings: Settings, kept: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*of: object) -> dict[Window, str]:
        raise IntegrityError("a batch was changed on disk")

    monkeypatch.setattr(watching, "windows_with_new_labels", damaged)
    assert len(watch_tick(settings, kept, Window.at(datetime.now(UTC), 6).start)) == 1


def tick(settings: Settings, when: datetime) -> list[dg.RunRequest]:
    repository = build_defs(settings).get_repository_def()
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=when, repository_def=repository)
        requests = repository.get_schedule_def("weekly_training").evaluate_tick(context).run_requests
    assert requests is not None
    return list(requests)


def test_a_weekly_tick_asks_for_one_run_a_family(settings: Settings) -> None:
    requests = tick(settings, SUNDAY)
    assert [request.tags["nethical/family"] for request in requests] == list(family_names())
    assert len({request.run_key for request in requests}) == len(family_names())


def test_a_run_request_holds_the_family_with_its_raw_assets_and_nothing_of_others(settings: Settings) -> None:
    for request in tick(settings, SUNDAY):
        family = request.tags["nethical/family"]
        keys = {key.to_user_string() for key in request.asset_selection or ()}
        assert {f"raw/{entry.name}" for entry in CATALOG.for_family(family)} == {k for k in keys if k[:4] == "raw/"}
        assert {"audit_roots", f"models/{family}", f"releases/{family}", f"model_cards/{family}"} <= keys
        assert all(key.endswith(f"/{family}") or key.startswith("raw/") or key == "audit_roots" for key in keys)
        assert request.job_name == TRAINING_JOB
        # The UI's "Apply requests & commit" runs exactly the checks that the request names.
        named = {(check.asset_key.to_user_string(), check.name) for check in request.asset_check_keys or ()}
        assert {asset for asset, _ in named} <= keys
        assert {("audit_roots", "log_verifies"), (f"releases/{family}", "gate")} <= named
        assert {asset for asset, check in named if check == "schema"} == {
            key for key in keys if key.startswith(("raw/", "datasets/"))
        }


def test_run_keys_are_stable_for_a_tick_and_new_for_the_next(settings: Settings) -> None:
    keys = [request.run_key for request in tick(settings, SUNDAY)]
    assert keys == [request.run_key for request in tick(settings, SUNDAY)]
    later = [request.run_key for request in tick(settings, SUNDAY.replace(day=29))]
    assert not set(keys) & set(later)


@pytest.mark.parametrize(
    ("name", "cron", "first"),
    [
        ("weekly_training", "0 2 * * 0", datetime(2026, 11, 29, 2, 0, tzinfo=UTC)),
        ("dataset_validation_schedule", "0 8 * * 1", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("drift_watch_schedule", "0 */6 * * *", datetime(2026, 11, 22, 6, 0, tzinfo=UTC)),
        ("retention_schedule", "0 4 * * 0", datetime(2026, 11, 22, 4, 0, tzinfo=UTC)),
        ("run_retention_schedule", "30 3 * * *", datetime(2026, 11, 22, 3, 30, tzinfo=UTC)),
    ],
)
def test_defaults(settings: Settings, name: str, cron: str, first: datetime) -> None:
    schedule = schedule_of(settings, name)
    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, "UTC")
    assert croniter(cron, SUNDAY).get_next(datetime) == first


def test_times_come_from_the_settings(environment: dict[str, str], tmp_path: Path) -> None:
    monitoring = {
        "validation_schedule": "30 5 * * 2",
        "drift_interval_hours": 24,
        "run_retention_schedule": "0 1 * * *",
    }
    write_settings(tmp_path / "state", monitoring=monitoring)
    path = tmp_path / "state" / "training-schedule.json"
    path.write_text(path.read_text().replace("{", '{"default_schedule": "15 3 * * 6", ', 1))
    settings = load_settings(environment)
    assert schedule_of(settings, "weekly_training").cron_schedule == "15 3 * * 6"
    assert schedule_of(settings, "dataset_validation_schedule").cron_schedule == "30 5 * * 2"
    assert schedule_of(settings, "drift_watch_schedule").cron_schedule == "0 0 * * *"
    assert schedule_of(settings, "run_retention_schedule").cron_schedule == "0 1 * * *"


def test_the_other_schedules_run_their_jobs(settings: Settings) -> None:
    assert schedule_of(settings, "dataset_validation_schedule").job_name == VALIDATION_JOB
    assert schedule_of(settings, "drift_watch_schedule").job_name == DRIFT_JOB
    assert schedule_of(settings, "retention_schedule").job_name == RETENTION_JOB
    assert schedule_of(settings, "run_retention_schedule").job_name == RUN_RETENTION_JOB
    assert schedule_of(settings, "weekly_training").job_name == TRAINING_JOB


def test_the_validation_job_holds_every_dataset_and_the_report(settings: Settings) -> None:
    job = build_defs(settings).resolve_job_def(VALIDATION_JOB)
    keys = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert keys == {f"raw/{entry.name}" for entry in CATALOG.dataset} | {"dataset_validation"}
