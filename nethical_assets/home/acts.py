"""Record, then act: the one way in which state is changed.

What belongs here: the order of writes that makes a change and its leaf in the audit log one thing, and completing or
dropping what a killed process left. What does not: what a change does to a store (``changes``), or the log itself.

An act is written in four steps, each durable before the next: the intent (a small file named by its digest), the leaf
    of the audit log that names the intent, the change, and the removal of the intent. Killed before the leaf, the act
    did not happen and its intent is dropped; killed after it, the next process applies the change again, which is
    idempotent."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.ground.digests import ALGORITHM, digest_bytes, pretty_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, NethicalError
from nethical_assets.core.ground.storage import (
    TEMPORARY_PREFIX,
    exclusive_lock,
    read_json,
    sync_folder,
    write_atomically,
)

if TYPE_CHECKING:
    from nethical_assets.core.audit.events import Event

ACT_SUBJECT = "act"
"""By which name a leaf names the intent of its act."""
_LOCK_SECONDS = 120.0
_STUCK = ".stuck"


@dataclass(frozen=True)
class Change:
    """What an act does: the name of a change (``changes.CHANGES``) and everything it needs, as JSON."""

    kind: str
    document: Mapping[str, Any]


class PostponedError(NethicalError):
    """A recorded change cannot be made now, and nothing else depends on it: whoever acts next tries again."""

    exit_code = 1


class Acts:
    """The acts of one home.

    Args:
        folder: where intents are while their act goes on.
        is_recorded: whether the log, or a verified pending leaf, names an intent.
        apply: carries a change out; the same change twice is the same as once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        is_recorded: Callable[[str], bool],
        apply: Callable[[Change], None],
    ) -> None:
        self.folder = folder
        self._is_recorded = is_recorded
        self._apply = apply

    def act(self, change: Change, record: Callable[[str], None]) -> None:
        """Record the leaf of ``change`` with ``record`` (which is given the digest of the intent), then apply it.

        Raises:
            AuditError: the leaf could not be recorded; nothing changed.
            BusyError: another process acts for more than two minutes.
            PostponedError: the leaf is recorded, and the change is made later.
        """
        with self._locked():
            self._settle()
            intent = pretty_json({"kind": change.kind, "document": dict(change.document), "id": str(uuid.uuid4())})
            digest = digest_bytes(intent)
            path = self._path(digest)
            write_atomically(path, intent)
            record(digest)
            self._apply(change)
            self._forget(path)

    def settle(self) -> tuple[PostponedError, ...]:
        """Complete or drop what killed processes left; why what is recorded has to wait on. Costs a look into an empty
        folder when there is nothing."""
        if any(self._intents()):
            with self._locked():
                return self._settle()
        return ()

    def waits(self, event: Event) -> bool:
        """Whether an event is of an act whose change has yet to be completed: a process died in between."""
        return any(subject.name == ACT_SUBJECT and self._path(subject.digest).exists() for subject in event.subjects)

    def unfinished(self) -> list[str]:
        """Acts that were recorded and could not be completed, one line each."""
        return [
            f"{path}: this act was recorded and could not be completed; restore what it needs from a backup and rename "
            f"it to {path.stem}.json"
            for path in sorted(self.folder.glob(f"*{_STUCK}"))
        ]

    def unfinished_changes(self) -> Iterator[tuple[str, datetime, Change]]:
        """The acts that were recorded and could not be completed: name, since when each is, and its change. Those that
        cannot be read are in ``unfinished`` alone."""
        for path in sorted(self.folder.glob(f"*{_STUCK}")):
            with suppress(IntegrityError, KeyError, TypeError, FileNotFoundError):
                document = read_json(path)
                state = path.stat()
                # The name was given when it failed, perhaps again: that keeps the time of the content.
                begun = datetime.fromtimestamp(max(state.st_mtime, state.st_ctime), UTC)
                yield path.stem, begun, Change(document["kind"], document["document"])

    def _settle(self) -> tuple[PostponedError, ...]:
        postponed: list[PostponedError] = []
        for path in self._intents():
            digest = f"{ALGORITHM}:{path.stem}"
            if digest_bytes(path.read_bytes()) == digest and self._is_recorded(digest):
                document = read_json(path)
                try:
                    self._apply(Change(document["kind"], document["document"]))
                except PostponedError as error:
                    postponed.append(error)
                    continue
                except (DatasetError, IntegrityError):
                    # What it needs is gone. It is kept and told by verification, and stops nobody else's acts.
                    path.rename(path.with_suffix(_STUCK))
                    sync_folder(self.folder)
                    continue
            self._forget(path)
        return tuple(postponed)

    def _intents(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from sorted(path for path in self.folder.glob("*.json") if not path.name.startswith(TEMPORARY_PREFIX))

    def _forget(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        sync_folder(self.folder)

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest.partition(':')[2]}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with exclusive_lock(self.folder / ".lock", waiting_seconds=_LOCK_SECONDS, what="another act in this home"):
            yield
