"""Fixtures of the orchestration tests: no network, small settings, a tiny mirror, homes of their own.

What belongs here: what tests of several folders share. What does not: anything that one folder alone needs.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from nethical_assets.command_line.program import OBJECTS_BETWEEN_COLLECTIONS
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.home.settings import Settings, load_settings
from tests.across.platform import Command, ForkServer
from tests.databases import copy_databases, make_databases
from tests.orchestration import Start, clean_environment, enter, environment_of
from tests.tiny_mirror import build_mirror

Once = Callable[[str, Callable[[Path], object]], Path]
_LONG = ("orchestration", "across", "assets", "command_line", "sensors")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs whole cycles comes first: where several processes share the files, the last ones are short."""
    ranks = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: ranks.get(item.nodeid.split("/")[1], len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nothing of this process waits for the disk: what a dead process wrote is kept by the kernel, and no test cuts the
    power. Tests of the calls themselves put their own in place."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def collections_as_in_a_command() -> Iterator[None]:
    """The garbage collector looks as seldom as in a command: what Dagster has in memory makes each look long."""
    before = gc.get_threshold()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *before[1:])
    yield
    gc.set_threshold(*before)


@pytest.fixture(scope="session", autouse=True)
def databases_once() -> Iterator[None]:
    """Homes of this process begin with copies of Dagster's empty databases."""
    copy_databases()
    yield
    make_databases()


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Programs that tests start hear the signals that end them, also where whatever started the tests ignores them."""
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(each) is signal.SIG_IGN:
                signal.signal(each, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection of this process that leaves the machine, name resolution included."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOCAL_HOSTS:
            raise OSError(f"tests may not connect to {address}")
        connect(self, address)

    def guarded_resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in _LOCAL_HOSTS:
            raise socket.gaierror(f"tests may not resolve {name}")
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_resolve)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of this test session."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def once(shared: Path) -> Once:
    """Make a folder once for all processes of this test session, and hand out its path: not to be changed."""

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / f"once-{name}", shared / f"once-{name}.done"
        with exclusive_lock(shared / f"once-{name}.lock", waiting_seconds=300.0, what=f"the making of {name}"):
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def mirror(once: Once) -> Path:
    """The tiny mirror. Tests that change a file build their own."""
    return once("mirror", build_mirror)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process points at a fresh home with small settings and without mirror or Kaggle."""
    return enter(monkeypatch, environment_of(tmp_path / "state"))


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """Small settings for a fresh home: synthetic data only."""
    return load_settings(environment)


@pytest.fixture
def mirrored(environment: dict[str, str], mirror: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Small settings for a fresh home, with the tiny mirror."""
    monkeypatch.setenv("NETHICAL_DATA_MIRROR", str(mirror))
    return load_settings({**environment, "NETHICAL_DATA_MIRROR": str(mirror)})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that keeps nothing."""
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture(scope="session", autouse=True)
def server(shared: Path) -> Iterator[ForkServer]:
    """Where commands are forked. Open from the first test on: one server is for all processes, until the last ends."""
    opened = ForkServer(shared / "fork-server")
    yield opened
    opened.close()


@pytest.fixture
def start(server: ForkServer, environment: dict[str, str]) -> Start:
    """Start ``nethical`` in a process of its own; keywords are injected into it."""

    def run(*arguments: str, **injection: Any) -> Command:
        return server.start("nethical", arguments, clean_environment(environment), injection)

    return run
