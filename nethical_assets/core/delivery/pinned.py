"""By which names the leaves of the audit log speak of models, cards and pointers; core does not know the graph.

What belongs here: those subjects, and which fields of a pointer the leaf of its decision pins by one digest. What does
not: holding a pointer that is there against the log (``champion``, ``standing``).
"""

from __future__ import annotations

from typing import Any

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import Event
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.models.registry import ModelPointer

_PREFIX = "pointer/"
_LATER = ("card", "replaced_at")
"""Fields of a pointer that are filled in after the decision."""


def model_subject(family: str) -> str:
    """By which a leaf names a model of ``family``."""
    return f"{subjects.MODELS}/{family}"


def card_subject(family: str) -> str:
    """By which a leaf names a card of ``family``."""
    return f"{subjects.MODEL_CARDS}/{family}"


def decided_fields(pointer: ModelPointer) -> dict[str, Any]:
    """A pointer as it was decided, without what is filled in later."""
    return {name: value for name, value in pointer.to_json().items() if name not in _LATER}


def pinning_subject(pointer: ModelPointer) -> dict[str, str]:
    """The subject (name -> digest) of a leaf that pins ``pointer``."""
    return {_PREFIX + pointer.family: digest_json(decided_fields(pointer))}


def is_pinning(event: Event, family: str) -> bool:
    """Whether a leaf pins a pointer of ``family``. Those of older versions do not."""
    return any(subject.name == _PREFIX + family for subject in event.subjects)


def pins(event: Event, pointer: ModelPointer) -> bool:
    """Whether a leaf pins exactly this pointer."""
    return any((subject.name, subject.digest) in pinning_subject(pointer).items() for subject in event.subjects)
