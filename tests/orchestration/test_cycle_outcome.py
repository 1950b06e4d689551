"""What a cycle says of itself: summary, exit code, last line, the run in the UI and the issues agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest

from nethical_assets.assets.requests import RETENTION_JOB, TRAINING_JOB
from nethical_assets.assets.roots import roots_of
from nethical_assets.core.alerts import LocalIssueTracker
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.orchestration.build import build_defs
from nethical_assets.orchestration.cycle import run_cycle
from nethical_assets.orchestration.instance import open_instance
from tests.orchestration import Start
from tests.sweeping import cases

SMALL = CycleOptions(samples=700)
RUN = ("run", "--families", "logistic", "--samples", "700")


def tracker_of(settings: Settings) -> LocalIssueTracker:
    return LocalIssueTracker(settings.home / "alerts" / "issues.sqlite")


def newest_run(settings: Settings) -> dg.DagsterRun:
    with open_instance(settings) as instance:
        return instance.get_runs(limit=1)[0]


@pytest.mark.slow
def test_a_family_that_a_check_stopped_says_where_its_data_came_from_and_nothing_of_older_runs(
    settings: Settings,
) -> None:
    good = run_cycle(settings, ("logistic",), SMALL)["families"]["logistic"]
    assert good["metrics"] and good["card"] and good["rows"]

    datasets = settings.file.datasets.model_copy(
        update={"blocking_checks": ("minimum_samples",), "minimum_samples": 5000}
    )
    strict = replace(settings, file=settings.file.model_copy(update={"datasets": datasets}))
    summary = run_cycle(strict, ("logistic",), SMALL)
    stopped = summary["families"]["logistic"]
    assert (summary["status"], stopped["verdict"], stopped["source"]) == ("failed", "error", good["source"])
    assert (stopped["metrics"], stopped["card"], stopped["model_digest"]) == ({}, None, None)
    assert summary["sources"].startswith(good["source"])


@pytest.mark.slow
def test_a_run_that_only_a_blocking_check_failed_is_failed_everywhere(settings: Settings, start: Start) -> None:
    summary = start(*RUN, "--json").wait().ok().document
    assert (summary["status"], summary["failures"]) == ("success", [])
    assert newest_run(settings).status is dg.DagsterRunStatus.SUCCESS

    # Bytes of an object that no stage of the next cycle reads: nothing but the audit check fails.
    for page in (settings.home / "models" / "metadata").glob("*_card.html"):
        page.write_text("changed")
    failed = start("run", "--families", "heuristic", "--samples", "700").wait()
    run = newest_run(settings)
    assert failed.code == 1, failed.out
    last = failed.out.strip().splitlines()[-1]
    assert "the audit log does NOT verify: " in last
    assert "heuristic: error" not in failed.out
    assert run.status is dg.DagsterRunStatus.FAILURE
    issues = {issue.kind: issue for issue in tracker_of(settings).list(state="open")}
    assert issues["audit_failure"].severity == "critical"
    assert run.run_id in issues["run_failure"].body

    document = start("run", "--families", "heuristic", "--samples", "700", "--json").wait().document
    assert document["status"] == "failed"
    assert [failure["step"] for failure in document["failures"]] == ["audit_roots_log_verifies"]
    assert document["families"]["heuristic"]["verdict"] == "unchanged"


@pytest.mark.parametrize("families", cases(("heuristic", "logistic"), more=[("logistic",)]))
def test_a_run_of_the_command_line_belongs_to_code_location_and_job(
    families: tuple[str, ...], settings: Settings
) -> None:
    """The UI finds the runs of its pages by this label and this name."""
    summary = run_cycle(settings, families, SMALL)
    with open_instance(settings) as instance:
        location = {".dagster/repository": "__repository__@nethical_assets"}
        (run,) = instance.get_runs(dg.RunsFilter(job_name=TRAINING_JOB, tags=location))
        (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))
    assert run.run_id == summary["run_id"]
    assert record.end_time is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.remote_job_origin is not None
    assert (run.remote_job_origin.job_name, run.remote_job_origin.location_name) == (TRAINING_JOB, "nethical_assets")
    assert set(families) == set((run.tags.get("nethical/family") or run.tags.get("nethical/families", "")).split(","))
    # The daemon retries crashed runs of its own, never one whose exit code somebody reads.
    assert run.tags["dagster/max_retries"] == "0"


@pytest.mark.slow
def test_a_broken_tracker_costs_no_summary_and_is_caught_up_by_the_next_cycle(settings: Settings) -> None:
    path = tracker_of(settings).path
    path.mkdir(parents=True)
    first = run_cycle(settings, ("logistic",), SMALL)
    assert first["families"]["logistic"]["verdict"] in ("promoted", "candidate")
    assert "cannot use the issue tracker" in first["unfiled"]
    assert "\n" not in first["unfiled"]
    path.rmdir()
    # Of another family, so that what is filed about the first one comes from the earlier run.
    second = run_cycle(settings, ("heuristic",), SMALL)
    assert second["unfiled"] is None
    filed = [issue for issue in tracker_of(settings).list() if issue.subject.endswith("/logistic")]
    assert len(filed) == first["checks"]["issues"]
    assert {issue.occurrences for issue in filed} <= {1}


def test_a_run_that_was_killed_is_failed_and_its_issue_ends_with_the_next_cycle(settings: Settings) -> None:
    with open_instance(settings) as instance:
        job = build_defs(settings).resolve_job_def(TRAINING_JOB)
        tags = {"nethical/trigger": "command line", "nethical/family": "logistic"}
        dead = instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    run_cycle(settings, ("logistic",), SMALL)
    with open_instance(settings) as instance:
        ended = instance.get_run_by_id(dead.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    (issue,) = [issue for issue in tracker_of(settings).list() if issue.kind == "run_failure"]
    assert (issue.state, issue.occurrences) == ("closed", 1)


def test_the_retention_job_removes_expired_candidates_with_an_event(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = settings.file.performance_thresholds.model_copy(update={"accuracy_min": 1.0})
    strict = settings.file.model_copy(update={"performance_thresholds": gate})
    refusing = Settings(**{**vars(settings), "file": strict})
    summary = run_cycle(refusing, ("logistic",), SMALL)
    assert summary["families"]["logistic"]["verdict"] == "candidate"
    job = build_defs(refusing).resolve_job_def(RETENTION_JOB)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with open_instance(refusing) as instance:
        assert job.execute_in_process(instance=instance, run_config=quiet).success
        monkeypatch.setattr(Workspace, "now", lambda workspace: utc_now() + timedelta(days=31))
        assert job.execute_in_process(instance=instance, run_config=quiet).success
        head = LogReader(settings.home / "audit").head()
        assert head is not None
        assert roots_of(instance)[0] == (head.size, head.root)
    removed = [
        found.event.subjects[0].digest
        for found in LogReader(settings.home / "audit").find_events()
        if str(found.event.type) == "retention_deleted"
    ]
    assert removed == [summary["families"]["logistic"]["model_digest"]]
