"""A disk that is full from any write on: one line says so, nothing is lost, and with space again all is as before.

The default suite fills it at a few writes; ``make sweep`` (``NETHICAL_SWEEP=all``) at every one of them.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.across.platform import Answer, ForkServer, Home
from tests.sweeping import COMPLETE, cases

_PARTS = 10
_SOURCE = ("--source", "mirror")
_PROGRESS = re.compile(r"\s*\d+:\d\d  \d+/\d+ +\w+ .* (finished|failed) in [\d.]+s")
pytestmark = pytest.mark.timeout(0 if COMPLETE else 600)


def writes_of(home: Home, folder: Path, *command: str) -> int:
    """How many writes a command makes that has space."""
    log = folder / "writes"
    home.nethical(*command, injection={"log": str(log)}).ok()
    return len(log.read_text(encoding="utf-8").splitlines())


def faults_in(answer: Answer) -> list[str]:
    """What is wrong with how a command ended that had no space."""
    said = [line for line in answer.err.splitlines() if line.strip() and not _PROGRESS.fullmatch(line)]
    if answer.code == 0:
        # The cycle was over, and the next run files what it told.
        told = len(said) <= 1 and all(line.startswith("Issues were not filed: ") for line in said)
        return [] if told else [f"it succeeded and said {said}"]
    if answer.code == 2:
        ends_well = len(said) == 1 and said[0].startswith("nethical: ") and not answer.out
    else:  # a step failed, which the summary tells, or the one line does
        ends_well = answer.code == 1 and len(said) <= 1 and bool(said or json.loads(answer.out)["failures"])
    return [] if ends_well else [f"exit {answer.code}: {answer.out[-300:]} {said}"]


def faults_after(home: Home, command: tuple[str, ...], run: tuple[str, ...], number: int, records: Path) -> list[str]:
    """What is wrong when the disk is full from a write on, and after it has space again."""
    found = faults_in(home.nethical(*command, injection={"full_at": number}))
    found += [f"left: {path}" for path in home.path.rglob(".partial-*")]
    answer = home.run(*run)
    found += [] if answer.code == 0 else [f"run: exit {answer.code}: {answer.out[-300:]} {answer.err[-300:]}"]
    return [*found, *home.faults(records)]


def sweep(before: Home, command: tuple[str, ...], part: int, folder: Path, records: Path, run: tuple[str, ...]) -> None:
    count = writes_of(before.copy(folder / "counted"), folder, *command)
    assert count >= 3
    points = range(1 + part, count + 1, _PARTS) if COMPLETE else [1 + count // 2]
    wrong = {}
    for number in points:
        home = before.copy(folder / str(number))
        if found := faults_after(home, command, run, number, records):
            wrong[number] = found
        shutil.rmtree(home.folder)
    assert wrong == {}


@pytest.mark.parametrize("part", cases(0, more=range(1, _PARTS)))
def test_a_cycle_without_space_says_one_line_and_the_next_one_is_sound(
    part: int, real: Home, tmp_path: Path, records: Path
) -> None:
    command = ("run", "--families", "logistic", *_SOURCE, "--seed", "8", "--json")
    sweep(real, command, part, tmp_path, records, (*_SOURCE, "--seed", "8"))


@pytest.mark.parametrize("part", cases(0, more=range(1, _PARTS)))
def test_a_first_cycle_without_space_says_one_line_and_the_next_one_is_sound(
    part: int, server: ForkServer, mirror: Path, tmp_path: Path, records: Path
) -> None:
    command = ("run", "--families", "logistic", *_SOURCE, "--json")
    if not COMPLETE:
        home = Home(server, tmp_path / "home", mirror)
        assert faults_after(home, command, _SOURCE, 9, records) == []
        return
    before = Home(server, tmp_path / "before", mirror)
    before.path.mkdir()
    sweep(before, command, part, tmp_path, records, _SOURCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    cases(
        ("data", "restore", "nslkdd", "--from", "mirror"),
        ("audit", "heartbeat"),
        more=[
            ("data", "fetch", "nslkdd", "--source", "mirror", "--force"),
            ("models", "rotate-key", "--reason", "yearly"),
            ("audit", "keys", "rotate"),
        ],
    ),
    ids=lambda command: " ".join(command[:2]),
)
def test_an_errand_without_space_says_one_line_and_the_next_run_is_sound(
    command: tuple[str, ...], real: Home, tmp_path: Path, records: Path
) -> None:
    count = writes_of(real.copy(tmp_path / "counted"), tmp_path, *command)
    for number in range(1, count + 1) if COMPLETE else sorted({1, count}):
        home = real.copy(tmp_path / str(number))
        answer = home.nethical(*command, injection={"full_at": number})
        said = answer.err.splitlines()
        assert (answer.code in (1, 2) and len(said) == 1) or (answer.code == 0 and number > 1), (number, answer)
        assert list(home.path.rglob(".partial-*")) == []
        home.run(*_SOURCE).ok()
        assert home.faults(records) == [], number
