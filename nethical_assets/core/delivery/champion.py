"""The champion of a family by the log: the newest promotion, and whether a pointer is what it says.

What belongs here: what counts as a promotion (``PROMOTIONS``), finding the newest one with its proof, holding a pointer
against it. What does not: moving pointers (``home.acts``), deciding (``release``).
"""

from __future__ import annotations

from nethical_assets.core.audit.events import Event
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.audit.state import PROMOTION, PROMOTIONS
from nethical_assets.core.delivery.pinned import is_pinning, model_subject, pins
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.models.registry import ModelPointer, ModelRegistry

__all__ = ["PROMOTIONS", "check_champion", "missing_champion", "newest_promotion", "promoted_model"]


def newest_promotion(log: LogReader, family: str) -> Event | None:
    """The newest promotion of a model of ``family``; None, which is proven too, when there is none.

    A promotion that waits to be finalised is newer than every logged one: its leaf counts if the log's key signed it
    for its place in its run, and for nothing but what it says itself.

    Raises:
        AuditError: there is a log, and it is not what was signed.
    """
    subject = model_subject(family)
    waiting = [
        event
        for event in log.pending_events(b'"name":"%s"' % subject.encode())
        if event.type in PROMOTIONS and promoted_model(event, family) is not None
    ]
    if waiting:
        return waiting[-1]
    logged = log.newest(PROMOTION, subject)
    return None if logged is None else logged.event


def promoted_model(event: Event, family: str) -> str | None:
    """The model of ``family`` that a promotion names; None when it names none."""
    named = {subject.name: subject.digest for subject in event.subjects}
    return named.get(model_subject(family))


def check_champion(registry: ModelRegistry, log: LogReader, champion: ModelPointer) -> None:
    """Make sure that the newest promotion in the log is the one the pointer claims, and that it says what was decided
    then, before anything acts on it.

    Raises:
        IntegrityError: the pointer was moved or edited by something else than a recorded promotion.
        AuditError: the log is not what was signed.
    """
    newest = check_promotion(registry, log, champion)
    if is_pinning(newest, champion.family) and not pins(newest, champion):
        raise IntegrityError(
            f"{registry.base / 'current' / champion.family}.json: is not what was decided; restore the pointer from a "
            "backup, nethical audit verify says what differs"
        )


def check_promotion(registry: ModelRegistry, log: LogReader, champion: ModelPointer) -> Event:
    """The newest promotion, which has to be of the pointer's model by the pointer's decision.

    Raises:
        IntegrityError: it is not.
        AuditError: the log is not what was signed.
    """
    newest = newest_promotion(log, champion.family)
    if (
        newest is None
        or promoted_model(newest, champion.family) != champion.model
        or champion.decision not in newest.parents
    ):
        raise IntegrityError(
            f"{registry.base / 'current' / champion.family}.json: the audit log has no newest promotion of model "
            f"{champion.model} by decision {champion.decision}; restore the pointer from a backup"
        )
    return newest


def missing_champion(registry: ModelRegistry, log: LogReader, family: str) -> str | None:
    """What is wrong where a family has no pointer to a champion and the log promoted one, in one line.

    Raises:
        AuditError: the log is not what was signed.
    """
    newest = None if registry.champion(family) is not None else newest_promotion(log, family)
    if newest is None:
        return None
    return (
        f"{registry.base / 'current' / family}.json: missing, the audit log names {promoted_model(newest, family)} as "
        f"champion since {newest.time}; run again, or restore the pointer from a backup"
    )
