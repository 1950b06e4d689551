"""``nethical serve`` with real processes and clients that keep their connections: swaps, a killed worker, the end."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import load_settings
from nethical_assets.home.stores import segment_folder
from nethical_assets.home.workspace import Workspace
from nethical_assets.serving.champions import Champions
from tests.conftest import Once
from tests.e2e.platform import NETHICAL, running, wait_until
from tests.orchestration import clean_environment, environment_of
from tests.serving.conftest import _build as build_served
from tests.serving.homes import ServedHome, signal_records

pytestmark = pytest.mark.e2e
FAMILY, CLIENTS, WORKERS = "logistic", 16, 2
RECORDS = signal_records(4)


@dataclass
class Served:
    """A running gateway."""

    home: ServedHome
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children]


@dataclass
class Clients:
    """Clients that ask one request after the other, each on one connection that it keeps."""

    port: int
    answers: list[tuple[float, int, dict[str, Any]]] = field(default_factory=list)
    failures: list[tuple[float, str]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Clients:
        self.threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def _ask(self, number: int) -> None:
        at = number % len(RECORDS)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self.ending.is_set():
            began = time.monotonic()
            try:
                body = json.dumps(RECORDS[at])
                connection.request("POST", f"/v1/score/{FAMILY}", body, {"content-type": "application/json"})
                answer = connection.getresponse()
                document = json.loads(answer.read())
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((began, type(error).__name__))
                connection.close()
                time.sleep(0.02)
                continue
            if answer.status == 200:
                self.answers.append((began, at, document))
            else:
                self.refused.append(answer.status)
        connection.close()


@pytest.fixture
def gateway(once: Once, tmp_path: Path) -> Iterator[Served]:
    """``nethical serve --workers 2`` on a home of its own."""
    built, folder = once("served", build_served), tmp_path / "state"
    shutil.copytree(built / "state", folder, symlinks=True)
    environment = clean_environment(environment_of(folder))
    home = ServedHome(load_settings(environment), environment, json.loads((built / "models.json").read_text()))
    log = tmp_path / "log"
    command = [NETHICAL, "serve", "--port", "0", "--workers", str(WORKERS)]
    with running(command, environment, log) as process:

        def port() -> int:
            assert process.poll() is None, log.read_text()
            found = re.search(r"gateway is at http://127\.0\.0\.1:(\d+) \(2 workers", log.read_text())
            return int(found[1]) if found else 0

        yield Served(home, process, wait_until(port, 120, "the address"), log)


def truth_of(home: ServedHome) -> dict[str, list[float]]:
    """The scores of every stored model."""
    found = {}
    for number in (1, 0):
        home.promote(FAMILY, number, f"0.0.{number}")
        champions = Champions(home.settings, [FAMILY])
        champions.look()
        served = champions.current(FAMILY)
        assert served is not None
        found[served.digest] = [served.scorer.score(record).score for record in RECORDS]
    return found


def test_swaps_a_killed_worker_and_the_end_under_load(gateway: Served) -> None:
    home, truth = gateway.home, truth_of(gateway.home)
    assert len(truth) == 2
    wait_until(lambda: home.models[FAMILY][0] in gateway.get("/readyz")[1], 60, "the first model")
    time.sleep(1.0)  # the other worker follows it too
    swaps: list[tuple[float, float, str]] = []
    with Clients(gateway.port) as clients:
        wait_until(lambda: len(clients.answers) > 5 * CLIENTS, 60, "answers")
        for number in range(3):
            began = time.monotonic()
            model = home.promote(FAMILY, (number + 1) % 2, f"{number + 2}.0.0")
            swaps.append((began, time.monotonic(), model))
            time.sleep(4.0)
    assert clients.failures == [] and clients.refused == [], "no swap costs a request"
    check(clients, truth)
    for (_, at, model), (until, *_) in zip(swaps, [*swaps[1:], (float("inf"), 0.0, "")], strict=True):
        # What was asked before the next promotion may be answered after it: not a second later.
        late = [one["model"] for began, _, one in clients.answers if at + 2.0 < began < until - 1.0]
        assert late and set(late) == {model}, "two seconds after a promotion every answer is of the new model"

    used = [path for path in segment_folder(home.settings.home).iterdir() if path.stat().st_size > 0]
    assert len(used) == WORKERS, "clients that keep their connections are spread over the workers"
    metrics = gateway.get("/metrics")[1]
    counted = re.search(r'requests_total\{family="logistic",route="v1/score",status="200"\} ([0-9.]+)', metrics)
    assert counted and float(counted[1]) == len(clients.answers), "the metrics are those of all workers"

    before = len(clients.answers)
    with Clients(gateway.port) as after:
        wait_until(lambda: len(after.answers) > 5 * CLIENTS, 60, "answers")
        killed, *_ = gateway.workers()
        begun = gateway.log.read_text().count(f"family {FAMILY}: serving")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: f"worker {killed} was ended by signal 9" in gateway.log.read_text(), 30, "the notice")
        wait_until(lambda: gateway.log.read_text().count(f"family {FAMILY}: serving") > begun, 60, "a new one")
        reached = len(after.answers)
        wait_until(lambda: len(after.answers) > reached + 5 * CLIENTS, 60, "answers")
    assert len(gateway.workers()) == WORKERS and killed not in gateway.workers()
    assert 0 < len(after.failures) <= CLIENTS, "only whoever asked the dead one, and once"
    assert after.refused == []
    check(after, truth)

    with Clients(gateway.port) as last:
        wait_until(lambda: len(last.answers) > 5 * CLIENTS, 60, "answers")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(60) == 128 + signal.SIGTERM
    check(last, truth)
    lines = gateway.log.read_text().splitlines()
    assert lines[-1] == "nethical: interrupted; what was finished is kept, start it again to go on"
    assert not [line for line in lines if "Traceback" in line or "unexpected" in line]

    assert home.logged() == [], "everything is sealed"
    workspace = Workspace(home.settings, CycleOptions(), "look")
    window = workspace.inference_log.window(FAMILY, datetime.now(UTC) - timedelta(hours=2), ids=True)
    logged = [str(request) for request in window.request_ids]
    answered = [one["request_id"] for part in (clients, after, last) for _, _, one in part.answers]
    assert set(answered) <= set(logged) and len(set(logged)) == len(logged), "what was answered is in the log, once"
    assert len(logged) - len(answered) <= 2 * CLIENTS, "what is there besides was on its way when a process ended"
    assert before > 0
    assert not list((home.settings.home / "serving").glob(".partial-*"))


def check(clients: Clients, truth: dict[str, list[float]]) -> None:
    """Every answer is of the model that it names."""
    assert clients.answers
    for _, at, one in clients.answers:
        assert one["score"] == truth[one["model"]][at]


def test_a_worker_that_is_started_again_waits_for_a_champion_that_it_can_verify(gateway: Served) -> None:
    pointer = gateway.home.pointer(FAMILY)
    whole, model = pointer.read_bytes(), gateway.home.models[FAMILY][0]
    pointer.write_bytes(b"damaged")
    wait_until(lambda: gateway.log.read_text().count("1.0.0 goes on") == WORKERS, 60, "that both noticed")
    killed, _ = gateway.workers()
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: "it is not served" in gateway.log.read_text(), 60, "the new worker's look")
    with Clients(gateway.port) as clients:
        wait_until(lambda: len(clients.answers) > 5 * CLIENTS, 60, "answers")
        assert clients.refused == [] and clients.failures == []
        pointer.write_bytes(whole)
        wait_until(lambda: gateway.log.read_text().count(f"{FAMILY}: serving") == WORKERS + 1, 60, "the new worker")
    assert {one["model"] for _, _, one in clients.answers} == {model}
    assert clients.refused == []
    assert gateway.get("/readyz")[0] == 200


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(gateway: Served, sent: signal.Signals) -> None:
    workers = gateway.workers()
    gateway.process.send_signal(sent)
    code = gateway.process.wait(60)
    if sent == signal.SIGKILL:
        assert code == -sent
    else:
        assert code == 128 + sent
        assert gateway.log.read_text().splitlines()[-1].startswith("nethical: interrupted")
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 60, "the end of the workers")


def test_a_gateway_that_cannot_begin_says_why_and_leaves_nothing(once: Once, tmp_path: Path) -> None:
    built, folder = once("served", build_served), tmp_path / "state"
    shutil.copytree(built / "state", folder, symlinks=True)
    environment = clean_environment(environment_of(folder))
    segments = segment_folder(folder / "home")
    segments.parent.mkdir()
    segments.write_text("no folder")
    command = [NETHICAL, "serve", "--port", "0", "--workers", str(WORKERS)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = ended.stderr.splitlines()
    assert str(segments) in lines[0]
    assert lines[-1].startswith("nethical: a worker ended with exit code 2 while it was started")
    assert {path.name for path in segments.parent.iterdir()} <= {"segments", "sealing.lock", "gateways"}
    assert list(segments.parent.glob("gateways/*")) == []
