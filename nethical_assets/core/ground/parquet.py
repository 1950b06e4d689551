"""Tables as content-addressed objects.

What belongs here: a frame to Parquet bytes and back. What does not: what a table means, or other file formats
(``core.reading``).
"""

from __future__ import annotations

import io

import pandas as pd

from nethical_assets.core.ground.storage import ObjectStore


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
    return pd.read_parquet(io.BytesIO(objects.get(digest)))


def column_types(frame: pd.DataFrame) -> list[list[str]]:
    """[name, type] of the columns of a frame."""
    return [[str(name), str(kind)] for name, kind in frame.dtypes.items()]
