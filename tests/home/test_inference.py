"""Sealing: killed at any step, done twice or by two processes at once, each answered request is in the log once."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.drift.feedback import labelled_rows
from nethical_assets.core.drift.inference_log import InferenceLog
from nethical_assets.core.drift.segment_rows import FeedbackRow, LoggedRow
from nethical_assets.core.drift.segments import SegmentWriter, ended_segments
from nethical_assets.core.ground.errors import BusyError, IntegrityError
from nethical_assets.home import inference
from nethical_assets.home.inference import InferenceStore, SealedRows, seal_segments
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.stores import damaged_segments, segment_folder
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations.kept import kept_problems
from nethical_assets.operations.status import read_status
from nethical_assets.operations.verification import verify
from tests.core.drift.logged import NOON, NOON_NS, SECOND, scored, told
from tests.processes import DURABLE, in_child, start_child
from tests.sweeping import COMPLETE


def open_workspace(settings: Settings, run_id: str = "reader") -> Workspace:
    return Workspace(settings, CycleOptions(), run_id)


def write(settings: Settings, *rows: LoggedRow | FeedbackRow, close: bool = True) -> None:
    """A process that writes a segment and ends, with or without closing it."""

    def work() -> None:
        writer = SegmentWriter(segment_folder(settings.home), sync_seconds=1000)
        writer.append(rows)
        if close:
            writer.close()

    assert start_child(work)() == 0


def logged(settings: Settings, family: str = "logistic") -> list[str]:
    found = open_workspace(settings).inference_log.window(family, NOON, ids=True).request_ids
    return [] if found is None else found.to_pylist()


def batch_files(settings: Settings) -> list[Path]:
    return sorted((settings.home / "serving" / "inference").rglob("*.parquet"))


def names(*numbers: int) -> list[str]:
    return [f"request-{number}" for number in numbers]


def test_segments_of_ended_and_dead_processes_become_batches_and_go(settings: Settings) -> None:
    write(settings, scored(1), told(1, 1))
    write(settings, scored(2), scored(3, family="anomaly"), close=False)
    assert seal_segments(settings) == SealedRows(rows=3, feedback=1, batches=3, segments=2)
    assert logged(settings) == names(1, 2) and logged(settings, "anomaly") == names(3)
    assert list(segment_folder(settings.home).iterdir()) == []
    assert seal_segments(settings) == SealedRows()
    workspace = open_workspace(settings)
    (found,) = labelled_rows(workspace.inference_log, workspace.feedback_log, "logistic", NOON)
    assert found.rows["true_label"].to_pylist() == [1, None]
    events = [one.event for one in workspace.audit_log.find_events(event_type=EventType.BATCH_SCORED)]
    assert [sorted(subject.name.split("/")[0] for subject in event.subjects) for event in events] == [
        ["act", "labels", "scores", "scores"]
    ]
    assert workspace.audit_log.payload(events[0])["rows_by_family"] == {"anomaly": 1, "logistic": 2}
    assert verify(settings)["problems"] == []
    assert not (settings.home / "serving" / "sealing.json").exists()


def test_a_home_without_segments_is_not_written_to(settings: Settings) -> None:
    assert seal_segments(settings) == SealedRows()
    assert not settings.home.exists() or list(settings.home.iterdir()) == []


def test_what_a_living_process_writes_is_left(settings: Settings) -> None:
    writer = InferenceStore(open_workspace(settings)).writer()
    writer.append([scored(1)])
    assert seal_segments(settings) == SealedRows()
    assert read_status(settings)["inference_log"] == {"writing": 1, "waiting": 0, "damaged": 0}
    writer.close()
    assert read_status(settings)["inference_log"] == {"writing": 0, "waiting": 1, "damaged": 0}
    assert seal_segments(settings).rows == 1
    assert read_status(settings)["inference_log"] == {"writing": 0, "waiting": 0, "damaged": 0}


def test_a_retry_is_one_row_within_a_pass_and_across_passes(settings: Settings) -> None:
    write(settings, scored(1))
    write(settings, scored(2), scored(9, request_id="request-1"))
    assert seal_segments(settings) == SealedRows(rows=2, batches=1, segments=2, again=1)
    later = NOON_NS + 5 * 3600 * SECOND
    write(settings, scored(3, request_id="request-2", at_ns=later))
    assert seal_segments(settings) == SealedRows(segments=1, again=1)
    # Beyond the horizon it is another request.
    write(settings, scored(3, request_id="request-2", at_ns=NOON_NS + 8 * 3600 * SECOND))
    assert seal_segments(settings).rows == 1
    assert sorted(logged(settings)) == names(1, 2, 2)
    assert verify(settings)["problems"] == []


def test_a_torn_end_is_told_and_a_damaged_segment_is_kept_and_named(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    write(settings, scored(1), close=False)
    (torn,) = ended_segments(segment_folder(settings.home))
    with torn.open("ab") as stream:
        stream.write(b"\xffNF\xfe\x02")
    assert seal_segments(settings) == SealedRows(rows=1, batches=1, segments=1, torn=5)

    write(settings, scored(2))
    (damaged,) = ended_segments(segment_folder(settings.home))
    damaged.write_bytes(damaged.read_bytes().replace(b"request-2", b"Request-2"))
    sealed = seal_segments(settings)
    assert (sealed.rows, sealed.missing, sealed.damaged, sealed.segments) == (0, 1, 1, 1)
    assert "damaged at byte" in caplog.text
    (kept,) = damaged_segments(settings.home)
    assert kept.name == damaged.name and ended_segments(segment_folder(settings.home)) == []
    (problem,) = kept_problems(settings)
    assert str(kept) in problem and "remove it" in problem
    assert seal_segments(settings) == SealedRows()
    kept.unlink()
    assert kept_problems(settings) == []
    newest = list(open_workspace(settings).audit_log.find_events(event_type=EventType.BATCH_SCORED))[-1].event
    assert open_workspace(settings).audit_log.payload(newest)["sealed"] == {"damaged": 1, "missing": 1, "segments": 1}


def test_a_segment_that_cannot_be_read_now_stays_and_keeps_no_other_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(settings, scored(1))
    write(settings, scored(2))
    first, _ = ended_segments(segment_folder(settings.home))
    real = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path == first:
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert seal_segments(settings) == SealedRows(rows=1, batches=1, segments=1, unreadable=1)
    assert first.name in caplog.text
    monkeypatch.undo()
    assert seal_segments(settings).rows == 1
    assert logged(settings) == names(1, 2)


def test_two_sealers_at_once_make_each_row_once(settings: Settings) -> None:
    open_workspace(settings, "first").recorder  # noqa: B018 - founds the log
    for number in range(6):
        write(settings, scored(2 * number), scored(2 * number + 1))
    sealers = [start_child(lambda: seal_segments(settings)) for _ in range(3)]
    assert [sealer() for sealer in sealers] == [0, 0, 0]
    assert logged(settings) == names(*range(12))
    assert verify(settings)["problems"] == []


def test_who_waits_too_long_for_another_sealer_is_told(settings: Settings) -> None:
    write(settings, scored(1))
    workspace = open_workspace(settings)
    with (
        inference.exclusive_lock(settings.home / "serving" / "sealing.lock", waiting_seconds=1, what="x"),
        pytest.raises(BusyError, match="inference log is in use"),
    ):
        InferenceStore(workspace).seal(waiting_seconds=0.01)


def test_labels_and_scores_of_a_batch_that_is_gone_or_changed_are_named(settings: Settings) -> None:
    write(settings, scored(1), told(1, 1))
    seal_segments(settings)
    (labels,) = (settings.home / "serving" / "feedback").iterdir()
    (scores,) = batch_files(settings)
    for path in (labels, scores):
        data = path.read_bytes()
        path.write_bytes(data[:-9] + b"x" + data[-8:])
        assert any(path.name in problem for problem in kept_problems(settings))
        path.unlink()
        assert any(path.name in problem and "missing" in problem for problem in kept_problems(settings))
        path.write_bytes(data)
    assert kept_problems(settings) == []
    # Labels that nobody recorded count for nothing.
    forged = labels.with_name(labels.name.replace("2026", "2027"))
    shutil.copy(labels, forged)
    workspace = open_workspace(settings)
    assert len(list(workspace.feedback_log.batches(NOON))) == 1
    assert kept_problems(settings) == []


def test_more_batches_than_a_leaf_names_are_all_logged(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "_SUBJECTS_A_LEAF", 2)
    write(settings, *(scored(3600 * hour) for hour in range(5)))
    assert seal_segments(settings).batches == 5
    assert len(logged(settings)) == 5
    assert verify(settings)["problems"] == []


def killed_anywhere(settings: Settings, folder: Path, moments: tuple[str, ...], step: int) -> list[str]:
    """Seal in copies of a home, killed at each (or each ``step``-th) durable call; what the next pass leaves wrong."""
    wrong = []
    for moment in moments:
        survived = 0
        while True:
            home = folder / f"{moment}-{survived}"
            shutil.copytree(settings.home, home)
            copy = type(settings)(**{**vars(settings), "home": home})
            killed = in_child(lambda copy=copy: seal_segments(copy), moment, survived)
            seal_segments(copy)
            where = f"{moment} {survived}"
            if sorted(logged(copy)) != sorted(names(*range(4))):
                wrong.append(f"{where}: {logged(copy)}")
            if len(batch_files(copy)) != 2:
                wrong.append(f"{where}: {len(batch_files(copy))} files")
            left = [path.name for path in (home / "serving").rglob("*") if path.name.endswith((".open", ".segment"))]
            wrong += [f"{where}: {problem}" for problem in (*left, *verify(copy)["problems"])]
            shutil.rmtree(home)
            if not killed:
                break
            survived += step
    return wrong


@pytest.mark.parametrize("moments", [("replace",), pytest.param(DURABLE, marks=pytest.mark.slow)])
def test_sealing_killed_at_any_step_makes_each_row_once(
    settings: Settings, tmp_path: Path, moments: tuple[str, ...]
) -> None:
    open_workspace(settings, "first").recorder  # noqa: B018 - founds the log
    write(settings, scored(0), scored(1))
    write(settings, scored(2), scored(3), scored(1), scored(3600, request_id="request-0"), close=False)
    write(settings, told(1, 1), scored(1))
    write(settings, scored(3601, request_id="late", family="anomaly"))
    assert killed_anywhere(settings, tmp_path / "copies", moments, 1 if COMPLETE or len(moments) > 1 else 3) == []


def test_a_killed_pass_that_more_segments_followed_leaves_no_batch_that_counts_for_nothing(settings: Settings) -> None:
    open_workspace(settings, "first").recorder  # noqa: B018 - founds the log
    write(settings, scored(1))

    def seal_and_die() -> None:
        InferenceStore._record = lambda *arguments: os.kill(os.getpid(), 9)
        seal_segments(settings)

    assert start_child(seal_and_die)() == -9
    assert len(batch_files(settings)) == 1 and logged(settings) == []
    write(settings, scored(2))
    assert seal_segments(settings).rows == 2
    assert len(batch_files(settings)) == 1 and logged(settings) == names(1, 2)


def test_a_segment_with_more_rows_than_memory_has_room_for_is_sealed_in_parts_killed_between_them_or_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nethical_assets.core.drift.segment_groups.ROWS_AT_ONCE", 2)

    def work() -> None:
        writer = SegmentWriter(segment_folder(settings.home), sync_seconds=1000)
        for rows in ([scored(1), told(1, 1)], [scored(2), scored(1)], [scored(3), told(2, 0)]):
            writer.append(rows)
        writer.close()

    assert start_child(work)() == 0
    open_workspace(settings, "first").recorder  # noqa: B018 - founds the log
    whole = InferenceStore._record
    calls: list[int] = []

    def record_once(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), 9)
        whole(*arguments)

    def seal_and_die() -> None:
        InferenceStore._record = record_once
        seal_segments(settings)

    assert start_child(seal_and_die)() == -9
    assert logged(settings) == names(1) and len(ended_segments(segment_folder(settings.home))) == 1
    assert seal_segments(settings) == SealedRows(rows=2, feedback=2, batches=4, segments=1, again=2)
    assert logged(settings) == names(1, 2, 3) and list(segment_folder(settings.home).iterdir()) == []
    workspace = open_workspace(settings)
    found = list(labelled_rows(workspace.inference_log, workspace.feedback_log, "logistic", NOON))
    assert [one.rows["true_label"].to_pylist() for one in found] == [[1, 0, None]]
    assert verify(settings)["problems"] == []
    assert len(batch_files(settings)) == 3 and len(workspace.feedback_log.batch_digests()) == 2


def test_a_disk_without_room_for_a_batch_leaves_the_segments(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(settings, scored(1), scored(2, family="anomaly"))
    real = InferenceLog.append_table
    calls: list[str] = []

    def full(log: InferenceLog, family: str, *arguments: object, **options: object) -> object:
        calls.append(family)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(log.folder))
        return real(log, family, *arguments, **options)

    monkeypatch.setattr(InferenceLog, "append_table", full)
    with pytest.raises(OSError, match="No space left"):
        seal_segments(settings)
    assert logged(settings) == [] and len(ended_segments(segment_folder(settings.home))) == 1
    assert seal_segments(settings).rows == 2
    assert len(batch_files(settings)) == 2
    assert verify(settings)["problems"] == []


def test_a_plan_that_is_damaged_stops_nothing(settings: Settings) -> None:
    write(settings, scored(1))
    plan = settings.home / "serving" / "sealing.json"
    for content in ("{", "[]", json.dumps({"predictions": [["../x", "y", "z"]], "feedback": 3})):
        plan.write_text(content)
        seal_segments(settings)
    assert logged(settings) == names(1)


def test_rows_sealed_again_after_the_removal_of_their_segments_failed_are_no_other_rows(settings: Settings) -> None:
    """The last line of defence: a segment that comes back, as from a backup."""
    write(settings, scored(1), scored(2))
    (path,) = ended_segments(segment_folder(settings.home))
    data = path.read_bytes()
    seal_segments(settings)
    path.write_bytes(data)
    assert seal_segments(settings) == SealedRows(segments=1, again=2)
    assert logged(settings) == names(1, 2)


def test_a_damaged_batch_stops_no_sealing(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    write(settings, scored(1), scored(2))
    seal_segments(settings)
    (batch,) = batch_files(settings)
    batch.write_bytes(batch.read_bytes()[:-1] + b"x")
    write(settings, scored(3), scored(4, family="heuristic"))
    sealed = seal_segments(settings)
    assert sealed.rows == 2 and ended_segments(segment_folder(settings.home)) == []
    assert "sent again are not told" in caplog.text and batch.name in caplog.text
    assert len(logged(settings, "heuristic")) == 1
    with pytest.raises(IntegrityError, match=batch.name):
        logged(settings)
