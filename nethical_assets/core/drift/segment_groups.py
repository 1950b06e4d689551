"""Segments in groups that fit into memory.

What belongs here: which segments, or parts of a large one, are sealed together, and reading these. What does not: the
bytes of a segment (``segment_format``), or which row becomes which batch (``sealing``).

What a row takes in a file says little of what it takes as columns: rows that were answered together are stored in a
tenth of the room of single ones. Groups are bounded by rows, which a segment tells before they are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nethical_assets.core.drift.row_columns import RowColumns, columns_of
from nethical_assets.core.drift.segment_format import SegmentRead, read_segment
from nethical_assets.core.ground.errors import IntegrityError

ROWS_AT_ONCE = 250_000
_BYTES_AT_ONCE = 32 << 20
_SEGMENTS_AT_ONCE = 64


@dataclass
class SegmentGroup:
    """Rows that are sealed together.

    Attributes:
        columns: of each segment, or part of one, in their order.
        sources: what each of these is known by: the same name stands for the same rows.
        ended: segments that have no rows in a later group, without their bytes.
        unreadable: why segments were left out, a line each.
        rows, size: how many rows there are, and of how many bytes.
    """

    columns: list[RowColumns] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    ended: list[SegmentRead] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def has_room(self, segment: SegmentRead) -> bool:
        """Whether the rows of a segment may be added; to an empty group those of any."""
        return not self.columns or (
            self.rows + segment.rows <= ROWS_AT_ONCE
            and self.size + segment.size <= _BYTES_AT_ONCE
            and len(self.columns) < _SEGMENTS_AT_ONCE
        )

    def add(self, segment: SegmentRead, source: str) -> None:
        """Raises ``IntegrityError``: its rows are none that this version knows; nothing was added."""
        self.columns.append(columns_of(segment))
        self.sources.append(source)
        self.rows += segment.rows
        self.size += segment.size


def segment_groups(paths: Iterable[Path]) -> Iterator[SegmentGroup]:
    """The segments at ``paths`` in their order. One with more rows than a group has comes alone, in parts, of which
    each is to be in the log before the next is asked for: its last one may be followed by other segments.

    What cannot be read is left out and told, all rows of a segment or none; what is gone meanwhile is left out.
    """
    group = SegmentGroup()
    for path in paths:
        try:
            read = read_segment(path)
        except FileNotFoundError:
            # Whoever settled the act that sealed it removed it meanwhile.
            continue
        except (IntegrityError, OSError) as error:
            group.unreadable.append(str(error))
            continue
        if not group.has_room(read):
            yield group
            group = SegmentGroup()
        try:
            yield from _added(read, group)
        except IntegrityError as error:
            group.unreadable.append(str(error))
        # Its bytes are not needed any more, and whoever has the next group has a use for the room.
        del read
    if group.columns or group.unreadable:
        yield group


def _added(read: SegmentRead, group: SegmentGroup) -> Iterator[SegmentGroup]:
    """Add a segment to a group that has room for it, and give what has to be sealed before."""
    *before, last = read.parts(ROWS_AT_ONCE)
    if before:
        # All rows are of this version, or none is taken.
        deque(read.stored(), maxlen=0)
    for part in before:
        alone = SegmentGroup()
        alone.add(part, part.span)
        yield alone
    group.add(last, last.span if before else read.path.name)
    group.ended.append(read.without_rows())
