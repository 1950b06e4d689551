"""Fixtures of the end-to-end tests: the real webserver and daemon, the browser, and the Kaggle stand-in's port."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless chromium, as Debian packages it."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "disable-dev-shm-usage", "no-proxy-server"),
        *("window-size=1600,1400", f"user-data-dir={tmp_path_factory.mktemp('browser')}"),
    ):
        options.add_argument(f"--{flag}")
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_page_load_timeout(60)
    yield opened
    opened.quit()
