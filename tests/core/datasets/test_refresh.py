"""Refreshing one dataset: which source, what is reused, what is said, and that nothing escapes or gets lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from nethical_assets.core.datasets.raw_rows import snapshot_frame
from nethical_assets.core.datasets.refresh import reading_definition, refresh_dataset
from nethical_assets.core.datasets.snapshots import SnapshotStore
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import BusyError, SourceUnavailableError
from nethical_assets.core.sources.kaggle_source import KaggleSource
from nethical_assets.core.sources.mirror_source import MirrorSource
from nethical_assets.core.sources.source import (
    CredentialsError,
    FetchedFiles,
    NotThereError,
    Unchanged,
    UnusableContentError,
    UpstreamState,
)
from tests.core.conftest import CHECKOUT, NOW, PlainKeeper, csv_of, entry_of
from tests.core.sources.kaggle_double import wait_for, zip_of


@dataclass
class FakeSource:
    """Serves ``content`` as ``rows.csv``; its tag follows the content. ``failure`` is raised instead."""

    content: bytes = field(default_factory=lambda: csv_of(100))
    name: str = "mirror"
    failure: Exception | None = None
    asked: list[UpstreamState | None] = field(default_factory=list)
    file: str = "rows.csv"

    def fetch(self, entry, folder, known):
        self.asked.append(known)
        if self.failure is not None:
            raise self.failure
        upstream = UpstreamState(etag=digest_bytes(self.content))
        if upstream.same_as(known):
            return Unchanged(upstream)
        place = folder / f"unpacked-{len(self.asked)}"
        place.mkdir(parents=True)
        (place / self.file).write_bytes(self.content)
        return FetchedFiles(place, upstream, temporary=True, licence="MIT", upstream_date="2026-11-01")


@pytest.fixture
def refresh(snapshots, tmp_path):
    def refresh_with(*sources, entry=None, days=0, **options):
        values = {"maximum_rows": 1000, "seed": 1, **options}
        return refresh_dataset(
            entry or entry_of(),
            sources,
            snapshots,
            now=NOW + timedelta(days=days),
            work_folder=tmp_path / "work",
            keeper=PlainKeeper(snapshots),
            **{"private_names": lambda names: frozenset(), **values},
        )

    return refresh_with


def test_a_new_dataset_is_stored_with_its_provenance(refresh, snapshots, tmp_path):
    outcome = refresh(FakeSource())
    assert (outcome.status, outcome.source, outcome.downloaded, outcome.stale) == ("new", "mirror", True, False)
    assert outcome.reason == "mirror: 100 rows"
    snapshot = outcome.snapshot
    assert snapshot is not None and snapshot == snapshots.latest("toy")
    assert (snapshot.licence, snapshot.upstream_date, snapshot.source) == ("MIT", "2026-11-01", "mirror")
    assert snapshot.report["rows_read"] == 100 and snapshot.dataset_entry == entry_of()
    assert snapshots.load(snapshot).num_rows == 100
    assert not [path for path in (tmp_path / "work").rglob("*") if path.suffix != ".lock" and path.is_file()]


def test_nothing_is_read_again_while_upstream_and_reading_are_unchanged(refresh, snapshots):
    source = FakeSource()
    first = refresh(source)
    second = refresh(source, days=3)
    assert (second.status, second.downloaded, second.stale) == ("unchanged", False, False)
    assert second.reason == "mirror: unchanged"
    assert second.snapshot is not None and first.snapshot is not None
    assert second.snapshot.digest == first.snapshot.digest
    assert (second.snapshot.fetched_at, second.snapshot.refreshed_at) == (
        first.snapshot.fetched_at,
        "2026-11-26T08:00:00+00:00",
    )
    assert len(snapshots.history("toy")) == 1


def test_changed_content_makes_a_new_snapshot_and_keeps_the_old_one(refresh, snapshots):
    source = FakeSource()
    first = refresh(source)
    source.content = csv_of(120)
    second = refresh(source, days=1)
    assert (second.status, second.reason) == ("new", "mirror: 120 rows")
    assert [snapshot.rows for snapshot in snapshots.history("toy")] == [100, 120]
    assert snapshots.load(first.snapshot).num_rows == 100


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"maximum_rows": 50}, "new"),
        ({"maximum_rows": 50, "seed": 2}, "new"),
        ({"seed": 2}, "unchanged"),
        ({"entry": entry_of(group_column="id")}, "unchanged"),
        ({"force": True}, "unchanged"),
    ],
)
def test_what_reading_depends_on_makes_it_read_again(change, status, refresh):
    source = FakeSource()
    refresh(source)
    outcome = refresh(source, **change)
    assert (outcome.downloaded, outcome.status, source.asked[-1]) == (True, status, None)


def test_presentation_and_use_of_an_entry_do_not_change_what_is_read():
    options = {"maximum_rows": 10, "seed": 1}
    same = entry_of(title="Other", notes="x", families=[], evaluation_families=["anomaly"])
    assert reading_definition(same, **options) == reading_definition(entry_of(), **options)
    assert reading_definition(entry_of(slug="o/x"), **options) != reading_definition(entry_of(), **options)


def test_sources_are_tried_in_order_and_all_of_them_are_named(refresh):
    down = FakeSource(name="kaggle", failure=SourceUnavailableError("kaggle: api.kaggle.com:443 cannot be reached"))
    outcome = refresh(down, FakeSource())
    assert (outcome.status, outcome.source) == ("new", "mirror")
    assert outcome.reason == "kaggle: api.kaggle.com:443 cannot be reached; mirror: 100 rows"


def test_bad_content_of_one_source_is_made_up_for_by_the_next(refresh):
    outcome = refresh(FakeSource(name="kaggle", content=b""), FakeSource())
    assert (outcome.status, outcome.source) == ("new", "mirror")
    assert outcome.reason.startswith("kaggle: dataset toy: rows.csv: the file is empty")


def test_a_tag_of_one_source_is_never_shown_to_another(refresh):
    refresh(FakeSource(name="mirror"))
    other = FakeSource(name="kaggle")
    outcome = refresh(other)
    assert other.asked == [None]
    assert (outcome.status, outcome.source) == ("unchanged", "kaggle")


def test_without_any_source_the_last_snapshot_is_used_and_called_stale(refresh, snapshots):
    first = refresh(FakeSource())
    down = FakeSource(failure=SourceUnavailableError("mirror: gone"))
    outcome = refresh(down, days=40)
    assert (outcome.status, outcome.stale, outcome.downloaded) == ("unchanged", True, False)
    assert outcome.snapshot == first.snapshot
    assert outcome.reason == "mirror: gone; using the snapshot of 2026-11-23T08:00:00+00:00 from mirror"
    assert snapshots.latest("toy").refreshed_at == "2026-11-23T08:00:00+00:00"


def test_not_asking_any_source_uses_what_is_there(refresh):
    nothing = refresh()
    assert (nothing.status, nothing.reason, nothing.snapshot) == ("skipped", "no source was asked", None)
    refresh(FakeSource())
    outcome = refresh()
    assert (outcome.status, outcome.stale) == ("unchanged", False)


def test_a_stale_snapshot_must_fit_the_entry_as_it_is_now(refresh):
    refresh(FakeSource())
    assert refresh(entry=entry_of(time_column="value")).status == "unchanged"
    outcome = refresh(entry=entry_of(time_column="when"))
    assert (outcome.status, outcome.snapshot) == ("skipped", None)
    assert "the stored snapshot does not fit: dataset toy: there is no column 'when'" in outcome.reason


def test_a_snapshot_of_an_older_version_that_names_people_is_read_again_or_not_used(refresh, snapshots):
    """``maximum_rows`` stands for whatever makes its definition another one than today's."""
    refresh(FakeSource(), maximum_rows=900)
    names = {"private_names": lambda names: frozenset(names) & {"value"}}
    outcome = refresh(**names)
    assert (outcome.status, outcome.snapshot, outcome.cause) == ("skipped", None, "unusable")
    assert "names of 1 of its columns are personal data" in outcome.reason
    assert "when a source answers, run: nethical data fetch toy" in outcome.reason
    assert "value" not in outcome.reason
    assert refresh(**names, entry=entry_of(time_column="value")).snapshot is not None, "the catalog names it itself"
    assert "value" not in dict(refresh(FakeSource(), **names).snapshot.columns)
    assert refresh(**names).status == "unchanged"


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (SourceUnavailableError("mirror: owner/toy is not there"), "mirror: owner/toy is not there"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), "mirror: /x/y: No space left on device; free space"),
    ],
)
def test_expected_failures_are_a_recorded_skip(failure, reason, refresh):
    outcome = refresh(FakeSource(failure=failure))
    assert (outcome.status, outcome.snapshot, outcome.downloaded) == ("skipped", None, False)
    assert outcome.reason.startswith(reason)
    assert "\n" not in outcome.reason


def test_programming_errors_are_not_swallowed(refresh):
    with pytest.raises(ZeroDivisionError):
        refresh(FakeSource(failure=ZeroDivisionError("bug")))
    assert refresh(FakeSource()).status == "new"


@pytest.mark.parametrize("content", [b"", b"id,label\n", b"\0" * 100, csv_of(100) + b'"', b"id,label\n1,1\n2,1\n"])
def test_bad_content_is_a_recorded_skip_and_leaves_nothing(content, refresh, snapshots, tmp_path):
    outcome = refresh(FakeSource(content=content))
    assert (outcome.status, outcome.snapshot, outcome.downloaded) == ("skipped", None, True)
    assert outcome.reason.startswith("mirror: dataset toy")
    assert snapshots.latest("toy") is None
    assert not list((tmp_path / "work").rglob("unpacked-*"))


def test_a_full_disk_while_storing_is_a_recorded_skip_and_the_next_refresh_completes(refresh, snapshots, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        outcome = refresh(FakeSource())
    assert outcome.status == "skipped" and "No space left on device" in outcome.reason
    assert snapshots.latest("toy") is None
    assert refresh(FakeSource()).status == "new"


@pytest.mark.parametrize("damage", ["table", "manifest", "pointer"])
def test_a_damaged_store_is_healed_by_the_next_refresh(damage, refresh, snapshots, tmp_path):
    source = FakeSource()
    snapshot = refresh(source).snapshot
    store = tmp_path / "snapshots"
    table = Path(str(snapshots.objects.path(snapshot.digest)))
    objects = [path for path in (store / "objects").rglob("*") if path.is_file() and path != table]
    path = {"table": table, "manifest": objects[0], "pointer": store / "datasets" / "toy.json"}[damage]
    path.write_bytes(path.read_bytes()[:-7])
    down = FakeSource(failure=SourceUnavailableError("mirror: gone"))
    # Damage is not absence, however often it is looked at, and whoever is asked.
    for sources in ((), (down,), (down, FakeSource(content=b"")), ()):
        damaged = refresh(*sources)
        assert (damaged.status, damaged.snapshot, damaged.cause, damaged.had_data) == ("damaged", None, "damaged", True)
        assert damaged.reason.startswith("stored snapshot: ")
    outcome = refresh(source)
    assert outcome.cause is None
    assert outcome.status == "new" and outcome.downloaded
    assert "stored snapshot: " in outcome.reason
    assert snapshots.load(snapshots.latest("toy")).num_rows == 100
    assert refresh(source).reason == "mirror: unchanged"


def test_discovered_layouts_are_stored_and_used_again(refresh):
    entry = entry_of(files=[], discover=True)
    source = FakeSource(file="whatever.csv")
    outcome = refresh(source, entry=entry)
    assert outcome.status == "new"
    assert outcome.entry.files[0].path == ("whatever.csv",) and not outcome.entry.discover
    assert outcome.entry.families == ("logistic",)
    assert "discovered in whatever.csv: label 'label', positive 1" in outcome.reason
    again = refresh(source, entry=entry_of(files=[], discover=True, families=["heuristic"]))
    assert (again.status, again.downloaded) == ("unchanged", False)
    assert again.entry.files == outcome.entry.files
    assert again.entry.families == ("heuristic",)


def test_a_discovered_set_without_label_takes_no_part(refresh):
    outcome = refresh(FakeSource(content=b"a,b\n1,2\n3,4\n"), entry=entry_of(files=[], discover=True))
    assert outcome.status == "new" and outcome.entry.families == ()
    assert "no usable label" in outcome.reason
    nothing = refresh(FakeSource(file="x.png"), entry=entry_of(name="other", slug="o/o", files=[], discover=True))
    assert nothing.status == "skipped" and "discovered no usable table" in nothing.reason


def test_two_refreshes_at_once_agree(refresh, snapshots):
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(refresh(FakeSource()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcome.status for outcome in outcomes) == ["new", "unchanged", "unchanged", "unchanged"]
    assert len(snapshots.history("toy")) == 1


def test_through_the_real_client_and_then_the_mirror(kaggle, refresh, tmp_path):
    kaggle.archives["owner/toy"] = zip_of({"rows.csv": csv_of(100)})
    place = tmp_path / "mirror" / "owner" / "toy"
    place.mkdir(parents=True)
    (place / "rows.csv").write_bytes(csv_of(100))
    sources = (KaggleSource(address=kaggle.url, sleep=lambda _: None), MirrorSource(tmp_path / "mirror"))
    kaggle.faults[:] = ["429", "truncate", "corrupt"]
    first = refresh(*sources)
    assert (first.status, first.source) == ("new", "kaggle")
    assert refresh(*sources).reason == "kaggle: unchanged"
    kaggle.statuses["owner/toy"] = 403
    second = refresh(*sources)
    assert (second.status, second.source) == ("unchanged", "mirror")
    assert second.snapshot.digest == first.snapshot.digest
    assert "forbidden (403)" in second.reason


CHILD = """
import os, sys
from pathlib import Path
from tests.core.conftest import NOW, PlainKeeper, csv_of, entry_of
from tests.core.datasets.test_refresh import FakeSource
from nethical_assets.core.datasets.refresh import refresh_dataset
from nethical_assets.core.datasets.snapshots import SnapshotStore
place, stop_at = Path(sys.argv[1]), int(sys.argv[2])
synced, calls = os.fsync, []

def stop(descriptor):
    calls.append(descriptor)
    if len(calls) == stop_at:
        (place / "stopped").touch()
        import time
        time.sleep(600)
    synced(descriptor)

os.fsync = stop
snapshots = SnapshotStore(place / "snapshots")
refresh_dataset(entry_of(), [FakeSource(content=csv_of(200))], snapshots, now=NOW, work_folder=place / "work",
                keeper=PlainKeeper(snapshots), maximum_rows=1000, seed=1, private_names=lambda names: frozenset())
(place / "stopped").touch()
"""


@pytest.mark.parametrize("stop_at", [1, 3, 5, 6, 99])
def test_a_process_killed_at_any_write_leaves_a_readable_state_and_the_next_refresh_completes(
    stop_at, refresh, tmp_path
):
    refresh(FakeSource())
    store = SnapshotStore(tmp_path / "snapshots")
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{CHECKOUT}"}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path), str(stop_at)], env=environment)
    try:
        wait_for(lambda: (tmp_path / "stopped").exists() or child.poll() is not None, 60)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    survived = store.latest("toy")
    assert survived is not None
    assert store.load(survived).num_rows == (100 if stop_at < 6 else 200)
    outcome = refresh(FakeSource(content=csv_of(200)))
    assert outcome.snapshot is not None and outcome.snapshot.rows == 200
    assert store.load(store.latest("toy")).num_rows == 200
    assert not list((tmp_path / "work").rglob("unpacked-*"))


@pytest.mark.parametrize(
    ("failure", "content", "cause"),
    [
        (SourceUnavailableError("mirror: cannot be reached"), b"", "unreachable"),
        (CredentialsError("mirror: refused (401)"), b"", "credentials"),
        (NotThereError("mirror: no such dataset"), b"", "missing"),
        (UnusableContentError("mirror: the archive is refused"), b"", "unusable"),
        (OSError(errno.ENOSPC, "No space left on device"), b"", "disk"),
        (BusyError("mirror: in use"), b"", "busy"),
        (None, b"", "unusable"),
        (None, b"id,other\n1,1\n2,0\n", "unusable"),
        (None, b"id,label\n1,yes\n2,no\n", "unusable"),
        (None, b"\0" * 100, "unusable"),
    ],
)
def test_the_outcome_says_which_kind_of_reason_there_is_with_and_without_a_snapshot(failure, content, cause, refresh):
    source = FakeSource(failure=failure, content=content)
    first = refresh(source)
    assert (first.status, first.cause, first.had_data) == ("skipped", cause, False)
    refresh(FakeSource())
    second = refresh(source)
    assert (second.status, second.stale, second.cause, second.had_data) == ("unchanged", True, cause, True)


def test_the_gravest_of_several_reasons_counts(refresh):
    unreachable = FakeSource(name="kaggle", failure=SourceUnavailableError("kaggle: cannot be reached"))
    missing = FakeSource(failure=NotThereError("mirror: no such dataset"))
    assert refresh(unreachable, missing).cause == "missing"
    assert refresh(unreachable, FakeSource(content=b"")).cause == "unusable"
    assert refresh().cause == "not_asked"


def test_a_snapshot_that_cannot_be_read_is_damaged_and_not_absent(refresh, snapshots, monkeypatch):
    refresh(FakeSource())

    def unreadable(name):
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr(snapshots, "latest", unreadable)
    outcome = refresh()
    assert (outcome.status, outcome.cause) == ("damaged", "damaged")


def test_a_snapshot_that_does_not_fit_any_more_is_remembered_as_data_that_was_there(refresh):
    refresh(FakeSource())
    outcome = refresh(entry=entry_of(time_column="when"))
    assert (outcome.status, outcome.cause, outcome.had_data) == ("skipped", "unusable", True)


def _private(names):
    return frozenset(name for name in names if "anna" in name)


@pytest.mark.parametrize(
    "entry",
    [
        entry_of(files=[], discover=True),
        entry_of(files=[{"path": ["*.csv"], "format": "csv", "label": {"column": "label", "positive": ["1"]}}]),
    ],
    ids=["discovered", "declared as a pattern"],
)
def test_the_name_of_a_file_that_is_personal_data_is_kept_nowhere(entry, refresh, snapshots, tmp_path):
    source = FakeSource(file="anna@example.org.csv")
    outcome = refresh(source, entry=entry, private_names=_private)
    assert outcome.status == "new" and "anna" not in outcome.reason
    snapshot = outcome.snapshot
    assert set(snapshots.load(snapshot)["_file"].to_pylist()) == {"file 1.csv"}
    frame = snapshot_frame(snapshots, entry, snapshot)
    assert (frame["_label"] >= 0).all(), "rows are still known by their file"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"anna" in path.read_bytes()]
    unusable = FakeSource(file="anna@example.org.csv", content=b"\x00")
    assert "anna" not in refresh(unusable, entry=entry, private_names=_private, days=9).reason


def test_a_declared_name_stays_and_one_that_its_pattern_does_not_mean_without_it_is_refused(refresh):
    file = {"path": ["anna@example.org.csv"], "format": "csv", "label": {"column": "label", "positive": ["1"]}}
    source = FakeSource(file="anna@example.org.csv")
    declared = refresh(source, entry=entry_of(files=[file]), private_names=_private)
    assert declared.snapshot.report["files"][0]["path"] == "anna@example.org.csv"
    pattern = {**file, "path": ["a*@*.csv"]}
    refused = refresh(source, entry=entry_of(name="other", files=[pattern]), private_names=_private)
    assert refused.status == "skipped" and refused.reason.endswith("rename the file") and "anna" not in refused.reason


def test_repeated_columns_are_said_where_the_dataset_is_fetched(refresh):
    content = csv_of(100).replace(b"id,value", b"value,value")
    assert "column 'value' is there more than once" in refresh(FakeSource(content=content)).reason


def test_a_disk_that_is_full_while_a_file_is_open_is_named(refresh, tmp_path):
    """The system names what was to be opened, and nothing where an open file cannot grow, as in a download."""
    unnamed = refresh(FakeSource(failure=OSError(errno.EDQUOT, "Disk quota exceeded"))).reason
    assert unnamed.startswith(f"mirror: {tmp_path / 'work' / 'toy'}: Disk quota exceeded; free space and run again")
    assert str(tmp_path) not in refresh(FakeSource(failure=OSError(errno.EIO, "Input/output error"))).reason


def test_advice_about_the_disk_fits_what_is_wrong_with_it(refresh):
    for number, advised in ((errno.EACCES, "correct permissions and run"), (errno.ENOSPC, "free space and run")):
        failure = OSError(number, os.strerror(number), "/x/y")
        assert f"/x/y: {os.strerror(number)}; {advised} again" in refresh(FakeSource(failure=failure)).reason
