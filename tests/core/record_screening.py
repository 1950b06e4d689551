"""A screener of records with the shipped rules and a fixed secret, for tests that build canonical datasets.

What belongs here: making it. What does not: fixtures.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from nethical_assets.core.governance.pseudonyms import Pseudonyms
from nethical_assets.core.governance.records import RecordScreener
from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.governance.screener import Screener

_RULES = Path(__file__).resolve().parents[2] / "config" / "screening"


def record_screener() -> RecordScreener:
    """A new one: it counts what it finds."""
    return RecordScreener(_screener(), _pseudonyms())


@functools.cache
def _screener() -> Screener:
    return Screener(load_ruleset(_RULES))


@functools.cache
def _pseudonyms() -> Pseudonyms:
    path = Path(tempfile.mkdtemp(prefix="pseudonyms-")) / "key"
    path.write_bytes(bytes(range(32)))
    return Pseudonyms(path)
