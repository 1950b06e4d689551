"""Candidates and replaced champions by the log: what their pointers have to say, and which should be there.

What belongs here: holding the pointers that are no champion's against the leaves of their decisions. What does not: the
champion (``champion``, ``expected``), which has a definition of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nethical_assets.core.audit.events import Event, EventType
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.audit.state import PROMOTIONS
from nethical_assets.core.delivery.issued import issued_cards
from nethical_assets.core.delivery.pinned import is_pinning, model_subject, pins
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.models.registry import ModelPointer, ModelRegistry

_PLACES = {EventType.GATE_DECIDED: "candidates", EventType.MODEL_ARCHIVED: "archived"}
_ENDS = (*PROMOTIONS, EventType.RETENTION_DELETED)


def check_standing(registry: ModelRegistry, log: LogReader, pointer: ModelPointer, stage: str) -> None:
    """Make sure that a pointer below ``candidates`` or ``archived`` says what was decided, before anything acts on it.

    Raises:
        IntegrityError: the log has no such decision, or the pointer says something else.
        AuditError: the log is not what was signed.
    """
    kinds = (EventType.GATE_DECIDED,) if stage == "candidates" else PROMOTIONS
    where = registry.pointer_path(pointer, stage)
    decided = [event for event in _leaves(log, pointer.model, *kinds) if pointer.decision in _digests(event)]
    if not decided:
        raise IntegrityError(
            f"{where}: the audit log has no decision {pointer.decision} about {pointer.model}; restore it"
        )
    if any(is_pinning(event, pointer.family) for event in decided) and not any(
        pins(event, pointer) for event in decided
    ):
        raise IntegrityError(f"{where}: is not what was decided; restore it from a backup")
    if stage == "archived":
        replaced = [_placed(log, event) for event in _leaves(log, pointer.model, EventType.MODEL_ARCHIVED)]
        if replaced and replaced[-1].get("replaced_at", pointer.replaced_at) != pointer.replaced_at:
            at = replaced[-1]["replaced_at"]
            raise IntegrityError(f"{where}: this champion was replaced at {at}; restore the file from a backup")


def standing_problems(registry: ModelRegistry, log: LogReader, families: Sequence[str]) -> Iterator[str]:
    """The candidates and replaced champions that are not what was decided, and those that the log knows and that are
    not there. One line a problem.

    Raises:
        AuditError: the log is malformed.
    """
    expected = _expected(log, families)
    for family in families:
        there = {"candidates": registry.candidates(family), "archived": registry.archived(family)}
        for stage, pointers in there.items():
            for pointer in pointers:
                try:
                    check_standing(registry, log, pointer, stage)
                except IntegrityError as error:
                    yield str(error)
                    continue
                cards = issued_cards(log, pointer)
                if cards and pointer.card not in cards:
                    named = pointer.card or "none"
                    yield (
                        f"{registry.card_path(pointer, 'json')}: the audit log issued card {cards[-1]}, the pointer "
                        f"names {named}; restore the pointer from a backup"
                    )
            missing = expected.get((stage, family), {}).keys() - {pointer.model for pointer in pointers}
            for model in sorted(missing):
                leaf = expected[stage, family][model]
                yield (
                    f"{registry.base / stage / family}: the pointer to {model} is missing, leaf {leaf} put it there; "
                    "restore it from a backup"
                )


def _leaves(log: LogReader, model: str, *kinds: EventType) -> list[Event]:
    """The leaves of some kinds that name a model, oldest first; those that wait to be finalised are the newest."""
    logged = [found.event for found in log.find_events(digest=model)]
    return [event for event in (*logged, *log.pending_events(model.encode())) if event.type in kinds]


def _placed(log: LogReader, event: Event) -> Mapping[str, Any]:
    """The pointer that an act placed, by the payload of its leaf."""
    try:
        change = (log.payload(event) or {}).get("change", {})
        return dict(change.get("pointer", {}))
    except IntegrityError:
        # Deleted by retention, or a problem of its own.
        return {}


def _digests(event: Event) -> set[str]:
    return {*event.parents, *(subject.digest for subject in event.subjects)}


def _expected(log: LogReader, families: Sequence[str]) -> Mapping[tuple[str, str], dict[str, int]]:
    """Stage and family -> model -> the leaf that gave it the stage, for those that nothing took it from since."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    leaves = [one for kind in (*_PLACES, *_ENDS) for one in log.find_events(event_type=kind)]
    for leaf in sorted(leaves, key=lambda one: one.index):
        for family in families:
            models = {subject.digest for subject in leaf.event.subjects if subject.name == model_subject(family)}
            if not models:
                continue
            if leaf.event.type in _ENDS:
                for stage in _PLACES.values():
                    for model in models:
                        found.get((stage, family), {}).pop(model, None)
            elif leaf.event.type is EventType.MODEL_ARCHIVED or is_pinning(leaf.event, family):
                stage = _PLACES[EventType(leaf.event.type)]
                found.setdefault((stage, family), {}).update(dict.fromkeys(models, leaf.index))
    return found
