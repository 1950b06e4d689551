"""Webserver and daemon as two processes of one command.

What belongs here: starting and stopping them. What does not: what they serve (``definitions``).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import typer

from nethical_assets.core.ground.errors import SettingsError
from nethical_assets.home.settings import PROJECT_ROOT, Settings
from nethical_assets.orchestration.instance import open_instance, storage_failures

_STOP_SECONDS = 20.0


def serve(settings: Settings, *, host: str, port: int) -> int:
    """Run webserver and daemon until one of them ends or the user interrupts; the exit code.

    Raises:
        SettingsError: the address is in use or not one of this machine's.
    """
    port = _free_port(host, port)
    # Created before webserver and daemon start: both at once would spoil its databases.
    with storage_failures(settings), open_instance(settings):
        environment = {**os.environ, "NETHICAL_HOME": str(settings.home)}
    workspace = ["-w", str(PROJECT_ROOT / "workspace.yaml")]
    programs = Path(sys.executable).parent
    commands = [
        [str(programs / "dagster-webserver"), *workspace, "-h", host, "-p", str(port)],
        [str(programs / "dagster-daemon"), "run", *workspace],
    ]
    processes = [subprocess.Popen(command, env=environment, start_new_session=True) for command in commands]
    signal.signal(signal.SIGTERM, _interrupt)
    typer.echo(f"The UI is at http://{host}:{port} (Ctrl-C stops it and the daemon)", err=True)
    try:
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        return next(code for process in processes if (code := process.poll()) is not None) or 1
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(processes)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask each process group to end, then make it."""
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for process in processes:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port(host: str, port: int) -> int:
    """``port`` itself when it can be listened on, a free one for 0."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another with --port, or 0 for a free one"
        ) from None
