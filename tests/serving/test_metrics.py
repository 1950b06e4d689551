"""Counting cannot end a worker: the disk keeps room for it, or the worker does not begin."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from nethical_assets.serving.endpoints import Call, Endpoint, InFlight, Limits, Reply
from nethical_assets.serving.metrics import GatewayMetrics

PROGRAM = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from nethical_assets.serving.metrics import GatewayMetrics
try:
    metrics = GatewayMetrics()
except OSError as error:
    print(error.filename, error.strerror)
    sys.exit(2)
for number in range(300):
    metrics.answered("v1/score", f"family {number % 5}", 200 + number % 7, 0.01)
metrics.scored("logistic", 1, 2)
metrics.found("logistic", {"EMAIL": 1}, {"SSN": 1})
metrics.labelled("logistic", 1)
metrics.serves("logistic", ("sha256:0", "1.0.0"), verified=True)
metrics.in_flight.set(1)
assert b'labels_total{family="logistic"} 1.0' in metrics.text()
"""


def counted(folder: Path, largest: int) -> subprocess.CompletedProcess[str]:
    """A process that counts, and can write files of so many bytes."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", PROGRAM, str(largest)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_requests_at_work_are_shown_and_so_is_that_there_are_none_any_more() -> None:
    metrics, in_flight = GatewayMetrics(), InFlight()
    shown: list[float] = []

    async def is_shown(count: int) -> None:
        async with asyncio.timeout(60):
            while f"requests_in_flight {count:.1f}".encode() not in metrics.text():
                await asyncio.sleep(0.001)
        shown.append(count)

    async def asked() -> None:
        end = asyncio.Event()

        async def handler(call: Call) -> Reply:
            await end.wait()
            return Reply(b"")

        async def send(message: Any) -> None:
            assert message["type"].startswith("http.response.")

        limits = Limits(body_bytes=1, bytes_in_flight=1, body_seconds=1.0, in_flight=2, retry_after_seconds=1)
        endpoint = Endpoint("v1/score", handler, limits, metrics, in_flight, bounded=True)
        for _ in range(2):
            requests = [asyncio.create_task(endpoint({"headers": []}, None, send)) for _ in range(2)]  # type: ignore[arg-type]
            await is_shown(2)
            end.set()
            await asyncio.gather(*requests)
            await is_shown(0)
            end.clear()

    asyncio.run(asked())
    assert shown == [2, 0, 2, 0]


def test_what_is_counted_has_its_room_before(tmp_path: Path) -> None:
    assert counted(tmp_path, resource.RLIM_INFINITY).stderr == ""
    files = list(tmp_path.iterdir())
    assert len(files) == 5
    for path in files:
        found = path.stat()
        assert found.st_blocks * 512 >= found.st_size > 0, f"{path.name} has holes"


def test_without_room_it_does_not_begin_and_says_where(tmp_path: Path) -> None:
    """A file size limit is as a full disk: a part of the bytes is taken, then none."""
    ended = counted(tmp_path, 100_000)
    assert (ended.returncode, ended.stderr) == (2, ""), f"not {signal.SIGBUS!r}"
    assert ended.stdout.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
