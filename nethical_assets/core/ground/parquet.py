"""Tables as content-addressed objects.

What belongs here: a frame to Parquet bytes and back. What does not: what a table means, or other file formats
(``core.reading``).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from nethical_assets.core.ground.storage import ObjectStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def put_table(objects: ObjectStore, table: pd.DataFrame) -> str:
    """Store a frame as Parquet (zstd, no index) and return its digest; the same frame gives the same digest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(arrow, buffer, compression="zstd")
    return objects.put(buffer.getvalue())


def get_table(objects: ObjectStore, digest: str) -> pd.DataFrame:
    """The frame stored as ``digest``, verified.

    Raises:
        IntegrityError: the bytes are missing or were changed.
    """
    frame: pd.DataFrame = read_table(objects.get(digest)).to_pandas(use_threads=False)
    return frame


def get_values(objects: ObjectStore, digest: str, column: str) -> list[Any]:
    """One column of the frame stored as ``digest``, verified, without the library of frames.

    Raises:
        IntegrityError: the bytes are missing or were changed.
    """
    values: list[Any] = read_table(objects.get(digest), [column])[column].to_pylist()
    return values


def read_table(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """The table, or some of its columns, that Parquet bytes hold.

    Arrow's own threads are not started for what is in memory already.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)


def column_types(frame: pd.DataFrame) -> list[list[str]]:
    """[name, type] of the columns of a frame."""
    return [[str(name), str(kind)] for name, kind in frame.dtypes.items()]
