from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nethical_assets.core.drift.probability_grid import CELLS, ProbabilityGrid, decision_edge, reliability_edges

cuts = arrays(np.float64, st.integers(0, 25), elements=st.floats(-2, 2))
values = arrays(
    np.float64, st.integers(0, 60), elements=st.floats(-3, 3) | st.integers(0, 4096).map(lambda k: k / 4096)
)
thresholds = st.sampled_from([0.5, 0.3, 0.25, 0.000001, 1.0])


@settings(max_examples=60, deadline=None)
@given(cuts, values, thresholds)
def test_a_cell_is_found_as_by_searching_all_edges(cuts, values, threshold):
    grid = ProbabilityGrid(cuts, threshold)
    near = np.concatenate([values, grid.edges, np.nextafter(grid.edges, 9.0), np.nextafter(grid.edges, -9.0)])
    assert (grid.cells(near) == np.searchsorted(grid.edges, near, side="left")).all()
    counts = grid.counts(np.append(near, np.nan))
    assert counts.sum() == len(near) and len(counts) == grid.size
    for edges in (np.unique(cuts), grid.bins, np.array([decision_edge(threshold)])):
        expected = np.bincount(np.searchsorted(edges, near, side="left"), minlength=len(edges) + 1)
        assert (grid.sums_between(counts, edges) == expected).all()


def test_no_bin_is_on_both_sides_of_the_decision():
    for threshold in (0.5, 0.3, 0.0625):
        edges = reliability_edges(threshold)
        just_below = np.nextafter(threshold, 0.0)
        assert np.searchsorted(edges, just_below) != np.searchsorted(edges, threshold)
        assert (edges == threshold).sum() == 0
    assert len(reliability_edges(0.5)) == 15 and len(reliability_edges(0.3)) == 16


def test_cells_are_uniform():
    grid = ProbabilityGrid(np.empty(0), 0.5)
    assert grid.size == CELLS + 3  # one for 0, one above 1, one cut by the decision
    assert grid.cells(np.array([0.0, 1e-9, 1 / 4096, 1.0])).tolist() == [0, 1, 1, CELLS + 1]
