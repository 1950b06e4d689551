"""Numbers of many cells are those of each, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from nethical_assets.core.rows.one_cell import floats_of, number_of, numbers_of

NUMBERS = st.one_of(st.integers(), st.floats(), st.just(-(10**400)))
CELLS = st.one_of(st.lists(NUMBERS), st.lists(st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=3))))


@given(CELLS)
@example([1, 2.0, float("inf"), float("-nan"), -0.0])
@example([10**400, 1.0])
@example([True, 1.0])
@example(["1", 1.0, None])
@example([(1 << 53) + 1, -(1 << 63), (1 << 64) - 1])
def test_numbers_of_cells_are_those_of_each(cells: list[Any]) -> None:
    each = np.array([number_of(cell) for cell in cells], dtype=np.float64)
    assert numbers_of(cells).tobytes() == each.tobytes()
    assert np.array(floats_of(cells), dtype=np.float64).tobytes() == each.tobytes()
