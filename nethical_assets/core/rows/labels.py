"""Labels: how the values of a label column become 0, 1 or unusable.

What belongs here: applying a catalog entry's label declarations to a table. What does not: guessing which column is
the label (``core.datasets.discovery``).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.catalog import DatasetEntry, LabelEntry
from nethical_assets.core.rows.file_names import choose_files
from nethical_assets.core.rows.label_words import shown_values
from nethical_assets.core.rows.naming import columns_there

FILE_COLUMN = "_file"
UNUSABLE = -1
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

Labels = np.ndarray[Any, np.dtype[np.int8]]


def labels_of(entry: DatasetEntry, table: pa.Table) -> Labels:
    """The label of each row of ``table`` as its ``_file``'s declaration says.

    Returns:
        int8, shape (rows,): 1 positive, 0 negative, -1 where the value is missing or declared as neither.

    Raises:
        DatasetError: a declared label column is not in the table.
    """
    labels = np.full(table.num_rows, UNUSABLE, dtype=np.int8)
    files = table.column(FILE_COLUMN)
    chosen = choose_files(entry, pc.unique(files).to_pylist())
    for file_entry, name in chosen:
        if file_entry.label is None or name is None:
            continue
        rows = np.asarray(pc.equal(files, name).combine_chunks())
        labels[rows] = _labels_of_file(entry, file_entry.label, table, rows)
    return labels


def check_labels(entry: DatasetEntry, table: pa.Table) -> None:
    """Refuse a table on which nothing can be learned or measured.

    Raises:
        DatasetError: a label column is absent or all missing in a file, no value is among the declared ones, or all
            usable rows have one class. Says how many values there are, and the usual words among them.
    """
    declared = [file_entry.label for file_entry in entry.files if file_entry.label is not None]
    if not declared:
        return
    labels = labels_of(entry, table)
    files = table.column(FILE_COLUMN)
    for file_entry, name in choose_files(entry, pc.unique(files).to_pylist()):
        label = file_entry.label
        if label is None or label.column is None or name is None:
            continue
        values = table.column(label.column).filter(pc.equal(files, name))
        if values.null_count == len(values):
            raise DatasetError(
                f"dataset {entry.name}: {name}: every value of the label column {label.column!r} is missing; "
                f"name another column in 'label' of datasets.toml"
            )
    present = sorted(set(labels.tolist()) - {UNUSABLE})
    if len(present) == 2:
        return
    columns = sorted({label.column for label in declared if label.column is not None})
    seen = "; ".join(f"{column!r} holds {_shown(table.column(column))}" for column in columns)
    seen = seen or "constant labels"
    problem = f"every usable row has label {present[0]}" if present else "no row has a usable label"
    raise DatasetError(
        f"dataset {entry.name}: {problem} ({seen}); two classes are needed: "
        f"correct 'positive' and 'negative' in datasets.toml"
    )


def canonical_text(value: Any) -> str | None:
    """A label value as text for comparison: stripped, and numbers in one spelling (``1``, ``1.0`` and 1 are equal)."""
    if value is None:
        return None
    text = str(value).strip()
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number.is_integer() and abs(number) < 2**53:
            return str(int(number))
        return repr(number)
    return text or None


def _labels_of_file(
    entry: DatasetEntry, label: LabelEntry, table: pa.Table, rows: np.ndarray[Any, np.dtype[np.bool_]]
) -> Labels:
    if label.constant is not None:
        return np.full(int(rows.sum()), label.constant, dtype=np.int8)
    if label.column not in table.column_names:
        raise DatasetError(
            f"dataset {entry.name}: there is no label column {label.column!r}; {columns_there(table.column_names)}"
        )
    encoded = table.column(label.column).combine_chunks().dictionary_encode()
    positive = {canonical_text(value) for value in label.positive}
    negative = {canonical_text(value) for value in label.negative}
    codes = np.array([_code(value, positive, negative) for value in encoded.dictionary.to_pylist()] + [UNUSABLE])
    indices = np.asarray(pc.fill_null(encoded.indices, len(codes) - 1))
    labels: Labels = codes[indices[rows]].astype(np.int8)
    return labels


def _code(value: Any, positive: set[str | None], negative: set[str | None]) -> int:
    text = canonical_text(value)
    if text is None:
        return UNUSABLE
    if text in positive:
        return 1
    if text in negative:
        return 0
    if positive and negative:
        return UNUSABLE
    return 0 if positive else 1


def _shown(column: pa.ChunkedArray) -> str:
    return shown_values(sorted({text for value in pc.unique(column).to_pylist() if (text := canonical_text(value))}))
