"""Names of columns that are personal data: those of a file whose first record stands where its header line should.

What belongs here: which names these are, and tables without them. What does not: how names are shown in messages
(``core.rows.naming``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.searches import protected_rules


def private_names(names: Sequence[str], screener: Screener) -> frozenset[str]:
    """The names in which personal data or a secret is found."""
    found = screener.screen(list(names))
    protected = found.where(np.isin(found.names("rule"), protected_rules(screener)))
    return frozenset(names[row] for row in protected.rows.tolist())


def with_plain_columns(frames: Sequence[pd.DataFrame], screener: Screener) -> list[pd.DataFrame]:
    """``frames`` with their private names of columns replaced by what their positions are called."""
    private = private_names([str(name) for frame in frames for name in frame.columns], screener)
    return [
        frame.set_axis(
            [plain_name(at) if str(name) in private else name for at, name in enumerate(frame.columns)], axis="columns"
        )
        for frame in frames
    ]


def plain_name(position: int) -> str:
    """What the column at ``position`` (from 0) is called instead."""
    return f"column {position + 1}"


def with_plain_names(table: pa.Table, private: Collection[str]) -> pa.Table:
    """``table`` with the ``private`` names of its columns replaced; columns, order and values stay."""
    return table.rename_columns(
        [plain_name(at) if name in private else name for at, name in enumerate(table.column_names)]
    )
