from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.alerts import Alert, LocalIssueTracker

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_alert(**changes: Any) -> Alert:
    values: dict[str, Any] = {
        "kind": "data_quality",
        "subject": "raw/nslkdd",
        "check": "missing_values",
        "summary": "3 of 42 columns miss more than 20 % of values",
        "when": NOON,
        "occurrence": "run 1",
        "details": {"worst column": "duration", "missing share": 0.31, "rows": 25_192},
    }
    return Alert(**values | changes)


@pytest.fixture
def alert():
    return make_alert


@pytest.fixture
def tracker(tmp_path: Path) -> LocalIssueTracker:
    return LocalIssueTracker(tmp_path / "alerts" / "issues.sqlite")
