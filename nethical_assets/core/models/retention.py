"""Retention: how long models that are not in use are kept.

What belongs here: which pointers have expired. What does not: champions, which never expire, and the archive, which is
never deleted by itself: only a person who asks for it removes replaced champions, and none before their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nethical_assets.core.models.registry import ModelPointer, ModelRegistry


@dataclass(frozen=True)
class Expired:
    """A pointer whose time is over, and its stage: ``candidates`` or ``archived``."""

    pointer: ModelPointer
    stage: str


def expired_pointers(
    registry: ModelRegistry,
    families: Sequence[str],
    *,
    now: datetime,
    keep_candidates: timedelta,
    keep_replaced: timedelta,
    archived_too: bool = False,
) -> list[Expired]:
    """Candidates decided longer than ``keep_candidates`` ago; with ``archived_too`` also champions replaced longer than
    ``keep_replaced`` ago. Nothing is removed here."""
    found: list[Expired] = []
    for family in families:
        for pointer in registry.candidates(family):
            if now - datetime.fromisoformat(pointer.decided_at) > keep_candidates:
                found.append(Expired(pointer, "candidates"))
        for pointer in registry.archived(family) if archived_too else []:
            if now - datetime.fromisoformat(pointer.replaced_at) > keep_replaced:
                found.append(Expired(pointer, "archived"))
    return found
