"""A process that has imported the platform once and forks for every command: real processes without their start.

What belongs here: forking, and handing back process ids and exit codes. What does not: what tests want (``platform``).
Every child leads a session of its own, reads its variables and arguments from the request, calls the program's real
``main`` and ends as a Python process does, so that signals, exit codes and locks are those of the real program.

    python -m tests.across.fork_server SOCKET     (ends when nobody holds the other end of its standard input)
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nethical_assets.core.ground.code import loaded_code
from tests.across import dagster_side, entry, injection
from tests.databases import copy_databases

_LIBRARIES = (
    "dagster",
    "sklearn.linear_model",
    "sklearn.calibration",
    "scipy.stats",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pyarrow.parquet",
    "cleanlab.filter",
    "cyclonedx.output.json",
    "pandera.backends.pandas.container",
    "pandera.backends.pandas.builtin_checks",
    "pandera.pandas",
    "safetensors.numpy",
    "sklearn.ensemble",
    "sklearn.pipeline",
)


def _import_everything() -> None:
    """Import the package and the heavy libraries; what reads the environment when imported is left to the children."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    package = importlib.import_module(entry.package())
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if module.name != entry.code_location_module() and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    entry.main()
    loaded_code()
    copy_databases()


def serve(address: str) -> Callable[[], None] | None:
    """Serve until standard input is closed; returns in a child, with what that child has to do."""
    os.chdir(entry.CHECKOUT)
    _import_everything()
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    # Whoever waits for the file finds somebody who listens.
    listener.bind(f"{address}.new")
    listener.listen()
    Path(f"{address}.new").rename(address)
    # The supervisors of commands end by themselves, and nobody waits for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            shutil.rmtree(Path(address).parent)
            return None
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _supervise(connection)
        connection.close()


def _supervise(connection: socket.socket) -> Callable[[], None] | None:
    """Start the command, tell its process id and later its exit code; returns what to do in the command's process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    with connection.makefile("rb") as stream:
        request = json.loads(stream.readline())
    child = os.fork()
    if child == 0:
        connection.close()
        os.setsid()
        return lambda: _become(request)
    connection.sendall(f"{child}\n".encode())
    _, status = os.waitpid(child, 0)
    # Whoever asked may be gone.
    with contextlib.suppress(OSError):
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Be the requested command from here on."""
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["environment"])
    injection.install(request["injection"], request["environment"]["NETHICAL_HOME"])
    if request["program"] == "nethical":
        sys.argv = ["nethical", *request["arguments"]]
        entry.main()()
    else:
        dagster_side.main(request["arguments"])


if __name__ == "__main__":
    todo = serve(sys.argv[1])
    if todo is not None:
        try:
            todo()
        except SystemExit:
            raise
        except BaseException:
            traceback.print_exc()
            sys.exit(1)
