"""Requests that take too long: given up, without a word of them in the log.

What belongs here: waiting for work in a thread until a moment. What does not: how long that is (settings), or the work.

A thread cannot be ended from outside. What it goes on with after its request was given up is thrown away: whoever is
first, the request that gives up or the thread that is about to log, takes the one turn there is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


class GivenUpError(Exception):
    """Nobody waits for the result any more."""


class Turn:
    """Taken once: by whoever gives up, or by the work before it does what cannot be taken back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def taken(self) -> bool:
        """Take it; whether it was still there."""
        return self._lock.acquire(blocking=False)

    def is_gone(self) -> bool:
        """Whether somebody took it."""
        return self._lock.locked()

    def take(self) -> None:
        """Take it.

        Raises:
            GivenUpError: the request was given up.
        """
        if not self.taken():
            raise GivenUpError


async def within(
    seconds: float, executor: Executor, turn: Turn, work: Callable[[], T], ended: Callable[[], None] = lambda: None
) -> T:
    """The result of ``work`` in a thread of ``executor``, unless ``seconds`` pass before that takes its ``turn``.

    ``ended`` is called when the thread holds nothing of the work any more, which may be later.

    Raises:
        TimeoutError: they did. Work that was not begun is not.
    """
    future = asyncio.get_running_loop().run_in_executor(executor, _unless_given_up, turn, work)
    future.add_done_callback(lambda one: _forgotten(one, ended))
    done, _ = await asyncio.wait([future], timeout=max(seconds, 0.0))
    if not done and turn.taken():
        raise TimeoutError
    return await future


def _unless_given_up(turn: Turn, work: Callable[[], T]) -> T:
    if turn.is_gone():
        raise GivenUpError
    return work()


def _forgotten(future: asyncio.Future[T], ended: Callable[[], None]) -> None:
    ended()
    if not future.cancelled():
        # What it failed with after it was given up is told to nobody, and is no fault.
        future.exception()
