"""Reading input frames: the parts of turning records into inputs that all families share.

What belongs here: selecting and coercing columns, the identity of a record, recognising a raw
layout. What does not: a family's own mapping or features (``core.detectors.families``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import read_numbers, read_times
from nethical_assets.core.rows.file_names import choose_files
from nethical_assets.core.rows.naming import columns_there
from nethical_assets.core.rows.sources import attach_sources

_Floats = npt.NDArray[np.float64]

MISSING = "missing"
_NEVER_CONTENT = frozenset({"difficulty"})
_SEPARATOR = "\x1f"
_SHOWN_COLUMNS = 12
_SPACE = r"[\s\p{Z}]+"
_UNEVEN_SPACE = r"[\s\p{Z}]{2}|[^\S ]|[^\PZ ]"
"""Where ``_SPACE`` matches anything but one space."""


def require_columns(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Check that ``frame`` has ``columns``.

    Raises:
        DatasetError: some are missing; one line that names them and what was expected.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DatasetError(f"{what}: missing column(s) {_listed(missing)}; expected {_listed(columns)}")


def texts(values: pd.Series) -> pa.Array:
    """``values`` as an Arrow string array without nulls: missing is empty, anything else its ``str``."""
    text = pa.large_string()
    if isinstance(values.dtype, pd.StringDtype):
        converted = pa.array(values, type=text, from_pandas=True)
    elif pd.api.types.is_integer_dtype(values.dtype):
        converted = pc.cast(pa.array(values, from_pandas=True), text)
    else:
        converted = _converted_one_by_one(values.astype("object").where(values.notna(), ""))
    if isinstance(converted, pa.ChunkedArray):
        converted = converted.combine_chunks()
    return pc.fill_null(converted, "")


def strings(array: pa.Array, index: pd.Index) -> pd.Series:
    """An Arrow string array as a string series with this index."""
    return pd.Series(pd.array(array, dtype="str"), index=index)


def _converted_one_by_one(values: pd.Series) -> pa.Array:
    """Mixed objects as strings; what UTF-8 cannot hold (a lone surrogate) becomes a question mark."""
    try:
        return pa.array(values, type=pa.large_string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        repaired = [str(value).encode("utf-8", "replace").decode("utf-8") for value in values]
        return pa.array(repaired, type=pa.large_string())


def numbers_or_zero(frame: pd.DataFrame, column: str) -> _Floats:
    """The column as float64 with zero where it is missing or not a finite number."""
    return np.nan_to_num(read_numbers(frame[column]), nan=0.0)


def categories(values: pd.Series) -> pd.Series:
    """``values`` as stripped strings; missing or empty is ``missing``. Whole floats read as the integers they are."""
    if pd.api.types.is_float_dtype(values.dtype):
        array = pc.cast(pa.array(values.to_numpy(dtype=np.float64)), pa.large_string())
        array = pc.if_else(pa.array(values.notna().to_numpy()), array, "")
    else:
        array = texts(values)
    stripped = pc.utf8_trim_whitespace(array)
    empty = pc.equal(stripped, "")
    if pc.any(empty).as_py():
        stripped = pc.if_else(empty, MISSING, stripped)
    return strings(stripped, values.index)


def seconds(values: pd.Series) -> _Floats:
    """Timestamps as seconds since 1970 (UTC); NaN where there is none."""
    stamps = read_times(values)
    whole = stamps.astype("int64").to_numpy() / 1e9
    return np.where(stamps.notna().to_numpy(), whole, np.nan)


def normalised_text(values: pd.Series) -> pd.Series:
    """NFKC, case folded, runs of whitespace as one space, trimmed: what makes two texts the same record."""
    array = pc.utf8_lower(pc.utf8_normalize(texts(values), form="NFKC"))
    # Finding the few texts where there is something to replace takes a tenth of replacing in all.
    uneven = pc.match_substring_regex(array, _UNEVEN_SPACE)
    if pc.any(uneven).as_py():
        even = pc.replace_substring_regex(array.filter(uneven), _SPACE, " ")
        array = pc.replace_with_mask(array, uneven, even)
    array = pc.utf8_trim_whitespace(array)
    folded = strings(array, values.index)
    plain = pd.Series(pc.string_is_ascii(array).to_numpy(zero_copy_only=False), index=values.index)
    if not plain.all():
        folded = folded.mask(~plain, folded[~plain].str.casefold())
    return folded


def record_identity(entry: DatasetEntry, raw: pd.DataFrame) -> pd.Series:
    """One string a row that identifies the record: its identity columns, or all but label, difficulty and file."""
    labels = {file.label.column for file in entry.files if file.label is not None}
    columns = list(entry.identity_columns) or [
        column
        for column in raw.columns
        if column not in labels and column not in _NEVER_CONTENT and not str(column).startswith("_")
    ]
    require_columns(raw, columns, f"dataset {entry.name}")
    cells = [texts(categories(raw[column])) for column in columns]
    separator = pa.scalar(_SEPARATOR, type=pa.large_string())
    joined = pc.binary_join_element_wise(*cells, separator)
    return strings(joined, raw.index)


def with_declared_columns(entry: DatasetEntry, raw: pd.DataFrame, inputs: pd.DataFrame) -> pd.DataFrame:
    """``inputs`` (one row a raw row) with ``label``, ``source``, ``group`` and ``time`` where raw records have them."""
    added: dict[str, Any] = {}
    if "_label" in raw:
        added["label"] = raw["_label"].to_numpy(dtype=np.int8)
    if "_file" in raw:
        added["source"] = attach_sources(entry, raw).to_numpy()
    for name, column in (("group", entry.group_column), ("time", entry.time_column)):
        if column is not None:
            require_columns(raw, [column], f"dataset {entry.name}")
            added[name] = categories(raw[column]).array if name == "group" else read_times(raw[column]).array
    return inputs.assign(**added)


def joined_column(entry: DatasetEntry, raw: pd.DataFrame, columns: Sequence[str | None]) -> pd.Series:
    """The text or sequence of every row, from the column that the row's file declares (``columns``: one a file)."""
    if "_file" not in raw:
        present = [column for column in columns if column is not None and column in raw.columns]
        require_columns(raw, present or [str(columns[0])], f"dataset {entry.name}")
        return raw[present].astype("object").bfill(axis=1).iloc[:, 0]
    result = pd.Series("", index=raw.index, dtype="object")
    files = raw["_file"].unique().tolist()
    declared = {path: column for (_, path), column in zip(choose_files(entry, files), columns, strict=True)}
    for path in files:
        column = str(declared.get(path) or columns[0])
        require_columns(raw, [column], f"dataset {entry.name}, file {path}")
        rows = raw["_file"] == path
        result[rows] = raw.loc[rows, column].astype("object")
    return result


def inputs_for_scoring(
    frame: pd.DataFrame,
    entries: Iterable[DatasetEntry],
    *,
    family: str,
    canonical: Sequence[str],
    layout: Callable[[DatasetEntry], Sequence[str]],
    canonicalise: Callable[[DatasetEntry, pd.DataFrame], pd.DataFrame],
    read: Callable[[pd.Series], Any] | None = None,
    keep: Sequence[str] = (),
) -> pd.DataFrame:
    """The input columns of records without labels: canonical already, or in the raw layout of one of ``entries``.

    Args:
        canonical: the family's input columns; a frame that has them all is taken as it is, or as ``read`` reads them.
        layout: the raw columns by which records of an entry are recognised; none means the entry cannot be.
        keep: columns beside the inputs that are handed through where they exist (the key of an aggregate).

    Raises:
        DatasetError: neither; one line that names the columns that would be understood.
    """
    wanted = [*canonical]
    if set(canonical) <= set(frame.columns):
        own = frame[[*(c for c in keep if c in frame.columns), *wanted]].reset_index(drop=True)
        return own if read is None else own.assign(**{column: read(own[column]) for column in wanted})
    layouts = {entry.name: (entry, list(layout(entry))) for entry in entries}
    for entry, columns in layouts.values():
        if columns and set(columns) <= set(frame.columns):
            plain = frame.drop(columns=[c for c in ("_label", "_file") if c in frame.columns]).reset_index(drop=True)
            result = canonicalise(entry.model_copy(update={"group_column": None, "time_column": None}), plain)
            return result[[*(c for c in keep if c in result.columns), *wanted]]
    raise unreadable(family, frame, {"": wanted} | {name: columns for name, (_, columns) in layouts.items()})


def unreadable(family: str, frame: pd.DataFrame, layouts: Mapping[str, Sequence[str]]) -> DatasetError:
    """The error for records in none of the ``layouts`` (dataset name, or nothing for canonical inputs -> columns)."""
    expected = [f"{_listed(columns)}{name and f' ({name})'}" for name, columns in layouts.items() if columns]
    there = columns_there([name for name in frame.columns if name != "_file"])
    return DatasetError(f"family {family} cannot read these records: {there}; expected {' or '.join(expected)}")


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(map(str, columns[:_SHOWN_COLUMNS]))
    rest = len(columns) - _SHOWN_COLUMNS
    return f"{shown} and {rest} more" if rest > 0 else shown
