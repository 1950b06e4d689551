"""Clients of an HTTP server on this machine, as cheap as they can be made in Python.

What belongs here: requests that are made beforehand, on connections that are kept and spread evenly over the processes
of the server, and the processor time of a tree of processes. What does not: what is asked, or judging figures.

A closed loop asks again when it is answered. An open loop asks at moments that are set beforehand and counts from them,
also where every connection is still waiting: a server that stalls is not asked less (Gil Tene, "How NOT to Measure
Latency").
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TICKS = os.sysconf("SC_CLK_TCK")
_MOST_CONNECTIONS = 400
_ANSWERS_PATIENCE_SECONDS = 30.0


def request_of(path: str, body: bytes, content_type: str = "application/json", accept: str = "*/*") -> bytes:
    """A whole POST request."""
    head = f"POST {path} HTTP/1.1\r\nhost: gateway\r\naccept: {accept}\r\ncontent-type: {content_type}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Answers:
    """What a load came to: seconds of each answer (of an open loop from its due moment), and answers by status."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    elapsed: float = 0.0

    def milliseconds(self, share: float) -> float:
        """The quantile ``share`` of the times."""
        ordered = sorted(self.seconds)
        return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000, 2)

    def report(self) -> dict[str, Any]:
        """Answers, rate and times."""
        return {
            "answers": len(self.seconds),
            "failed": sum(count for status, count in self.statuses.items() if status != 200),
            "a_second": round(len(self.seconds) / self.elapsed),
            "p50_milliseconds": self.milliseconds(0.5),
            "p99_milliseconds": self.milliseconds(0.99),
            "largest_milliseconds": self.milliseconds(1.0),
        }


class Connection(asyncio.Protocol):
    """One kept connection with one request at a time; ``answered`` is told status and body, status 0 where it broke."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.answered: Callable[[Connection, int, bytes], None] = lambda connection, status, body: None
        self.busy = False
        self._data = b""
        self._size = -1

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> None:
        """Send one request."""
        self.busy = True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        if self._size < 0:
            head = self._data.find(b"\r\n\r\n")
            if head < 0:
                return
            place = self._data.find(b"content-length: ", 0, head)
            self._size = head + 4 + int(self._data[place + 16 : self._data.find(b"\r", place)])
        if len(self._data) >= self._size:
            whole, self._data, self._size = self._data, b"", -1
            self.busy = False
            self.answered(self, int(whole[9:12]), whole[whole.find(b"\r\n\r\n") + 4 :])

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.busy = False
            self.answered(self, 0, b"")


async def connected(port: int, processes: Sequence[int], count: int) -> list[Connection]:
    """``count`` connections, as many to each of the ``processes``: the system spreads them by chance, a few of them
    unevenly; what is too many for one is closed again."""
    loop, owners = asyncio.get_running_loop(), {pid: count // len(processes) for pid in processes}
    kept: list[Connection] = []
    for _ in range(_MOST_CONNECTIONS):
        if len(kept) == count // len(processes) * len(processes):
            return kept
        _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
        if len(processes) > 1:
            await asyncio.sleep(0.01)  # until it is accepted
            own = connection.transport.get_extra_info("sockname")[1]
            owner = _owner(own, processes)
            if owner is None or owners[owner] == 0:
                connection.transport.close()
                continue
            owners[owner] -= 1
        kept.append(connection)
    raise SystemExit("the connections could not be spread over the processes of the server")


async def closed_loop(
    connections: Sequence[Connection],
    requests: Sequence[bytes],
    seconds: float,
    seen: Callable[[int, int, float, bytes], None] | None = None,
) -> Answers:
    """Ask on every connection one request after the other; ``seen`` is told number of the request, status, the moment
    it was asked and the body."""
    answers, loop = Answers(), asyncio.get_running_loop()
    began = time.perf_counter()
    asked: dict[Connection, tuple[int, float]] = {}
    turn, left, ended = 0, len(connections), loop.create_future()

    def ask(connection: Connection) -> None:
        nonlocal turn
        number = turn % len(requests)
        turn += 1
        asked[connection] = (number, time.perf_counter())
        connection.ask(requests[number])

    def answered(connection: Connection, status: int, body: bytes) -> None:
        nonlocal left
        number, at = asked[connection]
        now = time.perf_counter()
        answers.seconds.append(now - at)
        answers.statuses[status] += 1
        if seen is not None:
            seen(number, status, at, body)
        if now - began < seconds and status:
            ask(connection)
            return
        left -= 1
        if left == 0:
            ended.set_result(None)

    for connection in connections:
        connection.answered = answered
        ask(connection)
    await asyncio.wait_for(ended, seconds + _ANSWERS_PATIENCE_SECONDS)
    answers.elapsed = time.perf_counter() - began
    return answers


async def open_loop(
    connections: Sequence[Connection], requests: Sequence[bytes], rate: float, seconds: float
) -> Answers:
    """Ask ``rate`` times a second on whichever connection is free, and count from the moment that was due."""
    answers, total = Answers(), int(rate * seconds)
    free, waiting = deque(connections), deque[tuple[int, float]]()
    due: dict[Connection, float] = {}
    began = time.perf_counter()

    def ask(connection: Connection, number: int, at: float) -> None:
        due[connection] = at
        connection.ask(requests[number % len(requests)])

    def answered(connection: Connection, status: int, body: bytes) -> None:
        answers.seconds.append(time.perf_counter() - due[connection])
        answers.statuses[status] += 1
        if not status:
            return
        if waiting:
            ask(connection, *waiting.popleft())
        else:
            free.append(connection)

    for connection in connections:
        connection.answered = answered
    for number in range(total):
        at = began + number / rate
        pause = at - time.perf_counter()
        if pause > 0:
            await asyncio.sleep(pause)
        if free:
            ask(free.popleft(), number, at)
        else:
            waiting.append((number, at))
    deadline = time.perf_counter() + _ANSWERS_PATIENCE_SECONDS
    while len(answers.seconds) < total and time.perf_counter() < deadline:
        await asyncio.sleep(0.005)
    answers.statuses[0] += total - len(answers.seconds)
    answers.elapsed = time.perf_counter() - began
    return answers


def children_of(pid: int) -> list[int]:
    """The processes that ``pid`` started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def processor_seconds(processes: Sequence[int]) -> float:
    """User and system time of living processes so far."""
    ticks = 0
    for pid in processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def _owner(port: int, processes: Sequence[int]) -> int | None:
    """Which of the processes has the other end of the connection from ``port``."""
    ending = f":{port:04X}"
    inodes = {
        f"socket:[{cells[9]}]"
        for cells in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if cells[2].endswith(ending)
    }
    for pid in processes:
        for path in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(path.readlink()) in inodes:
                    return pid
            except OSError:
                continue
    return None
