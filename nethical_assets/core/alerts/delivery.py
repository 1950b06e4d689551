"""Telling targets of the changes of issues: each once, in order, however often it is tried.

What belongs here: the protocol of a target, and what is done about each way in which one fails. What does not: the
queue (``outbox``), or a target (``github``, ``webhook``).

A change is noted as attempted before it is sent and as delivered after it. Killed in between, it is uncertain: a target
that can be asked looks whether it has the change, any other is given it again under the same identifier.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from nethical_assets.core.alerts.outbox import Delivery, Outbox, TargetState
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import NethicalError

AT_ONCE = 10
"""So many changes are told to a target at one time."""
LONGEST_ASKED = timedelta(days=1)
"""A target may ask to be left alone for so long."""
_FIRST_WAIT = timedelta(minutes=1)
_LONGEST_WAIT = timedelta(hours=1)
_DOUBLINGS = 6


class TargetUnavailableError(NethicalError):
    """A target cannot be reached, or asks to be left alone until ``not_before``."""

    exit_code = 1

    def __init__(self, message: str, not_before: datetime | None = None) -> None:
        super().__init__(message)
        self.not_before = not_before


class TargetRefusedError(NethicalError):
    """A target takes nothing from us: a wrong token, address or permission; a person has to mend it."""

    exit_code = 1


class DeliveryRefusedError(NethicalError):
    """A target will never take this one change; others it may."""

    exit_code = 1


class Target(Protocol):
    """Where changes of issues are told."""

    @property
    def name(self) -> str:
        """By which the tracker remembers how far it is; holds no secret."""

    def send(self, delivery: Delivery) -> str:
        """Tell it, and return what the target calls the issue.

        Raises:
            TargetUnavailableError, TargetRefusedError, DeliveryRefusedError: see there.
        """

    def test(self) -> str:
        """Try everything that telling needs, and say in one line what was done.

        Raises:
            TargetUnavailableError, TargetRefusedError: it does not work.
        """


@dataclass(frozen=True)
class Told:
    """What one round of telling a target came to; ``problem`` is empty where everything was told.

    ``refused`` counts the changes that it never took, in this round and before; ``last_refusal`` is why.
    """

    target: str
    delivered: int
    waiting: int
    not_before: str
    problem: str
    refused: int = 0
    last_refusal: str = ""

    def __str__(self) -> str:
        said = f"{self.target}: {self.delivered} delivered, {self.waiting} waiting"
        if self.refused:
            said += f", {self.refused} never taken"
        why = self.problem or (f"the last one that was not taken: {self.last_refusal}" if self.refused else "")
        return f"{said}; {why}" if why else said

    @classmethod
    def of(cls, target: str, state: TargetState, *, delivered: int = 0, problem: str = "") -> Told:
        """What it came to where the target is now as ``state`` says."""
        return cls(target, delivered, state.waiting, state.not_before, problem, state.refused, state.last_refusal)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return to_document(self)


def deliver(outbox: Outbox, target: Target, *, now: datetime, patient: bool = True) -> Told:
    """Tell ``target`` what waits for it, up to ``AT_ONCE`` changes, and stop at the first that fails.

    Args:
        now: with a time zone.
        patient: whether a target that failed is left alone for a while: a minute at first, twice as long each time, an
            hour at most, or for as long as it asked.
    """
    before = outbox.state()
    if patient and before.not_before and _has_to_wait(now, datetime.fromisoformat(before.not_before)):
        return Told.of(target.name, before, problem=before.problem)
    delivered, problem = 0, ""
    for _ in range(AT_ONCE):
        delivery = outbox.next()
        if delivery is None:
            break
        try:
            known_as = target.send(delivery)
        except DeliveryRefusedError as error:
            problem = str(error)
            outbox.refused(delivery, problem)
        except (TargetUnavailableError, TargetRefusedError) as error:
            asked = error.not_before if isinstance(error, TargetUnavailableError) else None
            problem = str(error)
            outbox.failed(problem, max(asked or now, now + _wait(before.failures)))
            break
        else:
            outbox.delivered(delivery, known_as)
            delivered += 1
    return Told.of(target.name, outbox.state(), delivered=delivered, problem=problem)


def put_off(outbox: Outbox, problem: str, now: datetime) -> TargetState:
    """Leave a target alone for a while that failed in a way that nobody expected; how it stands then."""
    outbox.failed(problem, now + _wait(outbox.state().failures))
    return outbox.state()


def parse_wait(value: str | None, now: datetime) -> datetime | None:
    """The moment of a ``Retry-After`` of whole seconds (RFC 9110, 10.2.3), at most a day ahead; None without one."""
    if value is None or not value.isascii() or not value.isdigit():
        return None
    return now + min(timedelta(seconds=int(value[:9])), LONGEST_ASKED)


def _has_to_wait(now: datetime, until: datetime) -> bool:
    """Whether it is too early; a time that is further away than any wait is one of a clock that was wrong."""
    return now < until <= now + LONGEST_ASKED


def _wait(failures: int) -> timedelta:
    doubled: timedelta = _FIRST_WAIT * (1 << min(failures, _DOUBLINGS))
    return min(doubled, _LONGEST_WAIT)
