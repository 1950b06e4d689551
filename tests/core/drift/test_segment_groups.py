"""Which segments, and parts of a large one, are sealed together: as many rows as memory has room for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from nethical_assets.core.drift import segment_groups as module
from nethical_assets.core.drift.segment_groups import SegmentGroup, segment_groups
from nethical_assets.core.drift.segments import SegmentWriter, read_segment
from tests.core.drift.logged import scored


@pytest.fixture(autouse=True)
def ten_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 10)


def segment(folder: Path, rows: int, *, together: int = 2) -> Path:
    """A segment of so many rows, in frames of ``together``."""
    writer = SegmentWriter(folder, sync_seconds=1000)
    for start in range(0, rows, together):
        writer.append([scored(number) for number in range(start, min(start + together, rows))])
    writer.close()
    return max(folder.iterdir(), key=lambda path: path.name)


def grouped(paths: list[Path]) -> list[tuple[list[str], int, list[str]]]:
    """Of each group what is in it, its rows, and the segments that end with it; paths as their places."""

    def placed(text: str) -> str:
        return next((text.replace(path.name, str(at)) for at, path in enumerate(paths) if path.name in text), text)

    return [
        ([placed(one) for one in group.sources], group.rows, [placed(one.path.name) for one in group.ended])
        for group in segment_groups(paths)
    ]


def test_groups_have_as_many_rows_as_there_is_room_for_and_a_larger_segment_comes_in_parts(tmp_path: Path) -> None:
    paths = [segment(tmp_path, rows) for rows in (4, 6, 1, 25, 3, 10)]
    assert grouped(paths) == [
        (["0", "1"], 10, ["0", "1"]),
        (["2"], 1, ["2"]),
        (["3 0-9"], 10, []),
        (["3 10-19"], 10, []),
        (["3 20-24", "4"], 8, ["3", "4"]),
        (["5"], 10, ["5"]),
    ]
    assert grouped([]) == []


def test_parts_are_all_rows_of_a_segment_in_their_order_and_a_frame_is_not_divided(tmp_path: Path) -> None:
    read = read_segment(segment(tmp_path, 40, together=16))
    parts = read.parts(10)
    assert [part.rows for part in parts] == [16, 16, 8]
    assert [row for part in parts for row in part] == list(read)


def test_segments_are_few_and_of_few_bytes_whatever_rows_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [segment(tmp_path, 1) for _ in range(3)]
    size = read_segment(paths[0]).size
    for limit, value in (("_SEGMENTS_AT_ONCE", 2), ("_BYTES_AT_ONCE", 2 * size)):
        with monkeypatch.context() as patched:
            patched.setattr(module, limit, value)
            assert [rows for _, rows, _ in grouped(paths)] == [2, 1]


def test_a_large_segment_with_rows_of_another_version_is_left_out_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, third = segment(tmp_path / "a", 3), segment(tmp_path / "a", 2)
    writer = SegmentWriter(tmp_path / "b", sync_seconds=1000)
    for start in range(0, 24, 2):
        writer.append([scored(start), scored(start + 1)])
    monkeypatch.setattr("nethical_assets.core.drift.segments.encode_rows", lambda rows: msgspec.msgpack.encode([9]))
    writer.append([scored(24)])
    writer.close()
    (newer,) = (tmp_path / "b").iterdir()
    before, group = segment_groups([first, tmp_path / "gone", newer, third])
    assert [(one.rows, [read.path for read in one.ended]) for one in (before, group)] == [(3, [first]), (2, [third])]
    assert before.unreadable == []
    assert ["update" in line and newer.name in line for line in group.unreadable] == [True]


def test_bytes_of_a_segment_are_not_kept_when_its_columns_are(tmp_path: Path) -> None:
    (group,) = segment_groups([segment(tmp_path, 5)])
    assert isinstance(group, SegmentGroup)
    (ended,) = group.ended
    assert (ended.rows, ended.size, list(ended)) == (5, 0, [])
