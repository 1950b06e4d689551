"""What Dagster's event index is asked and told when old runs are forgotten.

What belongs here: queries, deletions and the space that they give back. What does not: which runs may go
(``run_history``), or the connections (``sqlite_engines``).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as db
from dagster._core.events import ASSET_EVENTS, DagsterEventType
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from sqlalchemy.engine import Connection

_WORTH_BYTES = 1 << 20
_BUSY_SECONDS = 1.0


def runs_of_newest_results(index: Connection) -> set[str]:
    """The runs that hold the newest plan, materialization or observation of an asset, or result of a check."""
    events, checks = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c
    newest_events = (
        db.select(db.func.max(events.id))
        .where(events.dagster_event_type.in_([kind.value for kind in ASSET_EVENTS]))
        .group_by(events.asset_key, events.dagster_event_type)
    )
    newest_checks = (
        db.select(db.func.max(checks.id))
        .where(checks.execution_status != AssetCheckExecutionRecordStatus.PLANNED.value)
        .group_by(checks.asset_key, checks.check_name)
    )
    return {
        *index.execute(db.select(events.run_id).where(events.id.in_(newest_events))).scalars(),
        *index.execute(db.select(checks.run_id).where(checks.id.in_(newest_checks))).scalars(),
    }


def runs_of_newest_partitions(index: Connection) -> set[str]:
    """The runs that hold the newest materialization of a partition of an asset."""
    events = SqlEventLogStorageTable.c
    newest = (
        db.select(db.func.max(events.id))
        .where(events.dagster_event_type == DagsterEventType.ASSET_MATERIALIZATION.value, events.partition.is_not(None))
        .group_by(events.asset_key, events.partition)
    )
    return set(index.execute(db.select(events.run_id).where(events.id.in_(newest))).scalars())


def runs_in(index: Connection) -> set[str]:
    """The runs that the index has events of."""
    found = set(index.execute(db.select(SqlEventLogStorageTable.c.run_id).distinct()).scalars())
    return found - {RUNLESS_RUN_ID}


def forget_runless_events(connection: Connection, *, keep: int) -> int:
    """Of the events that no run told, keep the newest of every asset and type; how many went.

    ``connection`` is to the index, or to the file of those events.
    """
    events = SqlEventLogStorageTable.c
    rank = db.func.row_number().over(
        partition_by=(events.asset_key, events.dagster_event_type), order_by=events.id.desc()
    )
    ranked = db.select(events.id, rank.label("rank")).where(events.run_id == RUNLESS_RUN_ID).subquery()
    old = connection.execute(db.select(ranked.c.id).where(ranked.c.rank > keep)).scalars().all()
    for number in old:
        connection.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id == number))
        connection.execute(SqlEventLogStorageTable.delete().where(events.id == number))
    return len(old)


def give_back_space(path: Path) -> None:
    """Make a database file as small as what is in it, where more than half of it is free.

    Where somebody else uses it, or no space is left to do it in, it stays as it is: what is free in it is used again.
    """
    with contextlib.suppress(sqlite3.OperationalError), _opened(path) as connection:
        pages, free, size = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        if 2 * free > pages and free * size > _WORTH_BYTES:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)) as connection:
        yield connection
