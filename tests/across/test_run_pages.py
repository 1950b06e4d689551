"""Runs of the command line are runs of the code location: every page lists them, also when they failed."""

from __future__ import annotations

from tests.across.conftest import Copy
from tests.across.entry import code_location_name
from tests.across.platform import Home

REPOSITORY = "__repository__"
JOB = "training_cycle"


def test_a_run_of_the_command_line_is_a_run_of_the_code_location(copy: Copy, real: Home) -> None:
    home = copy(real)
    answer = home.run("--source", "mirror").ok()
    run = home.last_run()
    assert run["status"] == "SUCCESS"
    assert run["run_id"] == answer.document["run_id"]
    assert run["job"] == JOB
    # As Dagster itself marks the runs that it launches; its pages select by both.
    assert run["tags"].get(".dagster/repository") == f"{REPOSITORY}@{code_location_name()}"
    assert run["origin"] == {"location": code_location_name(), "repository": REPOSITORY, "job": JOB}


def test_a_failed_run_of_the_command_line_is_one_too(fresh: Home) -> None:
    answer = fresh.run("--source", "kaggle")
    assert answer.code == 1
    run = fresh.last_run()
    assert (run["status"], run["job"]) == ("FAILURE", JOB)
    assert run["tags"].get(".dagster/repository") == f"{REPOSITORY}@{code_location_name()}"
    assert run["origin"] == {"location": code_location_name(), "repository": REPOSITORY, "job": JOB}


def test_scheduled_runs_are_runs_of_named_jobs(copy: Copy, real: Home) -> None:
    home = copy(real)
    requests = home.dagster("schedules")
    assert len(requests) >= 5
    jobs = {JOB, "validate_datasets", "drift_watch", "retention", "run_retention"}
    assert {request["job"] for request in requests} <= jobs
