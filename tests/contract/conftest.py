"""Fixtures of the contract suite: each registered family fitted once."""

from __future__ import annotations

import pytest

from nethical_assets.core.detectors.registry import family_names
from tests.contract.fitted_family import Fitted, fit_on_synthetic_data


@pytest.fixture(scope="session")
def _fitted_families() -> dict[str, Fitted]:
    return {}


@pytest.fixture(params=family_names())
def family(request: pytest.FixtureRequest, _fitted_families: dict[str, Fitted]) -> Fitted:
    """The fitted family; the whole suite runs over every registered one."""
    if request.param not in _fitted_families:
        _fitted_families[request.param] = fit_on_synthetic_data(request.param)
    return _fitted_families[request.param]
