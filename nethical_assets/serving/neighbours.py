"""The gateways of one home, as each knows of the others: what their processes serve, and that they live.

What belongs here: the file by which a gateway tells, and which of the others count. What does not: how its workers tell
it (``deployment``), or what is an alert (``core.alerts.deployment``).

Each run of a gateway has an id and a file of its own, which it writes where something changed and as a heartbeat. One
that ends removes its file. One that was killed is not believed any more when its heartbeat is over; its file goes when
nobody wrote it for that time, whatever the clocks of other machines say.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from nethical_assets.core.alerts.deployment import ServedState
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import parse_document, write_atomically
from nethical_assets.home.workspace import utc_now

HEARTBEAT_SECONDS = 10.0
GONE_SECONDS = 60.0
"""After how long without a heartbeat what a gateway said is over."""

States = Mapping[str, ServedState]
"""What one process serves, by what it is of, such as ``models/logistic``."""


@dataclass(frozen=True)
class _Told:
    """What a gateway tells: when, and what each of its processes serves."""

    at: datetime
    processes: tuple[dict[str, ServedState], ...]


@dataclass
class _Seen:
    """The bytes of another gateway's file, since when they are the same, and whether they were others before."""

    data: bytes
    since: float
    changed: bool = field(default=False)


class Neighbours:
    """What this run of a gateway tells the others in ``folder``, and what they tell.

    Args:
        clock: the time, with a time zone.
        ticks: seconds that nobody sets back.
    """

    def __init__(
        self, folder: Path, *, clock: Callable[[], datetime] = utc_now, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._path = folder / f"{uuid.uuid4().hex}.json"
        self._clock = clock
        self._ticks = ticks
        self._told: tuple[tuple[dict[str, ServedState], ...], float] | None = None
        self._seen: dict[str, _Seen] = {}

    def tell(self, processes: Sequence[States]) -> None:
        """Say what the processes of this gateway serve, where that is news or a heartbeat is due.

        Raises:
            OSError: the disk is full or not writable.
        """
        states, now = tuple(dict(one) for one in processes), self._ticks()
        if self._told is not None and self._told[0] == states and now - self._told[1] < HEARTBEAT_SECONDS:
            return
        # Of no use after a power failure: nobody lives then.
        write_atomically(self._path, pretty_json(to_document(_Told(self._clock(), states))), durable=False)
        self._told = states, now

    def others(self) -> list[States]:
        """What the processes of all other gateways that live serve; of one that cannot be read, or that another
        clock wrote and that may be gone, a process that serves nothing, so that nobody says for it that all is well."""
        found: list[States] = []
        there = {}
        for path in sorted(self._folder.glob("*.json")):
            if path == self._path:
                continue
            with contextlib.suppress(FileNotFoundError):
                data = path.read_bytes()
                there[path.name] = seen = self._look(path.name, data)
                told = _read(path, data)
                unchanged = self._ticks() - seen.since
                is_fresh = told is not None and abs((self._clock() - told.at).total_seconds()) <= GONE_SECONDS
                if unchanged > GONE_SECONDS:
                    path.unlink()
                elif told is not None and (is_fresh or seen.changed):
                    found += told.processes
                else:
                    found.append({})
        self._seen = there
        return found

    def end(self) -> None:
        """This gateway serves no more."""
        self._path.unlink(missing_ok=True)

    def _look(self, name: str, data: bytes) -> _Seen:
        before = self._seen.get(name)
        if before is not None and before.data == data:
            return before
        return _Seen(data, self._ticks(), changed=before is not None)


def _read(path: Path, data: bytes) -> _Told | None:
    try:
        return from_document(_Told, parse_document(data, path), path.name)
    except IntegrityError:
        return None
