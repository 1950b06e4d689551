"""What was spent of the budget of false alerts, in a file that only grows.

What belongs here: reading and adding entries, so that none is lost or made twice. What does not: how much is spent
(``core.drift.budget``), or what for (``watch``).

An entry is on the disk before the judgement that it is about is published. Killed in between, the same evidence is
judged at the entry's level by whoever comes next, and nothing more is spent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nethical_assets.core.ground.digests import canonical_json, digest_bytes
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import exclusive_lock, named_errors, parse_document, sync_folder

if TYPE_CHECKING:
    from nethical_assets.core.drift.budget import Spending

_datasync: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
_WAITING_SECONDS = 120.0
_LINE = re.compile(rb'\{"entry":(\{.*\}),"sum":"([0-9a-f]{16})"\}')


class Ledger:
    """The entries of one home, of all families, at ``path``: a line of canonical JSON each, with a sum of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Spending]:
        """All entries, oldest first. What a killed writer left of a line is none.

        Raises:
            IntegrityError: a line was changed.
        """
        return self._entries(self._read()[0])

    def spend(self, decide: Callable[[Sequence[Spending]], Spending]) -> Spending:
        """The entry that ``decide`` names of those that there are, or the one that it adds, which is on the disk then.
        Nobody else adds one at the same time.

        Raises:
            BusyError: another process has the ledger for more than two minutes.
            IntegrityError: a line was changed.
            OSError: the entry could not be written; it is not there.
        """
        lock = self.path.with_suffix(".lock")
        with exclusive_lock(lock, waiting_seconds=_WAITING_SECONDS, what="the ledger of the false-alarm budget"):
            whole, size = self._read()
            known = self._entries(whole)
            entry = decide(known)
            if entry not in known:
                end = b"" if whole.endswith(b"\n") or not whole else b"\n"
                self._append(end + _line(entry), len(whole), size)
            return entry

    def _read(self) -> tuple[bytes, int]:
        """The lines that are whole, and how many bytes there are. The last line may lack its end only."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return b"", 0
        end = data.rfind(b"\n") + 1
        is_torn = _LINE.match(data, end) is None
        return data[:end] if is_torn else data, len(data)

    def _entries(self, data: bytes) -> list[Spending]:
        return [self._entry(line, number) for number, line in enumerate(data.splitlines(), start=1)]

    def _entry(self, line: bytes, number: int) -> Spending:
        from nethical_assets.core.drift.budget import Spending

        found = _LINE.fullmatch(line)
        if found is None or _sum(found[1]) != found[2]:
            raise IntegrityError(
                f"{self.path}: line {number} was changed, and what was spent of the false-alarm budget is not known; "
                "restore the file from a backup"
            )
        return from_document(Spending, parse_document(found[1], self.path), f"{self.path}: line {number}")

    def _append(self, line: bytes, whole: int, size: int) -> None:
        is_new = not self.path.exists()
        with named_errors(self.path):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                if whole < size:
                    # The rest of a line whose writer died; nothing was judged at its level.
                    os.ftruncate(descriptor, whole)
                _write(descriptor, line, whole)
            finally:
                os.close(descriptor)
        if is_new:
            sync_folder(self.path.parent)


def _write(descriptor: int, line: bytes, at: int) -> None:
    """All of ``line``, durably, or nothing of it."""
    try:
        os.lseek(descriptor, at, os.SEEK_SET)
        left = memoryview(line)
        while left:
            left = left[os.write(descriptor, left) :]
        _datasync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, at)
        raise


def _line(entry: Spending) -> bytes:
    content = canonical_json(to_document(entry))
    return b'{"entry":%b,"sum":"%b"}\n' % (content, _sum(content))


def _sum(content: bytes) -> bytes:
    return digest_bytes(content).partition(":")[2][:16].encode()
