"""Results become issues by when they happened, whatever the order, batches and repetitions in which they are read."""

from __future__ import annotations

import itertools
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.alerts import Alert, Issue, LocalIssueTracker, Resolution
from nethical_assets.core.ground.errors import AuditError
from tests.core.alerts.conftest import NOON, make_alert

PASS, FAIL = "pass", "fail"


def result(kind: str, hour: int, event: int = 0, subject: str = "raw/nslkdd") -> Alert | Resolution:
    when = NOON + timedelta(hours=hour)
    if kind == FAIL:
        return make_alert(
            subject=subject, when=when, occurrence=f"run {hour}", event=event, summary=f"failed at {hour}"
        )
    return Resolution("data_quality", subject, "missing_values", f"passed at {hour}", when, "check sensor", event)


def state(tracker: LocalIssueTracker) -> list[tuple[str, str, int]]:
    return [(issue.subject, issue.state, issue.occurrences) for issue in tracker.list()]


def expected(history: list[str]) -> list[tuple[str, str, int]]:
    failures = history.count(FAIL)
    return [("raw/nslkdd", "open" if history[-1] == FAIL else "closed", failures)] if failures else []


@pytest.mark.parametrize("history", [list(one) for one in itertools.product((PASS, FAIL), repeat=3)])
def test_every_order_of_reading_gives_the_state_of_the_newest_result(history: list[str], tmp_path: Path) -> None:
    results = [result(kind, hour) for hour, kind in enumerate(history)]
    for number, order in enumerate(itertools.permutations(results)):
        tracker = LocalIssueTracker(tmp_path / f"{number}.sqlite")
        for one in (*order, *order):
            tracker.record([one])
        assert state(tracker) == expected(history), order


@settings(max_examples=25, deadline=None)
@given(
    history=st.lists(st.sampled_from((PASS, FAIL)), min_size=1, max_size=8),
    reading=st.lists(st.lists(st.integers(0, 7), max_size=4), max_size=6),
)
def test_batches_that_overlap_and_repeat_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, history: list[str], reading: list[list[int]]
) -> None:
    tracker = LocalIssueTracker(tmp_path_factory.mktemp("order") / "issues.sqlite")
    results = [result(kind, hour) for hour, kind in enumerate(history)]
    for batch in reading:
        tracker.record([results[number % len(results)] for number in batch])
    tracker.record(results)
    assert state(tracker) == expected(history)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_results_of_one_moment_are_ordered_by_their_events(order: tuple[int, int], tmp_path: Path) -> None:
    for kinds, wanted in (((FAIL, PASS), "closed"), ((PASS, FAIL), "open")):
        tracker = LocalIssueTracker(tmp_path / f"{wanted}.sqlite")
        results = [result(kind, 0, event) for event, kind in enumerate(kinds)]
        for position in order:
            tracker.record([results[position]])
        assert [issue.state for issue in tracker.list()] == [wanted]


def test_a_known_occurrence_that_is_newer_now_reopens(tracker: LocalIssueTracker) -> None:
    # One run evaluates a check several times, as a retried step does.
    tracker.record([make_alert(event=1), result(PASS, 0, 2)])
    assert state(tracker) == [("raw/nslkdd", "closed", 1)]
    tracker.record([make_alert(event=3)])
    assert state(tracker) == [("raw/nslkdd", "open", 1)]


def test_an_older_failure_does_not_reopen_what_a_person_closed(tracker: LocalIssueTracker) -> None:
    tracker.record([result(FAIL, 5)])
    tracker.close(1, "mended", "ada")
    tracker.record([result(FAIL, 3)])
    assert state(tracker) == [("raw/nslkdd", "closed", 2)]
    tracker.record([result(FAIL, 6)])
    assert state(tracker) == [("raw/nslkdd", "open", 3)]


def test_an_older_failure_leaves_summary_and_severity_of_the_newest(tracker: LocalIssueTracker) -> None:
    tracker.record([result(FAIL, 5)])
    before = tracker.show(1)
    tracker.record([make_alert(when=NOON, occurrence="late", severity="critical", summary="old")])
    after = tracker.show(1)
    assert (after.severity, after.updated_at, after.comments) == (before.severity, before.updated_at, before.comments)


def test_all_of_a_batch_and_the_position_or_nothing(tracker: LocalIssueTracker) -> None:
    assert tracker.position("ended runs") is None

    class Failing:
        moment = "9999"

    with pytest.raises(AttributeError):
        tracker.record([result(FAIL, 0), Failing()], reader="ended runs", position="1")  # type: ignore[list-item]
    assert tracker.list() == ()
    assert tracker.position("ended runs") is None
    tracker.record([result(FAIL, 0)], reader="ended runs", position="2")
    assert tracker.position("ended runs") == "2"
    assert tracker.position("another") is None


class Announced:
    """What was announced, and the state at that moment: the change comes after."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[tuple[str, str]] = []
        self.refuses = False

    def __call__(self, event: str, fingerprint: str, document: Any) -> None:
        if self.refuses:
            raise AuditError("no space")
        assert fingerprint == make_alert().fingerprint
        assert document["kind"] == "data_quality"
        self.said.append((event, str(document.get("change", document.get("reason")))))


def test_every_change_is_announced_before_it_happens_and_no_repetition_is(tmp_path: Path) -> None:
    announced = Announced(tmp_path)
    tracker = LocalIssueTracker(tmp_path / "issues.sqlite", announce=announced)
    for _ in range(2):
        tracker.record([result(FAIL, 0), result(FAIL, 1), result(PASS, 2), result(FAIL, 3)])
    assert announced.said == [
        ("alert_filed", "opened"),
        ("alert_filed", "counted"),
        ("alert_closed", "passed at 2"),
        ("alert_filed", "reopened"),
    ]
    tracker.close(1, "mended", "ada")
    tracker.close(1, "mended", "ada")
    assert announced.said[4:] == [("alert_closed", "mended")]


def test_what_cannot_be_announced_does_not_happen(tmp_path: Path) -> None:
    announced = Announced(tmp_path)
    tracker = LocalIssueTracker(tmp_path / "issues.sqlite", announce=announced)
    tracker.record([result(FAIL, 0)])
    before: Issue = tracker.show(1)
    announced.refuses = True
    for act in (
        lambda: tracker.record([result(FAIL, 1)], reader="r", position="1"),
        lambda: tracker.record([result(PASS, 1)], reader="r", position="1"),
        lambda: tracker.close(1, "mended", "ada"),
        lambda: tracker.file(make_alert(subject="raw/nslkdd", occurrence="9", when=NOON + timedelta(hours=9))),
    ):
        with pytest.raises(AuditError):
            act()
        assert tracker.show(1) == before
        assert tracker.position("r") is None
    announced.refuses = False
    tracker.record([result(PASS, 1)])
    assert tracker.show(1).state == "closed"


def test_a_note_is_said_once_and_only_on_an_open_issue(tracker: LocalIssueTracker) -> None:
    problem = make_alert().fingerprint
    assert not tracker.note(problem, "k", "too early", "drift sensor")
    tracker.record([result(FAIL, 0)])
    assert tracker.note(problem, "k", "said @all", "drift sensor")
    assert not tracker.note(problem, "k", "said again", "drift sensor")
    assert tracker.note(problem, "other", "more", "drift sensor")
    bodies = [comment.body for comment in tracker.show(1).comments]
    assert len(bodies) == 2
    assert "@all" not in bodies[0]
    tracker.record([result(PASS, 1)])
    assert not tracker.note(problem, "late", "late", "drift sensor")


def test_a_file_of_the_first_version_is_upgraded_with_its_issues(tmp_path: Path) -> None:
    path = tmp_path / "issues.sqlite"
    LocalIssueTracker(path).record([result(FAIL, 0), result(FAIL, 0, subject="raw/guide")])
    LocalIssueTracker(path).close(2, "mended", "ada")
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "ALTER TABLE issues DROP COLUMN failed; DROP TABLE resolutions; DROP TABLE notes; DROP TABLE positions;"
            "PRAGMA user_version = 1"
        )
    connection.close()
    tracker = LocalIssueTracker(path)
    tracker.record([result(PASS, -1), result(PASS, -1, subject="raw/guide")])
    assert [issue.state for issue in tracker.list()] == ["open", "closed"]
    tracker.record([result(PASS, 1), result(FAIL, 1, subject="raw/guide")])
    assert [issue.state for issue in tracker.list()] == ["closed", "open"]
