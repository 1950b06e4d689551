"""Which other gateways of a home are believed: those that live, whatever their clocks say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nethical_assets.core.alerts.deployment import ServedState
from nethical_assets.serving.neighbours import GONE_SECONDS, HEARTBEAT_SECONDS, Neighbours

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATES = [{"models/logistic": ServedState(NOON, "sha256:aa", "1.0.0")}]


class Time:
    """A machine's: seconds since noon, and by how much its clock is wrong."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def gateway(self, folder: Path, wrong: float = 0.0) -> Neighbours:
        clock = lambda: NOON + timedelta(seconds=self.seconds + wrong)  # noqa: E731
        return Neighbours(folder, clock=clock, ticks=lambda: self.seconds)


def test_what_a_gateway_says_holds_until_it_ends_or_says_nothing_for_long(tmp_path: Path) -> None:
    time = Time()
    first, second = time.gateway(tmp_path), time.gateway(tmp_path)
    assert first.others() == []
    first.tell(STATES)
    second.tell([{}])
    assert (first.others(), second.others()) == ([{}], STATES)
    second.end()
    assert first.others() == []
    second.tell([{}, *STATES])
    assert first.others() == [{}, *STATES]
    for _ in range(20):
        time.seconds += HEARTBEAT_SECONDS
        first.tell(STATES)
        assert second.others() == STATES
        time.seconds += GONE_SECONDS - HEARTBEAT_SECONDS - 1
    time.seconds += HEARTBEAT_SECONDS + 2
    assert second.others() == []
    # It was suspended, and goes on.
    first.tell(STATES)
    assert second.others() == STATES


def test_nothing_is_written_but_what_is_new_and_heartbeats(tmp_path: Path) -> None:
    time = Time()
    gateway = time.gateway(tmp_path)
    gateway.tell(STATES)
    (path,) = tmp_path.iterdir()
    path.write_text("kept")
    time.seconds = HEARTBEAT_SECONDS - 1
    gateway.tell(STATES)
    assert path.read_text() == "kept"
    gateway.tell([{}])
    assert path.read_text() != "kept"


@pytest.mark.parametrize("wrong", [-86_400, 86_400])
def test_clocks_of_two_machines_may_differ(tmp_path: Path, wrong: float) -> None:
    time = Time()
    here, there = time.gateway(tmp_path), time.gateway(tmp_path, wrong)
    there.tell(STATES)
    here.others()
    for _ in range(3):
        time.seconds += HEARTBEAT_SECONDS
        there.tell(STATES)
        assert here.others() == STATES
    time.seconds += GONE_SECONDS + 1
    assert here.others() == []
    assert list(tmp_path.iterdir()) == [], "what nobody writes any more is removed"


@pytest.mark.parametrize("wrong", [-90, 90, 86_400])
def test_nobody_says_that_all_is_well_for_a_gateway_with_another_clock_before_it_is_known(
    tmp_path: Path, wrong: float
) -> None:
    time = Time()
    there = time.gateway(tmp_path, wrong)
    there.tell(STATES)
    here = time.gateway(tmp_path)
    for _ in range(9):
        there.tell(STATES)
        assert here.others() == [{}]
        time.seconds += 1
    time.seconds += 1
    there.tell(STATES)
    assert here.others() == STATES
    # One that is started when it is gone waits as long as for any other.
    late = time.gateway(tmp_path)
    assert late.others() == [{}]
    time.seconds += GONE_SECONDS
    assert late.others() != []
    time.seconds += 1
    assert late.others() == []


def test_a_gateway_that_cannot_be_read_proves_nothing(tmp_path: Path) -> None:
    time = Time()
    gateway = time.gateway(tmp_path)
    (tmp_path / "another.json").write_text('{"of": "another version"}')
    assert gateway.others() == [{}]
    time.seconds += GONE_SECONDS + 1
    assert gateway.others() == []
