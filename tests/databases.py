"""Dagster's files of a new home, made once in a process and copied from then on: making them takes half a second.

What belongs here: the copying. What does not: making them (``nethical_assets.orchestration.sqlite_creation``, which has
tests of its own and is used as it is in every process that tests start anew).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.orchestration import sqlite_storage

_made: dict[str, bytes] = {}
_create_whole = sqlite_storage.create_whole


def copy_databases() -> None:
    """From now on, in this process and its forks, new files of Dagster are copies."""
    if not _made:
        with tempfile.TemporaryDirectory() as folder:
            sqlite_storage.create_whole = _kept
            sqlite_storage.PooledSqliteStorage(folder).dispose()
    sqlite_storage.create_whole = _copied


def make_databases() -> None:
    """From now on new files of Dagster are made."""
    sqlite_storage.create_whole = _create_whole


def _kept(path: Path, create: Callable[[str], None]) -> None:
    _create_whole(path, create)
    _made[path.name] = path.read_bytes()


def _copied(path: Path, create: Callable[[str], None]) -> None:
    write_atomically(path, _made[path.name], durable=False)
