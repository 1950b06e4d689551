"""Tables as objects: the same table has the same digest, and a changed one is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.parquet import column_types, get_table, put_table
from nethical_assets.core.ground.storage import ObjectStore


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["b", None, "é"],
            "number": [0.1, float("nan"), -1e300],
            "label": pd.array([1, 0, 1], dtype="int8"),
            "time": pd.to_datetime(["2026-01-01", None, "2026-01-02"], utc=True),
        }
    )


def test_tables_round_trip_and_the_same_table_has_the_same_digest(tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path)
    digest = put_table(objects, table())
    pd.testing.assert_frame_equal(get_table(objects, digest), table())
    assert put_table(objects, table().set_axis([7, 8, 9])) == digest, "the index is not content"
    assert put_table(objects, table().iloc[::-1]) != digest


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    objects = ObjectStore(tmp_path)
    digest = put_table(objects, table())
    path = Path(str(objects.path(digest)))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        get_table(objects, digest)


def test_the_types_of_columns_are_listed_in_order() -> None:
    assert [name for name, _ in column_types(table())] == ["text", "number", "label", "time"]
    assert dict(map(tuple, column_types(table())))["label"] == "int8"
