"""Who is at work: locks that processes hold on runs and families, and release by ending.

What belongs here: that a run is alive, and that a family belongs to one run at a time. What does not: what a run does,
    or the queue of the orchestrator (its pools keep a run waiting; these locks are what makes interleaving impossible).

A lock belongs to a process, and the operating system releases it when the process ends, however it ends. A run that
works in several processes lends its locks to them: they are held until the last of these processes has ended.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import reduction
from pathlib import Path
from typing import Any

import filelock

from nethical_assets.core.ground.errors import BusyError
from nethical_assets.core.ground.storage import write_atomically

_POLL_SECONDS = 0.2
_held: dict[Path, filelock.BaseFileLock] = {}
_lent: dict[Path, int] = {}
"""Locks of the process that started this one, by the open files through which this one holds them too."""


@dataclass(frozen=True)
class LentLocks:
    """The locks of a run, to be given to a process that is being started for it."""

    descriptors: Mapping[Path, int]

    def keep(self) -> None:
        """Hold the locks in this process too, until it ends."""
        _lent.update(self.descriptors)

    def __reduce__(self) -> tuple[Callable[..., LentLocks], tuple[dict[Path, Any]]]:
        return _received, ({path: reduction.DupFd(number) for path, number in self.descriptors.items()},)


def _received(duplicates: Mapping[Path, Any]) -> LentLocks:
    return LentLocks({path: duplicate.detach() for path, duplicate in duplicates.items()})


def lend(home: Path, run_id: str) -> LentLocks:
    """The locks that this process holds for a run, on the run itself and on its families."""
    run = [path for path in (run_lock_path(home, run_id),) if path in _held]
    # The library has no public name for the open file; the lock belongs to it and to all its duplicates.
    return LentLocks({path: _held[path]._context.lock_file_fd for path in (*run, *_families_of(home, run_id))})  # type: ignore[misc]


def is_lent(home: Path, run_id: str) -> bool:
    """Whether this process works for a run that another process started, and that ends with that process."""
    return run_lock_path(home, run_id) in _lent


def run_lock_path(home: Path, run_id: str) -> Path:
    """The lock file that a process holds while it records events of a run."""
    return home / "runs" / f"{run_id}.lock"


def hold_run(home: Path, run_id: str) -> None:
    """Hold the run's lock until this process ends; another process of the same run may hold it already."""
    path = run_lock_path(home, run_id)
    if path in _held or path in _lent:
        return
    with contextlib.suppress(filelock.Timeout):
        # Whoever looks whether this run is alive holds the lock for an instant.
        _held[path] = _acquire(path, 2 * _POLL_SECONDS)


def is_alive(home: Path, run_id: str) -> bool:
    """Whether a process that records events of this run still exists: it holds the run's lock until it ends."""
    path = run_lock_path(home, run_id)
    if path in _held or path in _lent:
        return True
    if not path.exists():
        return False
    try:
        lock = _acquire(path, 0.0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def were_killed(home: Path, run_ids: Iterable[str]) -> list[str]:
    """Which of the runs were held by a process that ended without letting go of them.

    A run that has not begun is none of them, and neither is one that is over. They are looked at twice: the lock of a
    run that begins at this instant is not held yet.
    """

    def left(run_id: str) -> bool:
        return run_lock_path(home, run_id).exists() and not is_alive(home, run_id)

    suspects = [run_id for run_id in run_ids if left(run_id)]
    if suspects:
        time.sleep(3 * _POLL_SECONDS)
    return [run_id for run_id in suspects if left(run_id)]


def end_run(home: Path, run_id: str) -> None:
    """Let go of everything that this process holds for a run that is over."""
    release_families(home, run_id)
    path = run_lock_path(home, run_id)
    lock = _held.pop(path, None)
    if lock is not None:
        path.unlink(missing_ok=True)
        lock.release()


def hold_family(
    home: Path, family: str, run_id: str, *, waiting_seconds: float, said: Callable[[str], None] | None = None
) -> None:
    """Keep ``family`` for a run until the run ends, or this process does. A run that holds it already goes on.

    Args:
        said: told once, in one line, when another run has the family and this one waits.

    Raises:
        BusyError: another run still has it after ``waiting_seconds``.
        OSError: the disk is full or not writable; the family is not held.
    """
    path = _family_path(home, family)
    if path in _held or path in _lent:
        if _holder(path) == run_id:
            return
        raise BusyError(f"family {family} is in use by run {_holder(path)} of this process; let it end first")
    try:
        lock = _acquire(path, 0.0)
    except filelock.Timeout:
        if said is not None and waiting_seconds > 0:
            said(f"waiting for family {family}: run {_holder(path)} is at work on it")
        try:
            lock = _acquire(path, waiting_seconds)
        except filelock.Timeout:
            raise BusyError(
                f"family {family} is in use by run {_holder(path)}; wait for it to end and run again"
            ) from None
    try:
        write_atomically(path.with_suffix(".holder"), run_id.encode(), durable=False)
    except BaseException:
        # Nobody could tell whose it is, not even this process.
        lock.release()
        raise
    _held[path] = lock


def release_families(home: Path, run_id: str) -> None:
    """Let go of the families that this process holds for a run."""
    for path in _families_of(home, run_id):
        _held.pop(path).release()


@contextlib.contextmanager
def families_held(home: Path, families: tuple[str, ...], run_id: str, *, waiting_seconds: float) -> Iterator[None]:
    """Hold several families, always in the same order so that two runs never wait for each other."""
    try:
        for family in sorted(families):
            hold_family(home, family, run_id, waiting_seconds=waiting_seconds)
        yield
    finally:
        release_families(home, run_id)


def _families(home: Path) -> Path:
    return home / "runs" / "families"


def _families_of(home: Path, run_id: str) -> list[Path]:
    return [path for path in _held if path.parent == _families(home) and _holder(path) == run_id]


def _family_path(home: Path, family: str) -> Path:
    return _families(home) / f"{family}.lock"


def _holder(path: Path) -> str:
    try:
        return path.with_suffix(".holder").read_text()
    except OSError:
        return "of another process"


def _acquire(path: Path, seconds: float) -> filelock.BaseFileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path, thread_local=False)
    lock.acquire(timeout=seconds, poll_interval=_POLL_SECONDS)
    return lock


os.register_at_fork(after_in_child=_held.clear)
os.register_at_fork(after_in_child=_lent.clear)
