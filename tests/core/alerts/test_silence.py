"""The monitors are watched: reports that stay away, and reports that say for long that nothing is scored."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.alerts import Alert, LocalIssueTracker, Resolution
from nethical_assets.core.alerts.silence import JudgedWindow, Memory, Patience, WatchedFamily, judge, remember

START = datetime(2026, 3, 1, tzinfo=UTC)
LIMITS = Patience(timedelta(hours=6), timedelta(hours=24))
LONG_AGO = START - timedelta(days=30)
REPORTS, TRAFFIC = "reports", "traffic"


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def window(number: int, rows: int = 500, *, judged: float | None = None, verdict: str = "") -> JudgedWindow:
    """The window that begins at ``6 * number`` hours, judged a minute after its end unless said otherwise."""
    end = 6.0 * (number + 1)
    judged_at = at(end) + timedelta(minutes=1) if judged is None else at(judged)
    return JudgedWindow(at(end - 6), at(end), judged_at, verdict or ("stable" if rows else "hold"), rows)


def watched(*windows: JudgedWindow, since: float = 0) -> WatchedFamily:
    known: tuple[JudgedWindow, ...] = ()
    for one in windows:
        known = remember(known, one)
    return WatchedFamily("logistic", "drift_reports/logistic", at(since), known)


def decided(
    one: WatchedFamily, now: float, *, watching_since: datetime = LONG_AGO, has_served: bool = True
) -> dict[str, Alert | Resolution]:
    results = judge([one], now=at(now), watching_since=watching_since, has_served=has_served, limits=LIMITS)
    return {result.check: result for result in results}


def wrong(one: WatchedFamily, now: float, **told: object) -> set[str]:
    return {check for check, result in decided(one, now, **told).items() if isinstance(result, Alert)}  # type: ignore[arg-type]


@pytest.mark.parametrize(("now", "missed"), [(17.9, False), (18, True), (40, True)])
def test_a_report_is_missed_after_two_intervals(now: float, missed: bool) -> None:
    assert (REPORTS in wrong(watched(window(0)), now)) is missed


def test_a_family_without_any_report_is_missed_from_its_first_champion_on() -> None:
    assert wrong(watched(since=5), 16.9) == set()
    assert wrong(watched(since=5), 17) == {REPORTS}
    # Windows that ended before there was a champion are no reason.
    assert wrong(watched(window(0), since=10), 21.9) == set()


def test_an_old_window_that_is_judged_again_is_no_fresh_report() -> None:
    again = watched(window(1), window(0, judged=23))
    assert wrong(again, 24) == {REPORTS}


def test_a_window_that_is_judged_before_its_end_counts_until_then() -> None:
    early = watched(window(0, judged=1))
    assert wrong(early, 12.9) == set()
    assert wrong(early, 13) == {REPORTS}


def test_who_was_away_gives_the_schedule_time_to_catch_up() -> None:
    back = at(100)
    assert wrong(watched(window(0)), 100, watching_since=back) == set()
    assert wrong(watched(window(0)), 100.9, watching_since=back) == set()
    late = decided(watched(window(0)), 101, watching_since=back)[REPORTS]
    assert isinstance(late, Alert)
    assert late.when == at(18), "its moment does not depend on who was away"


def test_no_traffic_is_told_after_the_time_that_was_set() -> None:
    quiet = [window(number, 0) for number in range(1, 5)]  # 6 to 30 hours
    assert wrong(watched(window(0), *quiet[:-1]), 24.1) == set()
    alert = decided(watched(window(0), *quiet), 30.1)[TRAFFIC]
    assert isinstance(alert, Alert)
    assert alert.when == at(30)
    assert "2026-03-01 06:00 UTC" in alert.summary
    assert alert.title.startswith("Monitor Silent: logistic")


def test_a_family_that_never_had_traffic_is_told_of_too_but_no_home_that_never_served() -> None:
    never = watched(*(window(number, 0) for number in range(8)), since=5)
    assert wrong(never, 48.1) == {TRAFFIC}
    assert decided(never, 48.1, has_served=False) == {}
    assert decided(watched(since=5), 480, has_served=False) == {}


def test_too_few_rows_are_traffic() -> None:
    few = [window(number, 3, verdict="needs_more_data") for number in range(8)]
    assert wrong(watched(*few), 48.1) == set()


def test_another_champion_does_not_begin_the_silence_anew() -> None:
    quiet = watched(window(0), *(window(number, 0) for number in range(1, 6)), since=-500)
    assert wrong(quiet, 36.1) == {TRAFFIC}


def test_of_a_long_silence_the_beginning_is_kept() -> None:
    windows = [window(0), *(window(number, 0) for number in range(1, 500))]
    long = watched(*windows)
    assert len(long.windows) == 60
    alert = decided(long, 3000.1)[TRAFFIC]
    assert isinstance(alert, Alert)
    assert alert.when == at(30)
    assert watched(*windows, window(500)).windows == (window(500),)


def tracker_states(tracker: LocalIssueTracker) -> dict[str, str]:
    return {issue.check: issue.state for issue in tracker.list()}


def test_each_cause_is_one_occurrence_and_a_report_with_traffic_ends_it(tracker: LocalIssueTracker) -> None:
    def look(one: WatchedFamily, now: float) -> dict[str, str]:
        tracker.record(
            judge([one], now=at(now), watching_since=LONG_AGO, has_served=True, limits=LIMITS), reader="r", position="1"
        )
        return tracker_states(tracker)

    quiet = [window(0), *(window(number, 0) for number in range(1, 5))]
    for minute in range(5):
        assert look(watched(*quiet), 30.1 + minute / 60) == {TRAFFIC: "open"}
    assert look(watched(*quiet, window(5, 0)), 36.1) == {TRAFFIC: "open"}
    assert look(watched(*quiet), 48) == {TRAFFIC: "open", REPORTS: "open"}
    assert [issue.occurrences for issue in tracker.list()] == [1, 1]
    # A person closes one: seen again it stays closed.
    tracker.close(2, "known", "ada")
    assert look(watched(*quiet), 49) == {TRAFFIC: "open", REPORTS: "closed"}
    # A window that is judged late ends the first; traffic in it ends the second.
    assert look(watched(*quiet, window(7, judged=49.5)), 50) == {TRAFFIC: "closed", REPORTS: "closed"}
    assert "stable, 500 rows" in tracker.show(1).close_reason
    # And it begins anew.
    again = [window(7, judged=49.5), *(window(number, 0) for number in range(8, 13))]
    assert look(watched(*again), 78.1) == {TRAFFIC: "open", REPORTS: "closed"}
    assert look(watched(*again), 110)[REPORTS] == "open"


def test_windows_that_are_judged_again_with_rows_that_came_late_end_it(tracker: LocalIssueTracker) -> None:
    quiet = [window(0), *(window(number, 0) for number in range(1, 5))]
    late = [*quiet[:3], window(2, 40, judged=30.2), *quiet[3:]]
    for windows, state in ((quiet, "open"), (late, "closed")):
        tracker.record(
            judge([watched(*windows)], now=at(30.5), watching_since=LONG_AGO, has_served=True, limits=LIMITS)
        )
        assert tracker_states(tracker)[TRAFFIC] == state
    assert "traffic until" in tracker.show(1).close_reason


Day = tuple[bool, bool]
"""Whether a window is judged, and whether it had traffic."""


@settings(max_examples=12, deadline=None)
@given(days=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=14), lazy=st.booleans())
def test_after_every_look_what_is_wrong_is_open_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, days: list[Day], lazy: bool
) -> None:
    """Windows of a day: nothing comes and goes within one."""
    tracker = LocalIssueTracker(tmp_path_factory.mktemp("silence") / "issues.sqlite")
    limits = Patience(timedelta(days=1), timedelta(days=2))
    memory = Memory()
    for number, (judged, traffic) in enumerate(days):
        end = START + timedelta(days=number + 1)
        if judged:
            rows = 500 if traffic else 0
            report = JudgedWindow(end - timedelta(days=1), end, end, "stable" if rows else "hold", rows)
            memory = Memory.parse(str(memory.told("logistic", number, report)))
        if lazy and number + 1 < len(days):
            continue
        one = WatchedFamily("logistic", "drift_reports/logistic", START, memory.windows.get("logistic", ()))
        for _ in range(2):
            now = end + timedelta(minutes=1)
            results = judge([one], now=now, watching_since=LONG_AGO, has_served=True, limits=limits)
            tracker.record(results)
        is_open = {check for check, state in tracker_states(tracker).items() if state == "open"}
        told = days[: number + 1]
        newest = max((n for n, (judged_then, _) in enumerate(told) if judged_then), default=-1)
        assert (REPORTS in is_open) is (number - newest >= 2)
        busy = max((n for n, day in enumerate(told) if day == (True, True)), default=-1)
        first = next((n for n in range(busy + 1, newest + 1) if told[n][0]), None)
        assert (TRAFFIC in is_open) is (first is not None and newest + 1 - first >= 2)


def test_the_memory_is_read_back_and_what_is_none_is_forgotten() -> None:
    memory = Memory().looking(at(0)).told("logistic", 7, window(0)).told("anomaly", 9, window(1, 0))
    assert Memory.parse(str(memory)) == memory
    for broken in (None, "", "[]", "{", '{"looked_at": 3}', '{"windows": {"a": 1}}'):
        assert Memory.parse(broken) == Memory()


def test_looks_that_are_far_apart_begin_anew() -> None:
    memory = Memory().looking(at(0)).looking(at(0.1)).looking(at(0.2))
    assert memory.watching_since == at(0)
    assert memory.looking(at(0.5)).watching_since == at(0.5)
    assert memory.looking(at(-1)).watching_since == at(-1)


def test_of_two_reports_of_a_window_the_newer_counts_whatever_order_they_are_read_in() -> None:
    early, late = window(0, 0, judged=5), window(0, 7, judged=8)
    assert remember(remember((), late), early) == remember(remember((), early), late) == (late,)
    assert remember((), replace(late, judged_at=at(9)))[0].judged_at == at(9)
