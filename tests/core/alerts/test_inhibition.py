"""Stale data holds back what drift reports say of the models that learn from it, and nothing is lost by it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.alerts import Alert, LocalIssueTracker, Resolution
from nethical_assets.core.alerts.inhibition import Inhibition
from tests.core.alerts.conftest import NOON, make_alert

INHIBITION = Inhibition(
    {
        "logistic": frozenset({"raw/nslkdd", "datasets/logistic"}),
        "heuristic": frozenset({"raw/nslkdd", "raw/guide", "datasets/heuristic"}),
    }
)
REPORT = "drift_reports/logistic"


def drift(hour: int, kind: str = "drift", family: str = "logistic") -> Alert:
    check = {"accuracy_drop": "accuracy"}.get(kind, kind)
    return make_alert(
        kind=kind,
        subject=f"drift_reports/{family}",
        check=check,
        when=NOON + timedelta(hours=hour),
        occurrence=f"window {hour}",
        summary=f"{kind} in window {hour}.",
    )


def calm(hour: int) -> Resolution:
    return Resolution("drift", REPORT, "drift", "stable again", NOON + timedelta(hours=hour), "check sensor")


def stale(hour: int, subject: str = "raw/nslkdd") -> Alert:
    when = NOON + timedelta(hours=hour)
    return make_alert(kind="stale_dataset", subject=subject, check="freshness", when=when, occurrence=f"run {hour}")


def fresh(hour: int, subject: str = "raw/nslkdd") -> Resolution:
    when = NOON + timedelta(hours=hour)
    return Resolution("stale_dataset", subject, "freshness", "it is fresh", when, "check sensor")


@pytest.fixture
def tracker(tmp_path: Path) -> LocalIssueTracker:
    return LocalIssueTracker(tmp_path / "issues.sqlite", inhibition=INHIBITION)


def states(tracker: LocalIssueTracker) -> dict[str, str]:
    return {issue.kind: issue.state for issue in tracker.list()}


@pytest.mark.parametrize("kind", ["drift", "accuracy_drop", "calibration"])
@pytest.mark.parametrize("subject", ["raw/nslkdd", "datasets/logistic"])
def test_stale_data_holds_back_what_is_said_of_the_models_that_learn_from_it(
    kind: str, subject: str, tracker: LocalIssueTracker
) -> None:
    tracker.record([stale(0, subject), drift(1, kind)])
    assert states(tracker) == {"stale_dataset": "open"}
    (comment,) = tracker.show(1).comments
    assert comment.body.startswith("Holds back: ")
    assert f"{kind} in window 1" in comment.body
    assert [alert.kind for alert in tracker.held()] == [kind]
    tracker.record([fresh(2, subject)])
    assert states(tracker) == {"stale_dataset": "closed", kind: "open"}
    assert tracker.held() == ()


@pytest.mark.parametrize(
    "other",
    [
        drift(1, family="anomaly"),
        make_alert(when=NOON),
        make_alert(kind="monitor_silent", subject=REPORT, check="reports"),
        make_alert(kind="run_failure", subject="logistic", check="training_cycle"),
    ],
    ids=lambda alert: alert.kind,
)
def test_nothing_else_is_held_back(other: Alert, tracker: LocalIssueTracker) -> None:
    tracker.record([stale(0)])
    assert tracker.file(other).state == "open"


def test_any_stale_dataset_of_the_family_holds_back_and_all_have_to_be_fresh(tracker: LocalIssueTracker) -> None:
    tracker.record([stale(0), stale(0, "raw/guide"), drift(1, family="heuristic")])
    assert [len(issue.comments) for issue in tracker.list()] == [1, 1]
    tracker.record([fresh(2)])
    assert "drift" not in states(tracker)
    tracker.record([fresh(3, "raw/guide")])
    assert states(tracker)["drift"] == "open"


def test_it_is_said_once_and_the_newest_is_filed(tracker: LocalIssueTracker) -> None:
    tracker.record([stale(0), drift(1)])
    for hour in (2, 4, 3):
        tracker.record([drift(hour)])
    assert len(tracker.show(1).comments) == 1
    tracker.record([fresh(5)])
    (issue,) = tracker.list(state="open")
    assert "in window 4" in issue.body
    # Once more, the next time that the data is stale.
    tracker.record([calm(6), stale(30), drift(31)])
    assert states(tracker) == {"stale_dataset": "open", "drift": "closed"}
    assert [comment.body[:10] for comment in tracker.show(1).comments].count("Holds back") == 2


def test_what_is_over_by_then_is_not_filed(tracker: LocalIssueTracker) -> None:
    tracker.record([stale(0), drift(1), calm(2)])
    assert tracker.held() == ()
    tracker.record([drift(1)])
    assert tracker.held() == (), "an older window, which is read again"
    tracker.record([fresh(3)])
    assert states(tracker) == {"stale_dataset": "closed"}


def test_what_is_open_already_goes_on(tracker: LocalIssueTracker) -> None:
    for one in (drift(0), stale(1), drift(2)):
        tracker.record([one])
    assert states(tracker) == {"drift": "open", "stale_dataset": "open"}
    assert tracker.show(1).occurrences == 2
    assert tracker.held() == ()


@pytest.mark.parametrize("at_once", [True, False])
def test_of_one_batch_what_holds_back_is_known_first(at_once: bool, tracker: LocalIssueTracker) -> None:
    batch = [drift(0), stale(1)]
    tracker.record(batch if at_once else list(reversed(batch)))
    assert states(tracker) == {"stale_dataset": "open"}


def test_a_person_who_closes_the_stale_issue_is_shown_what_it_held_back(tracker: LocalIssueTracker) -> None:
    tracker.record([stale(0), drift(1)])
    tracker.close(1, "we know", "ada")
    assert states(tracker) == {"stale_dataset": "closed", "drift": "open"}


def test_who_works_on_the_stale_data_is_asked_to_look_again(tracker: LocalIssueTracker) -> None:
    tracker.record([stale(0)])
    tracker.acknowledge(1, "on it", "ada")
    tracker.record([drift(1)])
    assert tracker.show(1).acknowledged_by == ""


def test_a_dataset_that_left_the_catalog_holds_nothing_back(tracker: LocalIssueTracker) -> None:
    tracker.record([stale(0), drift(1)])
    assert not tracker.releases()
    later = LocalIssueTracker(tracker.path, inhibition=Inhibition())
    assert later.releases()
    later.record([])
    assert states(later) == {"stale_dataset": "open", "drift": "open"}
    assert not later.releases()


STEPS = {"drift": drift, "calm": calm, "stale": stale, "fresh": fresh}


@settings(max_examples=25, deadline=None)
@given(history=st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=8), again=st.booleans())
def test_a_problem_that_is_there_is_always_open_or_held_by_what_is_open(
    tmp_path_factory: pytest.TempPathFactory, history: list[str], again: bool
) -> None:
    path = tmp_path_factory.mktemp("held") / "issues.sqlite"
    newest = {"drift": "calm", "stale": "fresh"}
    for number, name in enumerate(history):
        step = STEPS[name](30 * number)  # more than a day apart: nothing comes and goes
        for _ in range(1 + again):
            LocalIssueTracker(path, inhibition=INHIBITION).record([step])
        newest["drift" if name in ("drift", "calm") else "stale"] = name
        tracker = LocalIssueTracker(path, inhibition=INHIBITION)
        found = states(tracker)
        assert (found.get("stale_dataset") == "open") is (newest["stale"] == "stale")
        told = [found.get("drift") == "open", bool(tracker.held())]
        assert told.count(True) == (newest["drift"] == "drift")
        if newest["stale"] == "fresh":
            assert not tracker.held()
        assert not tracker.releases()
