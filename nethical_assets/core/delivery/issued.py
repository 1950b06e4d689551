"""Which cards the log says were issued for a pointer.

What belongs here: finding them. What does not: issuing (``stages.carding``), or the card that a pointer should have but
has not (``expected``, ``standing``).
"""

from __future__ import annotations

from collections.abc import Iterable

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.delivery.pinned import card_subject
from nethical_assets.core.models.registry import ModelPointer


def issued_cards(log: LogReader, pointer: ModelPointer) -> list[str]:
    """The newest card that was issued for a pointer's model by its decision, and those whose leaves wait to be
    finalised; the last is the newest.

    Raises:
        AuditError: the log is not what was signed.
    """
    logged = _cards([one.event for one in log.find_events(digest=pointer.decision)], pointer)
    return logged[-1:] + _cards(log.pending_events(pointer.decision.encode()), pointer)


def _cards(events: Iterable[Event], pointer: ModelPointer) -> list[str]:
    return [
        subject.digest
        for event in events
        if event.type is EventType.CARD_ISSUED and {pointer.model, pointer.decision} <= set(event.parents)
        for subject in event.subjects
        if subject.name == card_subject(pointer.family)
    ]
