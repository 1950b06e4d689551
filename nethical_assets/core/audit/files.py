"""The files of a log: its head, its entries, its payloads, its write-ahead files.

What belongs here: reading what is on disk, in order. What does not: proving it (``view``), queries (``reader``),
checking everything (``verify``), writing (``writer``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.index import LogIndex
from nethical_assets.core.audit.pending import PendingFolder
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.core.tlog.checkpoint import Checkpoint
from nethical_assets.core.tlog.note import Note
from nethical_assets.core.tlog.tiles import ENTRIES, TILE_WIDTH, TileFolder, decode_entries

CHECKPOINT = "checkpoint"
CHECKPOINTS = "checkpoints"
PAYLOADS = "payloads"
KEYS = "keys"


@dataclass(frozen=True)
class Head:
    """The newest signed state of the log, with the text of its checkpoint (a signed note)."""

    checkpoint: Checkpoint
    text: str

    @property
    def size(self) -> int:
        """How many leaves are signed."""
        return self.checkpoint.size

    @property
    def root(self) -> str:
        """The root over them, hexadecimal."""
        return self.checkpoint.root.hex()


@dataclass(frozen=True)
class LoggedEvent:
    """An event and its index in the log."""

    index: int
    event: Event


class LogFiles:
    """The log in ``folder``: ``checkpoint``, ``tile/``, ``checkpoints/``, ``payloads/``, ``pending/``, ``keys/``."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.tiles = TileFolder(self.folder)
        self.pending = PendingFolder(self.folder)
        self.payloads = ObjectStore(self.folder / PAYLOADS)
        self.index = LogIndex(self.folder)

    def checkpoint_bytes(self) -> bytes | None:
        """The bytes of the newest checkpoint; None when nothing was signed yet."""
        try:
            return (self.folder / CHECKPOINT).read_bytes()
        except FileNotFoundError:
            return None

    def head(self) -> Head | None:
        """The newest signed state; None when nothing was signed yet.

        Raises:
            AuditError: the checkpoint is malformed.
        """
        data = self.checkpoint_bytes()
        if data is None:
            return None
        return Head(Checkpoint.parse(Note.parse(data).text), data.decode())

    def pending_runs(self) -> list[str]:
        """The runs whose events are not in the log yet, sorted."""
        return self.pending.run_ids()

    def entries(self, start: int = 0) -> Iterator[LoggedEvent]:
        """Every signed event from index ``start`` on.

        Raises:
            AuditError: the log is malformed.
        """
        head = self.head()
        if head is not None:
            for index, entry in enumerate(self.tiles.all_entries(head.size, start), start):
                yield LoggedEvent(index, Event.parse(entry))

    def scan(
        self,
        *,
        run_id: str | None = None,
        event_type: EventType | str | None = None,
        digest: str | None = None,
        start: int = 0,
    ) -> Iterator[LoggedEvent]:
        """The signed events of a run, of a type, or that name ``digest`` (as subject, parent or payload), in order.

        Reads the whole log from ``start`` on; bundles that do not hold the wanted text are not parsed.

        Raises:
            AuditError: the log is malformed.
        """
        wanted = [
            b'"%s":%s' % (field, json.dumps(str(value)).encode())
            for field, value in ((b"run_id", run_id), (b"type", event_type))
            if value is not None
        ]
        if digest is not None:
            wanted.append(digest.encode())
        for index, entry in self._entries_with(wanted, start):
            event = Event.parse(entry)
            if (
                (run_id is None or event.run_id == run_id)
                and (event_type is None or event.type == event_type)
                and (digest is None or digest in digests_of(event))
            ):
                yield LoggedEvent(index, event)

    def payload(self, event: Event) -> Any:
        """The payload of ``event``; None when it has none.

        Raises:
            IntegrityError: it is missing, or was changed on disk.
        """
        return None if event.payload_digest is None else json.loads(self.payloads.get(event.payload_digest))

    def signed_checkpoint(self, size: int) -> str:
        """The checkpoint that was signed when the log had ``size`` leaves.

        Raises:
            AuditError: it is missing.
        """
        head = self.head()
        if head is not None and head.size == size:
            return head.text
        path = self.folder / CHECKPOINTS / str(size)
        try:
            return path.read_text()
        except FileNotFoundError:
            raise AuditError(f"{path}: missing checkpoint; restore it from a copy of the log") from None

    def _entries_with(self, wanted: list[bytes], start: int) -> Iterator[tuple[int, bytes]]:
        head = self.head()
        size = head.size if head else 0
        for number in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
            first = number * TILE_WIDTH
            width = min(TILE_WIDTH, size - first)
            bundle = self.tiles.read(ENTRIES, number, width)
            if all(text in bundle for text in wanted):
                entries = decode_entries(bundle, f"{self.folder}: entry bundle {number}")[:width]
                for index, entry in enumerate(entries, first):
                    if index >= start and all(text in entry for text in wanted):
                        yield index, entry


def digests_of(event: Event) -> set[str | None]:
    """Every digest by which the log finds an event."""
    return {event.payload_digest, *event.parents, *(subject.digest for subject in event.subjects)}
