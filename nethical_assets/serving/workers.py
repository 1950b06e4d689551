"""The gateway as several processes: started, watched, started again, and ended together.

What belongs here: the process that starts the workers; it serves nothing itself and holds no data. What does not: a
worker (``__main__``). A worker listens on a socket of its own (SO_REUSEPORT), so that clients that keep their
connections are spread too, and one that dies takes none of the others' connections with it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nethical_assets.core.ground.errors import NethicalError, SettingsError
from nethical_assets.core.ground.storage import sweep_partial_files, temporary_folder
from nethical_assets.home.settings import Settings
from nethical_assets.serving.api_keys import KEYS_FILE_VARIABLE, KEYS_VARIABLE, KeyRing
from nethical_assets.serving.deployment import Reporting, forget_worker
from nethical_assets.serving.ended_counts import keep_counts
from nethical_assets.serving.listening import can_share, is_loopback, reserve
from nethical_assets.serving.log_keeping import Sealing
from nethical_assets.serving.metrics import FOLDER_VARIABLE

READY = b"ready\n"
"""What a worker writes when it listens."""
AGAIN = "again"
"""What a worker is told that is started beside others which serve."""
_SECONDS_BETWEEN_LOOKS = 0.5
_KILLED_AFTER_SECONDS = 5.0
"""How much longer than its requests may go on a worker may take to end."""
_SETTLED_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 10.0
_USAGE = 2


class GatewayEndedError(NethicalError):
    """A worker ended while the gateway was started."""

    exit_code = 1


@dataclass
class _Worker:
    """One process. ``ready`` when it listens; ``failures``: how often in a row it ended soon after it was started."""

    process: subprocess.Popen[bytes]
    started: float
    ready: bool = False
    failures: int = 0


def serve(
    settings: Settings, *, host: str, port: int, workers: int, allow_anonymous: bool, said: Callable[[str], None]
) -> None:
    """Serve until interrupted; ``said`` is told where, and when a worker had to be started again.

    Raises:
        SettingsError: the address is in use or not one of this machine's, others could reach it without a key, or the
            API keys cannot be used.
        GatewayEndedError: a worker ended before all of them served; all are gone.
        KeyboardInterrupt: the user interrupted; all workers have ended.
    """
    if workers > 1 and not can_share():
        raise SettingsError("this system does not spread connections over processes: use --workers 1")
    if not (KeyRing(os.environ).required or allow_anonymous or is_loopback(host)):
        raise SettingsError(
            f"{host} can be reached from other machines and there are no API keys: name them with "
            f"{KEYS_FILE_VARIABLE} or {KEYS_VARIABLE} (nethical serve keys new makes one), or say --allow-anonymous"
        )
    folder = settings.home / "serving"
    folder.mkdir(parents=True, exist_ok=True)
    sweep_partial_files(folder)
    with reserve(host, port) as reserved, temporary_folder(folder) as counted:
        port = reserved.getsockname()[1]
        # Left in reverse: the last rows are sealed when the workers have closed their segments.
        with (
            Sealing(settings, said).going_on(),
            Reporting(settings, counted, said).going_on(),
            _Workers(settings, host, port, counted, said).running(workers) as running,
        ):
            running.wait_until_ready()
            many = f"{workers} workers" if workers > 1 else "1 worker"
            said(f"The gateway is at http://{_in_address(host)}:{port} ({many}; /docs says what it offers)")
            running.watch()


class _Workers:
    def __init__(self, settings: Settings, host: str, port: int, counted: Path, said: Callable[[str], None]) -> None:
        self._command = [sys.executable, "-P", "-m", str(__package__), host, str(port)]
        self._environment = {
            # One thread a worker for linear algebra, unless somebody said otherwise: workers share the cores.
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "NETHICAL_HOME": str(settings.home),
            FOLDER_VARIABLE: str(counted),
        }
        self._stop_seconds = settings.file.serving.shutdown_seconds + _KILLED_AFTER_SECONDS
        self._counted = counted
        self._said = said
        self._workers: list[_Worker] = []
        self._due: list[tuple[float, int]] = []
        self._selector = selectors.DefaultSelector()

    @contextlib.contextmanager
    def running(self, workers: int) -> Iterator[_Workers]:
        """The workers; they are gone when the context is left, however it is."""
        try:
            for _ in range(workers):
                self._start(0)
            yield self
        finally:
            self._stop()

    def wait_until_ready(self) -> None:
        """Raises ``GatewayEndedError`` where one ended instead."""
        while not all(worker.ready for worker in self._workers):
            for worker in self._heard():
                code = self._ended(worker)
                error = GatewayEndedError(f"a worker {_how(code)} while it was started; what it wrote above says why")
                error.exit_code = code if code == _USAGE else 1
                raise error

    def watch(self) -> None:
        """Start again what ends, for ever: soon, and less soon the more often it happens."""
        while True:
            for worker in self._heard():
                code = self._ended(worker)
                lived = time.monotonic() - worker.started
                failures = 0 if lived > _SETTLED_SECONDS else worker.failures + 1
                pause = 0.0 if failures == 0 else min(0.1 * 2.0**failures, _LONGEST_PAUSE_SECONDS)
                self._said(f"worker {worker.process.pid} {_how(code)}; another one is started")
                self._due.append((time.monotonic() + pause, failures))
            now = time.monotonic()
            due = [one for one in self._due if one[0] <= now]
            self._due = [one for one in self._due if one[0] > now]
            for _, failures in due:
                # Beside others that serve it may wait until it can serve as much as they do; alone it may not.
                beside = [AGAIN] if any(worker.ready for worker in self._workers) else []
                self._start(failures, *beside)

    def _start(self, failures: int, *more: str) -> None:
        # In a session of its own: what a terminal sends to this command is told to it by this command. Its standard
        # input stays open as long as this process lives.
        process = subprocess.Popen(
            [*self._command, *more],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        worker = _Worker(process, time.monotonic(), failures=failures)
        self._workers.append(worker)
        self._selector.register(_output(worker), selectors.EVENT_READ, worker)

    def _heard(self) -> list[_Worker]:
        """The workers that ended; those that say that they are ready are noted."""
        ended = []
        pause = min((due - time.monotonic() for due, _ in self._due), default=_SECONDS_BETWEEN_LOOKS)
        for key, _ in self._selector.select(min(max(pause, 0.0), _SECONDS_BETWEEN_LOOKS)):
            worker: _Worker = key.data
            data = os.read(_output(worker), 1024)
            worker.ready |= READY in data
            if not data:
                ended.append(worker)
        return ended

    def _ended(self, worker: _Worker) -> int:
        """Forget a worker whose output is at its end; its exit code."""
        self._selector.unregister(_output(worker))
        self._workers.remove(worker)
        code = _waited(worker.process, self._stop_seconds)
        # Where the disk is full they stay as they are, until another one ends.
        with contextlib.suppress(OSError):
            for name in keep_counts(self._counted, {one.process.pid for one in self._workers}):
                self._said(f"what ended workers counted is damaged and left out of /metrics: {name}")
        forget_worker(worker.process.pid, self._counted)
        return code

    def _stop(self) -> None:
        """Ask every worker to end, then make it; at once when told to end a second time."""
        try:
            for worker in self._workers:
                worker.process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + self._stop_seconds
            for worker in self._workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        finally:
            for worker in self._workers:
                _close(worker.process)
            self._selector.close()


def _waited(process: subprocess.Popen[bytes], seconds: float) -> int:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=seconds)
    _close(process)
    return process.returncode


def _close(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def _output(worker: _Worker) -> int:
    assert worker.process.stdout is not None  # noqa: S101 (a pipe was asked for)
    return worker.process.stdout.fileno()


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
