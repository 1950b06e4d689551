"""Segments: what is written is read, up to a tear; damage is no tear; a failing disk loses nothing that it had."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.drift import segments as module
from nethical_assets.core.drift.reference import PROBABILITY, SCORE
from nethical_assets.core.drift.segment_format import MAGIC, ROWS_PER_FRAME
from nethical_assets.core.drift.segments import (
    FeedbackRow,
    LoggedRow,
    SegmentWriter,
    ended_segments,
    open_segments,
    read_segment,
)
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, SegmentError
from tests.core.drift.logged import MODEL, scored, told
from tests.processes import start_child

SLOWLY = 1000.0
"""No thread writes a commit while a test looks."""


def written(folder: Path, *appends: list[LoggedRow | FeedbackRow], close: bool = False) -> Path:
    """The one segment of a writer that appended these; of a dead one unless it is closed."""

    def write() -> None:
        writer = SegmentWriter(folder, sync_seconds=SLOWLY)
        for rows in appends:
            writer.append(rows)
        if close:
            writer.close()

    assert start_child(write)() == 0
    (path,) = ended_segments(folder)
    return path


def test_rows_of_both_kinds_are_read_back_in_their_order(tmp_path):
    appends = [[scored(1), told(1, 0)], [scored(2)], [told(2, 1), scored(3)]]
    for close in (False, True):
        read = read_segment(written(tmp_path / str(close), *appends, close=close))
        assert list(read) == [row for rows in appends for row in rows]
        assert (read.rows, read.torn, read.missing, read.lost_at_most, read.damage) == (5, 0, (), 0, ())


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_row_is_read_back_as_it_was(data):
    text = st.text(max_size=20)
    number = st.floats(allow_nan=False)
    count = st.integers(0, 2**63 - 1)
    row = st.builds(
        LoggedRow,
        at_ns=count,
        request_id=st.text(min_size=1, max_size=256),
        family=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True),
        model=st.just(MODEL),
        route=text,
        label=st.integers(-128, 127),
        probability=st.floats(0, 1),
        score=number,
        sketch=st.dictionaries(text, number, max_size=5),
        latency_us=count,
        findings=st.dictionaries(text, count, max_size=3),
    )
    feedback = st.builds(FeedbackRow, count, st.text(min_size=1, max_size=256), st.integers(-128, 127), text)
    appends = data.draw(st.lists(st.lists(row | feedback, min_size=1, max_size=4), min_size=1, max_size=4))
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Path(folder), sync_seconds=SLOWLY)
        for rows in appends:
            writer.append(rows)
        writer.close()
        read = read_segment(ended_segments(Path(folder))[0])
    assert list(read) == [one for rows in appends for one in rows]
    assert not read.damage


WRONG = {
    "at_ns": (-1, "now", None),
    "request_id": ("", "x" * 257, b"bytes", "\udc80"),
    "family": ("../escape", "", "A"),
    "model": ("latest", "sha256:" + "A" * 64),
    "label": (1000, "positive", 0.5),
    "probability": (1.5, "high"),
    "score": (None, "2"),
    "sketch": ({"length": "my password"}, [1.0], {1: 2.0}, {SCORE: 1.0}, {PROBABILITY: 1.0}),
    "latency_us": (-1, 0.5),
    "findings": ({"EMAIL": "a@b"},),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_row_that_no_reader_would_take_is_refused_and_stops_nobody(tmp_path, name, value):
    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
    with pytest.raises(DatasetError) as refused:
        writer.append([scored(1), scored(2, **{name: value})])
    assert "password" not in str(refused.value) and "a@b" not in str(refused.value)
    writer.append([scored(3)])
    writer.close()
    assert list(read_segment(ended_segments(tmp_path)[0])) == [scored(3)]


def test_numbers_of_numpy_are_numbers(tmp_path):
    row = scored(1, score=np.float64(2.5), label=np.int8(1), sketch={"length": np.float32(0.5)})
    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
    writer.append([row])
    writer.close()
    assert list(read_segment(ended_segments(tmp_path)[0])) == [scored(1, score=2.5, label=1, sketch={"length": 0.5})]


def test_many_rows_at_once_are_several_frames(tmp_path):
    rows = [scored(number) for number in range(2 * ROWS_PER_FRAME + 1)]
    read = read_segment(written(tmp_path, rows))
    assert read.rows == len(rows) and list(read) == rows


# What a kill leaves


def test_a_file_cut_anywhere_in_its_last_frames_is_read_up_to_there(tmp_path):
    path = written(tmp_path / "made", *([scored(number)] for number in range(4)))
    data = path.read_bytes()
    whole = {len(data): 4}
    for rows in (3, 2, 1):
        whole[data.rindex(b"\xffNF\xfe", 0, min(whole))] = rows
    cut = tmp_path / path.name
    for length in range(min(whole), len(data) + 1):
        cut.write_bytes(data[:length])
        read = read_segment(cut)
        end = max(size for size in whole if size <= length)
        assert list(read) == [scored(number) for number in range(whole[end])], length
        assert (read.torn, read.damage, read.missing, read.lost_at_most) == (length - end, (), (), 0), length


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("step", [41, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_of_a_closed_segment_is_damage_and_hides_no_other_row(tmp_path, step):
    path = written(tmp_path / "made", [scored(0)], [scored(1), scored(2)], [told(1, 1)], close=True)
    data, rows = path.read_bytes(), list(read_segment(path))
    changed = tmp_path / path.name
    for bit in range(0, 8 * len(data), step):
        changed.write_bytes(flipped(data, bit))
        read = read_segment(changed)
        assert read.damage, bit
        assert read.torn == 0
        found = list(read)
        # At most the frame that the bit is in.
        assert found == [row for row in rows if row in found] and len(found) >= 2, bit
        assert read.rows + read.missing_rows == 4 or read.lost_at_most, bit


@pytest.mark.parametrize("close", [False, True])
def test_damage_before_the_end_is_no_tear(tmp_path, close):
    path = written(tmp_path, *([scored(number)] for number in range(5)), close=close)
    data = path.read_bytes()
    place = data.index(b"request-2")
    path.write_bytes(data[:place] + b"R" + data[place + 1 :])
    read = read_segment(path)
    assert [row.request_id for row in read] == [f"request-{number}" for number in (0, 1, 3, 4)]
    assert (read.torn, read.missing, read.missing_rows) == (0, ((2, 2),), 1)
    (line,) = read.damage
    assert str(path) in line and "damaged at byte" in line


def test_a_frame_that_was_taken_out_is_missing_and_no_other_row_is(tmp_path):
    path = written(tmp_path, *([scored(number)] for number in range(4)))
    parts = path.read_bytes().split(b"\xffNF\xfe")
    path.write_bytes(b"\xffNF\xfe".join(part for part in parts if b"request-1" not in part))
    read = read_segment(path)
    assert [row.request_id for row in read] == ["request-0", "request-2", "request-3"]
    assert read.damage and read.missing == ((1, 1),)


@pytest.mark.parametrize("end", [1, 30, 300])
def test_a_closed_segment_without_its_end_is_damaged_and_says_how_many_rows_may_be_gone(tmp_path, end):
    path = written(tmp_path, *([scored(number)] for number in range(5)), close=True)
    path.write_bytes(path.read_bytes()[:-end])
    read = read_segment(path)
    assert read.damage and read.torn == 0
    assert read.rows + read.lost_at_most >= 5


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, MAGIC, b"not a segment\n" * 100])
def test_a_file_that_is_none_is_damage(tmp_path, content):
    path = written(tmp_path, [scored(1)], close=True)
    path.write_bytes(content)
    read = read_segment(path)
    assert read.damage and list(read) == []


def test_a_request_id_cannot_look_like_a_frame(tmp_path):
    forged = written(tmp_path / "other", [scored(7)]).read_bytes()[-200:]
    rows = [scored(1, request_id=forged.decode("latin-1")[:200]), scored(2)]
    path = written(tmp_path / "mine", rows[:1], rows[1:])
    data = path.read_bytes()
    start = data.index(b"\xffNF\xfe", len(MAGIC) + 10)
    path.write_bytes(flipped(data, 8 * (start + 5)))
    assert list(read_segment(path)) == rows[1:]


def test_rows_of_a_later_version_are_refused_with_a_line_and_not_as_damage(tmp_path, monkeypatch):
    class Unknown(msgspec.Struct, frozen=True, array_like=True, tag="later"):
        value: int

    monkeypatch.setattr(module, "encode_rows", msgspec.msgpack.encode)
    path = written(tmp_path, [Unknown(1)])
    read = read_segment(path)
    assert not read.damage
    with pytest.raises(IntegrityError, match="update"):
        list(read)


# What a power failure leaves


ANOTHER_BOOT = "another"


def committed(folder: Path, before: int, after: int) -> tuple[bytes, int, Path]:
    """A segment with so many rows before and after a commit: its bytes, how many of them were safe, and its path."""

    def write() -> None:
        writer = SegmentWriter(folder, sync_seconds=SLOWLY)
        for number in range(before):
            writer.append([scored(number)])
        writer.sync()
        (path,) = open_segments(folder)
        (folder / "safe").write_text(str(path.stat().st_size))
        for number in range(before, before + after):
            writer.append([scored(number)])

    assert start_child(write)() == 0
    (path,) = ended_segments(folder)
    return path.read_bytes(), int((folder / "safe").read_text()), path


def test_a_power_failure_loses_what_was_not_synced_and_says_how_many_at_most(tmp_path):
    data, safe, path = committed(tmp_path, before=300, after=40)
    for length in (safe, safe + 10, len(data)):
        path.write_bytes(data[:length])
        read = read_segment(path, boot=ANOTHER_BOOT)
        assert read.rows >= 300 and not read.damage
        assert 340 - read.rows <= read.lost_at_most <= 600, "twice what came between two commits"
    assert read_segment(path).lost_at_most == 0, "the machine did not fail"
    # The file as long as it was, its last pages never written.
    path.write_bytes(data[: safe + 10] + b"\x00" * (len(data) - safe - 10))
    read = read_segment(path, boot=ANOTHER_BOOT)
    assert (read.rows, read.damage, read.torn) == (300, (), len(data) - safe)
    assert read.lost_at_most >= 40


def test_a_hole_of_a_power_failure_is_told_by_its_row_numbers(tmp_path):
    data, safe, path = committed(tmp_path, before=10, after=40)
    start, end = data.index(b"request-20"), data.index(b"request-31")
    path.write_bytes(data[:start] + b"\x00" * (end - start) + data[end:])
    read = read_segment(path, boot=ANOTHER_BOOT)
    assert (read.damage, read.missing) == ((), ((20, 31),))
    assert read_segment(path).damage, "without a power failure it is damage"


def test_what_was_synced_and_cannot_be_read_is_damage_also_after_a_power_failure(tmp_path):
    def write() -> None:
        writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
        for number in range(9):
            writer.append([scored(number)])
            writer.sync()

    assert start_child(write)() == 0
    (path,) = ended_segments(tmp_path)
    data = path.read_bytes()
    path.write_bytes(flipped(data, 8 * data.index(b"request-3")))
    read = read_segment(path, boot=ANOTHER_BOOT)
    assert read.damage and read.missing == ((3, 3),)


def test_no_row_is_written_that_the_disk_has_not_heard_of(tmp_path, monkeypatch):
    """The bound on what a power failure takes holds at every instant: before a row has a number, a synced commit, or
    the header, promised it."""
    events: list[tuple[str, int]] = []
    monkeypatch.setattr(module, "_datasync", lambda descriptor: events.append(("sync", os.fstat(descriptor).st_size)))
    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
    number = 0
    for size in (1, 255, 1, 1, 700, 5000, 1):
        writer.append([scored(number + one) for one in range(size)])
        number += size
        synced = max([size for _, size in events], default=0)
        (path,) = open_segments(tmp_path)
        copy = tmp_path / "copy" / path.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes()[: max(synced, 400)])
        read = read_segment(copy, boot=ANOTHER_BOOT)
        assert read.rows + read.lost_at_most >= number
    assert 2 <= len(events) <= 4, "and it waits seldom"
    writer.close()


def test_a_thread_syncs_within_the_given_time_and_ends_segments_that_are_old(tmp_path):
    writer = SegmentWriter(tmp_path, sync_seconds=0.01, rotate_seconds=0.05)
    writer.append([scored(1)])
    deadline = time.monotonic() + 30
    while (writer.durable_rows < 1 or not ended_segments(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert writer.durable_rows == 1
    (first,) = ended_segments(tmp_path)
    writer.append([scored(2)])
    writer.close()
    assert writer.durable_rows == 2
    assert [list(read_segment(path)) for path in ended_segments(tmp_path)] == [[scored(1)], [scored(2)]]
    assert not any(thread.name == "inference-log" for thread in threading.enumerate())


def test_a_segment_that_is_large_enough_is_followed_by_another(tmp_path):
    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY, rotate_bytes=2000)
    for number in range(30):
        writer.append([scored(number)])
    writer.close()
    paths = ended_segments(tmp_path)
    assert len(paths) > 2 and all(path.stat().st_size < 3000 for path in paths)
    assert [row for path in paths for row in read_segment(path)] == [scored(number) for number in range(30)]
    assert [read_segment(path).header.number for path in paths] == list(range(len(paths)))


# Disks that fail


def test_a_full_disk_is_one_line_and_leaves_a_readable_file(tmp_path):
    """A file size limit is as a full disk: a part of the bytes is taken, then none."""

    def write() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
        writer.append([scored(0)])
        (path,) = open_segments(tmp_path)
        size = path.stat().st_size
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
        with pytest.raises(SegmentError, match=r"not logged .*free space") as told_so:
            writer.append([scored(1)])
        assert "\n" not in str(told_so.value) and told_so.value.exit_code == 1
        assert path.stat().st_size == size, "nothing of the row is left"
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        writer.append([scored(2)])
        assert (writer.rows, writer.failures) == (2, 1)

    assert start_child(write)() == 0
    read = read_segment(ended_segments(tmp_path)[0])
    assert (list(read), read.torn, read.damage) == ([scored(0), scored(2)], 0, ())


def test_rows_are_made_safe_also_where_there_is_no_room_for_an_end(tmp_path, monkeypatch):
    synced: list[int] = []
    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
    writer.append([scored(0), scored(1)])
    (path,) = open_segments(tmp_path)
    write, fsync = os.write, os.fsync

    def refuse(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), fsync(descriptor)))
    writer.close()
    monkeypatch.setattr(os, "write", write)
    assert path.stat().st_ino in synced
    assert (writer.durable_rows, writer.failures) == (2, 0)
    read = read_segment(ended_segments(tmp_path)[0])
    assert (list(read), read.torn, read.damage) == ([scored(0), scored(1)], 0, ())


def test_a_segment_that_is_closed_while_it_is_looked_at_is_found_by_its_new_name(tmp_path, monkeypatch):
    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
    writer.append([scored(0)])
    lock = module.lock_file

    def closed_before(descriptor: int) -> bool:
        monkeypatch.setattr(module, "lock_file", lock)
        writer.close()
        return lock(descriptor)

    monkeypatch.setattr(module, "lock_file", closed_before)
    found = ended_segments(tmp_path)
    assert all(path.exists() for path in found)
    assert [list(read_segment(path)) for path in ended_segments(tmp_path)] == [[scored(0)]]


def test_a_disk_on_which_no_segment_can_be_begun_is_one_line_and_leaves_nothing(tmp_path):
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "replace", refuse)
        with pytest.raises(SegmentError, match="free space"):
            writer.append([scored(1)])
    assert list(tmp_path.iterdir()) == []
    writer.append([scored(2)])
    writer.close()
    assert list(read_segment(ended_segments(tmp_path)[0])) == [scored(2)]


def test_rows_that_a_disk_did_not_keep_are_told_and_the_file_is_not_believed_again(tmp_path, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
    writer.append([scored(1)])
    monkeypatch.setattr(module, "_datasync", fail)
    with pytest.raises(SegmentError, match=r"may not outlast a power failure .*see to this disk"):
        writer.sync()
    monkeypatch.undo()
    writer.append([scored(2)])
    writer.close()
    assert (writer.rows, writer.durable_rows, writer.failures) == (2, 1, 1)
    assert [list(read_segment(path)) for path in ended_segments(tmp_path)] == [[scored(1)], [scored(2)]]


def test_what_the_thread_could_not_sync_is_told_to_the_next_caller_once(tmp_path, monkeypatch):
    failed = threading.Event()

    def fail(descriptor: int) -> None:
        failed.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module, "_datasync", fail)
    writer = SegmentWriter(tmp_path, sync_seconds=0.01)
    writer.append([scored(1)])
    assert failed.wait(30)
    monkeypatch.undo()
    deadline = time.monotonic() + 30
    while writer.failures == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(SegmentError, match="may not outlast"):
        for _ in range(1000):
            writer.append([scored(2)])
            time.sleep(0.01)
    writer.append([scored(3)])
    writer.close()


@pytest.mark.parametrize("interrupted", ["append", "commit", "close"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_an_interruption_at_a_write_spoils_no_row_before_or_after_it(tmp_path, monkeypatch, interrupted, share):
    """As Ctrl-C is: the bytes may be written, and whoever wrote them is not told."""
    writer = SegmentWriter(tmp_path, sync_seconds=SLOWLY)
    writer.append([scored(1)])
    real = os.write

    def interrupt(descriptor: int, data: bytes) -> int:
        real(descriptor, bytes(data)[: int(len(data) * share)])
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        {"append": lambda: writer.append([scored(2)]), "commit": writer.sync, "close": writer.close}[interrupted]()
    monkeypatch.undo()
    if interrupted != "close":
        writer.append([scored(3)])
        writer.sync()
        writer.append([scored(4)])
        writer.close()
    reads = [read_segment(path) for path in [*ended_segments(tmp_path), *open_segments(tmp_path)]]
    assert not any(read.damage or read.missing for read in reads)
    found = [row.request_id for read in reads for row in read]
    wanted = ["request-1", "request-3", "request-4"] if interrupted != "close" else ["request-1"]
    assert [one for one in found if one != "request-2"] == wanted


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_to_the_bytes_what_is_read_was_written(segment_bytes, data):
    for name, content, rows in segment_bytes:
        changed = bytearray(content)
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(changed)))
            end = min(start + data.draw(st.integers(0, 400)), len(changed))
            kind = data.draw(st.sampled_from(["cut", "zeros", "noise", "insert", "repeat"]))
            noise = data.draw(st.binary(max_size=30))
            new = {"cut": b"", "zeros": bytes(end - start), "noise": noise, "insert": noise + changed[start:end]}
            changed[start:end] = new.get(kind, 2 * changed[start:end])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(changed)
            for boot in (None, ANOTHER_BOOT):
                read = read_segment(path, boot=boot)
                remaining = iter(rows)
                assert all(row in remaining for row in read), "each row once, in their order"
                assert read.rows + read.missing_rows <= len(rows)
                if read.rows < len(rows) and not read.torn:
                    assert read.damage or read.missing or read.lost_at_most or boot is None


@pytest.fixture(scope="module")
def segment_bytes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bytes")
    appends = [[scored(0)], [scored(1), scored(2)], [told(1, 1)], [scored(3)]]
    paths = [written(folder / str(close), *appends, close=close) for close in (False, True)]
    return [(path.name, path.read_bytes(), list(read_segment(path))) for path in paths]


def test_nothing_is_appended_to_a_closed_writer(tmp_path):
    writer = SegmentWriter(tmp_path)
    writer.append([])
    assert list(tmp_path.iterdir()) == []
    writer.close()
    with pytest.raises(SegmentError, match="closed"):
        writer.append([scored(1)])


# Several processes and threads


def test_two_writers_in_one_folder_have_a_file_each(tmp_path):
    first, second = SegmentWriter(tmp_path), SegmentWriter(tmp_path)
    first.append([scored(1)])
    second.append([scored(2)])
    assert len(open_segments(tmp_path)) == 2 and ended_segments(tmp_path) == []
    first.close()
    assert [list(read_segment(path)) for path in ended_segments(tmp_path)] == [[scored(1)]]
    second.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_writes_a_file_of_its_own_and_does_not_keep_its_parents_alive(tmp_path):
    reads, writes = os.pipe()

    def parent() -> None:
        writer = SegmentWriter(tmp_path, sync_seconds=0.01)
        writer.append([scored(1)])

        def child() -> None:
            writer.append([scored(2)])
            os.write(writes, b"x")
            time.sleep(100)

        (tmp_path / "child").write_text(str(start_child(child).pid))
        assert os.read(reads, 1) == b"x"
        writer.append([scored(3)])
        os.kill(os.getpid(), signal.SIGKILL)

    assert start_child(parent)() == -signal.SIGKILL
    grandchild = int((tmp_path / "child").read_text())
    try:
        assert [list(read_segment(path)) for path in ended_segments(tmp_path)] == [[scored(1), scored(3)]]
        assert [list(read_segment(path)) for path in open_segments(tmp_path)] == [[scored(2)]]
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(reads)
        os.close(writes)


def test_threads_share_a_writer(tmp_path):
    writer = SegmentWriter(tmp_path, sync_seconds=0.001, rotate_bytes=20_000)
    threads = [
        threading.Thread(target=lambda part=part: [writer.append([scored(part * 1000 + n)]) for n in range(200)])
        for part in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    reads = [read_segment(path) for path in ended_segments(tmp_path)]
    assert not any(read.damage or read.torn for read in reads)
    found = sorted(row.request_id for read in reads for row in read)
    assert found == sorted(f"request-{part * 1000 + n}" for part in range(4) for n in range(200))
    assert writer.rows == writer.durable_rows == 800


WRITER = """
import sys
from pathlib import Path
from nethical_assets.core.drift.segments import SegmentWriter
from tests.core.drift.logged import scored
writer = SegmentWriter(Path(sys.argv[1]), sync_seconds=0.01, rotate_seconds=0.2, rotate_bytes=100_000)
number, size = 0, int(sys.argv[2])
while True:
    writer.append([scored(number + one) for one in range(size)])
    number += size
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_killing_a_writer_loses_no_row_that_append_returned_for(tmp_path, size):
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        arguments = [sys.executable, "-c", WRITER, str(folder), str(size)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
            answered = int(process.stdout.readline())
            time.sleep(0.1 + attempt / 10)
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split(b"\n")[:-1]
            answered = int(lines[-1]) if lines else answered
        reads = [read_segment(path) for path in ended_segments(folder)]
        assert not any(read.damage or read.missing or read.lost_at_most for read in reads)
        numbers = [int(row.request_id.partition("-")[2]) for read in reads for row in read]
        assert numbers == list(range(len(numbers))) and len(numbers) >= answered
        shutil.rmtree(folder)


def test_a_segment_that_is_left_twice_closes_no_other_file(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    writer.append([scored(1)])
    segment = writer._segment
    assert segment is not None
    number = segment.descriptor
    writer._abandon(segment)
    with (tmp_path / "another").open("wb") as other:
        assert other.fileno() == number, "the number is used again"
        writer._abandon(segment)
        other.write(b"kept")
    writer.append([scored(2)])
    writer.close()
    assert (tmp_path / "another").read_bytes() == b"kept"
