"""Fixtures of the governance tests: the shipped ruleset, a screener, and the shared data where it is present."""

from __future__ import annotations

from pathlib import Path

import pytest

from nethical_assets.core.governance.rules import Ruleset, load_ruleset
from nethical_assets.core.governance.screener import Screener

CHECKOUT = Path(__file__).resolve().parents[3]
RULES = CHECKOUT / "config" / "screening"


@pytest.fixture(scope="session")
def ruleset() -> Ruleset:
    return load_ruleset(RULES)


@pytest.fixture(scope="session")
def screener(ruleset: Ruleset) -> Screener:
    return Screener(ruleset)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no labelled corpora: {folder} is absent")
    return folder
