"""The champion that the audit log names.

What belongs here: what counts as a promotion, and holding a pointer against the newest one. What does not: moving
    pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.ground.errors import IntegrityError

if TYPE_CHECKING:
    from nethical_assets.core.audit.reader import LogReader
    from nethical_assets.core.models.registry import ModelPointer

PROMOTIONS = (EventType.MODEL_PROMOTED, EventType.MODEL_ROLLED_BACK, EventType.GATE_OVERRIDDEN)
"""The one definition of a promotion, for scoring, lineage and verification alike."""


def newest_promotion(log: LogReader, family: str) -> Event | None:
    """The newest promotion of a model of ``family``; one that a pending leaf names is newer than every logged one."""
    name = f"models/{family}"
    for run_id in log.pending_runs():
        for leaf in reversed(log.pending.read(run_id).leaves):
            event = Event.parse(leaf)
            if event.type in PROMOTIONS and any(subject.name == name for subject in event.subjects):
                return event
    newest = None
    for kind in PROMOTIONS:
        for found in log.find_events(event_type=kind):
            named = any(subject.name == name for subject in found.event.subjects)
            if named and (newest is None or found.index > newest.index):
                newest = found
    return None if newest is None else newest.event


def check_champion(log: LogReader, champion: ModelPointer) -> None:
    """Make sure that the newest promotion in the log is the one the pointer claims, before anything acts on it.

    Raises:
        IntegrityError: the pointer was moved by something else than a recorded promotion.
    """
    newest = newest_promotion(log, champion.family)
    models = set() if newest is None else {s.digest for s in newest.subjects if s.name == f"models/{champion.family}"}
    if newest is None or champion.model not in models or champion.decision not in newest.parents:
        raise IntegrityError(
            f"current/{champion.family}.json: the audit log has no newest promotion of model {champion.model} by "
            f"decision {champion.decision}; restore the pointer from a backup"
        )
