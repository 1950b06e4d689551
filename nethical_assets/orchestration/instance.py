"""The Dagster instance below NETHICAL_HOME.

What belongs here: preparing the folder that DAGSTER_HOME names, and opening the instance. What does not: running jobs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import SQLAlchemyError

from nethical_assets.assets.roots import roots_of
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.disk import advice
from nethical_assets.core.ground.errors import NethicalError, SettingsError
from nethical_assets.core.ground.sqlite_copies import readable_copy
from nethical_assets.core.ground.storage import exclusive_lock
from nethical_assets.home.settings import PROJECT_ROOT, Settings
from nethical_assets.orchestration.sqlite_storage import PooledEventLogStorage
from nethical_assets.orchestration.unwritten import told_once

_CREATION_SECONDS = 60.0
_KIND_OF_ERROR = 0xFF
"""The bits of an extended result code of SQLite that say which kind of error it is."""
_EVENTS_A_BATCH = 200
"""Events that Dagster hands over together, such as those it plans at the start of a run, in one transaction."""


def prepare_home(settings: Settings) -> Path:
    """Make sure that the instance's folder exists and reads the project's ``dagster.yaml``; returns the folder.

    Raises:
        SettingsError: the home cannot be written.
    """
    home = settings.home / "dagster"
    link = home / "dagster.yaml"
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.unlink(missing_ok=True)
            try:
                link.symlink_to(PROJECT_ROOT / "dagster.yaml")
            except OSError:
                shutil.copyfile(PROJECT_ROOT / "dagster.yaml", link)
    except OSError as error:
        raise SettingsError(
            f"NETHICAL_HOME = {str(settings.home)!r} cannot be written ({error.strerror}); {advice(error)}, or name "
            "another folder"
        ) from None
    return home


@contextlib.contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance of this home, also for code that asks for it through DAGSTER_HOME.

    One process at a time: two that create the same SQLite databases leave them unreadable for good.

    Raises:
        BusyError: another process has been creating it for a minute.
    """
    home = prepare_home(settings)
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(_EVENTS_A_BATCH))
    with exclusive_lock(home / "creation.lock", waiting_seconds=_CREATION_SECONDS, what="the Dagster instance"):
        opened = dg.DagsterInstance.get()
    with opened as instance:
        _limit_pools(instance)
        yield instance


def _limit_pools(instance: dg.DagsterInstance) -> None:
    """One run a family at a time: a pool that was never used has no limit until it is given one."""
    storage = instance.event_log_storage
    for family in set(family_names()) - storage.get_concurrency_keys():
        storage.initialize_concurrency_limit_to_default(family)


def _advice(error: SQLAlchemyError | OSError) -> str:
    """What to do first about a home that cannot be written, whether the file system says so or SQLite."""
    if isinstance(error, OSError):
        return advice(error)
    kind = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0) & _KIND_OF_ERROR
    return "correct permissions" if kind == sqlite3.SQLITE_READONLY else "free space there"


_DAMAGED = ("malformed", "not a database")
"""What SQLite says of a file that is not what it wrote."""


@contextlib.contextmanager
def storage_failures(settings: Settings) -> Iterator[None]:
    """End a full disk or a damaged event database as one line: SQLite and the file system say it in many ways.

    Raises:
        SettingsError: either of them happened while the context was open.
    """
    try:
        with told_once():
            yield
    except (SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or getattr(error, "strerror", None) or error
        if any(sign in str(cause) for sign in _DAMAGED):
            raise SettingsError(
                f"{settings.home / 'dagster'}: Dagster's own database is damaged ({cause}); restore this folder from a "
                "backup, or move it away: it holds the pages of earlier runs and the witness of the audit log, and "
                "nothing that models rest on"
            ) from error
        raise SettingsError(
            f"NETHICAL_HOME = {str(settings.home)!r} cannot be written ({cause}); {_advice(error)}, or name "
            "another folder, and run again: what was finished is kept"
        ) from error


def known_roots(settings: Settings) -> tuple[list[tuple[int, str]], list[str]]:
    """Size and root of the audit log after each run that Dagster's own event log knows, newest first; and, where it
    knows none or cannot be read, one line that says so: then an older log put back is not found by it."""
    nothing = [f"{settings.home / 'dagster'}: knows no root, so the log was not held against its witness"]
    if not (settings.home / "dagster").is_dir():
        return [], nothing
    try:
        roots = _roots_to_read(settings)
        return roots, [] if roots else nothing
    except (SQLAlchemyError, sqlite3.Error, OSError, NethicalError) as error:
        cause = getattr(error, "orig", None) or getattr(error, "strerror", None) or error
        return [], [
            f"{settings.home / 'dagster'}: cannot be read ({cause}), so the log was not held against its witness"
        ]


def _roots_to_read(settings: Settings) -> list[tuple[int, str]]:
    """The roots that the instance knows, also where nothing can be written: then from a copy of its event index."""
    index = settings.home / "dagster" / "history" / "runs" / "index.db"
    if not index.exists() or os.access(index.parent, os.W_OK):
        try:
            with open_instance(settings) as instance:
                return roots_of(instance)
        except (SQLAlchemyError, OSError, SettingsError):
            # The disk may be full. What is damaged, or not there, is so in a copy too, and told of that.
            if not index.exists():
                raise
    with readable_copy(index) as copy, dg.DagsterInstance.ephemeral() as instance:
        # Everything else of an instance is of no interest to who asks for assets.
        instance._event_storage = PooledEventLogStorage(str(copy.parent))
        return roots_of(instance)
