"""Backups and validation history: rotation, damage, kills, and what is restored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nethical_assets.core.datasets.backups import MANIFESTS_KEPT, Backup, BackupStore
from nethical_assets.core.datasets.snapshots import Snapshot, SnapshotStore
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.quality.checks import CheckOutcome
from nethical_assets.core.quality.history import ValidationHistory
from tests.core.conftest import add_snapshot

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture
def snapshots(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "snapshots")


@pytest.fixture
def add(snapshots: SnapshotStore) -> Callable[[int], Snapshot]:
    """Store a snapshot of ``toy`` with that number as its content, a day later for each number."""

    def add_number(number: int) -> Snapshot:
        manifest = Snapshot("toy", "o/toy", "mirror", "MIT", "", 0, (), "", "d", {}, {})
        return add_snapshot(snapshots, pa.table({"x": [number]}), manifest, NOW + timedelta(days=number))

    return add_number


def reinstate(snapshots: SnapshotStore, snapshot: Snapshot, data: bytes) -> Snapshot:
    """What restoring does with a backup."""
    snapshots.repair(snapshot, data)
    newest = replace(snapshot, refreshed_at=snapshot.fetched_at)
    snapshots.set_newest(newest)
    return newest


def keep(store: BackupStore, snapshots: SnapshotStore, snapshot: Snapshot, days: int) -> bool:
    return store.keep(snapshot, lambda: snapshots.objects.get(snapshot.digest), NOW + timedelta(days=days))


def test_the_newest_backups_are_kept_and_none_twice(
    tmp_path: Path, snapshots: SnapshotStore, add: Callable[[int], Snapshot]
) -> None:
    store = BackupStore(tmp_path / "backups", kept=2)
    added = [add(number) for number in range(4)]
    assert [keep(store, snapshots, snapshot, day) for day, snapshot in enumerate(added)] == [True] * 4
    assert [backup.load()[0].digest for backup in store.list("toy")] == [s.digest for s in added[2:]]
    assert not keep(store, snapshots, added[3], 9)
    assert len(list((tmp_path / "backups" / "toy").iterdir())) == 4
    assert store.list("other") == ()


def test_none_are_made_or_dropped_when_none_are_wanted(
    tmp_path: Path, snapshots: SnapshotStore, add: Callable[[int], Snapshot]
) -> None:
    keep(BackupStore(tmp_path, kept=2), snapshots, add(0), 0)
    assert not keep(BackupStore(tmp_path, kept=0), snapshots, add(1), 1)
    assert len(BackupStore(tmp_path, kept=0).list("toy")) == 1


class Timeline:
    """A dataset whose contents become current one after another; a letter is a content."""

    def __init__(self, folder: Path, kept: int = 3) -> None:
        self.store = BackupStore(folder / "backups", kept=kept)
        self.snapshots = SnapshotStore(folder / "snapshots")
        self.days = 0

    def fetch(self, letters: str) -> Timeline:
        for letter in letters:
            self.days += 1
            manifest = Snapshot("toy", "o/toy", "mirror", "MIT", "", 0, (), "", "d", {}, {})
            snapshot = add_snapshot(
                self.snapshots, pa.table({"x": [letter]}), manifest, NOW + timedelta(days=self.days)
            )
            keep(self.store, self.snapshots, snapshot, self.days)
        return self

    def letter(self, backup: Backup) -> str:
        return str(pq.read_table(pa.BufferReader(backup.load()[1]))["x"][0])

    def options(self, *, damaged: bool, current: str | None = "") -> str:
        newest = self.snapshots.newest_digest("toy") if current == "" else current
        return "".join(map(self.letter, self.store.candidates("toy", newest, damaged=damaged)))

    def restore(self, *, damaged: bool = False) -> str:
        backup = self.store.candidates("toy", self.snapshots.newest_digest("toy"), damaged=damaged)[0]
        self.days += 1
        self.store.note_restored(backup, NOW + timedelta(days=self.days))
        reinstate(self.snapshots, *backup.load())
        return self.letter(backup)


@pytest.mark.parametrize(
    ("fetched", "own_first", "going_back"),
    [
        ("A", "A", ""),
        ("AB", "BA", "A"),
        ("ABCA", "ACB", "CB"),
        ("ABCDA", "ADC", "DC"),
        ("ABAB", "BA", "A"),
        ("AAB", "BA", "A"),
        ("ABB", "BA", "A"),
        ("ABCB", "BCA", "CA"),
    ],
)
def test_what_was_current_is_known_for_every_time(
    fetched: str, own_first: str, going_back: str, tmp_path: Path
) -> None:
    dataset = Timeline(tmp_path).fetch(fetched)
    assert dataset.options(damaged=True) == own_first
    assert dataset.options(damaged=False) == going_back
    # The pointer is damaged too: the backups know by themselves what was current last.
    assert dataset.options(damaged=True, current=None) == own_first


@pytest.mark.parametrize("kept", [1, 2])
def test_what_is_current_is_never_dropped(kept: int, tmp_path: Path) -> None:
    dataset = Timeline(tmp_path, kept=kept).fetch("ABCDA")
    assert dataset.options(damaged=True) == "AD"[:kept]
    dataset.fetch("BA" * 40 + "B")
    assert dataset.options(damaged=True) == "BA"[:kept]
    files = [path.suffix for path in (tmp_path / "backups" / "toy").iterdir()]
    assert files.count(".parquet") == kept
    assert kept <= files.count(".json") <= MANIFESTS_KEPT


def test_restoring_again_goes_further_back_and_then_ends(tmp_path: Path) -> None:
    dataset = Timeline(tmp_path).fetch("ABC")
    assert [dataset.restore(), dataset.restore()] == ["B", "A"]
    assert dataset.options(damaged=False) == ""
    # What was restored is current now: its own damage brings it back, and new data goes back to it.
    assert dataset.options(damaged=True)[0] == "A"
    assert dataset.restore(damaged=True) == "A"
    assert dataset.fetch("D").options(damaged=False)[0] == "A"


def test_a_clock_that_is_set_back_changes_no_order(tmp_path: Path) -> None:
    dataset = Timeline(tmp_path).fetch("AB")
    dataset.days = -500
    assert dataset.fetch("CA").options(damaged=True) == "ACB"


def test_a_restore_that_was_killed_before_the_snapshot_moved_is_completed_by_the_next(tmp_path: Path) -> None:
    dataset = Timeline(tmp_path).fetch("ABC")
    (target, *_) = dataset.store.candidates("toy", dataset.snapshots.newest_digest("toy"), damaged=False)
    dataset.store.note_restored(target, NOW + timedelta(days=9))
    assert dataset.restore() == "B"
    assert dataset.restore() == "A"


def test_a_snapshot_that_was_stored_and_not_yet_noted_goes_back_to_the_last_noted_one(tmp_path: Path) -> None:
    dataset = Timeline(tmp_path).fetch("AB")
    manifest = Snapshot("toy", "o/toy", "mirror", "MIT", "", 0, (), "", "d", {}, {})
    add_snapshot(dataset.snapshots, pa.table({"x": ["C"]}), manifest, NOW + timedelta(days=9))
    assert dataset.options(damaged=False) == "BA"
    assert dataset.options(damaged=True) == "BA"


def test_backups_of_the_earlier_form_are_read_in_their_order(tmp_path: Path) -> None:
    dataset = Timeline(tmp_path).fetch("ABC")
    for backup in dataset.store.list("toy"):
        snapshot, data = backup.load()
        document = pretty_json(snapshot.to_json())
        name = f"{backup.manifest.stem[:39]}-{digest_bytes(document).partition(':')[2]}"
        backup.data.unlink()
        backup.manifest.unlink()
        (backup.manifest.parent / f"{name}.json").write_bytes(document)
        (backup.manifest.parent / f"{name}.parquet").write_bytes(data)
    assert (dataset.options(damaged=True), dataset.options(damaged=False)) == ("CBA", "BA")
    assert dataset.fetch("A").options(damaged=True) == "ACB"
    assert dataset.restore() == "C"


@pytest.mark.parametrize("part", ["manifest", "data"])
def test_a_changed_backup_is_refused_by_name(
    part: str, tmp_path: Path, snapshots: SnapshotStore, add: Callable[[int], Snapshot]
) -> None:
    store = BackupStore(tmp_path / "backups", kept=2)
    keep(store, snapshots, add(0), 0)
    (backup,) = store.list("toy")
    file = getattr(backup, part)
    file.write_bytes(file.read_bytes().replace(b"toy", b"Toy") if part == "manifest" else b"PAR1 something else")
    with pytest.raises(IntegrityError, match=file.name):
        backup.load()


def test_a_backup_without_its_data_does_not_count_and_is_made_again(
    tmp_path: Path, snapshots: SnapshotStore, add: Callable[[int], Snapshot]
) -> None:
    # What a process that died between the two files leaves.
    store = BackupStore(tmp_path / "backups", kept=2)
    snapshot = add(0)
    keep(store, snapshots, snapshot, 0)
    store.list("toy")[0].data.unlink()
    assert store.list("toy") == ()
    assert keep(store, snapshots, snapshot, 1)
    assert [backup.load()[0].digest for backup in store.list("toy")] == [snapshot.digest]


def test_a_reinstated_snapshot_is_the_newest_with_its_old_age(
    tmp_path: Path, snapshots: SnapshotStore, add: Callable[[int], Snapshot]
) -> None:
    first, second = add(0), add(1)
    data = snapshots.objects.get(first.digest)
    restored = reinstate(snapshots, first, data)
    assert snapshots.latest("toy") == restored
    assert restored.refreshed_at == first.fetched_at
    assert [s.digest for s in snapshots.history("toy")] == [second.digest, first.digest]
    with pytest.raises(IntegrityError, match="not those of"):
        reinstate(snapshots, second, data)
    assert snapshots.latest("toy") == restored


@pytest.mark.parametrize("damage", ["pointer", "object", "manifest"])
def test_reinstating_repairs_what_was_damaged(
    damage: str, snapshots: SnapshotStore, add: Callable[[int], Snapshot]
) -> None:
    snapshot = add(0)
    data = snapshots.objects.get(snapshot.digest)
    pointer = Path(str(snapshots.base)) / "datasets" / "toy.json"
    objects = [path for path in (Path(str(snapshots.base)) / "objects").rglob("*") if path.is_file()]
    chosen = {
        "pointer": [pointer],
        "object": [path for path in objects if path.name in snapshot.digest],
        "manifest": [path for path in objects if path.name not in snapshot.digest],
    }[damage]
    assert len(chosen) == 1
    chosen[0].write_bytes(b"\x00 damaged")
    reinstate(snapshots, snapshot, data)
    latest = snapshots.latest("toy")
    assert latest is not None
    assert snapshots.is_intact(latest)
    assert snapshots.load(latest).to_pydict() == {"x": [0]}


def test_repairing_a_snapshot_that_is_not_the_newest_mends_its_manifest_too(
    snapshots: SnapshotStore, add: Callable[[int], Snapshot]
) -> None:
    older = add(0)
    (manifest,) = [path for path in files_below(snapshots) if path.name not in older.digest]
    newer, content = add(1), manifest.read_bytes()
    manifest.write_bytes(b"\x00 damaged")
    snapshots.repair(older, snapshots.objects.get(older.digest))
    assert manifest.read_bytes() == content
    latest = snapshots.latest("toy")
    assert latest is not None
    assert latest.digest == newer.digest


def files_below(snapshots: SnapshotStore) -> list[Path]:
    return [path for path in (Path(str(snapshots.base)) / "objects").rglob("*") if path.is_file()]


class TestHistory:
    def outcome(self, name: str, status: str) -> CheckOutcome:
        return CheckOutcome(name, status, "", {})  # type: ignore[arg-type]

    def since(self, history: ValidationHistory, day: int, *outcomes: CheckOutcome) -> dict[str, str]:
        dated = history.dated("raw", "toy", outcomes, NOW + timedelta(days=day))
        return {outcome.name: outcome.failing_since[:10] for outcome in dated}

    def test_a_problem_keeps_its_first_day_until_it_passes(self, tmp_path: Path) -> None:
        history = ValidationHistory(tmp_path)
        bad, good = self.outcome("schema", "fail"), self.outcome("schema", "pass")
        assert self.since(history, 0, good) == {"schema": ""}
        assert self.since(history, 1, bad) == {"schema": "2026-11-24"}
        assert self.since(history, 2, self.outcome("schema", "warn")) == {"schema": "2026-11-24"}
        assert {name: since[:10] for name, since in history.failing("raw", "toy").items()} == {"schema": "2026-11-24"}
        assert history.failing("raw", "other") == {}
        # The dataset could not be had: nothing is known about its schema.
        assert self.since(history, 3, self.outcome("available", "warn")) == {"available": "2026-11-26"}
        assert self.since(history, 4, bad, self.outcome("available", "pass")) == {
            "schema": "2026-11-24",
            "available": "",
        }
        assert self.since(history, 5, good) == {"schema": ""}
        assert history.failing("raw", "toy") == {}
        assert self.since(history, 6, bad) == {"schema": "2026-11-29"}

    def test_what_is_known_is_not_written_again(self, tmp_path: Path) -> None:
        history = ValidationHistory(tmp_path)
        assert self.since(history, 0, self.outcome("schema", "pass")) == {"schema": ""}
        assert list(tmp_path.iterdir()) == [], "no file and no lock: a home that cannot be written is validated too"
        self.since(history, 1, self.outcome("schema", "fail"))
        for path in (tmp_path / "raw").iterdir():
            path.chmod(0o444)
        (tmp_path / "raw" / "toy.lock").unlink(missing_ok=True)
        assert self.since(history, 2, self.outcome("schema", "fail")) == {"schema": "2026-11-24"}
        assert [path.name for path in (tmp_path / "raw").iterdir()] == ["toy.json"]

    @pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"schema": 3}', b"\xff\xfe"])
    def test_a_damaged_file_is_written_anew(self, content: bytes, tmp_path: Path) -> None:
        history = ValidationHistory(tmp_path)
        self.since(history, 0, self.outcome("schema", "fail"))
        (tmp_path / "raw" / "toy.json").write_bytes(content)
        assert self.since(history, 5, self.outcome("schema", "fail")) == {"schema": "2026-11-28"}
        assert self.since(history, 6, self.outcome("schema", "fail")) == {"schema": "2026-11-28"}
