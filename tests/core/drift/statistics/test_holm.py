from __future__ import annotations

import pytest

from nethical_assets.core.drift.statistics.holm import holm


def test_holm_known_answers():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
