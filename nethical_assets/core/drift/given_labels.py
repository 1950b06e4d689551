"""Labels as a person gives them: a table of request ids and what was true.

What belongs here: telling which rows of a table are labels, and refusing what cannot be meant. What does not: reading
files (``core.reading``), or keeping labels (``feedback``). No error holds a value of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.drift.inference_log import LABEL, REQUEST_ID
from nethical_assets.core.drift.reference import SCORE
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.naming import columns_there

_SPELLED = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
_LONGEST_ID = 256


@dataclass(frozen=True)
class GivenLabels:
    """``ids`` (strings, each once) and the ``labels`` (int8, 0 or 1) that were given; ``blank`` rows had none, and
    ``repeated`` ones said the same again."""

    ids: pa.Array
    labels: pa.Array
    blank: int
    repeated: int


def given_labels(batches: Iterable[pa.RecordBatch], where: str, label_column: str = LABEL) -> GivenLabels:
    """The labels of a table whose columns are strings: ``request_id``, and ``label_column`` with 0, 1 or nothing.

    Args:
        where: what a message calls the table.

    Raises:
        DatasetError: a column is missing; the labels are a model's own; a label is neither 0 nor 1; a label is of no
            request; one request has both labels; or no row has a label. One line, rows counted from 1 without a header.
    """
    ids: list[pa.Array] = []
    labels: list[pa.Array] = []
    for batch in batches:
        _check_columns(batch.schema.names, where, label_column)
        ids.append(pc.cast(batch.column(REQUEST_ID), pa.string()))
        labels.append(pc.utf8_trim_whitespace(pc.cast(batch.column(label_column), pa.string())))
    named = pa.chunked_array(ids, pa.string()).combine_chunks()
    told = pa.chunked_array(labels, pa.string()).combine_chunks()
    told = pc.if_else(pc.equal(told, ""), pa.scalar(None, pa.string()), told)
    read = pa.array(list(_SPELLED.values()), pa.int8()).take(pc.index_in(told, value_set=pa.array(list(_SPELLED))))
    _refuse(pc.and_(told.is_valid(), read.is_null()), where, f"{label_column} is neither 0 nor 1")
    length = pc.fill_null(pc.utf8_length(named), 0)
    malformed = pc.or_(pc.equal(length, 0), pc.greater(length, _LONGEST_ID))
    _refuse(pc.and_(read.is_valid(), malformed), where, f"there is a label and no {REQUEST_ID} of up to 256 characters")
    has_label = read.is_valid()
    if not pc.any(has_label).as_py():
        raise DatasetError(f"{where}: no row has a label; write 0 or 1 into the column {label_column}")
    return _once(named, read, has_label, where)


def _check_columns(names: Sequence[str], where: str, label_column: str) -> None:
    for name in (REQUEST_ID, label_column):
        if name not in names:
            raise DatasetError(f"{where}: no column {name!r}; {columns_there(names)}")
    if label_column == LABEL and SCORE in names:
        raise DatasetError(
            f"{where}: its column {LABEL} is what the model said, as beside it is a {SCORE}; add a column with what is "
            "true and name it with --label"
        )


def _refuse(wrong: pa.Array, where: str, what: str) -> None:
    if count := pc.sum(wrong).as_py():
        first = pc.index(wrong, True).as_py() + 1
        raise DatasetError(f"{where}: row {first}: {what} ({count} such rows); correct it, nothing was taken")


def _once(ids: pa.Array, labels: pa.Array, has_label: pa.Array, where: str) -> GivenLabels:
    rows = pa.table({REQUEST_ID: ids, LABEL: labels, "row": pa.array(range(1, len(ids) + 1), pa.int64())})
    rows = rows.filter(has_label)
    each = rows.group_by(REQUEST_ID, use_threads=False).aggregate(
        [(LABEL, "min"), (LABEL, "max"), ("row", "min"), ("row", "max")]
    )
    both = each.filter(pc.not_equal(each[f"{LABEL}_min"], each[f"{LABEL}_max"])).sort_by("row_min")
    if both.num_rows:
        first, last = both["row_min"][0].as_py(), both["row_max"][0].as_py()
        raise DatasetError(
            f"{where}: between rows {first} and {last} one request has both labels ({both.num_rows} such requests); "
            "keep the true one, nothing was taken"
        )
    return GivenLabels(
        each[REQUEST_ID].combine_chunks(),
        each[f"{LABEL}_min"].combine_chunks(),
        blank=len(ids) - rows.num_rows,
        repeated=rows.num_rows - each.num_rows,
    )
