"""Where bytes are kept: immutable content-addressed objects, atomically replaced small files, and locks.

What belongs here: crash-safe writing, removing what killed writers left, and digest-verified reading, on a local folder
or (by URL) any filesystem that universal-pathlib knows. What does not: what the bytes mean.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from nethical_assets.core.ground.digests import check_digest, digest_bytes, pretty_json
from nethical_assets.core.ground.errors import BusyError, IntegrityError

if TYPE_CHECKING:
    from upath import UPath

if sys.platform != "win32":
    import fcntl

TEMPORARY_PREFIX = ".partial-"
_SETTLED_SECONDS = 60.0
"""Age from which a file that nobody has locked is taken for left: its writer locks it at once after creating it."""
_BACK = "run again, which makes it again where it can, or restore it from a backup"
_OWNER = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}(\d+)-")


_STARTED = time.time()


def temporary_prefix() -> str:
    """How the names of this process's temporary files begin, so that it is known when their writer is gone."""
    return f"{TEMPORARY_PREFIX}{os.getpid()}-"


def create_temporary(folder: Path, *, private: bool = False) -> tuple[int, Path]:
    """Create an empty temporary file of this process in ``folder``: its descriptor, open for writing, and its path.

    Its mode is the one that the umask gives, as of any file; a ``private`` one is its owner's alone (0600).

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        path = folder / f"{temporary_prefix()}{secrets.token_hex(8)}"
        with contextlib.suppress(FileExistsError):
            return os.open(path, flags, 0o600 if private else 0o666), path


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A new folder of this process in ``parent``, locked while the context is open, and gone after it.

    Raises:
        OSError: the disk is full or not writable.
    """
    folder = parent / f"{temporary_prefix()}{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    try:
        with contextlib.ExitStack() as stack:
            if sys.platform != "win32":
                descriptor = os.open(folder, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                lock_file(descriptor)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomically(path: UPath | Path, data: bytes, *, durable: bool = True, private: bool = False) -> None:
    """Replace ``path`` with ``data`` so that a reader, or a crash at any instant, sees the old bytes or the new ones.

    Locally: temporary file in the same folder, fsync, rename, fsync of the folder. The temporary file is locked until
    it is renamed, so that ``sweep_partial_files`` can tell a writer that works from one that was killed. On other
    filesystems a single upload, which object stores make visible only when it is complete. What is of no use to any
    other process than its writer's need not be ``durable``: it is safe from a kill, and not from a power failure.
    What is ``private``, such as a key or what people wrote, is readable by its owner only.

    Raises:
        OSError: the disk is full or not writable; the old bytes are still in place and no temporary file is left.
    """
    target = local_path(path)
    if target is None:
        path.write_bytes(data)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with named_errors(target):
        _replace(target, data, durable=durable, private=private)
    if durable:
        sync_folder(target.parent)


@contextlib.contextmanager
def named_errors(target: Path) -> Iterator[None]:
    """Errors name what was to be written, and neither a temporary file that nobody knows nor, as those of a disk that
    is full while a file is open, none at all."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(target)) from None


def _replace(target: Path, data: bytes, *, durable: bool, private: bool) -> None:
    descriptor, name = create_temporary(target.parent, private=private)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            lock_file(descriptor)
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(descriptor)
            os.replace(name, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` durable (a no-op where folders cannot be opened)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_partial_files(folder: Path) -> list[Path]:
    """Remove the temporary files and folders that killed writers left anywhere below ``folder``; what was removed.

    What a living process is writing is locked and stays. Where nothing can be locked, all stays.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        temporary = [name for name in folders if name.startswith(TEMPORARY_PREFIX)]
        folders[:] = [name for name in folders if name not in temporary]
        found += [Path(parent, name) for name in (*names, *temporary) if name.startswith(TEMPORARY_PREFIX)]
    return _remove_unheld(found)


def sweep_lock_files(folder: Path, *, keep: Collection[str] = ()) -> list[Path]:
    """Remove the ``*.lock`` files in ``folder`` that no living process holds, without those named after one of
    ``keep``; the files removed.

    Only for locks named after something that never comes back, such as a run. Whoever opened one that is removed at
    that moment finds that it is not the file of that name any more, and takes a new one (``filelock``).
    """
    return _remove_unheld((path for path in folder.glob("*.lock") if path.stem not in keep), at_once=True)


def _remove_unheld(paths: Iterable[Path], *, at_once: bool = False) -> list[Path]:
    removed = []
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        except OSError:
            continue
        try:
            found = os.fstat(descriptor)
            # A clock that was set back makes files of the future: they are as old as those of the past.
            settled = abs(time.time() - found.st_mtime) > _SETTLED_SECONDS
            left = at_once or settled or _is_orphan(path.name, found.st_mtime)
            if not left or not lock_file(descriptor):
                continue
            if stat.S_ISREG(found.st_mode):
                path.unlink(missing_ok=True)
                removed.append(path)
            elif stat.S_ISDIR(found.st_mode):
                shutil.rmtree(path)
                removed.append(path)
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return removed


def _is_orphan(name: str, changed: float) -> bool:
    """Whether a file or folder is a temporary one whose process, by its name, does not exist any more: also one of
    another process of the same number as this one, as the only processes of containers have."""
    owner = _OWNER.match(name)
    if owner is None or sys.platform == "win32":
        return False
    if int(owner[1]) == os.getpid():
        return changed < _STARTED
    try:
        os.kill(int(owner[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def lock_file(descriptor: int) -> bool:
    """Lock an open file until it is closed or its process ends; False where it is locked, or cannot be."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def write_json(path: UPath | Path, value: Any) -> None:
    """Atomically replace ``path`` with ``value`` as indented JSON."""
    write_atomically(path, pretty_json(value))


def read_json(path: UPath | Path) -> Any:
    """The JSON document at ``path``.

    Raises:
        FileNotFoundError: there is none.
        IntegrityError: it is not UTF-8 JSON.
    """
    return parse_document(path.read_bytes(), path)


def parse_document(data: bytes, path: UPath | Path) -> Any:
    """The JSON document whose bytes were read from ``path``.

    Raises:
        IntegrityError: it is not UTF-8 JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path}: not a JSON document ({error}); restore it or remove it and run again") from None


class ObjectStore:
    """Immutable objects named by their SHA-256 digest, under ``base`` (a folder or a URL)."""

    def __init__(self, base: UPath | Path | str) -> None:
        from upath import UPath

        self.base = UPath(base)

    def path(self, digest: str) -> UPath:
        """Where the object named ``digest`` is, or would be."""
        hexadecimal = check_digest(digest).partition(":")[2]
        return self.base / hexadecimal[:2] / hexadecimal

    def put(self, data: bytes) -> str:
        """Store ``data`` (once) and return its digest; a damaged object of this name is replaced."""
        digest = digest_bytes(data)
        write_object(self.path(digest), data)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes named ``digest``, verified.

        Raises:
            IntegrityError: they are missing, or were changed on disk.
        """
        target = self.path(digest)
        try:
            data = target.read_bytes()
        except FileNotFoundError:
            raise IntegrityError(f"{target}: object {digest} is missing; {_BACK}") from None
        if digest_bytes(data) != digest:
            raise IntegrityError(f"{target}: bytes do not match their digest {digest}; {_BACK}")
        return data

    def __contains__(self, digest: str) -> bool:
        return self.path(digest).exists()

    def is_intact(self, digest: str) -> bool:
        """Whether the bytes named ``digest`` are there and match it."""
        try:
            return digest_bytes(self.path(digest).read_bytes()) == digest
        except (FileNotFoundError, IntegrityError):
            return False

    def names(self) -> Iterator[str]:
        """The names of all files in the store, in order; an intact one is the hexadecimal part of its digest."""
        if self.base.exists():
            for folder in sorted(self.base.iterdir(), key=str):
                names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else ()
                yield from (name for name in names if not name.startswith(TEMPORARY_PREFIX))


def write_object(target: UPath | Path, data: bytes) -> None:
    """Have exactly ``data`` at ``target``, written only where it is missing or damaged."""
    try:
        intact = target.read_bytes() == data
    except FileNotFoundError:
        intact = False
    if not intact:
        write_atomically(target, data)


@contextlib.contextmanager
def exclusive_lock(path: Path, *, waiting_seconds: float, what: str) -> Iterator[None]:
    """Hold the lock file ``path``; a process that dies releases it.

    Raises:
        BusyError: another process still holds it after ``waiting_seconds``; the message names ``what``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=waiting_seconds)
    except filelock.Timeout:
        raise BusyError(
            f"{what} is in use by another process (lock {path}); wait for it to end and try again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def local_path(path: UPath | Path) -> Path | None:
    """``path`` as a path of this machine's file system, or None where it is a URL of another one."""
    if isinstance(path, Path):
        return Path(path)
    return Path(path.path) if path.protocol in ("", "file", "local") else None
