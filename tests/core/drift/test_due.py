"""Which windows are due: the one that ended, what was missed, and what labels came for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import pytest

from nethical_assets.core.drift.due import DueRun, due_runs, trailing_windows
from nethical_assets.core.drift.windows import Window

ENDED = Window.at(datetime(2026, 11, 22, 6, tzinfo=UTC), 6)
FIRST = Window.at(datetime(2026, 11, 20, 13, tzinfo=UTC), 6)
BEFORE = list(trailing_windows(ENDED, FIRST, 24))
FAMILIES = ("anomaly", "logistic")
ALL = dict.fromkeys(FAMILIES, BEFORE)


def due(
    judged: Mapping[str, Collection[Window]] = ALL,
    labelled: Mapping[str, Mapping[Window, str]] | None = None,
    failed: Mapping[Window, int] | None = None,
    waiting: Collection[Window] = (),
) -> list[DueRun]:
    found = due_runs(
        ENDED, BEFORE, FAMILIES, judged=judged, labelled=labelled or {}, failed=failed or {}, waiting=waiting
    )
    assert found[0] == DueRun(ENDED, FAMILIES, "the window from 2026-11-22T06:00 UTC ended", "watch:2026-11-22T06:00")
    return found[1:]


def test_the_trailing_windows_are_those_of_the_hours_that_end_with_the_window_and_of_the_home() -> None:
    assert [window.key for window in BEFORE] == ["2026-11-22T00:00", "2026-11-21T18:00", "2026-11-21T12:00"]
    # None before the home began, none at all on its first tick, none where the period is one window.
    assert list(trailing_windows(ENDED, FIRST, 168))[-1] == FIRST
    assert list(trailing_windows(ENDED, ENDED, 168)) == list(trailing_windows(ENDED, FIRST, 6)) == []


def test_nothing_more_is_due_when_everything_was_judged() -> None:
    assert due() == []


def test_what_was_missed_is_asked_for_by_the_families_that_missed_it() -> None:
    judged = {"anomaly": BEFORE, "logistic": BEFORE[1:]}
    (found,) = due(judged)
    assert (found.window, found.families, found.key) == (BEFORE[0], ("logistic",), "watch:2026-11-22T00:00:1")
    assert [one.window for one in due({})] == BEFORE


@pytest.mark.parametrize(
    ("failed", "keys"), [(1, ["watch:2026-11-22T00:00:2"]), (2, ["watch:2026-11-22T00:00:3"]), (3, [])]
)
def test_a_window_whose_runs_fail_is_asked_for_three_times(failed: int, keys: list[str]) -> None:
    assert [one.key for one in due(dict.fromkeys(FAMILIES, BEFORE[1:]), failed={BEFORE[0]: failed})] == keys


def test_a_window_that_one_family_misses_is_judged_for_labels_of_the_others() -> None:
    judged, labelled = {"anomaly": BEFORE, "logistic": BEFORE[1:]}, {"anomaly": {BEFORE[0]: "sha256:01"}}
    both = due(judged, labelled)
    assert [(one.window, one.families) for one in both] == [(BEFORE[0], ("logistic",)), (BEFORE[0], ("anomaly",))]
    (one,) = due(judged, labelled, failed={BEFORE[0]: 3})
    assert one.families == ("anomaly",)


def test_a_window_that_a_run_still_is_to_judge_is_not_asked_for() -> None:
    assert [one.window for one in due({}, waiting=BEFORE[:2])] == BEFORE[2:]


def test_labels_ask_for_their_windows_again_once_for_the_same_labels() -> None:
    labels = {"logistic": {BEFORE[1]: "sha256:a"}}
    (found,) = due(labelled=labels)
    assert (found.window, found.families) == (BEFORE[1], ("logistic",))
    assert due(labelled=labels) == [found]
    (other,) = due(labelled={"logistic": {BEFORE[1]: "sha256:b"}})
    assert other.key != found.key
    (both,) = due(labelled={**labels, "anomaly": {BEFORE[1]: "sha256:a"}})
    assert both.families == FAMILIES and both.key not in (found.key, other.key)
