"""What a test injects into a command's process: a death at a chosen write, another clock, what a shell gives to it.

What belongs here: counting durable writes, ending the process at one of them, shifting the time, cores and signals.
What does not: which write or time (the tests). A write is a rename, a removal, an fsync or a commit below the home;
Dagster's own folder, caches and lock files do not count.
"""

from __future__ import annotations

import codecs
import datetime
import errno
import hashlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nethical_assets.core.alerts.github import GitHubTarget
from tests.across import entry

_ARRIVED_SECONDS = 0.5
"""Until when a tracker of this machine did what was asked of it."""
_PAUSING: dict[str, Any] = GitHubTarget.__init__.__kwdefaults__
_FOREIGN = ("dagster", "cache")
_NOBODY = 65534
_CODECS = ("utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le", "idna", "latin-1", "cp1252", "unicode-escape")


def install(injection: Mapping[str, Any], home: str) -> None:
    """Do what ``injection`` says in this process.

    Keys: ``log`` (a file that gets a line for each write, JSON: what, and the states of the home before and after it
    where ``states`` is true), ``kill_at`` (the number of a write, from 1) with ``after`` (die after it instead of
    before), ``clock_days`` (how far the clock is moved), ``ignored`` (signals that it was started to ignore), ``cores``
    (how many processors it sees: one, unless told, so that it starts no workers), ``full_at`` (the number of the write
    from which on the disk is full), ``reader`` (true: as a user who may write nothing of the home), ``unpaused`` (true:
    GitHub is told without the pauses that it asks for, and is soon known to do nothing more that was asked of it).
    """
    if injection.get("reader") and os.geteuid() == 0:
        # The interpreter itself may be where that user cannot look.
        for name in _CODECS:
            codecs.lookup(name)
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    cores = set(range(injection.get("cores", 1)))
    os.sched_getaffinity = lambda _: cores
    for each in injection.get("ignored", []):
        signal.signal(each, signal.SIG_IGN)
    if injection.get("unpaused"):
        _PAUSING.update(pause_seconds=None, wait=lambda seconds: time.sleep(_ARRIVED_SECONDS))
    if {"log", "kill_at", "full_at"} & set(injection):
        _Writes(Path(home), injection).install()
    if "clock_days" in injection:
        _shift_clock(datetime.timedelta(days=injection["clock_days"]))


class _Writes:
    """Counts this process's writes below the home, and ends it at one of them."""

    def __init__(self, home: Path, injection: Mapping[str, Any]) -> None:
        self._home = str(home)
        self._log = injection.get("log")
        self._states = bool(injection.get("states", False))
        self._kill_at = injection.get("kill_at", 0)
        self._full_at = injection.get("full_at", 0)
        self._after = bool(injection.get("after", False))
        self._number = 0

    def install(self) -> None:
        for name in ("replace", "rename"):
            setattr(os, name, self._counted(getattr(os, name), name, lambda source, target, *_: os.fspath(target)))
        for name in ("unlink", "remove", "rmdir"):
            setattr(os, name, self._counted(getattr(os, name), name, lambda path, *_: os.fspath(path)))
        os.fsync = self._counted(os.fsync, "fsync", self._path_of_descriptor)
        sqlite3.connect = self._connect(sqlite3.connect)  # type: ignore[assignment]
        # This is where Dagster's storage takes it from.
        sqlite3.dbapi2.connect = sqlite3.connect

    def around(self, what: str, path: str, call: Callable[[], Any]) -> Any:
        """``call()``, counted where ``path`` is the platform's."""
        if not self._is_ours(path):
            if self._is_full(what) and self._is_below(path):
                raise _no_space(what, path)
            return call()
        self._number += 1
        if self._is_full(what):
            raise _no_space(what, path)
        dies = self._number == self._kill_at
        if dies and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        before = self._state()
        # Also where it fails, as the removal of what is not there does: numbers and lines go together.
        try:
            return call()
        finally:
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._log is not None:
                line = [f"{what} {os.path.relpath(path, self._home)}", before, self._state()]
                with open(self._log, "a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")

    def _is_full(self, what: str) -> bool:
        """Whether this write needs space that there is none of; a removal needs none."""
        return 0 < self._full_at <= self._number and what in ("fsync", "commit")

    def _is_below(self, path: str) -> bool:
        return not os.path.relpath(path, self._home).startswith("..")

    def _state(self) -> str:
        """What a death here leaves: every file below the home, Dagster's too, by size and time of change."""
        if not self._states:
            return ""
        found = [
            (path, about.st_ino, about.st_size, about.st_mtime_ns)
            for folder, _, names in os.walk(self._home)
            for path in (os.path.join(folder, name) for name in names if not name.endswith((".lock", "-shm")))
            for about in (os.lstat(path),)
        ]
        return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()

    def _counted(self, real: Callable[..., Any], name: str, path_of: Callable[..., str]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            path = path_of(*arguments)
            folder = options.get("dst_dir_fd", options.get("dir_fd"))
            if isinstance(folder, int):
                path = os.path.join(self._path_of_descriptor(folder), path)
            return self.around(name, path, lambda: real(*arguments, **options))

        return counted

    def _connect(self, real: Callable[..., Any]) -> Callable[..., Any]:
        writes = self

        def connect(database: Any, *arguments: Any, **options: Any) -> Any:
            path = os.fspath(database) if isinstance(database, str | os.PathLike) else ""
            if not writes._is_below(path):
                return real(database, *arguments, **options)

            class Counted(sqlite3.Connection):
                def commit(self) -> None:
                    writes.around("commit", path, super().commit)

                def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
                    call = super().execute
                    if statement.strip().upper().startswith(("COMMIT", "END")):
                        return writes.around("commit", path, lambda: call(statement, *parameters))
                    return call(statement, *parameters)

                def __exit__(self, *about: Any) -> Any:
                    return writes.around("commit", path, lambda: super(Counted, self).__exit__(*about))

            return real(database, *arguments, factory=Counted, **options)

        return connect

    @staticmethod
    def _path_of_descriptor(descriptor: Any, *_: Any) -> str:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        return str(Path(f"/proc/self/fd/{number}").readlink())

    def _is_ours(self, path: str) -> bool:
        relative = os.path.relpath(path, self._home)
        return self._is_below(path) and relative.partition(os.sep)[0] not in _FOREIGN and not relative.endswith(".lock")


def _no_space(what: str, path: str) -> Exception:
    if what == "commit":
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        return error
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _shift_clock(by: datetime.timedelta) -> None:
    """Let every module see a ``datetime`` whose present is ``by`` away from the real one."""
    real = datetime.datetime

    class Shifted(real):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real.now(tz) + by

        @classmethod
        def utcnow(cls) -> Any:
            return real.now(datetime.UTC).replace(tzinfo=None) + by

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != entry.package():
            continue
        if getattr(module, "datetime", None) is real:
            module.datetime = Shifted  # type: ignore[attr-defined]
        elif getattr(module, "datetime", None) is datetime:
            module.datetime = _ShiftedModule(Shifted)  # type: ignore[attr-defined]


class _ShiftedModule:
    """The module ``datetime`` with another class ``datetime``."""

    def __init__(self, shifted: type) -> None:
        self.datetime = shifted

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)
