"""Webserver and daemon as two processes of one command.

What belongs here: starting them, saying where they are when they answer, and stopping them. What does not: what they
serve (``definitions``).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nethical_assets.command_line.output import errors, say
from nethical_assets.core.ground.errors import NethicalError, SettingsError
from nethical_assets.home.settings import PROJECT_ROOT, Settings
from nethical_assets.orchestration.instance import open_instance, storage_failures
from nethical_assets.orchestration.server_logs import begin_consuming

_STOP_SECONDS = 20.0
_MEMBERS_SECONDS = 5.0
_SECONDS_TO_START = 300.0
"""A machine that is busy takes minutes to import everything twice; what takes longer than this has another fault."""
_SECONDS_BETWEEN_LOOKS = 0.25
_ANSWER_SECONDS = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 (is not listened on here)
Level = Literal["warning", "info", "debug"]


class ServerEndedError(NethicalError):
    """The webserver or the daemon ended by itself, or does not answer."""

    exit_code = 1


@dataclass(frozen=True)
class _Server:
    """One of the two processes, which leads a group of its own."""

    name: str
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raises ``ServerEndedError`` when it has ended."""
        code = self.process.poll()
        if code is not None:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise ServerEndedError(
                f"the {self.name} ended by itself ({how}), so the other was stopped too; what it wrote above says why, "
                "and --log-level info says more"
            )


def serve(settings: Settings, *, host: str, port: int, log_level: Level) -> None:
    """Run webserver and daemon until one of them ends or the user interrupts.

    Raises:
        SettingsError: the address is in use or not one of this machine's.
        ServerEndedError: one of them ended by itself, or the webserver does not answer; both are gone.
        KeyboardInterrupt: the user interrupted; both are gone.
    """
    port = _free_port(host, port)
    # Created before webserver and daemon start: both at once would spoil its databases.
    with storage_failures(settings), open_instance(settings) as instance:
        begin_consuming(instance)
        environment = {**os.environ, "NETHICAL_HOME": str(settings.home)}
    address = f"http://{_in_address(host)}:{port}"
    say(errors, "Starting webserver and daemon ...")
    with _running(host, port, log_level, environment) as servers:
        _wait_for_answer(servers, f"http://{_in_address(_EVERYWHERE.get(host, host))}:{port}/server_info")
        say(errors, f"The UI is at {address} (Ctrl-C stops it and the daemon)")
        while True:
            for server in servers:
                server.check()
            time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextlib.contextmanager
def _running(host: str, port: int, log_level: Level, environment: Mapping[str, str]) -> Iterator[list[_Server]]:
    """Both processes; they are gone when the context is left, however it is."""
    workspace = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    programs = Path(sys.executable).parent
    levels = ["--log-level", log_level, "--code-server-log-level", log_level]
    commands = {
        "webserver": [
            *(str(programs / "dagster-webserver"), *workspace, "-h", host, "-p", str(port)),
            *(*levels, "--dagster-log-level", log_level),
        ],
        "daemon": [str(programs / "dagster-daemon"), "run", *workspace, *levels],
    }
    servers: list[_Server] = []
    try:
        for name, command in commands.items():
            # In a group of its own: what a terminal sends to this command is told to it by this command.
            servers.append(_Server(name, subprocess.Popen(command, env=environment, start_new_session=True)))
        yield servers
    finally:
        _stop([server.process for server in servers])


def _wait_for_answer(servers: list[_Server], url: str) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        for server in servers:
            server.check()
        with contextlib.suppress(OSError, urllib.error.URLError), opener.open(url, timeout=_ANSWER_SECONDS):
            return
        if time.monotonic() > deadline:
            raise ServerEndedError(f"the webserver does not answer at {url} after {_SECONDS_TO_START:.0f} seconds")
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask each process group to end, then make it; at once when told to end a second time."""
    try:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.1, deadline - time.monotonic()))
        # Code servers and runs are of its group: they are given time to say how they ended.
        deadline = min(deadline, time.monotonic() + _MEMBERS_SECONDS)
        while any(_has_members(process) for process in processes) and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _has_members(process: subprocess.Popen[bytes]) -> bool:
    try:
        os.killpg(process.pid, 0)
    except OSError:
        return False
    return True


def _free_port(host: str, port: int) -> int:
    """``port`` itself when it can be listened on, a free one for 0."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port, or 0 for a free one"
        ) from None


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
