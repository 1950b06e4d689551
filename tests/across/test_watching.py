"""What settings and alerts promise: titles, blocking checks, and labels that turn under a champion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.across.conftest import Copy
from tests.across.platform import ForkServer, Home, Sensors, files_of, flip
from tests.sweeping import cases
from tests.tiny_mirror import connections, write_connections

SOURCE = ("--source", "mirror")


@pytest.mark.slow
def test_the_title_of_every_alert_names_the_dataset_or_the_family(copy: Copy, real: Home) -> None:
    home = copy(real, settings={**real.settings, "datasets": {"minimum_samples": 5000}})
    sensors = Sensors(home)
    sensors.tick()
    home.run(*SOURCE)
    # A run that fails for one family.
    for path in files_of(home.path / "data" / "snapshots"):
        path.unlink()
    home.run("--source", "kaggle", "--samples", "500")
    sensors.tick()
    issues = [issue for issue in home.alerts("all") if issue["check"] != "log_verifies"]
    assert {issue["kind"] for issue in issues} >= {"data_quality", "run_failure"}
    for issue in issues:
        assert any(name in issue["title"] for name in ("logistic", "nslkdd", "security_breach")), issue["title"]


@pytest.mark.slow
def test_a_failed_run_is_told_with_its_step_and_its_error(fresh: Home) -> None:
    sensors = Sensors(fresh)
    fresh.run("--source", "synthetic", "--samples", "600").ok()
    sensors.tick()
    answer = fresh.run("--source", "kaggle", "--force")
    assert answer.code == 1
    (reason,) = answer.document["families"]["logistic"]["reasons"]
    sensors.tick()
    (issue,) = [issue for issue in fresh.alerts() if issue["kind"] == "run_failure"]
    body = fresh.nethical("alerts", "show", str(issue["number"]), "--json").ok().document["body"]
    assert reason[:40] in body.replace("\\", "")
    assert "logistic" in body


@pytest.mark.parametrize("check", cases("minimum_samples", more=["duplicates"]))
def test_a_check_that_is_named_as_blocking_stops_the_family(check: str, server: ForkServer, tmp_path: Path) -> None:
    limits = {"minimum_samples": {"minimum_samples": 5000}, "duplicates": {"duplicate_share_max": 0.05}}
    rows = connections(600, np.random.default_rng(4))
    rows.loc[rows.index[200:]] = rows.iloc[np.arange(400) % 200].to_numpy()
    mirror = tmp_path / "mirror"
    write_connections(mirror, rows)
    datasets = {**limits[check], "blocking_checks": [check]}
    home = Home(server, tmp_path / "home", mirror, {"datasets": datasets})
    answer = home.run(*SOURCE)
    assert answer.code == 1, answer.document
    result = answer.document["families"]["logistic"]
    assert result["verdict"] == "error"
    assert any(check in reason for reason in result["reasons"])
    assert home.pointer() is None
    assert home.last_run()["status"] == "FAILURE"
    assert any(issue["check"] == check for issue in home.alerts())


@pytest.mark.parametrize("name", cases("nonsense", "available", more=["gate"]))
def test_what_cannot_block_is_refused_or_blocks(name: str, server: ForkServer, tmp_path: Path) -> None:
    home = Home(server, tmp_path, None, {"datasets": {"blocking_checks": [name]}})
    answer = home.run("--no-download", "--samples", "600")
    if answer.code == 1:
        # Accepted: then a failure of it stops the family. Nothing is available here.
        assert name in str(answer.document["families"]["logistic"]["reasons"])
    else:
        assert answer.code == 2
        (line,) = [line for line in answer.err.splitlines() if line.strip()]
        assert "blocking_checks" in line
        assert name in line


def test_after_a_fall_a_candidate_waits_unless_it_is_better_and_then_the_alert_is_over(
    copy: Copy, real: Home, tmp_path: Path
) -> None:
    rows = connections(900, np.random.default_rng(7))
    turned = np.random.default_rng(8).random(len(rows)) < 0.12
    rows["attack"] = np.where(turned, np.where(rows["attack"] == "normal", "neptune", "normal"), rows["attack"])
    mirror = tmp_path / "mirror"
    write_connections(mirror, rows)
    home = copy(real, mirror=mirror)
    document = home.run(*SOURCE, "--force").document
    Sensors(home).tick()
    result = document["families"]["logistic"]
    assert result["source"] == "mirror"
    assert result["verdict"] == "candidate"
    assert home.pointer() == real.pointer()
    (issue,) = [issue for issue in home.alerts() if issue["check"] == "champion"]
    assert (issue["kind"], issue["subject"], issue["severity"]) == ("regression", "releases/logistic", "high")
    assert "logistic" in issue["title"]

    # What was an attack is normal now, and the other way round: this a model can learn.
    rows = connections(900, np.random.default_rng(9))
    rows["attack"] = np.where(rows["attack"] == "normal", "neptune", "normal")
    write_connections(mirror, rows)
    result = home.run(*SOURCE, "--force").ok().document["families"]["logistic"]
    assert result["verdict"] == "promoted"
    assert "so it replaces it" in result["reasons"][-1]
    assert [one for one in home.alerts() if one["check"] == "champion"] == []
    (over,) = [one for one in home.alerts("all") if one["check"] == "champion"]
    assert (over["number"], over["occurrences"]) == (issue["number"], 2)
    assert home.problems() == []


def test_evidence_that_does_not_verify_is_the_gravest_alert(copy: Copy, real: Home) -> None:
    home = copy(real)
    flip(max(files_of(home.path / "audit" / "payloads"), key=lambda path: path.stat().st_size))
    home.run(*SOURCE)
    (issue,) = [issue for issue in home.alerts() if issue["check"] == "log_verifies"]
    assert issue["severity"] == "critical"
