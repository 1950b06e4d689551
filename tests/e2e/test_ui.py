"""The real webserver and daemon: a run through the queue, its checks over GraphQL, and the pages in a browser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.assets.selections import family_assets
from nethical_assets.home.settings import load_settings
from tests.e2e.platform import LAUNCH, NETHICAL, REPOSITORY, Platform, page_text, running, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status tags { key value } } } }"
RUNS_OF_JOB = """
query($job: PipelineSelector!) {
  pipelineOrError(params: $job) { ... on Pipeline { runs(limit: 20) { runId status } } }
}"""
RUNS = """
query($filter: RunsFilter!) {
  runsOrError(filter: $filter, limit: 50) {
    ... on Runs {
      results { runId jobName repositoryOrigin { repositoryLocationName repositoryName } }
    }
  }
}"""
CHECKS = """
query($keys: [AssetKeyInput!]) {
  assetNodes(assetKeys: $keys) {
    assetKey { path }
    groupName
    latestRunForPartition: assetMaterializations(limit: 1) { runId }
    assetChecksOrError {
      ... on AssetChecks {
        checks { name executionForLatestMaterialization {
          status
          evaluation { success severity description metadataEntries { label ... on IntMetadataEntry { intValue } } }
        } }
      }
    }
  }
}"""


@pytest.fixture(scope="module")
def run_id(platform: Platform) -> str:
    """A run of the logistic family that was launched over GraphQL and went through the daemon's queue."""
    settings = load_settings(platform.environment)
    selection = [{"path": list(key.path)} for key in family_assets(settings, "logistic")]
    parameters = {
        "selector": {**REPOSITORY, "jobName": "__ASSET_JOB", "assetSelection": selection},
        "mode": "default",
        "runConfigData": "{}",
    }
    launched = platform.query(LAUNCH, parameters=parameters)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    found = str(launched["run"]["runId"])

    def ended() -> Any:
        run = platform.query(STATUS, id=found)["runOrError"]
        return run if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

    run = wait_until(ended, 150, f"the end of run {found}")
    assert run["status"] == "SUCCESS", platform.log.read_text()[-4000:]
    return found


def test_a_materialization_through_the_queue_has_its_checks(platform: Platform, run_id: str) -> None:
    keys = [{"path": ["raw", "nslkdd"]}, {"path": ["datasets", "logistic"]}, {"path": ["releases", "logistic"]}]
    nodes = {"/".join(node["assetKey"]["path"]): node for node in platform.query(CHECKS, keys=keys)["assetNodes"]}
    assert {node["latestRunForPartition"][0]["runId"] for node in nodes.values()} == {run_id}
    assert nodes["releases/logistic"]["groupName"] == "releases"
    found = {
        (asset, check["name"]): check["executionForLatestMaterialization"]
        for asset, node in nodes.items()
        for check in node["assetChecksOrError"]["checks"]
    }
    assert {"schema", "minimum_samples", "missing_values", "class_balance", "duplicates", "freshness"} <= {
        name for asset, name in found if asset == "raw/nslkdd"
    }
    for key, execution in found.items():
        assert execution is not None, key
        # A check that has nothing to look at is skipped.
        assert execution["status"] in ("SUCCEEDED", "FAILED", "SKIPPED"), (key, execution)
    assert all(execution["status"] == "SUCCEEDED" for (_, name), execution in found.items() if name == "schema")
    samples = found["raw/nslkdd", "minimum_samples"]["evaluation"]
    assert samples["success"] is True
    assert {"label": "rows", "intValue": 900} in samples["metadataEntries"]
    assert found["releases/logistic", "gate"]["evaluation"]["success"] is True


def test_the_same_state_is_seen_from_the_command_line(platform: Platform, run_id: str) -> None:
    def nethical(*arguments: str) -> Any:
        done = subprocess.run(
            [NETHICAL, *arguments, "--json"],
            env=platform.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)

    assert nethical("status")["families"]["logistic"]["version"] == "1.0.0"
    assert nethical("audit", "verify")["ok"] is True


@pytest.mark.parametrize(
    ("family", "source", "status"),
    # Families whose data no other test looks at; nothing serves the texts that the second one needs.
    [("anomaly", "synthetic", "SUCCESS"), ("prompt_injection", "kaggle", "FAILURE")],
    ids=["succeeded", "failed"],
)
def test_the_pages_have_the_runs_of_the_command_line(platform: Platform, family: str, source: str, status: str) -> None:
    """As the page of the job, the list of runs and the overview ask for them."""
    arguments = [NETHICAL, "run", "--families", family, "--source", source, "--samples", "600", "--json"]
    done = subprocess.run(arguments, env=platform.environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == (status == "FAILURE"), done.stderr
    run_id = json.loads(done.stdout)["run_id"]
    job = {**REPOSITORY, "pipelineName": "training_cycle"}
    on_the_job_page = platform.query(RUNS_OF_JOB, job=job)["pipelineOrError"]["runs"]
    assert {"runId": run_id, "status": status} in on_the_job_page
    of_the_location = {"tags": [{"key": ".dagster/repository", "value": "__repository__@nethical_assets"}]}
    for wanted in ({"pipelineName": "training_cycle"}, of_the_location, {"statuses": [status]}):
        listed = {run["runId"]: run for run in platform.query(RUNS, filter=wanted)["runsOrError"]["results"]}
        assert listed[run_id]["repositoryOrigin"] == REPOSITORY
        assert listed[run_id]["jobName"] == "training_cycle"


def test_schedules_and_sensors_run_and_every_daemon_is_healthy(platform: Platform) -> None:
    text = """
    query($repository: RepositorySelector!) {
      schedulesOrError(repositorySelector: $repository) {
        ... on Schedules { results { name scheduleState { status } } }
      }
      sensorsOrError(repositorySelector: $repository) { ... on Sensors { results { name sensorState { status } } } }
    }"""
    data = platform.query(text, repository=REPOSITORY)
    schedules = {row["name"]: row["scheduleState"]["status"] for row in data["schedulesOrError"]["results"]}
    sensors = {row["name"]: row["sensorState"]["status"] for row in data["sensorsOrError"]["results"]}
    assert schedules == dict.fromkeys(
        (
            "weekly_training",
            "dataset_validation_schedule",
            "drift_watch_schedule",
            "retention_schedule",
            "run_retention_schedule",
        ),
        "RUNNING",
    )
    assert sensors == dict.fromkeys(
        ("drift_sensor", "code_sensor", "check_alert_sensor", "run_failure_alert_sensor", "silence_sensor"), "RUNNING"
    )

    def unhealthy() -> Any:
        health = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
        daemons = platform.query(health)["instance"]["daemonHealth"]["allDaemonStatuses"]
        assert {"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR"} <= {d["daemonType"] for d in daemons if d["required"]}
        return all(daemon["healthy"] for daemon in daemons if daemon["required"])

    wait_until(unhealthy, 60, "healthy daemons")


def test_sensors_tick_without_error(platform: Platform) -> None:
    text = """
    query($repository: RepositorySelector!) {
      sensorsOrError(repositorySelector: $repository) {
        ... on Sensors { results { name sensorState { ticks(limit: 3) { status error { message } } } } }
      }
    }"""

    def ticks() -> Any:
        results = platform.query(text, repository=REPOSITORY)["sensorsOrError"]["results"]
        found = {row["name"]: row["sensorState"]["ticks"] for row in results}
        done = all(any(tick["status"] in ("SKIPPED", "SUCCESS") for tick in found[name]) for name in found)
        assert not [tick for ticks in found.values() for tick in ticks if tick["status"] == "FAILURE"], found
        return done

    wait_until(ticks, 90, "a tick of every sensor")


def test_nothing_asks_for_telemetry_or_shows_a_first_run_dialogue(platform: Platform) -> None:
    data = platform.query("{ shouldShowNux instance { info } }")
    assert data["shouldShowNux"] is False
    assert not (platform.home / "dagster" / ".telemetry").exists()


def test_the_port_in_use_is_one_line_and_stopping_leaves_no_process(platform: Platform, tmp_path: Path) -> None:
    port = platform.address.rpartition(":")[2]
    elsewhere = {**platform.environment, "NETHICAL_HOME": str(tmp_path / "home")}
    refused = subprocess.run(
        [NETHICAL, "ui", "--port", port],
        env=elsewhere,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "--port" in refused.stderr

    with running([NETHICAL, "ui", "--port", "0"], elsewhere, tmp_path / "log") as process:
        group = wait_until(lambda: _children(process.pid) if len(_children(process.pid)) == 2 else None, 30, "children")
        time.sleep(1)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=40) == 128 + signal.SIGINT
        assert_gone(group)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_both_in_one_line_also_twice(sent: signal.Signals, platform: Platform, tmp_path: Path) -> None:
    elsewhere = {**platform.environment, "NETHICAL_HOME": str(tmp_path / "home")}
    log = tmp_path / "log"
    with running([NETHICAL, "ui", "--port", "0"], elsewhere, log) as process:
        wait_until(lambda: "The UI is at" in log.read_text(), 120, "the address")
        group = _children(process.pid)
        os.kill(process.pid, sent)
        time.sleep(0.2)
        os.kill(process.pid, sent)
        assert process.wait(timeout=40) == 128 + sent
        assert_gone(group)
    assert "Traceback" not in log.read_text()
    assert log.read_text().splitlines()[-1].startswith("nethical: interrupted")


def test_a_daemon_that_dies_is_said_in_one_line_and_the_webserver_stops(platform: Platform, tmp_path: Path) -> None:
    elsewhere = {**platform.environment, "NETHICAL_HOME": str(tmp_path / "home")}
    log = tmp_path / "log"
    with running([NETHICAL, "ui", "--port", "0"], elsewhere, log) as process:
        wait_until(lambda: "The UI is at" in log.read_text(), 120, "the address")
        group = _children(process.pid)
        (daemon,) = [pid for pid in group if b"dagster-daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(daemon, signal.SIGKILL)
        assert process.wait(timeout=40) == 1
        assert_gone(group)
    assert "the daemon ended by itself (signal 9), so the other was stopped too" in log.read_text().splitlines()[-1]


def test_only_warnings_are_logged(platform: Platform, run_id: str) -> None:
    log = platform.log.read_text()
    assert not re.search(r" - \S*(DEBUG|INFO)\S* - ", log)
    assert "No cursor" not in log and "No heartbeat" not in log, "what is as it should be is no warning"


def assert_gone(processes: list[int]) -> None:
    for pid in processes:
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_steward_sees_checks_metrics_and_the_card(platform: Platform, run_id: str, browser: Any) -> None:
    from selenium.webdriver.common.by import By

    text = page_text(browser, f"{platform.address}/assets/raw/nslkdd?view=checks", "schema", "minimum_samples")
    assert "Passed" in text
    text = page_text(browser, f"{platform.address}/assets/releases/logistic?view=checks", "gate", "regression")
    assert "Unexpected" not in text

    page_text(browser, f"{platform.address}/assets/model_cards/logistic", "audit_merkle_root", "Show Markdown")
    links = browser.find_elements(By.XPATH, "//*[contains(text(), 'Show Markdown')]")
    assert links
    browser.execute_script("arguments[0].click()", links[0])
    wait_until(
        lambda: "Audit root" in browser.execute_script("return document.body.innerText"),
        30,
        "the card in the dialogue",
    )


def test_the_lineage_page_shows_the_stages_as_groups(platform: Platform, run_id: str, browser: Any) -> None:
    text = page_text(browser, f"{platform.address}/asset-groups", "raw", "datasets", "model_cards", "audit")
    assert "error" not in text.lower().split()
