"""Death at every write: before each rename, removal, fsync and commit, and after all but fsyncs.

The default suite kills where a champion and its card appear and at a seeded one of all points; ``make sweep``
(``NETHICAL_SWEEP=all``) kills at every one of them. Points between which no file of the home changes are one death:
nothing that the next process sees tells them apart.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.across.platform import ForkServer, Home
from tests.sweeping import COMPLETE, cases

_SPREAD = 1
_PARTS = 20
_SEED = 20261125
# A check that fails without stopping anything, so that an issue is filed too.
_SETTINGS = {
    "performance_thresholds": {"accuracy_min": 0.5, "ece_policy": "disable", "regression_tolerance": 0.3},
    "datasets": {"minimum_samples": 5000},
}
_SOURCE = ("--source", "mirror")
pytestmark = pytest.mark.timeout(0 if COMPLETE else 600)


@dataclass(frozen=True)
class Write:
    """A write of a command: what and where, and the states of the home before and after it (empty: not looked at)."""

    what: str
    before: str
    after: str


@dataclass(frozen=True)
class Scene:
    """A command that is killed in copies of ``before``, and its writes as a first time counted them.

    ``run`` is the plain run that comes next, with what it has to make the champion.
    """

    before: Home
    command: tuple[str, ...]
    writes: tuple[Write, ...]
    run: tuple[str, ...]
    champion: str

    def points(self, spread: int) -> list[tuple[int, bool]]:
        """The numbers of the writes to die at, and whether to die after them instead of before.

        Unless all are wanted: one of each of ``spread`` parts of the command, and where a champion or its card appears.
        """
        numbers = range(1, len(self.writes) + 1)
        moves = [n for n in numbers if not self.writes[n - 1].what.startswith("fsync")]
        found = sorted([*((n, False) for n in numbers), *((n, True) for n in moves)])
        if COMPLETE:
            states = [self._state(*point) for point in found]
            return [found[i] for i in range(len(found)) if i == 0 or states[i] != states[i - 1]]
        chance = random.Random(_SEED)
        parts = [found[i * len(found) // spread : (i + 1) * len(found) // spread] for i in range(spread)]
        pointers = [(n, True) for n in moves if "models/current/" in self.writes[n - 1].what][:1]
        cards = [(n, False) for n in moves if "models/metadata/" in self.writes[n - 1].what][:1]
        return sorted({*pointers, *cards, *map(chance.choice, parts)})

    def _state(self, number: int, after: bool) -> str:
        """The state of the home at a point."""
        write = self.writes[number - 1]
        return write.after if after else write.before

    def faults_after(self, folder: Path, number: int, after: bool, records: Path) -> list[str]:
        """Kill the command in a copy, run plainly, and say what is wrong then."""
        home = self.before.copy(folder) if self.before.path.exists() else self._fresh(folder)
        killed = home.nethical(*self.command, injection={"kill_at": number, "after": after})
        if killed.code == 0 and number > len(self.writes) - 5:
            return []  # it had a few writes less than when they were counted
        assert killed.code == -signal.SIGKILL, (self.writes[number - 1].what, killed)
        answer = home.run(*self.run)
        found = [] if answer.code == 0 else [f"run: exit {answer.code}: {answer.out[-300:]} {answer.err[-300:]}"]
        found += home.faults(records)
        champion = json.loads(home.pointer() or b"{}").get("model")
        if champion != self.champion:
            found.append(f"the champion is {champion}, not {self.champion}")
        shutil.rmtree(home.folder)
        return found

    def _fresh(self, folder: Path) -> Home:
        return Home(self.before.server, folder, self.before.mirror, self.before.settings)

    def sweep(self, folder: Path, records: Path, points: Sequence[tuple[int, bool]]) -> dict[str, list[str]]:
        """What is wrong after a death at each of the points; empty when nothing is."""
        wrong = {}
        for number, after in points:
            if found := self.faults_after(folder / f"{number}{after}", number, after, records):
                wrong[f"{'after' if after else 'before'} {number}: {self.writes[number - 1].what}"] = found
        return wrong


def counted(home: Home, folder: Path, *command: str) -> tuple[Write, ...]:
    """The writes of a command that nobody kills."""
    log = folder / "writes"
    home.nethical(*command, injection={"log": str(log), "states": COMPLETE}).ok()
    return tuple(Write(*json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module", params=cases("next champion", more=["first champion"]))
def cycle(
    request: pytest.FixtureRequest, server: ForkServer, tmp_path_factory: pytest.TempPathFactory, mirror: Path
) -> Scene:
    """A cycle that promotes: the first one of a home, or one that replaces a champion."""
    folder = tmp_path_factory.mktemp("scene")
    home, before = (Home(server, folder / name, mirror, _SETTINGS) for name in ("counted", "before"))
    run = _SOURCE
    if request.param == "next champion":
        home.run(*_SOURCE).ok()
        shutil.copytree(home.path, before.path, symlinks=True)
        run = (*_SOURCE, "--seed", "8")
    earlier = home.pointer()
    command = ("run", "--families", "logistic", *run)
    writes = counted(home, folder, *command)
    assert len(writes) > 60
    for what in ("models/current", "models/metadata", "audit/checkpoint", "alerts"):
        assert any(what in write.what for write in writes), f"no write below {what} was counted"
    champion = json.loads(home.pointer() or b"")["model"]
    assert earlier is None or champion != json.loads(earlier)["model"]
    return Scene(before, command, writes, run, champion)


@pytest.mark.parametrize("part", cases(0, more=range(1, _PARTS)))
def test_a_cycle_killed_at_a_write_is_made_good_by_the_next_plain_run(
    cycle: Scene, part: int, tmp_path: Path, records: Path
) -> None:
    """In a sweep, each part tries every so many of the writes: several processes share the work."""
    points = cycle.points(_SPREAD)[part :: _PARTS if COMPLETE else 1]
    assert cycle.sweep(tmp_path, records, points) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    cases(
        ("data", "restore", "nslkdd", "--from", "mirror"),
        ("alerts", "close", "1", "--reason", "seen"),
        more=[
            ("data", "fetch", "nslkdd", "--source", "mirror", "--force"),
            ("audit", "heartbeat"),
            ("models", "rotate-key", "--reason", "yearly"),
            ("audit", "keys", "rotate"),
        ],
    ),
    ids=lambda command: " ".join(command[:2]),
)
def test_an_errand_killed_at_a_write_is_made_good_by_the_next_plain_run(
    command: tuple[str, ...], real: Home, tmp_path: Path, records: Path
) -> None:
    before = real.copy(tmp_path / "before", settings=_SETTINGS)
    before.run(*_SOURCE).ok()
    assert before.alerts()
    writes = counted(before.copy(tmp_path / "counted"), tmp_path, *command)
    assert len(writes) >= 3
    champion = json.loads(before.pointer() or b"")["model"]
    scene = Scene(before, command, writes, _SOURCE, champion)
    assert scene.sweep(tmp_path, records, scene.points(1)) == {}
