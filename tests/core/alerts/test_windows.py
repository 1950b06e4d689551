"""What is about a window counts from its end: an old window that is judged again opens, and closes nothing newer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.alerts import Alert, LocalIssueTracker, Resolution
from nethical_assets.core.alerts.checks import HIGH_PRIORITY, WINDOW_END, CheckResult, alert_of, resolution_of
from nethical_assets.core.alerts.kinds import Moment

START = datetime(2026, 3, 1, tzinfo=UTC)
CHECKS = {"drift": "drift", "accuracy": "accuracy_drop", "calibration": "calibration"}
FAIL, PASS, UNDECIDED = "fail", "pass", "undecided"


def judged(window: int, verdict: str, day: int, check: str = "accuracy", **changes: Any) -> CheckResult:
    """Window ``window`` of six hours, judged on ``day``."""
    end = START + timedelta(hours=6 * (window + 1))
    values: dict[str, Any] = {
        "asset": "drift_reports/logistic",
        "check": check,
        "passed": verdict == PASS,
        "warning": verdict == UNDECIDED,
        "undecided": verdict == UNDECIDED,
        "summary": f"window {window} on day {day}: {verdict}",
        "when": START + timedelta(days=day),
        "occurrence": f"run of day {day}",
        "numbers": {WINDOW_END: end.isoformat(), HIGH_PRIORITY: verdict == FAIL},
        "event": 1,
    }
    return CheckResult(**values | changes)


def told(result: CheckResult) -> list[Alert | Resolution]:
    return [one for one in (alert_of(result), resolution_of(result, "check sensor")) if one is not None]


def promoted(at: datetime) -> Resolution:
    return Resolution("accuracy_drop", "drift_reports/logistic", "accuracy", "version 2 was promoted", at, "sensor", 7)


def state(tracker: LocalIssueTracker) -> str | None:
    return next((issue.state for issue in tracker.list()), None)


def read(tracker: LocalIssueTracker, *results: CheckResult | Resolution) -> str | None:
    for result in results:
        tracker.record([result] if isinstance(result, Resolution) else told(result))
    return state(tracker)


@pytest.mark.parametrize(("check", "kind"), CHECKS.items())
def test_what_drift_reports_say_is_filed_as_its_kind(check: str, kind: str) -> None:
    (alert,) = told(judged(0, FAIL, 9, check))
    (resolution,) = told(judged(0, PASS, 10, check))
    assert isinstance(alert, Alert) and isinstance(resolution, Resolution)
    assert (alert.kind, alert.fingerprint) == (kind, resolution.fingerprint)
    assert told(judged(0, UNDECIDED, 9, check)) == []
    assert alert.title.endswith(": logistic - 2026-03-10")
    assert alert.details[WINDOW_END] == "2026-03-01T06:00:00+00:00"
    assert "2026-03-01T06:00:00" in resolution.reason


def test_an_accuracy_drop_is_of_high_priority_whoever_says_so() -> None:
    (alert,) = told(judged(0, FAIL, 9, numbers={}))
    assert isinstance(alert, Alert)
    assert alert.effective_severity == "high"


def test_late_labels_of_an_old_window_open_although_newer_windows_are_undecided(tracker: LocalIssueTracker) -> None:
    undecided = [judged(window, UNDECIDED, 2 + window) for window in range(4)]
    assert read(tracker, *undecided, judged(0, FAIL, 9)) == "open"
    assert read(tracker, *(judged(window, UNDECIDED, 10 + window) for window in range(4))) == "open"
    assert read(tracker, judged(1, PASS, 20)) == "closed", "a newer window says that it is over"


def test_an_old_window_closes_nothing_that_a_newer_one_reported(tracker: LocalIssueTracker) -> None:
    assert read(tracker, judged(3, FAIL, 2), judged(2, PASS, 9), judged(0, PASS, 10)) == "open"
    assert read(tracker, judged(3, PASS, 11)) == "closed", "the same window, judged again with more labels"


def test_an_old_window_does_not_reopen_what_a_newer_one_says_is_over(tracker: LocalIssueTracker) -> None:
    assert read(tracker, judged(1, FAIL, 2), judged(3, PASS, 3)) == "closed"
    assert read(tracker, judged(2, FAIL, 9)) == "closed"
    assert tracker.show(1).occurrences == 2
    assert read(tracker, judged(4, FAIL, 10)) == "open"


def test_a_window_that_is_judged_again_is_one_occurrence(tracker: LocalIssueTracker) -> None:
    assert read(tracker, *(judged(1, FAIL, day) for day in (2, 3, 4))) == "open"
    assert tracker.show(1).occurrences == 1
    tracker.close(1, "known", "ada")
    assert read(tracker, judged(0, FAIL, 9)) == "closed", "a person knew of a newer window"
    assert read(tracker, judged(1, FAIL, 9)) == "open", "with newer evidence about the newest window"


@pytest.mark.parametrize("first", [True, False])
def test_another_model_ends_it_and_old_windows_of_the_model_before_do_not_reopen(
    first: bool, tracker: LocalIssueTracker
) -> None:
    promotion = promoted(START + timedelta(hours=13))  # in window 2
    results = [judged(1, FAIL, 2), promotion]
    assert read(tracker, *(reversed(results) if first else results)) == "closed"
    assert read(tracker, judged(0, FAIL, 9), judged(1, FAIL, 9)) == "closed"
    assert read(tracker, judged(2, FAIL, 9)) == "open", "it ended after the promotion"


def test_a_window_that_has_not_ended_counts_from_when_it_was_judged(tracker: LocalIssueTracker) -> None:
    early = START + timedelta(hours=20)  # window 3 ends at 24
    assert read(tracker, judged(3, FAIL, 0, when=early), promoted(early + timedelta(hours=1))) == "closed"
    assert read(tracker, judged(3, FAIL, 0, when=early + timedelta(hours=2))) == "open"


@pytest.mark.parametrize("said", ["", "yesterday", "2026-03-01T06:00:00", 7.0, None, True])
def test_what_is_no_window_end_is_not_believed(said: Any) -> None:
    (alert,) = told(judged(0, FAIL, 9, numbers={WINDOW_END: said}))
    assert isinstance(alert, Alert)
    assert (alert.window_end, alert.occurrence) == (None, "run of day 9")


Result = tuple[int, str]


def expected(results: list[Result]) -> str | None:
    """Of the newest window that anything is known of, what was found last; the place in the list is the day."""
    decided = [(window, day, verdict) for day, (window, verdict) in enumerate(results) if verdict != UNDECIDED]
    if not any(verdict == FAIL for *_, verdict in decided):
        return None
    return "open" if max(decided)[2] == FAIL else "closed"


def as_results(results: list[Result]) -> list[CheckResult]:
    # A day for each, after all windows: nothing comes and goes within one.
    return [judged(window, verdict, 10 + 2 * day) for day, (window, verdict) in enumerate(results)]


@settings(max_examples=20, deadline=None)
@given(
    results=st.lists(st.tuples(st.integers(0, 3), st.sampled_from((FAIL, PASS, UNDECIDED))), min_size=1, max_size=6),
    data=st.data(),
)
def test_the_order_of_reading_and_reading_twice_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, results: list[Result], data: st.DataObject
) -> None:
    tracker = LocalIssueTracker(tmp_path_factory.mktemp("windows") / "issues.sqlite")
    known = as_results(results)
    order = data.draw(st.permutations(known)) + data.draw(st.lists(st.sampled_from(known), max_size=3))
    at_once = data.draw(st.integers(1, 3))
    for first in range(0, len(order), at_once):
        tracker.record([one for result in order[first : first + at_once] for one in told(result)])
    assert state(tracker) == expected(results)


@given(
    moments=st.lists(
        st.tuples(
            st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
            st.integers(0, 10**12),
            st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
        ),
        max_size=6,
    )
)
def test_a_moment_is_read_back_in_its_place(moments: list[tuple[datetime, int, datetime | None]]) -> None:
    found = [Moment(when, event, end) for when, event, end in moments]
    assert [str(Moment.parse(str(one))) for one in found] == [str(one) for one in found]
    ordered = sorted(found, key=str)
    assert [one.counted_from for one in ordered] == sorted(one.counted_from for one in found)


def test_a_moment_of_an_older_tracker_is_read() -> None:
    """Without a window the text is as it always was."""
    when = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert str(Moment(when, 5)) == "2026-03-01T12:00:00.000000+00:00 00000000000000000005"
    assert Moment.parse(str(Moment(when, 5))) == Moment(when, 5)
    assert Moment.parse("2026-03-01T12:00:00+00:00") == Moment(when), "of the first version"
