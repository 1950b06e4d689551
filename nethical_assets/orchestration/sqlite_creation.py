"""How Dagster's SQLite files come into being: whole or not at all, wherever the process that makes them is killed.

What belongs here: making a new file complete before anyone can open it. What does not: using one (``sqlite_engines``),
or what stands in it (``sqlite_storage``).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as db
from sqlalchemy.engine import Connection, Engine

from nethical_assets.core.ground.storage import sync_folder, temporary_folder


def create_whole(path: Path, create: Callable[[str], None]) -> None:
    """Have ``create`` make a database of this name in a folder of its own, and give it to ``path`` when it is complete.

    Dagster makes its tables, indexes and marks of migrations in dozens of transactions, and takes a file that has some
    of them for a complete one: killed in between, it would go on for good without the rest. Of several processes that
    do this at once the first one's file stays.

    Raises:
        OSError, SQLAlchemyError: the disk is full or not writable; nothing is left of the attempt.
    """
    with temporary_folder(path.parent) as folder:
        with _unsynced(folder):
            create(str(folder))
        made = folder / path.name
        _complete(made)
        with contextlib.suppress(FileExistsError):
            _give_name(made, path)
        sync_folder(path.parent)


def copy_schema(source: Connection, target: Connection) -> None:
    """Give the empty database of ``target``, unless it has one by now, the schema of ``source`` in one transaction.

    Both are SQLite connections without a transaction; ``target`` is left in one that its owner commits.
    """
    master = (
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type DESC, rowid"
    )
    statements = source.exec_driver_sql(master).scalars().all()
    revision = source.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one()
    target.exec_driver_sql("PRAGMA journal_mode=WAL")
    target.exec_driver_sql("BEGIN IMMEDIATE")
    if not target.exec_driver_sql("SELECT 1 FROM sqlite_master").first():
        for statement in statements:
            target.exec_driver_sql(statement)
        target.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (revision,))


@contextlib.contextmanager
def _unsynced(folder: Path) -> Iterator[None]:
    """SQLite waits for no disk below ``folder``: what is there is synced once, when it is complete."""

    def set_up(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            path = connection.execute("PRAGMA database_list").fetchone()[2]
            if Path(path).parent == folder:
                connection.execute("PRAGMA synchronous=OFF")

    db.event.listen(Engine, "connect", set_up)
    try:
        yield
    finally:
        db.event.remove(Engine, "connect", set_up)


def _complete(path: Path) -> None:
    """Bring what stands in the write-ahead log into the file, and the file to the disk."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_name(made: Path, path: Path) -> None:
    """Name a file, unless there is one of that name.

    Raises:
        FileExistsError: there is.
    """
    try:
        os.link(made, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(made, path)
