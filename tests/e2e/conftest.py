"""Fixtures of the end-to-end tests: the real webserver and daemon, and the Kaggle stand-in's port."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform import NETHICAL, SHARED, Platform, running, wait_until
from tests.orchestration import clean_environment, environment_of


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, mirror: Path) -> Iterator[Platform]:
    """``nethical ui --port 0`` on a fresh home with the tiny mirror."""
    folder = tmp_path_factory.mktemp("platform")
    environment, log = clean_environment(environment_of(folder, mirror)), folder / "log"
    with running([NETHICAL, "ui", "--port", "0"], environment, log) as process:

        def address() -> str:
            assert process.poll() is None, log.read_text()
            match = re.search(r"http://[\w.]+:\d+", log.read_text())
            return match.group() if match else ""

        found = Platform(wait_until(address, 120, "the address"), Path(environment["NETHICAL_HOME"]), environment, log)
        assert found.query("{ version }")["version"], "an address was printed at which nothing answers"
        yield found


@pytest.fixture
def kaggle_port() -> int:
    """Port 80, where the Kaggle client looks for its local stand-in."""
    if not (SHARED / "kaggle_mirror" / "serve.py").is_file():
        pytest.skip("the Kaggle stand-in (../shared/kaggle_mirror) is not there")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 80))
        except OSError as error:
            pytest.skip(f"port 80 cannot be listened on ({error.strerror})")
    return 80
