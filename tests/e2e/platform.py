"""Processes of the end-to-end tests: started, asked, and reliably ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tiny_mirror import CHECKOUT

NETHICAL = str(Path(sys.executable).parent / "nethical")
SHARED = CHECKOUT.parent / "shared"
REPOSITORY = {"repositoryLocationName": "nethical_assets", "repositoryName": "__repository__"}
LAUNCH = """
mutation($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}"""


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which writes to ``log``; nothing it started is left afterwards."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, cwd=CHECKOUT, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield process
    finally:
        descendants = _descendants(process.pid)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
        for pid in [process.pid, *descendants]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _descendants(pid: int) -> list[int]:
    """The processes that ``pid`` started, directly or not."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent and child not in found]
    return found[1:]


@dataclass
class Platform:
    """A running UI and daemon."""

    address: str
    home: Path
    environment: dict[str, str]
    log: Path

    def query(self, text: str, **variables: Any) -> Any:
        """The data of a GraphQL request."""
        request = urllib.request.Request(
            f"{self.address}/graphql",
            json.dumps({"query": text, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
            document = json.load(response)
        assert "errors" not in document, document
        return document["data"]


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of ``condition``; connection errors count as false."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            if found := condition():
                return found
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.3)


def page_text(browser: Any, address: str, *expected: str) -> str:
    """The text of a page once it holds everything ``expected``."""
    browser.get(address)

    def text() -> str:
        return str(browser.execute_script("return document.body ? document.body.innerText : ''"))

    wait_until(
        lambda: all(part.lower() in text().lower() for part in expected), 60, f"{expected} on {address}: {text()}"
    )
    return text()
