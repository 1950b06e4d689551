"""A home of the platform as these tests see it: commands, their answers, Dagster's side, and files below it.

What belongs here: starting commands and reading what they say. What does not: what is expected of them (the tests).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nethical_assets.core.ground.storage import exclusive_lock
from tests.across.entry import CHECKOUT
from tests.orchestration import clean_environment, environment_of, write_settings

# Small data may be promoted: these tests are about what is recorded, not about quality.
LENIENT: dict[str, Mapping[str, Any]] = {
    "performance_thresholds": {"accuracy_min": 0.5, "ece_policy": "disable", "regression_tolerance": 0.3}
}
_SECONDS = 150.0


@dataclass(frozen=True)
class Answer:
    """How a command ended: its exit code (negative: the signal), and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    def ok(self) -> Answer:
        """This answer, which has to be of a command that succeeded."""
        assert self.code == 0, f"exit {self.code}\n{self.out[-3000:]}\n{self.err[-3000:]}"
        return self

    def last_line(self) -> str:
        """The last line that was written; stderr only where nothing is on stdout."""
        return [line for line in (self.out.strip() or self.err).splitlines() if line.strip()][-1].strip()


class Command:
    """A started command, the leader of a session of its own."""

    def __init__(self, connection: socket.socket, out: Path, err: Path) -> None:
        self._connection, self._out, self._err = connection, out, err
        self._stream = connection.makefile("rb")
        self.pid = int(self._stream.readline())

    def wait(self, seconds: float = _SECONDS) -> Answer:
        """Its answer when it has ended; it is killed after ``seconds``."""
        self._connection.settimeout(seconds)
        try:
            code = int(self._stream.readline())
        except TimeoutError:
            self.kill()
            raise AssertionError(f"not ended within {seconds:.0f} s: {self._err.read_text()[-3000:]}") from None
        finally:
            self._stream.close()
            self._connection.close()
        return Answer(code, self._out.read_text(encoding="utf-8"), self._err.read_text(encoding="utf-8"))

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal to it and everything it started."""
        os.killpg(self.pid, signum)

    def abandon(self) -> None:
        """End it where a failed test never waited for it."""
        if not self._stream.closed:
            with contextlib.suppress(ProcessLookupError):
                self.kill()
            self.wait()


class ForkServer:
    """The client of ``fork_server``: starts commands in it.

    Whoever has one open for the same ``folder`` shares one server, which is started with the first command and ends
    when nobody has one open any more.
    """

    def __init__(self, folder: Path) -> None:
        self._shared = folder
        self._folder = Path(tempfile.mkdtemp(prefix="across-"))
        self._number = 0
        self._started: list[Command] = []
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(folder / "lease")
        reads = os.open(folder / "lease", os.O_RDONLY | os.O_NONBLOCK)
        self._lease = os.open(folder / "lease", os.O_WRONLY)
        os.close(reads)

    @functools.cached_property
    def _address(self) -> str:
        """Where the server listens: not below ``folder``, whose path may be too long for a socket."""
        place = self._shared / "address"
        with exclusive_lock(self._shared / "lock", waiting_seconds=150.0, what="the start of the fork server"):
            if not place.exists():
                address = Path(tempfile.mkdtemp(prefix="across-")) / "socket"
                self._begin(address)
                place.write_text(str(address))
        return place.read_text()

    def _begin(self, address: Path) -> None:
        arguments = [sys.executable, "-m", "tests.across.fork_server", str(address)]
        variables = clean_environment({"PYTHONPATH": str(CHECKOUT), "MPLBACKEND": "agg"})
        said = self._shared / "log"
        with said.open("wb") as log, (self._shared / "lease").open("rb") as lease:
            streams = [(os.POSIX_SPAWN_DUP2, source.fileno(), n) for n, source in enumerate((lease, log, log))]
            # Not as a child to be waited for: others may need it longer than this process lives.
            process = os.posix_spawn(sys.executable, arguments, variables, file_actions=streams, setsid=True)
        deadline = time.monotonic() + 120
        while not address.exists():
            assert os.waitpid(process, os.WNOHANG) == (0, 0), said.read_text()
            assert time.monotonic() < deadline, "the fork server does not start"
            time.sleep(0.02)

    def start(
        self,
        program: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        injection: Mapping[str, Any],
        *,
        together: bool = False,
    ) -> Command:
        """Start ``nethical`` or a question to Dagster's side; ``together``: both streams in one, as in a terminal."""
        self._number += 1
        out = self._folder / f"{self._number}.out"
        err = out if together else self._folder / f"{self._number}.err"
        for path in (out, err):
            # One that is killed at once opens none.
            path.touch()
        request = {
            "program": program,
            "arguments": arguments,
            "environment": dict(environment),
            "injection": dict(injection),
            "stdout": str(out),
            "stderr": str(err),
        }
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self._address)
            connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            connection.close()
            raise
        command = Command(connection, out, err)
        self._started.append(command)
        return command

    def close(self) -> None:
        """End what is left of its commands, and let the server go."""
        for command in self._started:
            command.abandon()
        os.close(self._lease)
        shutil.rmtree(self._folder)


@dataclass(frozen=True)
class Home:
    """One home, below ``folder`` together with its settings file; ``mirror`` is where its data comes from, if any."""

    server: ForkServer = field(repr=False)
    folder: Path
    mirror: Path | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: LENIENT)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_settings(self.folder, **self.settings)

    @property
    def path(self) -> Path:
        """NETHICAL_HOME."""
        return self.folder / "home"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a command."""
        return clean_environment(environment_of(self.folder, self.mirror, **self.settings))

    def start(self, *arguments: str, injection: Mapping[str, Any] | None = None) -> Command:
        """Start ``nethical``."""
        return self.server.start("nethical", arguments, self.environment, injection or {})

    def nethical(self, *arguments: str, injection: Mapping[str, Any] | None = None) -> Answer:
        """Run ``nethical`` to its end."""
        return self.start(*arguments, injection=injection).wait()

    def shown(self, *arguments: str) -> Answer:
        """Run ``nethical`` as somebody does who reads a terminal: ``out`` holds both streams."""
        return self.server.start("nethical", arguments, self.environment, {}, together=True).wait()

    def run(self, *arguments: str, injection: Mapping[str, Any] | None = None) -> Answer:
        """``nethical run --json`` for the logistic family, unless ``arguments`` name others."""
        families = () if "--families" in arguments else ("--families", "logistic")
        return self.nethical("run", *families, "--json", *arguments, injection=injection)

    def dagster(self, *question: str) -> Any:
        """The answer of Dagster's side."""
        environment = {**self.environment, "DAGSTER_HOME": str(self.path / "dagster")}
        answer = self.server.start("dagster", question, environment, {}).wait().ok()
        return answer.document

    def last_run(self) -> dict[str, Any]:
        """Dagster's newest run."""
        return dict(self.dagster("runs")[-1])

    def problems(self) -> list[str]:
        """What ``audit verify`` finds; nothing exactly when it exits 0."""
        answer = self.nethical("audit", "verify", "--json")
        assert answer.code in (0, 1), answer.err
        found = list(answer.document["problems"])
        assert bool(found) == bool(answer.code), answer.out
        return found

    def alerts(self, state: str = "open") -> list[dict[str, Any]]:
        """The issues."""
        return list(self.nethical("alerts", "list", "--state", state, "--json").ok().document["issues"])

    def score(self, records: Path) -> tuple[Answer, str]:
        """Score raw records with the logistic champion: the answer, and the scores as they were written."""
        output = self.folder / "scores.csv"
        output.unlink(missing_ok=True)
        answer = self.nethical("score", "logistic", str(records), "--output", str(output))
        return answer, output.read_text(encoding="utf-8") if output.exists() else ""

    def faults(self, records: Path) -> list[str]:
        """Everything that is wrong after a sequence: of ``audit verify``, ``lineage``, ``score``; what was left."""
        wrong = [f"audit verify: {problem}" for problem in self.problems()]
        lineage = self.nethical("lineage", "logistic")
        if lineage.code:
            wrong.append(f"lineage: exit {lineage.code}: {lineage.last_line()}")
        score, _ = self.score(records)
        if score.code:
            wrong.append(f"score: exit {score.code}: {score.last_line()}")
        left = [*self.path.rglob(".partial-*"), *(self.path / "runs").glob("*.lock")]
        return [*wrong, *(f"left: {path.relative_to(self.path)}" for path in left)]

    def pointer(self, family: str = "logistic") -> bytes | None:
        """The champion's pointer, byte for byte."""
        path = self.path / "models" / "current" / f"{family}.json"
        return path.read_bytes() if path.exists() else None

    def copy(self, folder: Path, **changes: Any) -> Home:
        """A copy of this home in ``folder``, which a test may spoil."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(self.path, folder / "home", symlinks=True)
        return replace(self, folder=folder, **changes)


@dataclass
class Sensors:
    """The sensors of a home with their cursors, as the daemon keeps them; nothing they ask for is run."""

    home: Home
    cursors: dict[str, str | None] = field(default_factory=dict)

    def tick(self, *names: str) -> list[dict[str, Any]]:
        """Evaluate the sensors (all that file alerts unless some are named) once; the runs they ask for."""
        answer = self.home.dagster("tick", ",".join(names), json.dumps(self.cursors))
        self.cursors = answer["cursors"]
        return list(answer["requests"])


def write_records(path: Path, rows: pd.DataFrame) -> Path:
    """Write connection records as somebody has them who wants them scored; returns ``path``."""
    rows.drop(columns=["attack", "difficulty"]).to_csv(path, index=False)
    return path


def flip(path: Path, at: float = 0.5) -> None:
    """Change one bit of a file, at this share of its length."""
    data = bytearray(path.read_bytes())
    data[min(int(len(data) * at), len(data) - 1)] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def files_of(folder: Path) -> Iterator[Path]:
    """The files below ``folder``, lock files left out, in order."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and not path.name.endswith(".lock"):
            yield path


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of ``condition``."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.02)
    return found
