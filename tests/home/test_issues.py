"""Issues and the audit log: killed at any write, with a log that takes nothing, with a broken tracker."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from nethical_assets.core.alerts import LocalIssueTracker, Resolution, TrackerError
from nethical_assets.core.audit import AuditLog
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import AuditError, NethicalError
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations.kept import kept_problems
from tests.core.alerts.conftest import NOON, make_alert
from tests.processes import DURABLE, in_child
from tests.sweeping import COMPLETE, cases

PROBLEM = make_alert()
PASSED = Resolution(
    PROBLEM.kind, PROBLEM.subject, PROBLEM.check, "it passed", NOON + timedelta(hours=2), "check sensor", 0
)
LATER = make_alert(when=NOON + timedelta(hours=4), occurrence="run 4")
GRAVER = make_alert(when=NOON + timedelta(hours=1), occurrence="run 3", severity="critical")


def open_workspace(settings: Settings, run_id: str = "reader") -> Workspace:
    return Workspace(settings, CycleOptions(), run_id)


def tracker_of(settings: Settings) -> LocalIssueTracker:
    return open_workspace(settings).tracker


def told(settings: Settings) -> list[str]:
    """What the log was told of issues, finalised or not, in order."""
    log = open_workspace(settings).audit_log
    kinds = (EventType.ALERT_FILED, EventType.ALERT_ACKNOWLEDGED, EventType.ALERT_CLOSED)
    logged = sorted((one for kind in kinds for one in log.find_events(event_type=kind)), key=lambda one: one.index)
    events = [*(one.event for one in logged), *log.pending_events(b'"alert_')]
    payloads = [log.payload(event) for event in events]
    return [str(payload.get("change", payload.get("reason"))) for payload in payloads]


def next_run(settings: Settings) -> None:
    """What every run does first, and an event of its own."""
    workspace = open_workspace(settings, "next")
    workspace.acts.settle()
    workspace.record_event(EventType.HEARTBEAT, {})
    workspace.seal()
    workspace.end()


@pytest.fixture
def begun(settings: Settings) -> Settings:
    """A home with a log."""
    AuditLog(settings.home / "audit").heartbeat("first")
    return settings


class Case:
    """A change of an issue: what happened before it, and how the issue is after it."""

    def __init__(self, before: list[object], work: Callable[[LocalIssueTracker], object], after: tuple[str, str, int]):
        self.before, self.work, self.after = before, work, after


def acknowledge_once(tracker: LocalIssueTracker) -> None:
    """As a person does who looks whether it was done."""
    if not tracker.show(1).acknowledged_by:
        tracker.acknowledge(1, "looking into it", "ada")


CASES = {
    "opened": Case([], lambda tracker: tracker.record([PROBLEM]), ("open", "medium", 1)),
    "graver": Case([PROBLEM], lambda tracker: tracker.record([GRAVER]), ("open", "critical", 2)),
    "passed": Case([PROBLEM], lambda tracker: tracker.record([PASSED]), ("closed", "medium", 1)),
    "closed": Case([PROBLEM], lambda tracker: tracker.close(1, "mended", "ada"), ("closed", "medium", 1)),
    "acknowledged": Case([PROBLEM], acknowledge_once, ("open", "medium", 1)),
    "reopened": Case([PROBLEM, PASSED], lambda tracker: tracker.record([LATER]), ("open", "medium", 2)),
    "late": Case([PASSED], lambda tracker: tracker.record([PROBLEM]), ("closed", "medium", 1)),
}


@pytest.mark.parametrize("name", cases("opened", "closed", more=sorted({*CASES} - {"opened", "closed"})))
@pytest.mark.parametrize("moment", DURABLE)
def test_killed_at_any_write_the_log_and_the_tracker_agree(name: str, moment: str, begun: Settings) -> None:
    case = CASES[name]
    tracker_of(begun).record(case.before)  # type: ignore[arg-type]
    kept = begun.home.with_name("kept")
    shutil.copytree(begun.home, kept)
    for survived in range(0, 200, 1 if COMPLETE else 3):
        shutil.rmtree(begun.home)
        shutil.copytree(kept, begun.home)
        killed = in_child(lambda: case.work(tracker_of(begun)), moment, survived)
        next_run(begun)
        assert kept_problems(begun) == [], (moment, survived)
        case.work(tracker_of(begun))
        next_run(begun)
        assert kept_problems(begun) == [], (moment, survived)
        (issue,) = tracker_of(begun).list()
        assert (issue.state, issue.severity, issue.occurrences) == case.after
        if not killed:
            return
    pytest.fail(f"never survived every {moment}")


STALE = make_alert(kind="stale_dataset", subject="raw/nslkdd", check="freshness")
FRESH = Resolution("stale_dataset", "raw/nslkdd", "freshness", "it is fresh", NOON + timedelta(hours=2), "check sensor")
DRIFT = make_alert(kind="drift", subject="drift_reports/logistic", check="drift", when=NOON + timedelta(hours=1))


@pytest.mark.parametrize("moment", DURABLE)
@pytest.mark.parametrize("closed_by", cases("a fresh dataset", more=["a person"]))
def test_killed_at_any_write_what_stale_data_held_back_is_filed_once(
    closed_by: str, moment: str, begun: Settings
) -> None:
    def work() -> None:
        tracker = tracker_of(begun)
        tracker.record([FRESH]) if closed_by == "a fresh dataset" else tracker.close(1, "mended", "ada")

    tracker_of(begun).record([STALE, DRIFT])
    assert [issue.kind for issue in tracker_of(begun).list()] == ["stale_dataset"]
    assert told(begun) == ["opened"]
    kept = begun.home.with_name("kept")
    shutil.copytree(begun.home, kept)
    for survived in range(0, 200, 1 if COMPLETE else 7):
        shutil.rmtree(begun.home)
        shutil.copytree(kept, begun.home)
        killed = in_child(work, moment, survived)
        next_run(begun)
        assert kept_problems(begun) == [], (moment, survived)
        # What the sensor does at every look; nothing new was told in between.
        if tracker_of(begun).releases():
            tracker_of(begun).record([])
        found = {issue.kind: (issue.state, issue.occurrences) for issue in tracker_of(begun).list()}
        if found["stale_dataset"][0] == "closed":
            assert found["drift"] == ("open", 1), (moment, survived)
            assert told(begun).count("opened") == 2
        else:
            assert [alert.kind for alert in tracker_of(begun).held()] == ["drift"]
        work()
        next_run(begun)
        assert kept_problems(begun) == [], (moment, survived)
        assert tracker_of(begun).held() == ()
        if not killed:
            return
    pytest.fail(f"never survived every {moment}")


def test_who_works_on_an_issue_is_in_the_log(begun: Settings) -> None:
    tracker = tracker_of(begun)
    tracker.record([PROBLEM])
    tracker.acknowledge(1, "looking into it", "ada")
    log = open_workspace(begun).audit_log
    (found,) = log.find_events(event_type=EventType.ALERT_ACKNOWLEDGED)
    payload = log.payload(found.event)
    assert payload is not None
    assert (payload["actor"], payload["reason"]) == ("ada", "looking into it")
    assert kept_problems(begun) == []
    mend = damage(begun)
    with pytest.raises(AuditError, match="stays as it is"):
        tracker.acknowledge(1, "me too", "kim")
    assert tracker.show(1).acknowledged_by == "ada"
    mend()
    tracker.acknowledge(1, "me too", "kim")
    assert kept_problems(begun) == []
    with tracker._connection() as connection:
        connection.execute("UPDATE issues SET acknowledged_by = 'eve'")
    (problem,) = kept_problems(begun)
    assert "acknowledged: actor" in problem
    # What clears it is told by its own leaf.
    tracker.record([make_alert(when=NOON + timedelta(hours=5), occurrence="run 5", severity="critical")])
    assert kept_problems(begun) == []


def damage(settings: Settings) -> Callable[[], None]:
    """Change a byte of the signed checkpoint; returns what puts it back."""
    checkpoint: Path = settings.home / "audit" / "checkpoint"
    before = checkpoint.read_bytes()
    checkpoint.write_bytes(before.replace(b"\n", b"!\n", 1))
    return lambda: (checkpoint.write_bytes(before), None)[1]


def test_a_damaged_log_stops_no_alert_and_is_told_when_it_is_mended(begun: Settings) -> None:
    tracker = tracker_of(begun)
    tracker.record([PROBLEM])
    mend = damage(begun)
    tracker.record([make_alert(subject="raw/guide", occurrence="run 2"), PASSED], reader="r", position="1")
    assert [(issue.subject, issue.state) for issue in tracker.list()] == [
        (PROBLEM.subject, "closed"),
        ("raw/guide", "open"),
    ]
    assert tracker.position("r") == "1"
    with pytest.raises(AuditError, match="issue 2 stays as it is"):
        tracker.close(2, "mended", "ada")
    assert tracker.show(2).state == "open"
    mend()
    waiting = kept_problems(begun)
    assert len(waiting) == 2
    assert all("changed while the audit log took no event" in problem for problem in waiting)
    tracker.record([])
    assert told(begun) == ["opened", "late", "it passed", "late"]
    assert kept_problems(begun) == []
    tracker.record([])
    assert len(told(begun)) == 4


def test_an_issue_that_was_edited_is_not_made_good_by_being_told_late(begun: Settings) -> None:
    tracker = tracker_of(begun)
    tracker.record([PROBLEM])
    with tracker._connection() as connection:
        connection.execute("UPDATE issues SET title = 'nothing', unlogged = 1")
    tracker.record([])
    assert told(begun) == ["opened", "late"]
    (problem,) = kept_problems(begun)
    assert "title" in problem


def test_a_tracker_that_breaks_after_the_leaf_keeps_nobody_from_working(
    begun: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise TrackerError("no space")

    with monkeypatch.context() as patched:
        patched.setattr(LocalIssueTracker, "carry_out", full)
        for _ in range(3):
            with pytest.raises(NethicalError, match="no space"):
                tracker_of(begun).record([PROBLEM], reader="r", position="1")
        next_run(begun)
        assert tracker_of(begun).position("r") is None
    assert told(begun) == ["opened"], "said once, however often it was tried"
    next_run(begun)
    assert [issue.state for issue in tracker_of(begun).list()] == ["open"]
    tracker_of(begun).record([PROBLEM], reader="r", position="1")
    assert (tracker_of(begun).show(1).occurrences, tracker_of(begun).position("r")) == (1, "1")
    assert told(begun) == ["opened"]
    assert kept_problems(begun) == []


def test_a_batch_of_many_is_one_chunk_of_the_log(begun: Settings) -> None:
    log = open_workspace(begun).audit_log
    before = len([*log.find_events(event_type=EventType.CHUNK_FINAL)])
    tracker_of(begun).record([make_alert(subject=f"raw/{n}", occurrence="run 1") for n in range(5)])
    assert len([*log.find_events(event_type=EventType.CHUNK_FINAL)]) == before + 1
    assert len(told(begun)) == 5


def test_the_leaf_names_the_intent_and_holds_nothing_that_the_alert_measured(begun: Settings) -> None:
    tracker_of(begun).record([make_alert(summary="the value 471100815293 of dana", details={"worst": "471100815293"})])
    log = open_workspace(begun).audit_log
    (found,) = log.find_events(event_type=EventType.ALERT_FILED)
    assert {subject.name for subject in found.event.subjects} == {"alerts/data_quality", "issue text", "act"}
    assert digest_bytes(PROBLEM.fingerprint.encode()) in {subject.digest for subject in found.event.subjects}
    assert "471100815293" not in str(log.payload(found.event))
    assert not any(b"471100815293" in path.read_bytes() for path in (begun.home / "audit").rglob("*") if path.is_file())
