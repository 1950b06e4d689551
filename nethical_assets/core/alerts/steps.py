"""What may happen to an issue, as values that can be written down and carried out again: an occurrence, a resolution, a
closing or an acknowledgement by a person, and the note that the audit log knows of a change that was made without it.

What belongs here: these values, and both directions between them and JSON documents. What does not: what they do to a
tracker (``local_rows``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from nethical_assets.core.alerts.kinds import Alert, Resolution
from nethical_assets.core.ground.documents import from_document, to_document
from nethical_assets.core.ground.errors import IntegrityError


@dataclass(frozen=True)
class Closing:
    """A person closes the issue of a problem.

    Attributes:
        at: ISO 8601 in UTC.
        knew: the moment of the newest occurrence that the person knew of: a later one is not closed by it.
    """

    fingerprint: str
    at: str
    reason: str
    actor: str
    knew: str


@dataclass(frozen=True)
class Acknowledging:
    """A person says that somebody works on an open issue; ``at`` is ISO 8601 in UTC."""

    fingerprint: str
    at: str
    reason: str
    actor: str


@dataclass(frozen=True)
class Logged:
    """The audit log knows that the issue of a problem is ``state``."""

    fingerprint: str
    state: Literal["open", "closed"]


Step = Alert | Resolution | Closing | Acknowledging | Logged
_STEPS: Mapping[str, type[Step]] = {
    "filed": Alert,
    "resolved": Resolution,
    "closed": Closing,
    "acknowledged": Acknowledging,
    "logged": Logged,
}


def step_document(step: Step) -> dict[str, Any]:
    """A step as a JSON object."""
    name = next(name for name, kind in _STEPS.items() if isinstance(step, kind))
    if not isinstance(step, Alert):
        return {"step": name, "value": to_document(step)}
    # Pairs, because the order of the details is a part of what the issue says, and that of an object's keys is not.
    details = [[key, _finite(value)] for key, value in step.details.items()]
    return {"step": name, "value": {**to_document(replace(step, details={})), "details": details}}


def step_of(document: Mapping[str, Any]) -> Step:
    """The inverse of :func:`step_document`.

    Raises:
        IntegrityError: it is no step as this version writes it.
    """
    kind = _STEPS.get(document.get("step", ""))
    if kind is None:
        raise IntegrityError(f"unknown step of an issue {document.get('step')!r}: a newer version wrote it; update")
    value = document.get("value")
    if kind is Alert and isinstance(value, Mapping):
        value = {**value, "details": dict(value.get("details", ()))}
    return from_document(kind, value, "step of an issue")


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Leaf:
    """What the audit log is told of a change of an issue: the event type, whose issue, and the document."""

    event: Literal["alert_filed", "alert_acknowledged", "alert_closed"]
    fingerprint: str
    document: Mapping[str, Any]


Record = Callable[[Leaf, Step], bool]
"""Records a leaf and then has the step carried out; False where the audit log takes no event: nothing happened then."""


class Journal(Protocol):
    """Where a tracker has the changes recorded that the audit log has to know of, before they happen."""

    def changing(self) -> AbstractContextManager[Record]:
        """Alone with the issues: nobody else changes their states, and what killed processes left is completed.

        Raises:
            BusyError: another process changes issues for too long.
            TrackerError, IntegrityError: what a killed process left cannot be completed, the tracker does not work.
        """
