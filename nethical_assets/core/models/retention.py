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
class Removal:
    """A pointer that was removed, and whether the model's files went with it."""

    pointer: ModelPointer
    stage: str
    files_deleted: bool


def remove_expired(
    registry: ModelRegistry,
    families: Sequence[str],
    *,
    now: datetime,
    keep_candidates: timedelta,
    keep_replaced: timedelta,
    archived_too: bool = False,
) -> list[Removal]:
    """Remove candidates decided longer than ``keep_candidates`` ago; with ``archived_too`` also champions replaced
    longer than ``keep_replaced`` ago. Files that a remaining pointer names are kept.

    Raises:
        BusyError: another process is moving pointers.
    """
    removals: list[Removal] = []
    with registry.locked():
        for family in families:
            for pointer in registry.candidates(family):
                if now - datetime.fromisoformat(pointer.decided_at) > keep_candidates:
                    registry.remove_candidate(family, pointer.model)
                    removals.append(_removal(registry, families, pointer, "candidates"))
            for pointer in registry.archived(family) if archived_too else []:
                if now - datetime.fromisoformat(pointer.replaced_at) > keep_replaced:
                    registry.remove_archived(pointer)
                    removals.append(_removal(registry, families, pointer, "archived"))
    return removals


def _removal(registry: ModelRegistry, families: Sequence[str], pointer: ModelPointer, stage: str) -> Removal:
    return Removal(pointer, stage, registry.remove_unreferenced(pointer.model, tuple(families)))
