"""Dagster's SQLite storage with connections that are kept: the same files and schema, fewer opens and commits.

What belongs here: how Dagster's run, event and schedule stores reach their SQLite files; ``dagster.yaml`` names the
class. What does not: what they store (Dagster), or the connections themselves (``sqlite_engines``).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import dagster as dg
import sqlalchemy as db
from dagster._config.config_schema import UserConfigSchema
from dagster._core.event_api import EventHandlerFn
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.base import AssetRecord
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetKeyTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
    SqliteEventLogStorageWatchdog,
)
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS, create_db_conn_string
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import Connection
from watchdog.events import FileSystemEvent
from watchdog.observers import Observer

from nethical_assets.orchestration.sqlite_creation import copy_schema, create_whole
from nethical_assets.orchestration.sqlite_engines import SqliteEngines
from nethical_assets.orchestration.sqlite_forgetting import (
    forget_runless_events,
    give_back_space,
    runs_in,
    runs_of_newest_partitions,
    runs_of_newest_results,
)

_CAN_WAIT = (dg.DagsterEventType.STEP_OUTPUT, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
"""What a step tells right before it ends. Its end is written at once, and these before it: nobody acts on results of
a step that has not ended, and of one that was killed they are computed again."""


class PooledSqliteStorage(DagsterSqliteStorage):
    """All of Dagster's state below ``base_dir``, laid out as Dagster's own default storage does."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._inst_data = inst_data
        history = Path(base_dir) / "history"
        self._run_storage = PooledRunStorage.from_local(str(history))
        self._event_log_storage = PooledEventLogStorage(str(history / "runs"))
        self._schedule_storage = PooledScheduleStorage.from_local(str(Path(base_dir) / "schedules"))
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The configuration in ``dagster.yaml``: ``base_dir``, the folder (or variable) of the instance."""
        return {"base_dir": dg.StringSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage that ``dagster.yaml`` asks for."""
        return cls.from_local(inst_data=inst_data, **config_value)


class PooledRunStorage(SqliteRunStorage):
    """Dagster's runs, in ``runs.db``."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.file = _PooledFile(self, conn_string)
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> Self:
        """The store in ``base_dir``; Dagster creates its file where there is none."""
        if not (path := Path(base_dir) / "runs.db").exists():
            create_whole(path, lambda folder: SqliteRunStorage.from_local(folder).dispose())
        store = cls(create_db_conn_string(base_dir, "runs"), inst_data)
        return store if store.file.has_schema({"runs", "instance_info"}) else super().from_local(base_dir, inst_data)

    def connect(self) -> Any:
        """A connection in a transaction."""
        return self.file.begin()

    def dispose(self) -> None:
        """Close the connections."""
        super().dispose()
        self.file.engines.close()


class PooledScheduleStorage(SqliteScheduleStorage):
    """What schedules and sensors did, in ``schedules.db``."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.file = _PooledFile(self, conn_string)
        super().__init__(conn_string, inst_data)

    @classmethod
    def from_local(cls, base_dir: str, inst_data: ConfigurableClassData | None = None) -> SqliteScheduleStorage:
        """The store in ``base_dir``; Dagster creates its file where there is none."""
        if not (path := Path(base_dir) / "schedules.db").exists():
            create_whole(path, lambda folder: SqliteScheduleStorage.from_local(folder).dispose())
        store = cls(create_db_conn_string(base_dir, "schedules"), inst_data)
        return store if store.file.has_schema({"job_ticks"}) else super().from_local(base_dir, inst_data)

    def connect(self) -> Any:
        """A connection in a transaction."""
        return self.file.begin()

    def dispose(self) -> None:
        """Close the connections."""
        super().dispose()
        self.file.engines.close()


class PooledEventLogStorage(SqliteEventLogStorage):
    """Dagster's events: a file a run, and ``index.db`` with what is asked across runs."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.engines = _engines_of(self)
        self._own = _OfThread()
        self._tables: set[str] = set()
        self._asset_columns: set[str] = set()
        self._migrated: set[str] = set()
        if not (path := Path(base_dir) / f"{INDEX_SHARD_NAME}.db").exists():
            create_whole(path, lambda folder: SqliteEventLogStorage(folder).dispose())
        super().__init__(base_dir, inst_data)

    def run_connection(self, run_id: str | None = None) -> Any:
        """A connection to the events of one run, in a transaction."""
        return self._begin(str(run_id))

    @contextmanager
    def index_connection(self) -> Iterator[Connection]:
        """A connection to the index, in a transaction. Inside another one of this thread: that one."""
        if self._own.index is not None:
            yield self._own.index
            return
        with self._begin(INDEX_SHARD_NAME) as connection:
            self._own.index = connection
            try:
                yield connection
            finally:
                self._own.index = None

    def has_table(self, table_name: str) -> bool:
        """Whether the index has the table. Dagster asks at every event of an asset; a table never goes away."""
        if table_name not in self._tables:
            with self.index_connection() as connection:
                if not db.inspect(connection).has_table(table_name):
                    return False
            self._tables.add(table_name)
        return True

    def has_asset_key_col(self, column_name: str) -> bool:
        """Whether assets have this column. Dagster asks several times a step; a column never goes away."""
        if column_name not in self._asset_columns:
            with self.index_connection() as connection:
                columns = db.inspect(connection).get_columns(AssetKeyTable.name)
            self._asset_columns.update(column["name"] for column in columns)
        return column_name in self._asset_columns

    def has_secondary_index(self, name: str) -> bool:
        """Whether data was migrated to this form. Dagster asks twice whenever it reads assets; it is never undone."""
        if name not in self._migrated and super().has_secondary_index(name):
            self._migrated.add(name)
        return name in self._migrated

    def get_asset_records(self, asset_keys: Sequence[dg.AssetKey] | None = None) -> Sequence[AssetRecord]:
        """What is known of assets, in one transaction."""
        with self.index_connection():
            return super().get_asset_records(asset_keys)

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store one event."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events, unless all of them can wait for the next one; whoever reads in this thread sees those too."""
        self._own.waiting(events)
        if not all(event.step_key and event.dagster_event_type in _CAN_WAIT for event in events):
            self._write_waiting()

    def _write_waiting(self) -> None:
        # What cannot be written fails the step that tells it; tried again, a part of it would be there twice.
        if events := self._own.take():
            self._write(events)

    def _write(self, events: Sequence[dg.EventLogEntry]) -> None:
        """One transaction a run, then one for all that the index mirrors."""
        rows = [self._event_to_row(event) for event in events]
        of_run: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for event, row in zip(events, rows, strict=True):
            of_run[event.run_id].append(row)
        for run_id, own in of_run.items():
            with self.run_connection(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), own)
        mirrored = [(event, row) for event, row in zip(events, rows, strict=True) if _is_mirrored(event)]
        if mirrored:
            with self.index_connection() as connection:
                self._mirror(connection, *zip(*mirrored, strict=True))

    def _mirror(
        self, connection: Connection, events: Sequence[dg.EventLogEntry], rows: Sequence[dict[str, Any]]
    ) -> None:
        insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        numbers = connection.execute(insert, list(rows)).scalars().all()
        planned: list[dict[str, Any]] = []
        for event, row, number in zip(events, rows, numbers, strict=True):
            if event.dagster_event_type in ASSET_EVENTS:
                self._store_asset_event_tags(connection, [event], [number])
                self._store_asset_event(connection, event, number)
            elif event.dagster_event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                planned += _planned_checks(event, row, number)
            elif event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, number)
        if planned:
            connection.execute(AssetCheckExecutionsTable.insert(), planned)

    def _store_asset_event(self, conn: Connection, event: dg.EventLogEntry, event_id: int) -> None:
        """Keep the newest event of an asset. Dagster inserts first, and updates when that fails, as it mostly does."""
        values = self._get_asset_entry_values(event, event_id, self.has_asset_key_index_cols())
        key = event.get_dagster_event().asset_key
        if values and key is not None:
            insert = sqlite_insert(AssetKeyTable).values(asset_key=key.to_string(), **values)
            conn.execute(insert.on_conflict_do_update(index_elements=[AssetKeyTable.c.asset_key], set_=values))

    def delete_events(self, run_id: str) -> None:
        """Forget the events and check results of a run, and its file, which Dagster would empty and leave."""
        super().delete_events(run_id)
        with self.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.delete().where(AssetCheckExecutionsTable.c.run_id == run_id))
        path = Path(self.path_for_shard(run_id))
        self.engines.close_file(path)
        for leftover in (f"{path}-wal", f"{path}-shm", path):
            Path(leftover).unlink(missing_ok=True)

    def runs_of_newest_results(self) -> set[str]:
        """The runs that hold the newest plan, materialization or observation of an asset, or result of a check."""
        with self.index_connection() as connection:
            return runs_of_newest_results(connection)

    def runs_of_newest_partitions(self) -> set[str]:
        """The runs that hold the newest materialization of a partition of an asset."""
        with self.index_connection() as connection:
            return runs_of_newest_partitions(connection)

    def runs_with_events(self) -> set[str]:
        """The runs that there are events of, in the index or in a file of their own."""
        files = {path.stem for path in Path(self._base_dir).glob("*-*.db")}
        with self.index_connection() as connection:
            return files | runs_in(connection)

    def forget_runless_events(self, *, keep: int) -> int:
        """Of the events that no run told, keep the newest of every asset and type; how many went."""
        if not Path(self.path_for_shard(RUNLESS_RUN_ID)).exists():
            return 0
        with self.run_connection(RUNLESS_RUN_ID) as connection:
            forget_runless_events(connection, keep=keep)
        with self.index_connection() as connection:
            return forget_runless_events(connection, keep=keep)

    def give_back_space(self) -> None:
        """Make the files smaller that are mostly empty by now."""
        self.engines.close()
        for shard in (INDEX_SHARD_NAME, RUNLESS_RUN_ID):
            if (path := Path(self.path_for_shard(shard))).exists():
                give_back_space(path)

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call ``callback`` with every new event of a run. New events are in the write-ahead log first."""
        observer: Any = self._obs
        if observer is None:
            observer = self._obs = Observer()  # type: ignore[assignment]
            observer.start()
        handler = _Watchdog(self, run_id, callback, cursor)
        watched = observer.schedule(handler, self._base_dir, recursive=True)
        self._watchers[run_id][callback] = (handler, watched)

    def dispose(self) -> None:
        """Write what waits, close the connections and stop watching."""
        self._write_waiting()
        super().dispose()
        self.engines.close()

    @contextmanager
    def _begin(self, shard: str) -> Iterator[Connection]:
        self._write_waiting()
        path = Path(self.path_for_shard(shard))
        if shard not in self._initialized_dbs or not path.exists():
            self._initialized_dbs.discard(shard)
            if not _has_schema(self.engines, path, {"event_logs"}):
                self._create(shard, path)
            self._initialized_dbs.add(shard)
        with self.engines.begin(path) as connection:
            yield connection

    def _create(self, shard: str, path: Path) -> None:
        if shard == INDEX_SHARD_NAME:
            with super()._connect(shard):
                return
        with self.index_connection() as index, self.engines.begin(path) as connection:
            copy_schema(index, connection)


class _OfThread(threading.local):
    """What one thread has at hand: its transaction of the index, and events that wait. A fork inherits neither."""

    def __init__(self) -> None:
        self.index: Connection | None = None
        self._events: list[dg.EventLogEntry] = []
        self._process = os.getpid()

    def waiting(self, events: Sequence[dg.EventLogEntry]) -> None:
        self._events = [*self.take(), *events]

    def take(self) -> list[dg.EventLogEntry]:
        taken = self._events if self._process == os.getpid() else []
        self._events, self._process = [], os.getpid()
        return taken


class _PooledFile:
    """The one file of a store."""

    def __init__(self, owner: object, conn_string: str) -> None:
        self.engines = _engines_of(owner)
        self._path = Path(str(db.make_url(conn_string).database))

    def begin(self) -> Any:
        return self.engines.begin(self._path)

    def has_schema(self, tables: set[str]) -> bool:
        return _has_schema(self.engines, self._path, tables)


class _Watchdog(SqliteEventLogStorageWatchdog):
    """Looks at a run's events when its file or the write-ahead log beside it changed."""

    def __init__(self, storage: SqliteEventLogStorage, run_id: str, callback: EventHandlerFn, cursor: str | None):
        super().__init__(storage, run_id, callback, cursor)
        path = storage.path_for_shard(run_id)
        self._patterns = [path, f"{path}-wal"]

    def on_modified(self, event: FileSystemEvent) -> None:
        self._process_log()


def _engines_of(owner: object) -> SqliteEngines:
    """Engines that are closed with their owner, also where nobody disposes of it."""
    engines = SqliteEngines(timeout_seconds=SQLITE_BUSY_TIMEOUT_SECONDS)
    weakref.finalize(owner, engines.close)
    return engines


def _has_schema(engines: SqliteEngines, path: Path, tables: set[str]) -> bool:
    """Whether Dagster created these tables in the file and stamped the version of its schema."""
    if not path.exists():
        return False
    with engines.begin(path) as connection:
        present = set(connection.execute(db.text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars())
        if not {*tables, "alembic_version"} <= present:
            return False
        return bool(connection.execute(db.text("SELECT count(*) FROM alembic_version")).scalar_one())


def _planned_checks(event: dg.EventLogEntry, row: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What Dagster keeps of the plan to evaluate a check: a row a partition."""
    planned: Any = event.get_dagster_event().event_specific_data
    subset = planned.partitions_subset
    return [
        {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "partition": partition,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": row["event"],
            "evaluation_event_timestamp": row["timestamp"],
            "evaluation_event_storage_id": number,
        }
        for partition in (subset.get_partition_keys() if subset else [None])
    ]


def _is_mirrored(event: dg.EventLogEntry) -> bool:
    kind = event.dagster_event_type
    return event.is_dagster_event and (
        kind in ASSET_EVENTS or kind in ASSET_CHECK_EVENTS or kind in EVENT_TYPE_TO_PIPELINE_RUN_STATUS
    )
