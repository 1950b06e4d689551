"""From a drift report to retraining: the same model again ends no drift."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.across.conftest import Copy
from tests.across.platform import Home, Sensors, write_records
from tests.across.traffic import drift_report, drifted

SAME_MODEL = "retraining gave the same model: it needs new labelled data"


@pytest.fixture
def drifting(copy: Copy, real: Home, tmp_path: Path) -> Home:
    """A home whose champion drifts, by its newest report, with the alert that says so."""
    home = copy(real)
    answer, _ = home.score(write_records(tmp_path / "drifted.csv", drifted(600)))
    answer.ok()
    report = drift_report(home)
    assert (report["verdict"], report["rows"]) == ("drift", 600)
    return home


def test_retraining_to_the_same_model_is_unchanged_and_the_drift_stays(drifting: Home) -> None:
    home, pointer = drifting, drifting.pointer()
    sensors = Sensors(home)
    (request,) = sensors.tick("drift_sensor")
    sensors.tick()
    (alert,) = [issue for issue in home.alerts() if "drift" in issue["check"]]

    assert home.dagster("execute", json.dumps(request))["success"]

    release = home.dagster("materializations", "releases/logistic")[0]["metadata"]
    assert release["verdict"] == "unchanged"
    assert SAME_MODEL in release["reasons"]
    assert home.pointer() == pointer
    report = drift_report(home)
    assert report["verdict"] == "drift"
    assert report["rows"] == 600
    # The drift sensor says what came of its request, once its own look at it is committed.
    sensors.tick("drift_sensor")
    sensors.tick("drift_sensor")
    sensors.tick()
    (still,) = [issue for issue in home.alerts() if "drift" in issue["check"]]
    assert still["number"] == alert["number"]
    shown = home.nethical("alerts", "show", str(still["number"]), "--json").ok().out
    assert "labelled data" in shown
    assert home.problems() == []


def test_a_forced_run_to_the_same_model_is_unchanged(copy: Copy, real: Home) -> None:
    home = copy(real)
    document = home.run("--source", "mirror", "--force").ok().document
    result = document["families"]["logistic"]
    assert result["verdict"] == "unchanged"
    assert any(SAME_MODEL in reason for reason in result["reasons"])
    assert home.pointer() == real.pointer()
    assert home.problems() == []


def drift_issues(home: Home) -> list[str]:
    """The states of the issues about drift."""
    return [issue["state"] for issue in home.alerts("all") if issue["kind"] == "drift"]


@pytest.mark.slow
def test_a_better_model_ends_the_drift(drifting: Home) -> None:
    sensors = Sensors(drifting)
    sensors.tick()
    assert drift_issues(drifting) == ["open"]
    document = drifting.run("--source", "mirror", "--seed", "12").ok().document
    assert document["families"]["logistic"]["verdict"] == "promoted"
    sensors.tick()
    assert drift_issues(drifting) == ["closed"]
    # Nobody asked the new champion anything: that is no pass, and no drift either.
    report = drift_report(drifting)
    assert report["verdict"] == "hold"
