"""Locks on runs and families: across processes, released by any end, never inherited."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from nethical_assets.core.ground.errors import BusyError
from nethical_assets.home import leases
from tests.processes import Child, in_child, no_room, start_child

FAMILY = "logistic"
Holder = Callable[[Callable[[], None]], Child]


@pytest.fixture(autouse=True)
def nothing_is_held() -> Iterator[None]:
    yield
    for path in list(leases._held):
        leases._held.pop(path).release()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    """Start a process that holds something until it is killed."""
    children: list[Child] = []

    def start(hold: Callable[[], None]) -> Child:
        ready, told = os.pipe()

        def work() -> None:
            hold()
            os.write(told, b"!")
            time.sleep(600)

        children.append(start_child(work))
        os.close(told)
        assert os.read(ready, 1) == b"!"
        os.close(ready)
        return children[-1]

    yield start
    for child in children:
        if os.waitpid(child.pid, os.WNOHANG) == (0, 0):
            child.kill()


def hold(home: Path, run_id: str, family: str = FAMILY, *, waiting_seconds: float = 0.0) -> None:
    leases.hold_family(home, family, run_id, waiting_seconds=waiting_seconds)


def test_a_family_is_held_by_one_process_until_it_is_killed(tmp_path: Path, holder: Holder) -> None:
    child = holder(lambda: hold(tmp_path, "run-1"))
    with pytest.raises(BusyError, match=r"family logistic is in use by run run-1; wait for it to end and run again"):
        hold(tmp_path, "run-2")
    hold(tmp_path, "run-2", "anomaly")
    os.kill(child.pid, 9)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    hold(tmp_path, "run-2")
    assert not in_child(lambda: expect_busy(tmp_path, "run-2"))


def expect_busy(home: Path, holder: str) -> None:
    with pytest.raises(BusyError, match=f"in use by run {holder}"):
        hold(home, "another")


def test_who_waits_is_told_once_whom_for_and_goes_on_when_the_other_is_killed(tmp_path: Path, holder: Holder) -> None:
    child = holder(lambda: hold(tmp_path, "run-1"))
    said: list[str] = []

    def end() -> None:
        while not said:
            time.sleep(0.01)
        os.kill(child.pid, 9)

    ending = threading.Thread(target=end)
    ending.start()
    leases.hold_family(tmp_path, FAMILY, "run-2", waiting_seconds=60, said=said.append)
    ending.join()
    assert said == ["waiting for family logistic: run run-1 is at work on it"]


def test_who_does_not_wait_is_told_nothing(tmp_path: Path, holder: Holder) -> None:
    said: list[str] = []
    leases.hold_family(tmp_path, FAMILY, "run-2", waiting_seconds=60, said=said.append)
    leases.hold_family(tmp_path, FAMILY, "run-2", waiting_seconds=60, said=said.append)
    assert said == []


def test_a_run_that_has_a_family_goes_on_and_another_of_the_same_process_does_not(tmp_path: Path) -> None:
    hold(tmp_path, "run-1")
    hold(tmp_path, "run-1")
    with pytest.raises(BusyError, match="run run-1 of this process"):
        hold(tmp_path, "run-2")


def test_the_end_of_a_run_releases_its_families_and_no_other_s(tmp_path: Path) -> None:
    leases.hold_run(tmp_path, "run-1")
    hold(tmp_path, "run-1")
    hold(tmp_path, "run-2", "anomaly")
    leases.end_run(tmp_path, "run-1")
    assert not in_child(lambda: hold(tmp_path, "run-3"))
    with pytest.raises(BusyError, match="run run-2"):
        hold(tmp_path, "run-3", "anomaly")
    assert not leases.is_alive(tmp_path, "run-1")
    assert not leases.run_lock_path(tmp_path, "run-1").exists()


def test_homes_do_not_share_families(tmp_path: Path) -> None:
    hold(tmp_path / "one", "run-1")
    hold(tmp_path / "two", "run-2")
    leases.end_run(tmp_path / "one", "run-1")
    with pytest.raises(BusyError):
        hold(tmp_path / "two", "run-3")


def test_a_forked_process_holds_nothing_and_its_end_releases_nothing(tmp_path: Path) -> None:
    hold(tmp_path, "run-1")
    leases.hold_run(tmp_path, "run-1")

    def child() -> None:
        assert leases._held == {}
        expect_busy(tmp_path, "run-1")
        assert leases.is_alive(tmp_path, "run-1")
        leases.end_run(tmp_path, "run-1")

    assert not in_child(child)
    assert not in_child(lambda: expect_busy(tmp_path, "run-1"))
    assert not in_child(lambda: _assert_alive(tmp_path, "run-1"))


def _assert_alive(home: Path, run_id: str) -> None:
    assert leases.is_alive(home, run_id)


def test_a_run_is_alive_as_long_as_a_process_of_it(tmp_path: Path, holder: Holder) -> None:
    assert not leases.is_alive(tmp_path, "run-1")
    child = holder(lambda: leases.hold_run(tmp_path, "run-1"))
    assert leases.is_alive(tmp_path, "run-1")
    in_child(lambda: leases.hold_run(tmp_path, "run-1"))
    assert leases.is_alive(tmp_path, "run-1"), "another process of the same run does not end it"
    os.kill(child.pid, 9)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not leases.is_alive(tmp_path, "run-1")


def test_several_families_are_held_in_one_order_and_released_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = leases.hold_family
    monkeypatch.setattr(
        leases, "hold_family", lambda home, family, *a, **k: (asked.append(family), real(home, family, *a, **k))
    )
    with leases.families_held(tmp_path, ("logistic", "anomaly"), "run-1", waiting_seconds=0.0):
        assert not in_child(lambda: expect_busy(tmp_path, "run-1"))
    assert asked == ["anomaly", "logistic"]
    assert not in_child(lambda: hold(tmp_path, "run-2"))


def test_a_family_that_is_taken_leaves_none_of_the_others_held(tmp_path: Path, holder: Holder) -> None:
    holder(lambda: hold(tmp_path, "run-1"))
    with pytest.raises(BusyError), leases.families_held(tmp_path, (FAMILY, "anomaly"), "run-2", waiting_seconds=0.0):
        pytest.fail("held although another run has one of them")
    assert not in_child(lambda: hold(tmp_path, "run-3", "anomaly"))


def work_for(home: Path, run_id: str, locks: leases.LentLocks, told: Connection) -> None:
    locks.keep()
    hold(home, run_id)
    leases.hold_run(home, run_id)
    leases.end_run(home, run_id)
    told.send((leases.is_lent(home, run_id), leases.is_alive(home, run_id), leases.is_lent(home, "another")))
    try:
        hold(home, "another")
    except BusyError as error:
        told.send(str(error))
    told.recv()


def test_lent_locks_are_held_until_the_last_process_of_the_run_has_ended(tmp_path: Path) -> None:
    hold(tmp_path, "run-1")
    hold(tmp_path, "other run", "anomaly")
    leases.hold_run(tmp_path, "run-1")
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    locks = leases.lend(tmp_path, "run-1")
    assert len(locks.descriptors) == 2
    worker = context.Process(target=work_for, args=(tmp_path, "run-1", locks, there))
    worker.start()
    assert here.recv() == (True, True, False)
    assert "in use by run run-1" in here.recv()
    # As the kernel does when the process that took the locks is killed: its files are closed, and nothing is unlocked.
    for path, descriptor in locks.descriptors.items():
        os.close(descriptor)
        leases._held.pop(path)._context.lock_file_fd = None
    assert not in_child(lambda: expect_busy(tmp_path, "run-1"))
    assert leases.is_alive(tmp_path, "run-1")
    worker.kill()
    worker.join()
    assert not leases.is_alive(tmp_path, "run-1")
    hold(tmp_path, "run-2")


def test_a_run_whose_lock_is_being_taken_was_not_killed(tmp_path: Path, holder: Holder) -> None:
    leases.run_lock_path(tmp_path, "begins").parent.mkdir(parents=True)
    for run_id in ("begins", "killed"):
        leases.run_lock_path(tmp_path, run_id).touch()

    def begin() -> None:
        time.sleep(0.2)
        leases.hold_run(tmp_path, "begins")

    child = holder(lambda: threading.Thread(target=begin).start())
    assert leases.were_killed(tmp_path, ["begins", "killed", "never began"]) == ["killed"]
    os.kill(child.pid, 9)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert leases.were_killed(tmp_path, ["begins"]) == ["begins"]


def test_looking_whether_a_run_is_alive_does_not_keep_it_from_being_held(tmp_path: Path) -> None:
    path = leases.run_lock_path(tmp_path, "run-1")
    looking = leases._acquire(path, 0.0)
    threading.Timer(0.1, looking.release).start()
    leases.hold_run(tmp_path, "run-1")
    assert path in leases._held


def test_a_family_whose_holder_cannot_be_written_down_is_free(tmp_path: Path) -> None:
    """Held without a name it would be nobody's: this process could neither use it nor let go of it."""
    hold(tmp_path, "run-1")
    leases.end_run(tmp_path, "run-1")
    with no_room(), pytest.raises(OSError, match="File too large") as told:
        hold(tmp_path, "run-2")
    assert told.value.filename == str(tmp_path / "runs" / "families" / f"{FAMILY}.holder")
    assert not in_child(lambda: hold(tmp_path, "run-3")), "another process takes it"
    hold(tmp_path, "run-4")
    with pytest.raises(BusyError, match="in use by run run-4"):
        hold(tmp_path, "run-5")
