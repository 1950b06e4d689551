"""Snapshots: named by content, verified when read, replaced atomically, on a folder or an object store."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
from upath import UPath

from nethical_assets.core.datasets.snapshots import Snapshot, SnapshotStore, table_bytes, timestamp
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.sources.source import UpstreamState
from tests.core.conftest import NOW, add_snapshot, entry_of

TABLE = pa.table({"id": [1, 2, 3], "text": ["a", None, "é"], "score": [0.5, 1.5, None]})


def manifest(**changes) -> Snapshot:
    entry = entry_of()
    values = {
        "name": "toy",
        "slug": "owner/toy",
        "source": "mirror",
        "licence": "CC0-1.0",
        "digest": "",
        "rows": 0,
        "columns": (),
        "fetched_at": "",
        "definition": "sha256:x",
        "entry": entry.model_dump(mode="json"),
        "report": {"rows_read": 3},
        "upstream": UpstreamState(etag='"1"'),
        "upstream_date": "2026-11-22",
    }
    return Snapshot(**{**values, **changes})


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    if request.param == "folder":
        return SnapshotStore(tmp_path / "snapshots")
    return SnapshotStore(UPath(f"memory://{tmp_path.name}/snapshots"))


def test_what_was_stored_is_found_and_loaded(store):
    stored = add_snapshot(store, TABLE, manifest(), NOW)
    found = store.latest("toy")
    assert found == stored
    assert (found.rows, found.columns) == (3, (("id", "int64"), ("text", "string"), ("score", "double")))
    assert (found.fetched_at, found.refreshed_at) == ("2026-11-23T08:00:00+00:00", "2026-11-23T08:00:00+00:00")
    assert found.dataset_entry == entry_of()
    assert store.load(found).equals(TABLE)
    assert store.latest("other") is None
    assert store.history("other") == ()


def test_the_digest_is_that_of_the_bytes_whatever_the_chunks(store):
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)]).replace_schema_metadata({"pandas": "x"})
    assert table_bytes(chunked) == table_bytes(TABLE)
    assert add_snapshot(store, TABLE, manifest(), NOW).digest == digest_bytes(table_bytes(TABLE))
    assert add_snapshot(store, TABLE.slice(1), manifest(), NOW).digest != digest_bytes(table_bytes(TABLE))


def test_content_that_returns_within_a_second_arrived_twice(store):
    arrived = [TABLE, TABLE.slice(1), TABLE]
    for number, table in enumerate(arrived):
        add_snapshot(store, table, manifest(), NOW + timedelta(milliseconds=number))
    assert [one.digest for one in store.history("toy")] == [digest_bytes(table_bytes(table)) for table in arrived]


def test_history_is_kept_and_confirmation_moves_only_freshness(store):
    first = add_snapshot(store, TABLE, manifest(), NOW)
    second = add_snapshot(store, TABLE.slice(1), manifest(), NOW + timedelta(days=1))
    confirmed = replace(second, refreshed_at=timestamp(NOW + timedelta(days=9)))
    store.set_confirmed(confirmed)
    assert store.latest("toy") == confirmed
    assert store.history("toy") == (first, confirmed)
    assert store.load(store.history("toy")[0]).equals(TABLE)


def test_only_the_newest_snapshot_can_be_confirmed(store):
    first = add_snapshot(store, TABLE, manifest(), NOW)
    second = add_snapshot(store, TABLE.slice(1), manifest(), NOW + timedelta(days=1))
    store.set_confirmed(replace(first, refreshed_at=timestamp(NOW + timedelta(days=9))))
    assert store.latest("toy") == second
    store.set_confirmed(replace(first, name="other"))
    assert store.latest("other") is None


def test_a_stored_snapshot_is_the_newest_when_the_pointer_moves(store):
    stored = store.store_table(TABLE, manifest(), NOW)
    assert store.latest("toy") is None
    assert store.manifest(store.store_manifest(stored), stored.refreshed_at) == stored
    store.set_newest(stored)
    assert store.latest("toy") == stored


def test_changed_bytes_are_noticed_by_file_and_healed_by_the_next_add(store):
    stored = add_snapshot(store, TABLE, manifest(), NOW)
    path = store.objects.path(stored.digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert not store.is_intact(stored)
    with pytest.raises(IntegrityError, match=stored.digest.partition(":")[2]):
        store.load(stored)
    add_snapshot(store, TABLE, manifest(), NOW)
    assert store.load(stored).equals(TABLE)


def test_a_changed_manifest_and_a_damaged_pointer_are_noticed_by_file(tmp_path):
    store = SnapshotStore(tmp_path)
    stored = add_snapshot(store, TABLE, manifest(), NOW)
    pointer = tmp_path / "datasets" / "toy.json"
    objects = [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    (manifest_file,) = [path for path in objects if path.name != stored.digest.partition(":")[2]]
    good = manifest_file.read_bytes()
    manifest_file.write_bytes(good.replace(b"CC0-1.0", b"CC1-1.0"))
    with pytest.raises(IntegrityError, match=manifest_file.name):
        store.latest("toy")
    manifest_file.write_bytes(good)
    for damaged in ("{", "[]", '{"manifests": []}'):
        pointer.write_text(damaged)
        with pytest.raises(IntegrityError, match=r"toy\.json"):
            store.latest("toy")
    assert store.was_fetched("toy")
    assert store.newest_digest("toy") is None
    assert add_snapshot(store, TABLE, manifest(), NOW) == store.latest("toy")


def test_a_pointer_to_another_datasets_snapshot_is_refused(tmp_path):
    store = SnapshotStore(tmp_path)
    add_snapshot(store, TABLE, manifest(), NOW)
    (tmp_path / "datasets" / "mine.json").write_bytes((tmp_path / "datasets" / "toy.json").read_bytes())
    with pytest.raises(IntegrityError, match="snapshot of toy"):
        store.latest("mine")


@pytest.mark.parametrize("failing_call", [1, 2, 3])
def test_a_full_disk_at_any_write_keeps_the_last_snapshot(failing_call, tmp_path, monkeypatch):
    store = SnapshotStore(tmp_path)
    before = add_snapshot(store, TABLE, manifest(), NOW)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    synced, calls = os.fsync, []

    def full(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return synced(descriptor)
        calls.append(descriptor)
        if len(calls) == failing_call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return synced(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        add_snapshot(store, TABLE.slice(1), manifest(), NOW + timedelta(days=1))
    monkeypatch.undo()
    assert store.latest("toy") == before
    assert store.load(before).equals(TABLE)
    assert not list(tmp_path.rglob(".partial-*"))
    assert set(files) <= {path for path in tmp_path.rglob("*") if path.is_file()}
    assert add_snapshot(store, TABLE.slice(1), manifest(), NOW + timedelta(days=1)).rows == 2
