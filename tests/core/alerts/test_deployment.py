"""What the processes of a gateway say of a family becomes one issue a cause, and its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nethical_assets.core.alerts import Alert, LocalIssueTracker, Resolution
from nethical_assets.core.alerts.deployment import Refusals, ServedState, judge_deployment

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def good(minutes: float = 0, model: str = "sha256:aa") -> ServedState:
    return ServedState(at(minutes), model, "1.0.0")


def bad(minutes: float = 1, refused: str = "sha256:bb", fault: str = "IntegrityError") -> ServedState:
    return ServedState(at(minutes), "sha256:aa", "1.0.0", refused, fault, "its signature does not verify")


def judged(now: float, *states: ServedState) -> list[Alert | Resolution]:
    return judge_deployment([{"models/logistic": state} for state in states], at(now))


def test_one_process_that_refuses_is_told() -> None:
    (alert,) = judged(2, good(), bad())
    assert isinstance(alert, Alert)
    assert (alert.kind, alert.subject, alert.effective_severity) == ("deployment_failure", "models/logistic", "high")
    assert alert.title == "Model Deployment Failure: logistic - 2026-03-01"
    assert "1.0.0 goes on" in alert.summary and alert.details["processes"] == "1 of 2"
    (alert,) = judged(2, ServedState(at(1), "", "", "pointer", "IntegrityError", "damaged"))
    assert isinstance(alert, Alert) and "is not served" in alert.summary


def test_what_lasts_a_moment_is_told_to_nobody() -> None:
    assert judged(1 + 4 / 60, good(), bad()) == []
    assert len(judged(1 + 5 / 60, good(), bad())) == 1


def test_only_all_processes_prove_that_it_is_served() -> None:
    (resolution,) = judged(2, good(0), good(1))
    assert isinstance(resolution, Resolution) and resolution.when == at(1)
    assert judge_deployment([{"models/logistic": good()}, {}], at(2)) == []
    assert judge_deployment([], at(2)) == judge_deployment([{}, {}], at(2)) == []


def test_one_cause_is_one_occurrence_and_a_served_model_ends_it(tracker: LocalIssueTracker) -> None:
    for now in (2, 3, 4):
        tracker.record(judged(now, bad(), bad(1.5)))
    # A gateway that is started again says the same.
    tracker.record(judged(9, bad(8)))
    (issue,) = tracker.list()
    assert (issue.state, issue.occurrences) == ("open", 1)
    tracker.record(judged(10, bad(9, fault="SignatureError")))
    assert tracker.show(1).occurrences == 2
    tracker.record(judged(12, good(11, "sha256:bb")))
    assert tracker.show(1).state == "closed" and "sha256:bb" in tracker.show(1).close_reason
    tracker.record(judged(20, bad(19)))
    assert tracker.show(1).state == "open"


def test_what_was_refused_by_a_process_that_is_gone_is_over_when_it_was_seen_to_be(tracker: LocalIssueTracker) -> None:
    """The others serve since before it refused, so no time of theirs is later. Where it was not gone, it is told
    again."""
    refusals = Refusals()
    for now, states, state in (
        (3, [good(0), bad(1)], "open"),
        (4, [good(0)], "closed"),
        (5, [good(0)], "closed"),
        (6, [good(0), bad(1)], "open"),
        (7, [good(0), bad(1)], "open"),
        (8, [good(0)], "closed"),
    ):
        processes = [{"models/logistic": one} for one in states]
        refusals.look(processes, at(now))
        tracker.record(judge_deployment(processes, at(now), refusals.turned))
        assert tracker.show(1).state == state, now
