"""Rows of the inference log for tests.

What belongs here: making rows. What does not: what is expected of them (the tests).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from nethical_assets.core.drift.segments import FeedbackRow, LoggedRow

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_NS = int(NOON.timestamp()) * 1_000_000_000
SECOND = 1_000_000_000
MODEL, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def scored(number: int, **changes: Any) -> LoggedRow:
    """The row of request ``number``, answered that many seconds after noon."""
    fields: dict[str, Any] = {
        "at_ns": NOON_NS + number * SECOND,
        "request_id": f"request-{number}",
        "family": "logistic",
        "model": MODEL,
        "route": "v1",
        "label": number % 2,
        "probability": (number % 10) / 10,
        "score": float(number),
        "sketch": {"length": float(number), "known": 0.5},
        "latency_us": 100 + number,
        "findings": {"EMAIL": 1} if number % 3 == 0 else {},
    }
    return LoggedRow(**{**fields, **changes})


def told(number: int, label: int, later: float = 60.0, actor: str = "analyst") -> FeedbackRow:
    """The label of request ``number``, so many seconds after noon."""
    return FeedbackRow(NOON_NS + int(later * SECOND), f"request-{number}", label, actor)


def at(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)
