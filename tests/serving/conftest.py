"""A home with promoted models, and the gateway in this process."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.settings import load_settings
from nethical_assets.serving.answer_log import AnswerLog
from nethical_assets.serving.api_keys import KeyRing
from nethical_assets.serving.application import application
from nethical_assets.serving.champions import Champions
from nethical_assets.serving.gateway import Gateway
from nethical_assets.serving.metrics import GatewayMetrics
from tests.conftest import Once
from tests.orchestration import enter, environment_of
from tests.serving.homes import ServedHome, build

FAMILIES = {"logistic": 2, "prompt_injection": 1}


def _build(folder: Path) -> None:
    (folder / "models.json").write_text(json.dumps(build(folder / "state", FAMILIES)))


@pytest.fixture(scope="session")
def built(once: Once) -> Path:
    """A home with two logistic models and one of prompts, made once and not to be changed."""
    return once("served", _build)


def copied(built: Path, folder: Path, **changes: dict[str, object]) -> ServedHome:
    """A copy of the home below ``folder``."""
    shutil.copytree(built / "state", folder, symlinks=True)
    environment = environment_of(folder, **changes)
    return ServedHome(load_settings(environment), environment, json.loads((built / "models.json").read_text()))


@pytest.fixture
def make_home(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ServedHome]:
    """A copy of the home; keywords change its settings."""

    def make(**changes: dict[str, object]) -> ServedHome:
        home = copied(built, tmp_path / "state", **changes)
        enter(monkeypatch, home.environment)
        return home

    return make


@pytest.fixture
def home(make_home: Callable[..., ServedHome]) -> ServedHome:
    """A copy of the home with its small settings."""
    return make_home()


def make_gateway(home: ServedHome, keys: KeyRing | None = None) -> Gateway:
    """The gateway of a home."""
    settings = home.settings
    champions = Champions(settings, family_names())
    return Gateway(settings, keys or KeyRing({}), champions, AnswerLog(settings), GatewayMetrics())


@contextlib.contextmanager
def serving(home: ServedHome, keys: KeyRing | None = None) -> Iterator[TestClient]:
    """A client of the gateway of a home; unexpected errors are answers, as they are to others."""
    with TestClient(application(make_gateway(home, keys)), raise_server_exceptions=False) as client:
        yield client


async def post(app: Any, path: str, body: Any, *, receive: Any = None) -> tuple[int, Any]:
    """The status and document of one request, in a loop that is there; 0 where nothing is answered. ``receive`` stands
    in for the body."""
    sent: list[Any] = []

    async def whole() -> Any:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(b"content-type", b"application/json")], "root_path": "", "scheme": "http", "http_version": "1.1",
    }  # fmt: skip
    await app(scope, receive or whole, send)
    return (sent[0]["status"], json.loads(sent[1]["body"])) if sent else (0, None)


@pytest.fixture
def client(home: ServedHome) -> Iterator[TestClient]:
    """A client of the gateway of the home."""
    with serving(home) as opened:
        yield opened


@pytest.fixture(scope="module")
def module_home(built: Path, tmp_path_factory: pytest.TempPathFactory) -> ServedHome:
    """A copy of the home for the tests of one module: its log grows, and nothing else of it changes."""
    return copied(built, tmp_path_factory.mktemp("served") / "state")


@pytest.fixture(scope="module")
def door(module_home: ServedHome) -> Iterator[TestClient]:
    """A client of that home."""
    with serving(module_home) as opened:
        yield opened
