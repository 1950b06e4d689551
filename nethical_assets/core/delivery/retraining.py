"""Whether a drift report asks for retraining now.

What belongs here: threshold, cool-down and the memory between looks. What does not: computing a report (``verdict``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

_CURSOR_VERSION = 1


@dataclass(frozen=True)
class NewestReport:
    """What the newest drift report of a family said. ``score`` is None where it needs more data."""

    family: str
    digest: str
    verdict: str
    score: float | None


@dataclass(frozen=True)
class RetrainingRequest:
    """Retrain ``family``; ``key`` is the same for the same report and attempt, so that it is asked for once."""

    family: str
    key: str
    reason: str


def decide_retraining(
    reports: Sequence[NewestReport], cursor: str | None, *, now: datetime, threshold: float, cooldown: timedelta
) -> tuple[list[RetrainingRequest], str]:
    """The requests due now and the new cursor.

    A family is asked for when its newest report says drift with a score above ``threshold`` and its last request is at
    least ``cooldown`` ago; the same report may ask again after that, because the first run may have failed.
    """
    memory = _read(cursor)
    requests: list[RetrainingRequest] = []
    for report in reports:
        if report.verdict != "drift" or report.score is None or report.score <= threshold:
            continue
        known = memory.get(report.family)
        if known is not None and now - datetime.fromisoformat(known["asked_at"]) < cooldown:
            continue
        attempt = known["attempt"] + 1 if known is not None and known["digest"] == report.digest else 1
        memory[report.family] = {"digest": report.digest, "asked_at": now.isoformat(), "attempt": attempt}
        requests.append(
            RetrainingRequest(
                report.family,
                f"drift:{report.family}:{report.digest}:{attempt}",
                f"drift score {report.score:.3f} is above {threshold:g}",
            )
        )
    return requests, json.dumps({"version": _CURSOR_VERSION, "families": memory}, sort_keys=True)


def _read(cursor: str | None) -> dict[str, Mapping[str, Any]]:
    """The remembered requests; a cursor of another version or form is forgotten, which at worst asks once more."""
    try:
        document = json.loads(cursor or "{}")
    except ValueError:
        return {}
    if not isinstance(document, dict) or document.get("version") != _CURSOR_VERSION:
        return {}
    families = document.get("families")
    return {name: known for name, known in families.items() if _is_request(known)} if isinstance(families, dict) else {}


def _is_request(known: Any) -> bool:
    """Whether ``known`` has the form of a remembered request."""
    try:
        asked_at = datetime.fromisoformat(known["asked_at"])
        return asked_at.tzinfo is not None and type(known["attempt"]) is int and isinstance(known["digest"], str)
    except (KeyError, TypeError, ValueError):
        return False
