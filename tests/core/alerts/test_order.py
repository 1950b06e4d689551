"""Results become issues by when they happened, whatever the order, batches and repetitions in which they are read."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.alerts import Alert, LocalIssueTracker, Resolution
from nethical_assets.core.alerts.steps import Leaf, Record, Step, step_document
from nethical_assets.core.ground.digests import pretty_json
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


FUTURE = 24 * 365 * 900


@pytest.mark.parametrize("wrong", [[PASS], [FAIL], [FAIL, PASS], [PASS, FAIL]], ids=" then ".join)
def test_results_of_a_clock_that_is_ahead_silence_nothing(wrong: list[str], tracker: LocalIssueTracker) -> None:
    """Also a time that somebody edited: no leaf of the log holds it."""
    tracker.record([result(FAIL, 0), result(PASS, 1)])
    tracker.record([result(kind, FUTURE + hour) for hour, kind in enumerate(wrong)])
    opened = tracker.list()[0].state
    assert opened == ("open" if wrong[-1] == FAIL else "closed")
    tracker.record([result(FAIL, 2)])
    assert tracker.list()[0].state == "open"
    tracker.record([result(PASS, 3)])
    assert tracker.list()[0].state == "closed"
    tracker.record([result(FAIL, 4)])
    assert tracker.list()[0].state == "open"


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


class Told:
    """A journal that keeps what it is told; it may die before or after the step, or take nothing."""

    def __init__(self) -> None:
        self.tracker: LocalIssueTracker | None = None
        self.said: list[tuple[str, str]] = []
        self.takes = True
        self.dies: str | None = None

    @contextmanager
    def changing(self) -> Iterator[Record]:
        yield self.record

    def record(self, leaf: Leaf, step: Step) -> bool:
        assert self.tracker is not None
        if not self.takes:
            return False
        assert leaf.document["kind"] == "data_quality"
        if self.dies == "before the leaf":
            raise KeyboardInterrupt
        self.said.append((leaf.event, str(leaf.document.get("change", leaf.document.get("reason")))))
        written = json.loads(pretty_json(step_document(step)))
        for _ in range(2):  # done again by whoever completes it
            if self.dies != "before the step":
                self.tracker.carry_out(written)
        if self.dies:
            raise KeyboardInterrupt
        return True


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def recorded(tmp_path: Path, told: Told) -> LocalIssueTracker:
    """A tracker with a journal."""
    told.tracker = LocalIssueTracker(tmp_path / "recorded.sqlite", told)
    return told.tracker


class Failing(Alert):
    """An occurrence that cannot be filed."""

    @property
    def title(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize("name", ["tracker", "recorded"])
def test_a_batch_that_breaks_off_leaves_the_position_and_counts_once_when_it_is_read_again(
    name: str, request: pytest.FixtureRequest
) -> None:
    tracker: LocalIssueTracker = request.getfixturevalue(name)
    assert tracker.position("ended runs") is None
    failing = Failing("drift", "drift_reports/x", "drift", "much", NOON + timedelta(days=1), "9")
    with pytest.raises(ZeroDivisionError):
        tracker.record([result(FAIL, 0), failing], reader="ended runs", position="1")
    assert tracker.position("ended runs") is None
    tracker.record([result(FAIL, 0)], reader="ended runs", position="2")
    assert [issue.occurrences for issue in tracker.list()] == [1]
    assert tracker.position("ended runs") == "2"
    assert tracker.position("another") is None


def test_every_change_is_told_before_it_happens_and_no_repetition_is(recorded: LocalIssueTracker, told: Told) -> None:
    for _ in range(2):
        recorded.record([result(FAIL, 0), result(FAIL, 1), result(PASS, 2), result(FAIL, 3)])
    assert told.said == [("alert_filed", "opened"), ("alert_closed", "passed at 2"), ("alert_filed", "reopened")]
    recorded.close(1, "mended", "ada")
    recorded.close(1, "mended", "ada")
    assert told.said[3:] == [("alert_closed", "mended")]


def test_with_a_journal_issues_come_out_as_without(recorded: LocalIssueTracker, tracker: LocalIssueTracker) -> None:
    more = {"zeta": 1, "alpha": 2.5, "share": None}
    results = [
        result(FAIL, 0),
        result(PASS, 5),
        result(FAIL, 3),
        make_alert(when=NOON + timedelta(hours=7), details=more),
    ]
    for order in itertools.permutations(results):
        for each in order:
            for one in (recorded, tracker):
                one.record([each])
    shown = [[{**issue.to_json(), "number": 0} for issue in one.list()] for one in (recorded, tracker)]
    assert shown[0] == shown[1]


def test_an_occurrence_that_becomes_known_after_its_resolution_is_opened_and_closed(
    recorded: LocalIssueTracker, told: Told
) -> None:
    recorded.record([result(PASS, 5)])
    assert told.said == []
    recorded.record([result(FAIL, 0)])
    assert told.said == [("alert_filed", "opened"), ("alert_closed", "passed at 5")]
    assert recorded.show(1).state == "closed"


@pytest.mark.parametrize("dies", ["before the leaf", "before the step", "after the step"])
@pytest.mark.parametrize("at", [FAIL, PASS, "close"])
def test_a_reader_that_died_is_made_good_by_reading_again(
    dies: str, at: str, recorded: LocalIssueTracker, told: Told
) -> None:
    recorded.record([result(PASS, 5, subject="raw/guide")])
    if at != FAIL:
        recorded.record([result(FAIL, 0)])
    told.dies = dies
    results = (
        [result(PASS, 9), result(FAIL, 3, subject="raw/guide")] if at == PASS else [result(FAIL, 0), result(FAIL, 1)]
    )
    with pytest.raises(KeyboardInterrupt):
        recorded.close(1, "mended", "ada") if at == "close" else recorded.record(results, reader="r", position="1")
    told.dies = None
    assert recorded.position("r") is None
    recorded.close(1, "mended", "ada") if at == "close" else recorded.record(results, reader="r", position="1")
    states = {issue.subject: (issue.state, issue.occurrences) for issue in recorded.list()}
    assert (
        states
        == {
            FAIL: {"raw/nslkdd": ("open", 2)},
            PASS: {"raw/nslkdd": ("closed", 1), "raw/guide": ("closed", 1)},
            "close": {"raw/nslkdd": ("closed", 1)},
        }[at]
    )


def test_a_closing_closes_no_occurrence_that_nobody_knew_of(recorded: LocalIssueTracker, told: Told) -> None:
    recorded.record([result(FAIL, 0)])
    told.dies = "before the step"
    kept: list[Step] = []
    record = told.record
    told.record = lambda leaf, step: (kept.append(step), record(leaf, step))[1]  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        recorded.close(1, "mended", "ada")
    told.dies = None
    told.record = record  # type: ignore[method-assign]
    recorded.record([result(FAIL, 1)])
    recorded.carry_out(step_document(kept[0]))
    assert recorded.show(1).state == "open"


def test_a_log_that_takes_nothing_is_told_later_how_the_issue_is_then(recorded: LocalIssueTracker, told: Told) -> None:
    told.takes = False
    recorded.record([result(FAIL, 0)], reader="r", position="1")
    assert (recorded.show(1).state, recorded.position("r")) == ("open", "1")
    assert recorded.unlogged() == {recorded.show(1).fingerprint}
    with pytest.raises(AuditError, match="stays as it is"):
        recorded.close(1, "mended", "ada")
    assert recorded.show(1).state == "open"
    told.takes = True
    recorded.record([])
    assert told.said == [("alert_filed", "late")]
    assert recorded.unlogged() == frozenset()
    told.takes = False
    recorded.record([result(PASS, 1)])
    assert recorded.show(1).state == "closed"
    told.takes = True
    for _ in range(2):
        recorded.record([])
        assert told.said[1:] == [("alert_filed", "late"), ("alert_closed", "passed at 1")]
    assert recorded.unlogged() == frozenset()


def test_numbers_that_are_none_are_written_down(recorded: LocalIssueTracker) -> None:
    recorded.record([make_alert(details={"share": float("nan"), "most": float("inf")})])
    assert recorded.show(1).state == "open"


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
            "DROP TABLE held; DROP TABLE refusals; DROP TABLE deliveries; DROP TABLE targets; DROP TABLE changes;"
            "ALTER TABLE issues DROP COLUMN acknowledged_at; ALTER TABLE issues DROP COLUMN acknowledged_by;"
            "ALTER TABLE issues DROP COLUMN failed; ALTER TABLE issues DROP COLUMN unlogged;"
            "DROP TABLE resolutions; DROP TABLE notes; DROP TABLE positions;"
            "PRAGMA user_version = 1"
        )
    connection.close()
    tracker = LocalIssueTracker(path)
    tracker.record([result(PASS, -1), result(PASS, -1, subject="raw/guide")])
    assert [issue.state for issue in tracker.list()] == ["open", "closed"]
    tracker.record([result(PASS, 1), result(FAIL, 1, subject="raw/guide")])
    assert [issue.state for issue in tracker.list()] == ["closed", "open"]


def test_a_problem_that_comes_and_goes_is_told_until_it_is_clear_that_it_does(tracker, alert):
    first = alert()

    def fails(hours: float) -> None:
        tracker.record([alert(occurrence=f"run {hours}", when=first.when + timedelta(hours=hours), summary=f"{hours}")])

    def passes(hours: float) -> str:
        when = first.when + timedelta(hours=hours)
        tracker.record([Resolution(first.kind, first.subject, first.check, "passed", when, "check sensor")])
        return tracker.show(1).state

    tracker.file(first)
    for hours in (1, 2, 3):
        assert passes(hours - 0.5) == "closed"
        fails(hours)
    assert passes(3.5) == "open", "it was reopened three times in three hours"
    changes = len(tracker.show(1).comments)
    assert "comes and goes" in tracker.show(1).comments[-1].body
    fails(4)
    assert passes(4.5) == passes(9.9) == "open"
    assert len(tracker.show(1).comments) == changes + 1, "only that it occurred again with other numbers"
    assert passes(10.1) == "closed"
    fails(40)
    assert passes(40.5) == "closed", "what happened more than a day ago does not count"
    for hours in (41, 42, 43):
        fails(hours)
        passes(hours + 0.5)
    assert tracker.show(1).state == "open"
    assert tracker.close(1, "seen", "person").state == "closed"
