"""What the workers serve, told to the process that started them, and by that to the issue tracker.

What belongs here: the files by which a worker tells, and the thread that files. What does not: what is an alert
(``core.alerts.deployment``), what other gateways of the home tell (``neighbours``), or verifying champions
(``champions``). A worker has requests to answer, and waits for no lock of the tracker.

A gateway that is killed loses nothing: the next one looks at every champion again and says the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from nethical_assets.core.alerts.deployment import Refusals, ServedState, judge_deployment
from nethical_assets.core.alerts.kinds import Alert
from nethical_assets.core.delivery.pinned import model_subject
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.core.ground.storage import read_json, write_json
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.serving.champions import Standing
from nethical_assets.serving.metrics import FOLDER_VARIABLE
from nethical_assets.serving.neighbours import Neighbours, States
from nethical_assets.serving.repeating import Repeated

_PATTERN = "served-*.json"
_SECONDS_BETWEEN_LOOKS = 1.0
_POINTER = "pointer"


class UntoldError(NethicalError):
    """What a gateway serves could not be told to the other gateways of the home, or what they serve not be read."""

    exit_code = 1


def state_of(standing: Standing) -> ServedState:
    """What a process says of one family."""
    model = standing.model
    return ServedState(
        since=datetime.fromisoformat(standing.since).astimezone(UTC),
        served=model.digest if model else "",
        version=model.version if model else "",
        refused="" if standing.state == "served" else standing.refused or _POINTER,
        fault=standing.fault,
        reason=standing.reason,
    )


class ServedFile:
    """The file in which this worker says what it serves; none where no folder is named, as in a process of its own."""

    def __init__(self) -> None:
        folder = os.environ.get(FOLDER_VARIABLE)
        self._path = _path(Path(folder), os.getpid()) if folder else None
        self._said: Mapping[str, ServedState] | None = None

    def tell(self, standings: Mapping[str, Standing]) -> None:
        """Say what is served, where it changed."""
        states = {model_subject(family): state_of(one) for family, one in standings.items() if one.state != "none"}
        if self._path is None or states == self._said:
            return
        # A full disk is told by what stops at it; this is said at the next look then.
        with contextlib.suppress(OSError):
            write_json(self._path, {subject: to_document(state) for subject, state in states.items()})
            self._said = states


def forget_worker(pid: int, folder: Path) -> None:
    """A worker ended: what it served is over."""
    _path(folder, pid).unlink(missing_ok=True)


class Reporting:
    """Files what the workers that tell in ``folder`` cannot serve, and closes it when all of them serve again, and so
    do those of every other gateway of the home."""

    def __init__(self, settings: Settings, folder: Path, said: Callable[[str], None]) -> None:
        self._settings = settings
        self._folder = folder
        self._said = said
        self._told: set[tuple[str, str, str]] = set()
        self._refusals = Refusals()
        self._neighbours = Neighbours(settings.home / "serving" / "gateways")

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """It is looked at until the context is left; then this gateway says nothing more."""
        problem = "filing what the workers cannot serve"
        try:
            with Repeated("deployment", self.look, _SECONDS_BETWEEN_LOOKS, self._said, problem=problem).going_on():
                yield
        finally:
            with contextlib.suppress(OSError):
                self._neighbours.end()

    def look(self) -> None:
        """Look once, and file what is new.

        Raises:
            UntoldError: nothing is known of the other gateways, or they know nothing of this one. What its workers
                cannot serve was filed; nothing was closed.
            OSError: the tracker cannot be written.
        """
        # Between two workers a gateway serves nothing; that is no proof that all is well.
        own = list(self._states()) or [{}]
        others: list[States] = []
        untold: OSError | None = None
        try:
            self._neighbours.tell(own)
            others = self._neighbours.others()
        except OSError as error:
            untold = error
        states, now = [*own, *others], utc_now()
        if untold is None:
            self._refusals.look(states, now)
        results = judge_deployment(states, now, self._refusals.turned)
        if untold is not None:
            results = [one for one in results if isinstance(one, Alert)]
        new = [one for one in results if (one.fingerprint, type(one).__name__, one.moment) not in self._told]
        if new:
            tracker = Workspace(self._settings, CycleOptions(), "serve").tracker
            wanted = [one for one in new if isinstance(one, Alert) or tracker.is_open(one.fingerprint)]
            if wanted:
                tracker.record(wanted)
            self._told |= {(one.fingerprint, type(one).__name__, one.moment) for one in new}
        if untold is not None:
            raise UntoldError(f"the other gateways of the home cannot be told, so that no alert is closed: {untold}")

    def _states(self) -> Iterator[dict[str, ServedState]]:
        for path in sorted(self._folder.glob(_PATTERN)):
            with contextlib.suppress(FileNotFoundError):
                yield {name: from_document(ServedState, one, path.name) for name, one in read_json(path).items()}


def _path(folder: Path, pid: int) -> Path:
    return folder / f"served-{pid}.json"
