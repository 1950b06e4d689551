"""Fixtures of the orchestration tests: no network, small settings, a tiny mirror, homes of their own.

What belongs here: what tests of several folders share. What does not: anything that one folder alone needs.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from nethical_assets.settings import Settings, load_settings
from tests.tiny_mirror import CHECKOUT, build_mirror

SMALL_SETTINGS: dict[str, Any] = {
    "datasets": {"minimum_samples": 100, "maximum_rows": 5000},
    "training": {"synthetic_samples": 1500, "bootstrap_samples": 100},
}
# Nothing listens on port 1: the Kaggle client, which honours the proxy, is refused at once.
NO_KAGGLE = {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
_KAGGLE_VARIABLES = ("KAGGLE_API_ENVIRONMENT", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)

Command = Callable[..., subprocess.CompletedProcess[str]]


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
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny mirror. Tests that change a file build their own."""
    return build_mirror(tmp_path_factory.mktemp("mirror"))


def write_settings(folder: Path, **changes: Mapping[str, Any]) -> Path:
    """The small settings file in ``folder``; ``changes`` are merged a section at a time."""
    sections = {key: {**SMALL_SETTINGS.get(key, {}), **changes.get(key, {})} for key in {*SMALL_SETTINGS, *changes}}
    path = folder / "training-schedule.json"
    path.write_text(json.dumps(sections))
    return path


def environment_of(folder: Path, mirror: Path | None = None, **changes: Mapping[str, Any]) -> dict[str, str]:
    """NETHICAL_* and proxy variables for a home below ``folder``, whether for this process or another."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {
        **NO_KAGGLE,
        "NETHICAL_CONFIG": str(write_settings(folder, **changes)),
        "NETHICAL_HOME": str(folder / "home"),
    }
    return found if mirror is None else {**found, "NETHICAL_DATA_MIRROR": str(mirror)}


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """This process points at a fresh home with small settings and without mirror or Kaggle."""
    return enter(monkeypatch, environment_of(tmp_path / "state"))


def enter(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> dict[str, str]:
    """Make ``environment`` this process's, without leftovers of the user's own."""
    for name in (*_KAGGLE_VARIABLES, "NETHICAL_DATA_MIRROR", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", str(Path(environment["NETHICAL_HOME"]) / "dagster"))
    return environment


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


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a child process: ``environment``, and of this one's only what every program needs."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME") if name in os.environ}
    return {**kept, "PYTHONUNBUFFERED": "1", **environment}


@pytest.fixture
def nethical(environment: dict[str, str]) -> Command:
    """Run ``nethical`` in a process of its own, as a user does."""

    def run(*arguments: str, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).parent / "nethical"), *arguments],
            env=clean_environment({**environment, **variables}),
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
