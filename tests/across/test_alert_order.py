"""Alerts over time: passes and failures in any order, sensors that start late, and a tracker that is broken."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.alerts import Resolution
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import load_settings
from nethical_assets.home.workspace import Workspace, utc_now
from tests.across.conftest import Copy
from tests.across.platform import Home, Sensors, files_of, flip
from tests.core.alerts.conftest import make_alert
from tests.sweeping import cases

SOURCE = ("--source", "mirror")


def audit_alerts(home: Home, state: str = "open") -> list[dict[str, Any]]:
    """The issues about the audit log."""
    return [issue for issue in home.alerts(state) if issue["check"] == "log_verifies"]


def a_payload(home: Home) -> Path:
    """A file of the log that no stage reads."""
    return max(files_of(home.path / "audit" / "payloads"), key=lambda path: path.stat().st_size)


@pytest.mark.slow
def test_an_older_pass_never_closes_a_newer_failure(copy: Copy, real: Home) -> None:
    home = copy(real)  # whose only run passed
    (passed,) = home.dagster("runs")
    flip(a_payload(home))
    home.run(*SOURCE)
    assert [issue["state"] for issue in audit_alerts(home, "all")] == ["open"]

    sensors = Sensors(home)
    sensors.tick()
    assert [issue["state"] for issue in audit_alerts(home, "all")] == ["open"]
    # A person tags the run that passed: it becomes the run that was updated last.
    home.dagster("tag", passed["run_id"], "looked-at-by", "kim")
    sensors.tick()
    assert [issue["state"] for issue in audit_alerts(home, "all")] == ["open"]
    assert [issue["occurrences"] for issue in audit_alerts(home)] == [1]

    flip(a_payload(home))  # the same bit: as it was
    home.run(*SOURCE).ok()
    sensors.tick()
    assert audit_alerts(home) == []
    # Neither does the older failure reopen it, whenever it is read again.
    home.dagster("tag", home.dagster("runs")[1]["run_id"], "looked-at-by", "kim")
    sensors.tick()
    Sensors(home).tick()
    assert [issue["state"] for issue in audit_alerts(home, "all")] == ["closed"]


def test_a_failed_runs_issue_closes_when_the_same_job_succeeds(fresh: Home) -> None:
    fresh.nethical("run", "--families", "logistic", "--source", "kaggle")
    sensors = Sensors(fresh)
    sensors.cursors = {}
    assert fresh.last_run()["status"] == "FAILURE"
    # The daemon started after it: what was missed is of the past. It sees the next one.
    sensors.tick()
    fresh.nethical("run", "--families", "logistic", "--source", "kaggle")
    sensors.tick()
    failures = [issue for issue in fresh.alerts() if issue["kind"] == "run_failure"]
    assert len(failures) == 1

    fresh.run("--source", "synthetic", "--samples", "600").ok()
    sensors.tick()
    sensors.tick()
    assert [issue for issue in fresh.alerts() if issue["kind"] == "run_failure"] == []


def garbage(path: Path) -> None:
    """Not a database."""
    path.write_bytes(b"this is no database " * 300)


def folder(path: Path) -> None:
    """Not even a file."""
    path.mkdir()


def foreign(path: Path) -> None:
    """A database of something else."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE issues (a TEXT)")
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("spoil", cases(garbage, more=[folder, foreign]))
def test_a_broken_tracker_costs_no_summary_and_the_issue_is_filed_later_once(
    spoil: Callable[[Path], None], copy: Copy, real: Home
) -> None:
    home = copy(real, settings={**real.settings, "datasets": {"minimum_samples": 5000}})
    database = home.path / "alerts" / "issues.sqlite"
    database.parent.mkdir(exist_ok=True)
    database.unlink(missing_ok=True)
    spoil(database)
    answer = home.run(*SOURCE)
    assert answer.code == 0, answer.err
    assert answer.document["families"]["logistic"]["verdict"] == "unchanged"
    assert "Traceback" not in answer.err
    assert any("alerts" in line or "issue" in line for line in answer.err.splitlines()), "nobody is told"

    for path in database.parent.glob("issues.sqlite*"):
        path.rmdir() if path.is_dir() else path.unlink()
    sensors = Sensors(home)
    sensors.tick()
    found = {(issue["subject"], issue["check"]): issue["occurrences"] for issue in home.alerts()}
    assert {check for _, check in found} >= {"minimum_samples"}
    sensors.tick()
    Sensors(home).tick()
    assert {(issue["subject"], issue["check"]): issue["occurrences"] for issue in home.alerts()} == found


def test_what_could_not_be_filed_is_filed_by_the_next_run_without_a_daemon(copy: Copy, real: Home) -> None:
    home = copy(real)
    payload = a_payload(home)
    flip(payload)
    database = home.path / "alerts" / "issues.sqlite"
    kept = database.read_bytes()
    database.unlink()
    database.mkdir()
    failed = home.run(*SOURCE)
    assert failed.code == 1
    database.rmdir()
    database.write_bytes(kept)
    flip(payload)
    # This run passes: the failure before it has been told, and is over.
    home.run(*SOURCE).ok()
    (issue,) = audit_alerts(home, "all")
    assert issue["state"] == "closed"
    assert issue["occurrences"] == 1


@pytest.mark.slow
def test_after_everything_that_happens_to_an_issue_the_log_verifies(copy: Copy, real: Home) -> None:
    home = copy(real)
    workspace = Workspace(load_settings(home.environment), CycleOptions(), "alerts")
    tracker = workspace.tracker
    before = len(home.alerts("all"))
    begin = utc_now() + timedelta(hours=1)  # after all that the run told
    stale = make_alert(kind="stale_dataset", subject="raw/nslkdd", check="freshness", when=begin)
    drift = make_alert(kind="drift", subject="drift_reports/logistic", check="drift", when=begin + timedelta(hours=1))

    first, second = str(before + 1), str(before + 2)

    def verifies(*expected: tuple[str, str]) -> None:
        assert home.problems() == []
        assert [(issue["kind"], issue["state"]) for issue in home.alerts("all")[before:]] == list(expected)

    tracker.record([stale])
    home.nethical("alerts", "ack", first, "--reason", "looking", "--actor", "kim").ok()
    verifies(("stale_dataset", "open"))
    tracker.record([drift])
    listed = home.nethical("alerts", "list", "--json").ok().document
    assert [one["check"] for one in listed["held_back"]] == ["drift"]
    verifies(("stale_dataset", "open"))
    home.nethical("alerts", "close", first, "--reason", "known", "--actor", "kim").ok()
    verifies(("stale_dataset", "closed"), ("drift", "open"))
    # Sensors that find nothing new change nothing.
    Sensors(home).tick("check_alert_sensor", "silence_sensor")
    verifies(("stale_dataset", "closed"), ("drift", "open"))
    over = Resolution("drift", drift.subject, "drift", "stable", begin + timedelta(hours=8), "check sensor")
    tracker.record([over, make_alert(**{**vars(drift), "when": begin + timedelta(hours=9), "occurrence": "window 2"})])
    home.nethical("alerts", "ack", second, "--reason", "looking", "--actor", "kim").ok()
    home.nethical("alerts", "close", second, "--reason", "retrained").ok()
    verifies(("stale_dataset", "closed"), ("drift", "closed"))
    told = [str(found.event.type) for found in LogReader(home.path / "audit").entries()]
    assert [kind for kind in told if kind.startswith("alert_")][before:] == [
        *("alert_filed", "alert_acknowledged", "alert_closed", "alert_filed"),
        *("alert_closed", "alert_filed", "alert_acknowledged", "alert_closed"),
    ]
