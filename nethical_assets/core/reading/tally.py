"""What reading one file met: its counts, and the errors that end it.

What belongs here: what every reader of a format reports, and in which form. What does not: reading (``row_streams`` and
the module of each format). A reason never holds a value of the file: what people wrote stays in the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nethical_assets.core.ground.errors import DatasetError

MAXIMUM_ROW_BYTES = 4 << 20
_MOST_NOTES = 10
_HOPELESS_REJECTIONS = 10_000


class UnreadableError(DatasetError):
    """A file cannot be read. ``problem`` says which and why.

    What to do differs by who named the file: ``declare`` is for an entry of the catalog, ``option`` for a file on the
    command line (empty where no option helps). As a message it is the problem and ``declare``.
    """

    def __init__(self, problem: str, declare: str, option: str = "") -> None:
        super().__init__(f"{problem}; {declare}")
        self.problem = " ".join(problem.split())
        self.option = option

    def for_command(self, otherwise: str) -> DatasetError:
        """The same for a file that was named on the command line; ``otherwise`` is the advice without an option."""
        return DatasetError(f"{self.problem}; {self.option or otherwise}")


@dataclass
class FileTally:
    """What reading one file met: rows are records, counted from 1, the header line included.

    ``notes`` are for whoever named the file; ``no_texts``: of the columns that were asked for as ``objects`` of a
    reading, the position of each value (from 0) that is a truth value, a list or an object, and the value.
    """

    rows_read: int = 0
    rows_rejected: int = 0
    first_rejected_row: int | None = None
    first_rejection: str | None = None
    last_rejected_row: int | None = None
    notes: dict[str, None] = field(default_factory=dict)
    no_texts: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)

    def note(self, said: str) -> None:
        """Note, once, what whoever named the file has to know of how it was read."""
        if len(self.notes) < _MOST_NOTES:
            self.notes[said] = None

    def reject(self, row: int | None, reason: str) -> None:
        """Count a row that could not be read."""
        self.rows_rejected += 1
        self.last_rejected_row = row
        if self.first_rejection is None:
            self.first_rejected_row, self.first_rejection = row, reason

    @property
    def hopeless(self) -> bool:
        """So many rows are rejected that reading the rest of the file is pointless."""
        return self.rows_rejected > _HOPELESS_REJECTIONS and self.rows_rejected > self.rows_read


@dataclass(frozen=True)
class FileReading:
    """One reading of a file.

    Attributes:
        shown: how errors name the file.
        tally: filled on the way.
        wanted: the one column to read; all of them by default.
        row_bytes: a row of text that is longer ends the reading.
        objects: the columns of which the tally keeps the values that are no texts.
    """

    shown: str
    tally: FileTally = field(default_factory=FileTally)
    wanted: str | None = None
    row_bytes: int = MAXIMUM_ROW_BYTES
    objects: frozenset[str] = frozenset()
