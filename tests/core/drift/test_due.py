"""Which windows are due: the one that ended, what was missed, and what labels came for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest

from nethical_assets.core.drift.due import (
    ATTEMPTS,
    MISSED,
    RUNS_AT_ONCE,
    Asked,
    DueRun,
    Failures,
    due_runs,
    is_given_up,
    trailing_windows,
)
from nethical_assets.core.drift.windows import Window

ENDED = Window.at(datetime(2026, 11, 22, 6, tzinfo=UTC), 6)
FIRST = Window.at(datetime(2026, 11, 20, 13, tzinfo=UTC), 6)
HOURS = 48
BEFORE = list(trailing_windows(ENDED, FIRST, 24))
FAMILIES = ("anomaly", "logistic")
REPORTED = {window: window.end for window in BEFORE}
ALL = dict.fromkeys(FAMILIES, REPORTED)
BUT_FIRST = {window: end for window, end in REPORTED.items() if window != BEFORE[0]}


def due(
    judged: Mapping[str, Mapping[Window, datetime]] = ALL,
    labelled: Mapping[str, Mapping[Window, str]] | None = None,
    failures: Mapping[Asked, Failures] | None = None,
    waiting: Collection[tuple[str, Window]] = (),
) -> list[DueRun]:
    found = due_runs(
        ENDED,
        BEFORE,
        FAMILIES,
        hours=HOURS,
        judged=judged,
        labelled=labelled or {},
        failures=failures or {},
        waiting=waiting,
    )
    every = dict.fromkeys(FAMILIES, MISSED)
    assert found[0] == DueRun(ENDED, every, "the window from 2026-11-22T06:00 UTC ended", "watch:2026-11-22T06:00")
    return found[1:]


def failed(runs: int, ticks_ago: int = 9) -> Failures:
    """Runs of which the last was asked for so many ticks before this one."""
    begun = ENDED.end - ticks_ago * timedelta(hours=6) + timedelta(minutes=1)
    return Failures(runs, begun, begun + timedelta(minutes=2))


def test_the_trailing_windows_are_those_of_the_hours_that_end_with_the_window_and_of_the_home() -> None:
    assert [window.key for window in BEFORE] == ["2026-11-22T00:00", "2026-11-21T18:00", "2026-11-21T12:00"]
    # None before the home began, none at all on its first tick, none where the period is one window.
    assert list(trailing_windows(ENDED, FIRST, 168))[-1] == FIRST
    assert list(trailing_windows(ENDED, ENDED, 168)) == list(trailing_windows(ENDED, FIRST, 6)) == []


def test_nothing_more_is_due_when_everything_was_judged() -> None:
    assert due() == []


def test_what_was_missed_is_asked_for_by_the_families_that_missed_it() -> None:
    (found,) = due({"anomaly": REPORTED, "logistic": BUT_FIRST})
    assert (found.window, found.families, found.reason) == (
        BEFORE[0],
        ("logistic",),
        "the window from 2026-11-22T00:00 UTC was missed",
    )
    assert [one.window for one in due({})] == BEFORE


@pytest.mark.parametrize(
    ("runs", "ticks_ago", "asked"),
    [(1, 1, True), (2, 1, False), (2, 2, True), (2, 9, True), (3, 9, False), (3, 1, False), (5, 9, False)],
)
def test_a_window_whose_runs_fail_is_asked_for_three_times_with_a_pause_that_grows(
    runs: int, ticks_ago: int, asked: bool
) -> None:
    judged = dict.fromkeys(FAMILIES, BUT_FIRST)
    failures = {Asked(family, BEFORE[0], MISSED): failed(runs, ticks_ago) for family in FAMILIES}
    found = due(judged, failures=failures)
    assert bool(found) is asked
    assert not {one.key for one in found} & {one.key for one in due(judged)}


@pytest.mark.parametrize("evidence", [MISSED, "sha256:0123456789abcdef"])
def test_failures_count_by_family_and_by_what_was_asked_for(evidence: str) -> None:
    labels = {} if evidence == MISSED else {family: {BEFORE[0]: evidence} for family in FAMILIES}
    judged = dict.fromkeys(FAMILIES, BUT_FIRST if evidence == MISSED else REPORTED)
    short = evidence.rpartition(":")[2]
    (one,) = due(judged, labels, {Asked("anomaly", BEFORE[0], short): failed(ATTEMPTS)})
    assert one.families == ("logistic",)
    both = {Asked(family, BEFORE[0], short): failed(ATTEMPTS) for family in FAMILIES}
    assert due(judged, labels, both) == []
    # Labels that come later are another reason, also for what never had a report; so is another window.
    newer = {"anomaly": {BEFORE[0]: "sha256:fedcba9876543210"}}
    (again,) = due(judged, {**labels, **newer}, both)
    assert again.evidence == {"anomaly": "fedcba9876543210"}
    elsewhere = {Asked(family, BEFORE[1], short): failed(ATTEMPTS) for family in FAMILIES}
    assert [found.families for found in due(judged, labels, elsewhere)] == [FAMILIES]


def test_a_window_that_one_family_misses_and_another_has_labels_for_is_one_run_that_says_both() -> None:
    judged, labelled = {"anomaly": REPORTED, "logistic": BUT_FIRST}, {"anomaly": {BEFORE[0]: "sha256:01"}}
    (both,) = due(judged, labelled)
    assert both.evidence == {"anomaly": "01", "logistic": MISSED}
    assert "was missed; labels came for" in both.reason
    (one,) = due(judged, labelled, {Asked("logistic", BEFORE[0], MISSED): failed(3)})
    assert one.families == ("anomaly",)


def test_what_a_run_still_is_to_judge_is_not_asked_for_by_its_families() -> None:
    waiting = [(family, window) for family in FAMILIES for window in BEFORE[:2]]
    assert [one.window for one in due({}, waiting=waiting)] == BEFORE[2:]
    (found,) = due(dict.fromkeys(FAMILIES, BUT_FIRST), waiting=[("anomaly", BEFORE[0])])
    assert found.families == ("logistic",)


def test_labels_ask_for_their_windows_again_once_for_the_same_labels() -> None:
    labels = {"logistic": {BEFORE[1]: "sha256:a"}}
    (found,) = due(labelled=labels)
    assert (found.window, found.families) == (BEFORE[1], ("logistic",))
    assert due(labelled=labels) == [found]
    (other,) = due(labelled={"logistic": {BEFORE[1]: "sha256:b"}})
    assert other.key != found.key
    (both,) = due(labelled={**labels, "anomaly": {BEFORE[1]: "sha256:a"}})
    assert both.families == FAMILIES and both.key not in (found.key, other.key)


@pytest.mark.parametrize(
    ("failures", "judged", "given_up"),
    [
        (failed(2), None, False),
        (failed(3), None, True),
        (failed(3), failed(3).begun - timedelta(hours=1), True),
        # By hand, or by the very run that failed for another family.
        (failed(3), failed(3).begun, False),
    ],
)
def test_a_window_is_given_up_until_it_is_judged(failures: Failures, judged: datetime | None, given_up: bool) -> None:
    assert is_given_up(failures, judged) is given_up


def week(ticks: int, late: bool, down: int = 0) -> Iterator[tuple[int, Window, list[Window], dict[Window, datetime]]]:
    """Ticks of one family whose runs succeed, with labels for every window at every tick where ``late``; the daemon was
    down for the first so many windows. Each tick: its number, the window that ended, the windows asked for again, and
    when each window was judged."""
    first = Window.at(datetime(2026, 11, 1, tzinfo=UTC), 6)
    judged: dict[Window, datetime] = {}
    ended = first
    for tick in range(ticks):
        if tick >= down:
            before = list(trailing_windows(ended, first, 168))
            labelled = {window: f"sha256:{tick}" for window in before if late and window in judged}
            found = due_runs(
                ended,
                before,
                ["logistic"],
                hours=168,
                judged={"logistic": {window: when for window, when in judged.items() if window in before}},
                labelled={"logistic": labelled},
                failures={},
                waiting=(),
            )
            asked = [one.window for one in found[1:]]
            judged |= dict.fromkeys([ended, *asked], ended.end)
            yield tick, ended, asked, judged
        ended = Window.at(ended.end, 6)


def test_a_family_whose_runs_fail_is_not_the_first_in_every_tick() -> None:
    """It has no report, and new labels at each tick: as many windows as a tick may ask for."""
    before = list(trailing_windows(ENDED, Window.at(datetime(2026, 11, 1, tzinfo=UTC), 6), 168))
    failing, healthy = before[: RUNS_AT_ONCE + 4], before[RUNS_AT_ONCE + 4 : -1]
    failures = {Asked("anomaly", window, "earlier labels"): failed(1, ticks_ago=1) for window in failing}
    found = due_runs(
        ENDED,
        before,
        FAMILIES,
        hours=168,
        judged={"logistic": dict.fromkeys(before, before[-1].end), "anomaly": dict.fromkeys(before, ENDED.end)},
        labelled={"anomaly": dict.fromkeys(failing, "sha256:new"), "logistic": dict.fromkeys(healthy, "sha256:new")},
        failures=failures,
        waiting=(),
    )
    assert {family for one in found[1:] for family in one.families} == {"logistic"}
    without_reports = {"logistic": dict.fromkeys(before, before[-1].end), "anomaly": {}}
    found = due_runs(
        ENDED,
        before,
        FAMILIES,
        hours=168,
        judged=without_reports,
        labelled={"anomaly": dict.fromkeys(before, "sha256:new"), "logistic": dict.fromkeys(healthy, "sha256:new")},
        failures={Asked("anomaly", window, "earlier labels"): failed(1, ticks_ago=1) for window in before},
        waiting=(),
    )
    assert any("logistic" in one.families for one in found[1:])


def test_steady_late_labels_ask_for_few_runs_a_tick_and_leave_no_window_alone_for_long() -> None:
    length = timedelta(hours=6)
    for tick, ended, asked, judged in week(80, late=True):
        assert len(asked) <= RUNS_AT_ONCE == 8
        if tick > 40:
            within = [window for window in judged if window.start >= ended.end - timedelta(hours=168)]
            assert len(within) == 28
            assert min(judged[window] for window in within) >= ended.end - 4 * length
            # The last labels of a window that counts no more at the next tick are judged with.
            last = min(within)
            assert judged[last] == ended.end


@pytest.mark.parametrize("down", [9, 27, 28, 60])
def test_after_the_daemon_was_down_every_window_that_still_counts_is_judged(down: int) -> None:
    missed: set[Window] = set()
    for tick, ended, asked, judged in week(down + 5, late=False, down=down):
        if tick == down:
            missed = set(trailing_windows(ended, Window.at(datetime(2026, 11, 1, tzinfo=UTC), 6), 168))
        assert len(asked) <= RUNS_AT_ONCE
        assert missed <= set(judged) or tick < down + 4
    assert len(missed) == min(down, 27)
