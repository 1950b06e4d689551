"""A champion that cannot be served is an issue, once, and its end closes it; whoever of the workers says so."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations.kept import kept_problems
from nethical_assets.serving import deployment
from nethical_assets.serving.champions import Champions
from nethical_assets.serving.deployment import Reporting, ServedFile, UntoldError, forget_worker
from nethical_assets.serving.metrics import FOLDER_VARIABLE
from nethical_assets.serving.neighbours import Neighbours
from tests.across.platform import flip
from tests.serving.homes import ServedHome

FAMILY = "logistic"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers tell, each look of the reporter a minute later than it is."""
    made = tmp_path / "counted"
    made.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(made))
    monkeypatch.setattr(deployment, "utc_now", lambda: utc_now() + timedelta(minutes=1))
    return made


class Worker:
    """What one worker says, as process ``pid``."""

    def __init__(self, home: ServedHome, pid: int, patch: pytest.MonkeyPatch) -> None:
        self.champions = Champions(home.settings, family_names(), clock=lambda: 0.0)
        patch.setattr("os.getpid", lambda: pid)
        self.file = ServedFile()
        patch.undo()

    def look(self) -> None:
        self.champions._looks[FAMILY].done = False
        self.champions.look()
        self.file.tell(self.champions.standings())


def states(home: ServedHome) -> list[tuple[str, str, int]]:
    issues = Workspace(home.settings, CycleOptions(), "reader").tracker.list()
    return [(issue.kind, issue.state, issue.occurrences) for issue in issues]


def test_a_champion_that_cannot_be_served_is_one_issue_until_every_worker_serves_it(
    home: ServedHome, folder: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        first = Worker(home, 11, patch)
        patch.setenv(FOLDER_VARIABLE, str(folder))
        second = Worker(home, 12, patch)
    reporting = Reporting(home.settings, folder, said=pytest.fail)
    for worker in (first, second):
        worker.look()
    reporting.look()
    assert states(home) == [], "what is served is no news"

    home.promote(FAMILY, 1, "2.0.0")
    stored = home.settings.home / "models" / "store" / home.models[FAMILY][1].partition(":")[2]
    damaged = next(path for path in sorted(stored.rglob("*")) if path.is_file() and path.stat().st_size > 100)
    flip(damaged)
    first.look()
    for _ in range(3):
        reporting.look()
    assert states(home) == [("deployment_failure", "open", 1)]
    # A gateway that is started again, and another worker, say the same.
    second.look()
    again = Reporting(home.settings, folder, said=pytest.fail)
    with again.going_on():
        again.look()
    assert states(home) == [("deployment_failure", "open", 1)]
    issue = Workspace(home.settings, CycleOptions(), "reader").tracker.show(1)
    assert home.models[FAMILY][1] in issue.body and str(home.settings.home) not in issue.body

    flip(damaged)
    first.look()
    reporting.look()
    assert states(home) == [("deployment_failure", "open", 1)], "one of two serves it"
    second.look()
    reporting.look()
    assert states(home) == [("deployment_failure", "closed", 1)]
    assert [problem for problem in kept_problems(home.settings) if "alert" in problem] == []


def test_a_worker_that_ended_says_nothing_more(home: ServedHome, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        Worker(home, 11, patch).look()
    reporting = Reporting(home.settings, folder, said=pytest.fail)
    assert len(list(reporting._states())) == 1
    forget_worker(11, folder)
    forget_worker(11, folder)
    assert list(reporting._states()) == []


class Gateway:
    """One gateway of a home, with one worker, whose files are in a folder of its own."""

    def __init__(self, home: ServedHome, folder: Path, pid: int) -> None:
        folder.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(FOLDER_VARIABLE, str(folder))
            self.worker = Worker(home, pid, patch)
        self.reporting = Reporting(home.settings, folder, said=pytest.fail)

    def look(self) -> None:
        self.worker.look()
        self.reporting.look()


def test_a_gateway_that_serves_does_not_close_what_another_cannot_serve(home: ServedHome, tmp_path: Path) -> None:
    """The second gateway of the home began before the model was damaged, and goes on with it."""
    ticks, moment = [0.0], [utc_now()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deployment, "utc_now", lambda: utc_now() + timedelta(minutes=1))
        patch.setattr(deployment, "Neighbours", partial(Neighbours, ticks=lambda: ticks[0], clock=lambda: moment[0]))
        first, second = (Gateway(home, tmp_path / str(pid), pid) for pid in (11, 12))
        for gateway in (first, second):
            gateway.look()
        home.promote(FAMILY, 1, "2.0.0")
        second.look()
        stored = home.settings.home / "models" / "store" / home.models[FAMILY][1].partition(":")[2]
        damaged = next(path for path in sorted(stored.rglob("*")) if path.is_file() and path.stat().st_size > 100)
        flip(damaged)
        for _ in range(2):
            first.look()
            assert states(home) == [("deployment_failure", "open", 1)]
            second.reporting.look()
            assert states(home) == [("deployment_failure", "open", 1)]
        # The first is killed: after a while nobody believes it any more.
        ticks[0] += 59
        moment[0] += timedelta(seconds=59)
        second.reporting.look()
        assert states(home) == [("deployment_failure", "open", 1)]
        ticks[0] += 5
        moment[0] += timedelta(seconds=5)
        second.reporting.look()
        assert states(home) == [("deployment_failure", "closed", 1)]
        flip(damaged)


@pytest.mark.parametrize("fails", ["tell", "others"])
def test_where_other_gateways_cannot_be_told_what_is_refused_is_filed_and_nothing_is_closed(
    home: ServedHome, folder: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        worker = Worker(home, 11, patch)
    said: list[str] = []
    reporting = Reporting(home.settings, folder, said.append)
    pointer = home.pointer(FAMILY)
    kept = pointer.read_bytes()
    pointer.write_bytes(b"{")

    def cannot(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "gateways")

    with monkeypatch.context() as patch:
        patch.setattr(Neighbours, fails, cannot)
        worker.look()
        with pytest.raises(UntoldError, match="Permission denied"):
            reporting.look()
        assert states(home) == [("deployment_failure", "open", 1)]
        pointer.write_bytes(kept)
        worker.look()
        with pytest.raises(UntoldError, match="no alert is closed"):
            reporting.look()
        assert states(home) == [("deployment_failure", "open", 1)], "another gateway may still refuse it"
        monkeypatch.setattr(deployment, "_SECONDS_BETWEEN_LOOKS", 0.01)
        with reporting.going_on():
            deadline = time.monotonic() + 30
            while not said and time.monotonic() < deadline:
                time.sleep(0.01)
    assert len(said) == 1 and "the other gateways of the home cannot be told" in said[0]
    reporting.look()
    assert states(home) == [("deployment_failure", "closed", 1)]
