"""One worker of the gateway: a process with a server and an event loop of its own.

What belongs here: how it begins and ends. What does not: starting it (``workers``). It ends when it is told to
(SIGTERM), or when the process that started it is gone, which it sees by its standard input; it says on its standard
output that it listens.

One that is started again beside others (``AGAIN``) does not listen before it has verified every champion: the others go
on with the last model that they could verify, and it has none.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import socket
import sys
import threading
import time
import warnings
from types import TracebackType

import uvicorn

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.core.ground.unexpected import describe_unexpected
from nethical_assets.home.settings import ServingSettings, load_settings
from nethical_assets.serving.answer_log import AnswerLog
from nethical_assets.serving.api_keys import KeyRing
from nethical_assets.serving.application import application
from nethical_assets.serving.champions import Champions
from nethical_assets.serving.connections import connections
from nethical_assets.serving.gateway import Gateway
from nethical_assets.serving.listening import listening_socket
from nethical_assets.serving.metrics import GatewayMetrics
from nethical_assets.serving.workers import AGAIN, READY

_OBJECTS_A_COLLECTION = 50_000
_KEPT_ALIVE_SECONDS = 75
_LONGEST_WAIT_SECONDS = 30.0
"""As long as a worker that is started again waits for champions that cannot be verified; then it serves the others."""
_LOGGER = logging.getLogger(__name__)
_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def main(arguments: list[str]) -> int:
    """Serve on the host and port in ``arguments``, which ``AGAIN`` may follow, until told to end; the exit code."""
    _begin_logging()
    warnings.simplefilter("ignore")
    gc.set_threshold(_OBJECTS_A_COLLECTION)
    host, port = arguments[0], int(arguments[1])
    try:
        settings = load_settings()
        keys = KeyRing(os.environ)
        bound = listening_socket(host, port)
        champions = Champions(settings, family_names())
        if AGAIN in arguments and not _verified(champions, settings.file.serving.champion_poll_seconds):
            return 0
        gateway = Gateway(settings, keys, champions, AnswerLog(settings), GatewayMetrics(), collect_and_keep)
    except NethicalError as error:
        _LOGGER.error("%s", error)
        return error.exit_code
    except OSError as error:
        _LOGGER.error("%s: %s", error.filename or f"{host}:{port}", error.strerror)
        return 2
    server = _Server(gateway, settings.file.serving)
    threading.Thread(target=server.end_with_parent, name="parent", daemon=True).start()
    server.run(sockets=[bound])
    return 0 if server.started else 1


def collect_and_keep() -> None:
    """Leave what is there now, the program and its models, out of later collections: to look through all of it stops
    every request for as long as a hundred take. What was left out before and is not needed any more is freed first."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _verified(champions: Champions, poll_seconds: float) -> bool:
    """Wait until every champion is verified, but not for ever: the others may be gone by now. False where the process
    that started this one is gone before."""
    deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
    champions.look()
    while any(standing.state == "unverified" for standing in champions.standings().values()):
        if time.monotonic() >= deadline:
            return True
        if select.select([0], [], [], poll_seconds)[0]:
            return False
        champions.look()
    return True


class _Server(uvicorn.Server):
    """uvicorn's server, which says that it listens, and ends with the process that started it."""

    def __init__(self, gateway: Gateway, serving: ServingSettings) -> None:
        super().__init__(
            uvicorn.Config(
                application(gateway),
                http=connections(serving.body_seconds),
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=_KEPT_ALIVE_SECONDS,
                timeout_graceful_shutdown=serving.shutdown_seconds,
            )
        )
        self._gateway = gateway

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self.started:
            states = {standing.state for standing in self._gateway.champions.standings().values()}
            if states == {"none"}:
                _LOGGER.warning("no family has a promoted model yet; it is served once there is one: nethical run")
            with contextlib.suppress(OSError):
                os.write(1, READY)

    def end_with_parent(self) -> None:
        """Wait until the process that started this one is gone, and end."""
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        self.should_exit = True


class _Formatter(logging.Formatter):
    """One line, and of an exception its kind and places: its words may quote what a client sent."""

    def formatException(self, ei: _Raised) -> str:  # noqa: N802
        return "" if ei[1] is None else describe_unexpected(ei[1])


def _begin_logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(f"nethical: worker {os.getpid()}: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("nethical_assets.serving").setLevel(logging.INFO)
    # What is no HTTP is answered; told line by line, anybody could fill the disk.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
