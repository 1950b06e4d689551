"""One record by itself: which layout it is of, whether its fields are what the layout says, and its input columns.

What belongs here: the strict reading of a single record that all families share, without a frame. What does not: frames
(``frames``), what one value is (``one_cell``), or a family's own inputs (its module, ``signals``).

Frames are read leniently: a file has columns that nobody reads, and some of its cells may be wrong. Whoever asks about
one record wrote each of its fields, and is told what is wrong with one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from nethical_assets.core.ground.errors import RecordError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.frames import require_columns
from nethical_assets.core.rows.naming import shown_columns
from nethical_assets.core.rows.one_cell import Reads, number_of, refusal

Inputs = Mapping[str, Any]

_LARGEST = 1e300


@dataclass(frozen=True)
class RecordLayout:
    """A layout in which a family reads records.

    ``name``: its dataset, empty for the family's own input columns; ``required``: the fields by which it is
    recognised; ``fields``: all that it may have, with what each is read as; ``inputs``: record -> input columns, None
    where a record means nothing by itself (a row of evidence, an event with a history) and is read as a frame of one.
    """

    name: str
    required: Sequence[str]
    fields: Mapping[str, Reads]
    inputs: Callable[[Mapping[str, Any]], Inputs] | None
    keys: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", frozenset(self.required))


class RecordReader:
    """Reads records of the given layouts; of several that fit, the first gives the inputs, as with a frame."""

    def __init__(self, layouts: Iterable[RecordLayout]) -> None:
        self.layouts = [layout for layout in layouts if layout.required]

    def inputs(self, record: Mapping[str, Any]) -> Inputs | None:
        """The input columns of ``record``, as ``inputs_of`` of a frame of it would give them, or None where it has to
        be read as such a frame; it was checked either way.

        Raises:
            RecordError: a required field is missing, a field is unknown, or its value is not what it is read as.
        """
        layout = self._layout_of(record)
        known = layout.fields
        for name, value in record.items():
            reads = known.get(name)
            kind = type(value)
            if kind is float or kind is int:
                if reads is not None and -_LARGEST < value < _LARGEST:
                    continue
            elif kind is str and (reads is Reads.CATEGORY or reads is Reads.NOTHING):
                continue
            self._check(record, layout, name, value)
        return None if layout.inputs is None else layout.inputs(record)

    def check_frame(self, frame: pd.DataFrame) -> None:
        """Check the records of ``frame`` as :meth:`inputs` checks one; NaN, which frames have for null, is no value.

        What only the reading of a column shows (a time that is none) is in its ``cells.CellTally``.

        Raises:
            RecordError: as :meth:`inputs`, with the number of the first record of which the field is wrong.
        """
        names = dict.fromkeys(map(str, frame.columns))
        layout = self._layout_of(names)
        for name in names:
            reads = self._reads(names, layout, name)
            values = frame[name]
            # Numbers that are no truth values are what they are read as, or counted as cells.
            if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
                continue
            # Any text, or none, is a category.
            if isinstance(values.dtype, pd.StringDtype) and reads in (Reads.CATEGORY, Reads.NOTHING):
                continue
            cells = values.astype("object").where(values.notna(), None).tolist()
            for number, cell in enumerate(cells, start=1):
                reason = refusal(cell, reads)
                if reason is not None:
                    raise RecordError(shown_columns([name]), reason, number)

    def _layout_of(self, record: Mapping[str, Any]) -> RecordLayout:
        there = record.keys()
        for layout in self.layouts:
            if layout.keys <= there:
                return layout
        nearest = max(self.layouts, key=lambda layout: len(layout.keys & there) / len(layout.keys))
        missing = next(name for name in nearest.required if name not in there)
        raise RecordError(shown_columns([missing]), f"missing, and required{_of(nearest)}")

    def _check(self, record: Mapping[str, Any], layout: RecordLayout, name: str, value: Any) -> None:
        reason = refusal(value, self._reads(record, layout, name))
        if reason is not None:
            raise RecordError(shown_columns([str(name)]), reason)

    def _reads(self, record: Mapping[str, Any], layout: RecordLayout, name: str) -> Reads:
        """What a field is read as, in whichever layouts the record is of."""
        for known in (layout, *(other for other in self.layouts if other.keys <= record.keys())):
            if name in known.fields:
                return known.fields[name]
        raise RecordError(shown_columns([str(name)]), f"unknown{_of(layout)}")


def _of(layout: RecordLayout) -> str:
    return f" in records of {layout.name}" if layout.name else ""


def entry_fields(entry: DatasetEntry, read: Mapping[str, Reads]) -> dict[str, Reads]:
    """The fields of records of ``entry``: those that a family reads, and all others that the catalog names."""
    names = [*entry.read_columns(), *(column for file in entry.files for column in file.columns)]
    return {**dict.fromkeys(names, Reads.NOTHING), **read}


def frame_of_one(record: Mapping[str, Any]) -> pd.DataFrame:
    """``record`` as a frame of one row, with the types that a file of it would have."""
    try:
        return pd.DataFrame([record])
    except UnicodeEncodeError:  # a lone surrogate, which no column of texts holds
        plain = {name: value for name, value in record.items() if not isinstance(value, str)}
        others = {name: pd.Series([value], dtype="object") for name, value in record.items() if isinstance(value, str)}
        return pd.DataFrame([plain], index=[0]).assign(**others)[list(record)]


def require_fields(record: Mapping[str, Any], columns: Sequence[str], what: str) -> None:
    """Check that ``record`` has ``columns``, as ``frames.require_columns`` does.

    Raises:
        DatasetError: some are missing; one line that names them and what was expected.
    """
    if not all(map(record.__contains__, columns)):
        require_columns(pd.DataFrame(columns=list(record)), columns, what)


def number_layout(columns: Sequence[str], beside: Sequence[str] = ()) -> RecordLayout:
    """A family's own input columns where they all are numbers; ``beside`` are fields that are handed through."""

    def inputs(record: Mapping[str, Any]) -> Inputs:
        return {column: number_of(record[column]) for column in columns}

    return RecordLayout(
        "", columns, {**dict.fromkeys(beside, Reads.NOTHING), **dict.fromkeys(columns, Reads.NUMBER)}, inputs
    )
