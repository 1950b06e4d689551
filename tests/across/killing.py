"""The watched loop with everything in it that may be killed: gateway, runs, daemon, deliveries and tracker.

What belongs here: starting, killing and starting again, and clients that remember what they were told. What does not:
what has to be true when all is at rest (the test).

A command dies at a random one of its durable writes (``injection``) or at a random moment; services die at random
moments only. All chances come from a seed.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.drift.windows import Window
from tests.across.entry import CHECKOUT
from tests.across.platform import Answer, Command, ForkServer, Home, Sensors, wait_until, write_records
from tests.core.alerts.github_double import REPOSITORY, TOKEN
from tests.tiny_mirror import connections

FAMILY = "logistic"
HOURS = 6
CLIENTS, WORKERS = 2, 2
LABELLED_AT_ONCE = 20
_LATEST_WRITES = {"judge": 45, "scoring": 35, "training": 150, "retraining": 120, "sensors": 20, "delivery": 12}
"""About as many durable writes as each has."""
_UNPAUSED = {"unpaused": True}
_LONGEST_SECONDS = 4.0
_PAUSE_SECONDS = 0.01


@dataclass
class Told:
    """What clients were told: ids that were answered with 200, and labels that were answered with 202."""

    answered: list[str] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Clients:
    """Clients that ask one request after the other, and again until it is answered, under the same name."""

    def __init__(self, port: int, frame: pd.DataFrame, told: Told, seed: str) -> None:
        asked = frame.drop(columns=["attack", "difficulty"])
        self._bodies = [json.dumps(record) for record in asked.to_dict("records")]
        self._truth = [int(attack != "normal") for attack in frame["attack"]]
        self._port, self._told, self._seed = port, told, seed
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        known: dict[str, int] = {}
        for turn in itertools.count():
            at = (turn * CLIENTS + number) % len(self._bodies)
            name = {"x-request-id": f"{self._seed}-{number}-{turn}"}
            answer = self._until_answered(connection, f"/v1/score/{FAMILY}", self._bodies[at], name, 200)
            if answer is None:
                break
            self._told.answered.append(answer["request_id"])
            known[answer["request_id"]] = self._truth[at]
            if len(known) == LABELLED_AT_ONCE:
                given = [{"request_id": request, "label": label} for request, label in known.items()]
                if self._until_answered(connection, "/v1/feedback", json.dumps({"labels": given}), {}, 202) is None:
                    break
                self._told.labels.update(known)
                known = {}
            time.sleep(_PAUSE_SECONDS)
        connection.close()

    def _until_answered(
        self, connection: http.client.HTTPConnection, path: str, body: str, headers: dict[str, str], status: int
    ) -> Any:
        while not self._ending.is_set():
            try:
                connection.request("POST", path, body, {"content-type": "application/json", **headers})
                answer = connection.getresponse()
                document = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError):
                connection.close()
                time.sleep(5 * _PAUSE_SECONDS)
                continue
            if answer.status == status:
                return document
            if answer.status not in (429, 503):
                self._told.problems.append(f"{path}: {answer.status} {document}")
            time.sleep(5 * _PAUSE_SECONDS)
        return None


class Services:
    """Gateway and tracker."""

    def __init__(self, home: Home, port: int, tracker_port: int, kills: Counter[str]) -> None:
        self.home, self.port, self.kills = home, port, kills
        self._tracker_port, self.state = tracker_port, home.folder / "github.json"
        self._gateway: Command | None = None
        self._tracker: subprocess.Popen[bytes] | None = None

    def start_gateway(self) -> None:
        """Start it and wait until it answers; again where it ended, as it does when a worker dies while it starts."""
        self._gateway = self.home.start("serve", "--port", str(self.port), "--workers", str(WORKERS))
        wait_until(lambda: not self._is_there() or self._is_ready(), 60, "the gateway")
        self.keep_gateway()

    def keep_gateway(self) -> None:
        """Start it again where it ended, as an init system does."""
        if self._gateway is not None and not self._is_there():
            answer = self._gateway.wait()
            assert (answer.code, "was started" in answer.err) == (1, True), answer
            self.start_gateway()

    def start_tracker(self) -> None:
        """Start it; who asks it before it listens finds nobody."""
        command = [sys.executable, "-m", "tests.across.github_server", str(self._tracker_port), str(self.state)]
        self._tracker = subprocess.Popen(command, cwd=CHECKOUT)

    def kill_worker(self, chance: random.Random) -> None:
        assert self._gateway is not None
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
            children = Path(f"/proc/{self._gateway.pid}/task/{self._gateway.pid}/children").read_text().split()
            os.kill(int(chance.choice(children)), signal.SIGKILL)
            self.kills["worker"] += 1

    def kill_gateway(self, chance: random.Random) -> None:
        """The process that starts the workers and seals, alone or with the workers; then another one is started."""
        assert self._gateway is not None
        alone = chance.random() < 0.5
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._gateway.pid, signal.SIGKILL) if alone else self._gateway.kill()
            self.kills["gateway" if alone else "gateway with its workers"] += 1
        self._gateway.wait()
        self.start_gateway()

    def kill_tracker(self, chance: random.Random) -> None:
        """It is away for a while."""
        assert self._tracker is not None
        self._tracker.kill()
        self._tracker.wait()
        self.kills["tracker"] += 1
        time.sleep(chance.uniform(0.0, 1.5))
        self.start_tracker()

    def stop_gateway(self) -> None:
        """As a person does: what is in the log is sealed."""
        assert self._gateway is not None
        os.kill(self._gateway.pid, signal.SIGTERM)
        answer = self._gateway.wait(60)
        assert answer.code == 128 + signal.SIGTERM, answer

    def end(self) -> None:
        if self._gateway is not None:
            self._gateway.abandon()
        if self._tracker is not None:
            self._tracker.kill()
            self._tracker.wait()

    def _is_there(self) -> bool:
        return self._gateway is not None and Path(f"/proc/{self._gateway.pid}").exists()

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


@dataclass
class Loop:
    """A home in which everything goes on, and what was done to it."""

    home: Home
    seed: int
    servers: tuple[ForkServer, ForkServer]
    kills: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    told: Told = field(default_factory=Told)
    requests: list[dict[str, Any]] = field(default_factory=list)
    scored: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        ports = free_ports(2)
        settings = {
            **self.home.settings,
            "serving": {"log_rotate_seconds": 1.0, "log_seal_seconds": 1.0},
            "monitoring": {"retraining_cooldown_hours": 0, "drift_interval_hours": HOURS},
        }
        homes = [Watched(server, self.home.folder, self.home.mirror, settings, ports[1]) for server in self.servers]
        self.home, self._of_daemon = homes
        self.services = Services(self.home, ports[0], ports[1], self.kills)
        self.sensors = Sensors(self._of_daemon)
        self.begun = Window.at(datetime.now(UTC), HOURS)

    def figures(self) -> tuple[dict[str, int], dict[str, int], int]:
        """How much of each kind was killed, what ended by itself, and how many requests were answered."""
        return dict(self.kills), dict(self.done), len(self.told.answered)

    def windows(self) -> list[Window]:
        """The windows since this began: one, or two where it lasts over the end of one."""
        found = [Window.at(datetime.now(UTC), HOURS)]
        while found[0] != self.begun:
            found.insert(0, found[0].before())
        return found

    def under_kills(self, frame: pd.DataFrame, name: str, runs: Sequence[Callable[[Killer], Any]], asked: int) -> None:
        """Clients ask, the daemon looks and tells, services are killed, while ``runs`` are made one after the other and
        until so many requests more were answered."""
        wanted = len(self.told.answered) + asked
        ended = threading.Event()
        failures: list[BaseException] = []

        def guarded(work: Callable[[random.Random], None]) -> threading.Thread:
            def whole() -> None:
                try:
                    work(random.Random(f"{self.seed} {name} {work.__name__}"))
                except BaseException as error:
                    failures.append(error)
                    ended.set()

            return threading.Thread(target=whole)

        def daemon(chance: random.Random) -> None:
            killer = Killer(self, chance)
            while not ended.is_set():
                self.tick(killer)
                self.deliver(killer)

        def services(chance: random.Random) -> None:
            kinds = (self.services.kill_worker, self.services.kill_tracker, self.services.kill_gateway)
            while not ended.wait(chance.uniform(0.1, 1.5)):
                chance.choice(kinds)(chance)
                self.services.keep_gateway()

        threads = [guarded(daemon), guarded(services)]
        with Clients(self.services.port, frame, self.told, f"{self.seed}-{name}"):
            for thread in threads:
                thread.start()
            try:
                killer = Killer(self, random.Random(f"{self.seed} {name} runs"))
                for run in runs:
                    if failures:
                        break
                    run(killer)
                wait_until(lambda: failures or len(self.told.answered) >= wanted, 60, f"answers to {name}")
            finally:
                ended.set()
                for thread in threads:
                    thread.join()
        if failures:
            raise failures[0]
        self.services.keep_gateway()

    def judge(self, killer: Killer | None = None) -> None:
        """The runs about every window since this began."""
        for window in self.windows():
            request = {
                "job": "drift_watch",
                "assets": [f"drift_reports/{FAMILY}"],
                "tags": {"dagster/partition": window.key},
            }
            self._run("judge", "dagster", ("execute", json.dumps(request)), killer)

    def retrain(self, killer: Killer | None = None) -> None:
        """What the drift sensor asked for."""
        for request in self.requests[-1:]:
            self._run("retraining", "dagster", ("execute", json.dumps(request)), killer)

    def train(self, killer: Killer | None = None) -> None:
        """A cycle that gives another model."""
        options = ("run", "--families", FAMILY, "--json", "--source", "mirror", "--seed", "12")
        self._run("training", "nethical", options, killer)

    def score(self, killer: Killer | None = None) -> None:
        """A file, scored by the command that writes into the same log and seals it."""
        path = self.scored[-1]
        output = str(path.with_suffix(".out.csv"))
        self._run("scoring", "nethical", ("score", FAMILY, str(path), "--output", output), killer)

    def add_file(self, frame: pd.DataFrame) -> None:
        """Another file to be scored."""
        self.scored.append(write_records(self.home.folder / f"file{len(self.scored)}.csv", frame))

    def tick(self, killer: Killer | None = None) -> None:
        """The sensors, as the daemon asks them: what one said is known when its look was not killed."""
        names = ("check_alert_sensor", "drift_sensor", "silence_sensor")
        cursors = json.dumps(self.sensors.cursors)
        answer = self._run("sensors", "dagster", ("tick", ",".join(names), cursors), killer, self._of_daemon)
        if answer is not None:
            self.sensors.cursors = answer.document["cursors"]
            self.requests += answer.document["requests"]

    def deliver(self, killer: Killer | None = None) -> dict[str, Any] | None:
        """A round of telling the tracker."""
        answer = self._run("delivery", "nethical", ("alerts", "deliver", "--json"), killer, self._of_daemon, (0, 1))
        return None if answer is None else dict(answer.document["targets"][0])

    def _run(
        self,
        what: str,
        program: str,
        arguments: tuple[str, ...],
        killer: Killer | None,
        home: Home | None = None,
        codes: tuple[int, ...] = (0,),
    ) -> Answer | None:
        home = home or self.home
        environment = {**home.environment, "DAGSTER_HOME": str(home.path / "dagster")}
        if killer is None:
            answer = home.server.start(program, arguments, environment, _UNPAUSED).wait()
        else:
            answer = killer.run(lambda injection: home.server.start(program, arguments, environment, injection), what)
        if answer.code == -signal.SIGKILL:
            self.kills[what] += 1
            return None
        assert answer.code in codes, (what, answer.code, answer.out[-2000:], answer.err[-4000:])
        self.done[what] += 1
        return answer


@dataclass(frozen=True)
class Watched(Home):
    """A home whose issues are told to a tracker on this machine."""

    tracker_port: int = 0

    @property
    def environment(self) -> dict[str, str]:
        return {
            **super().environment,
            "NETHICAL_GITHUB_REPOSITORY": REPOSITORY,
            "NETHICAL_GITHUB_TOKEN": TOKEN,
            "NETHICAL_GITHUB_URL": f"http://127.0.0.1:{self.tracker_port}",
        }


@dataclass
class Killer:
    """Kills commands."""

    loop: Loop
    chance: random.Random

    def run(self, start: Callable[[dict[str, Any]], Command], what: str) -> Answer:
        """Run a command that dies, unless it ends before."""
        if self.chance.random() < 0.6:
            at = self.chance.randint(1, _LATEST_WRITES[what])
            return start({"kill_at": at, "after": self.chance.random() < 0.5, **_UNPAUSED}).wait()
        command = start(_UNPAUSED)
        time.sleep(self.chance.uniform(0.0, _LONGEST_SECONDS) ** 2 / _LONGEST_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            command.kill()
        return command.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def calm(rows: int, seed: int) -> pd.DataFrame:
    """Connections as the model was trained on."""
    return connections(rows, np.random.default_rng(seed))
