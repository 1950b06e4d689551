"""The loop that the platform exists for, with real daemon, gateway and browser: train, serve, calm traffic, shifted
traffic, a report, an alert, retraining that needs labels, labelled rows, another champion, the alert closed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.windows import Window
from tests.e2e.platform import LAUNCH, NETHICAL, REPOSITORY, Platform, page_text, running, wait_until
from tests.orchestration import clean_environment, environment_of
from tests.tiny_mirror import CATALOG, build_mirror, connections, write_connections

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

FAMILY, ASSET = "logistic", ["drift_reports", "logistic"]
ROWS = 900
SHIFT = 1.0
"""In standard deviations, of all columns."""
RUNS = """
query($job: String!) {
  runsOrError(filter: {pipelineName: $job}, limit: 20) {
    ... on Runs { results { runId status tags { key value } } }
  }
}"""
REPORTS = """
query($asset: AssetKeyInput!) {
  assetOrError(assetKey: $asset) {
    ... on Asset { assetMaterializations(limit: 20) {
      runId partition metadataEntries { label ... on TextMetadataEntry { text } }
    } }
  }
}"""


@dataclass
class Loop:
    """Everything that runs."""

    platform: Platform
    gateway: str
    mirror: Path

    def nethical(self, *arguments: str) -> Any:
        """What a command says with ``--json``."""
        done = subprocess.run(
            [NETHICAL, *arguments, "--json"],
            env=self.platform.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout[-2000:], done.stderr[-2000:])
        return json.loads(done.stdout)

    def champion(self) -> str:
        """The digest of the family's champion."""
        return str(self.nethical("status")["families"][FAMILY]["champion"])

    def alerts(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The issues about the family's drift reports, by kind and check."""
        issues = self.nethical("alerts", "list", "--state", "all")["issues"]
        return {(one["kind"], one["check"]): one for one in issues if one["subject"] == "/".join(ASSET)}

    def launch(self, job: str, window: Window | None = None) -> str:
        """Launch a job as the UI does; the id of its run, which ended well."""
        tags = [] if window is None else [{"key": "dagster/partition", "value": window.key}]
        parameters = {
            "selector": {**REPOSITORY, "jobName": job},
            "mode": "default",
            "runConfigData": "{}",
            "executionMetadata": {"tags": tags},
        }
        launched = self.platform.query(LAUNCH, parameters=parameters)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        found = str(launched["run"]["runId"])
        wait_until(lambda: self.ended(job).get(found), 120, f"the end of {job}")
        return found

    def ended(self, job: str, **tags: str) -> dict[str, str]:
        """The runs of a job with these tags that ended: run -> status."""
        results = self.platform.query(RUNS, job=job)["runsOrError"]["results"]
        known = [(one, {tag["key"]: tag["value"] for tag in one["tags"]}) for one in results]
        return {
            one["runId"]: one["status"]
            for one, its in known
            if one["status"] in ("SUCCESS", "FAILURE") and all(its.get(k) == v for k, v in tags.items())
        }

    def judge(self) -> dict[str, str]:
        """Judge the window that now is in; what the report's materialization says."""
        run = self.launch("drift_watch", Window.at(datetime.now(UTC), 6))
        asset = self.platform.query(REPORTS, asset={"path": ASSET})["assetOrError"]
        (made,) = [one for one in asset["assetMaterializations"] if one["runId"] == run]
        assert made["partition"]
        return {entry["label"]: entry["text"] for entry in made["metadataEntries"] if "text" in entry}

    def send(self, *, seconds: float, shift: float, keep: Path) -> dict[str, Any]:
        """200 requests a second, of which the labels come half a second later; when they are in the log."""
        logged = self.rows()
        options = ("--rate", "200", "--minutes", str(seconds / 60.0), "--label-delay", "0.5", "--shift", str(shift))
        sent: dict[str, Any] = self.nethical(
            "traffic", FAMILY, "--url", self.gateway, *options, "--keep", str(keep), "--seed", str(int(shift))
        )
        assert sent["answered"] >= 100 * seconds and sent["refused"] == {}, sent
        wait_until(lambda: self.rows() >= logged + sent["answered"], 60, "that all is sealed")
        return sent

    def rows(self) -> int:
        """The rows of the family that the log has."""
        folder = self.platform.home / "serving" / "inference" / FAMILY
        return sum(len(pd.read_parquet(path, columns=["at"])) for path in folder.glob("*.parquet"))


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    mirror = build_mirror(tmp_path / "mirror", rows=ROWS)
    # What is a matter of minutes and hours in operation, a test does not wait for.
    serving, monitoring = {"log_rotate_seconds": 1.0, "log_seal_seconds": 1.0}, {"retraining_cooldown_hours": 0}
    environment = clean_environment(environment_of(tmp_path, mirror, serving=serving, monitoring=monitoring))
    trained = subprocess.run(
        [NETHICAL, "run", "--families", FAMILY, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert json.loads(trained.stdout)["families"][FAMILY]["verdict"] == "promoted", trained.stderr
    ui, serve = tmp_path / "ui.log", tmp_path / "serve.log"
    with (
        running([NETHICAL, "ui", "--port", "0"], environment, ui) as ui_process,
        running([NETHICAL, "serve", "--port", "0"], environment, serve) as serving,
    ):

        def address(log: Path, process: subprocess.Popen[bytes]) -> str:
            assert process.poll() is None, log.read_text()
            found = re.search(r"http://[\w.]+:\d+", log.read_text())
            return found.group() if found else ""

        ui_address = wait_until(lambda: address(ui, ui_process), 120, "the UI")
        gateway = wait_until(lambda: address(serve, serving), 60, "the gateway")
        yield Loop(Platform(ui_address, Path(environment["NETHICAL_HOME"]), environment, ui), gateway, mirror)


def add_shifted_rows(mirror: Path, shift: float) -> None:
    """Labelled rows of the shifted kind, in the layout of the family's dataset, added to its file."""
    path = next((mirror / CATALOG.entry("nslkdd").slug).rglob("KDDTrain+_20Percent.txt"))
    whole = pd.read_csv(path, header=None)
    added = connections(ROWS, np.random.default_rng(11))
    for column in added.columns:
        if pd.api.types.is_numeric_dtype(added[column]) and column not in ("label", "difficulty"):
            added[column] = added[column] + shift * float(added[column].std(ddof=0))
    added.columns = whole.columns
    write_connections(mirror, pd.concat([whole, added], ignore_index=True))


def test_from_calm_traffic_to_a_new_champion(loop: Loop, tmp_path: Path, browser: Any) -> None:
    before = loop.champion()
    loop.send(seconds=1.5, shift=0.0, keep=tmp_path / "calm.csv")
    calm = loop.judge()
    assert calm["verdict"] in ("stable", "needs_more_data"), calm
    assert loop.alerts() == {}

    loop.send(seconds=4.0, shift=SHIFT, keep=tmp_path / "shifted.csv")
    shifted = loop.judge()
    assert shifted["verdict"] == "drift", shifted
    alert = wait_until(lambda: loop.alerts().get(("drift", "drift")), 90, "the alert")
    assert alert["state"] == "open"
    wait_until(lambda: loop.ended("training_cycle", **{"nethical/trigger": "drift"}), 120, "retraining")
    text = page_text(browser, f"{loop.platform.address}/assets/drift_reports/{FAMILY}", "drift_reports", FAMILY)
    assert shifted["window"][:10] in text or "drift" in text.lower()

    wait_until(
        lambda: "label-queue" in json.dumps(loop.nethical("alerts", "show", str(alert["number"]))), 90, "the remark"
    )
    assert loop.champion() == before, "the same data give the same model"
    queue = loop.nethical("label-queue", FAMILY, "--rows", "5")
    assert queue["window_rows"] >= 500
    taken = loop.nethical("feedback", str(tmp_path / "shifted.csv"))
    assert taken["unknown"] == 0

    add_shifted_rows(loop.mirror, SHIFT)
    loop.launch("validate_datasets")
    closed = wait_until(
        lambda: (one := loop.alerts()[("drift", "drift")])["state"] == "closed" and one, 150, "the end of the drift"
    )
    assert closed["number"] == alert["number"], "one issue from beginning to end"
    assert {one["state"] for one in loop.alerts().values()} == {"closed"}
    assert loop.champion() != before
    cards = [path.read_text() for path in (loop.platform.home / "models" / "metadata").glob("*_card.md")]
    assert any(f"Retrained because: drift report {shifted['digest']}" in card for card in cards)

    verified = loop.nethical("audit", "verify")
    assert verified["problems"] == []
    told = [one["type"] for one in loop.nethical("audit", "show", "--last", "1000")["events"]]
    for kind in ("batch_scored", "drift_judged", "alert_filed", "model_promoted", "alert_closed"):
        assert kind in told, sorted(set(told))
