from __future__ import annotations

import pytest

from nethical_assets.core.drift.rule import is_significant, outcome


@pytest.mark.parametrize(
    ("effect", "p_value", "expected"),
    [
        (0.2, 0.001, "drifted"),
        (0.1, 0.001, "changed"),
        (0.2, 0.5, "suspected"),
        (0.1, 0.5, "calm"),
        (0.15, 0.001, "changed"),
        (0.2, 0.01, "suspected"),
    ],
)
def test_size_and_significance(effect, p_value, expected):
    found = outcome(effect, p_value, threshold=0.15, level=0.01)
    assert found == expected and is_significant(found) == (p_value < 0.01)
