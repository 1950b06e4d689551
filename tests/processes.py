"""Processes of a test that are killed where it hurts, or that can store nothing more.

What belongs here: forking, a kill at the n-th call of a function of ``os``, and files that do not grow. What does not:
what they do.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

DURABLE = ("fsync", "replace", "unlink")
"""The calls of ``os`` by which anything becomes durable or goes away."""


def in_child(work: Callable[[], Any], moment: str = "", survived: int = 0) -> bool:
    """Do ``work`` in a forked process; with ``moment`` it is killed (SIGKILL) at that call of ``os``, after it survived
    ``survived`` of them. Whether it was killed."""

    def armed() -> None:
        if moment:
            _arm(moment, survived)
        work()

    code = start_child(armed)()
    assert code in (0, -signal.SIGKILL), "the child failed; its traceback is on stderr"
    return code != 0


@dataclass(frozen=True)
class Child:
    """A forked process."""

    pid: int

    def __call__(self) -> int:
        """Wait for its end: its exit code, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        """SIGKILL, and wait."""
        os.kill(self.pid, signal.SIGKILL)
        assert self() == -signal.SIGKILL


def start_child(work: Callable[[], Any]) -> Child:
    """Do ``work`` in a forked process and go on."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return Child(child)


@contextmanager
def no_room(size: int = 0) -> Iterator[None]:
    """No file of this process grows beyond ``size`` bytes: a real error of the system where data is written, not where
    a file is named. Python ignores the signal that comes with it."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


def _arm(moment: str, survived: int) -> None:
    real, left = getattr(os, moment), [survived]

    def deadly(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, moment, deadly)
