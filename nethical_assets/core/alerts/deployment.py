"""Whether what was promoted is served: what the processes of a gateway say of a family, as an alert or its end.

What belongs here: what one process knows, and the decision over all of them. What does not: verifying a champion
(``serving.champions``), or how processes tell each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from nethical_assets.core.alerts.kinds import Alert, Resolution

SETTLED = timedelta(seconds=5)
"""What does not last so long is told to nobody: a pointer may be looked at while it is replaced."""
_KIND, _CHECK = "deployment_failure", "served"
_ACT = "promotion"
_ACTOR = "gateway"


@dataclass(frozen=True)
class ServedState:
    """What one process serves of one family.

    Attributes:
        since: since when it is so, with a time zone.
        served: digest of the model that answers; empty where there is none.
        version: of that model.
        refused: the digest that the pointer names and that is not served, or ``pointer`` where it cannot be read; empty
            where nothing is refused.
        fault: the kind of error; ``reason`` one line without values from data.
    """

    since: datetime
    served: str = ""
    version: str = ""
    refused: str = ""
    fault: str = ""
    reason: str = ""


@dataclass
class Refusals:
    """What one who looks again and again saw refused: when the last process that refused a subject said so no more,
    and, after that, when one did again. A process that is gone cannot say when its refusal ended."""

    turned: dict[str, datetime] = field(default_factory=dict)
    _refused: frozenset[str] = frozenset()

    def look(self, states: Sequence[Mapping[str, ServedState]], now: datetime) -> None:
        """Note what is refused now."""
        refused = frozenset(subject for process in states for subject, state in process.items() if state.refused)
        turned = (self._refused - refused) | ((refused - self._refused) & self.turned.keys())
        self.turned |= dict.fromkeys(turned, now)
        self._refused = refused


def judge_deployment(
    states: Sequence[Mapping[str, ServedState]], now: datetime, turned: Mapping[str, datetime] | None = None
) -> list[Alert | Resolution]:
    """What is wrong with a family by any process, and what all of them prove to be in order.

    Args:
        states: of each process, of every gateway, by what the issue is about, such as ``models/logistic``; a family
            without a promoted model is in none.
        turned: when a subject was seen to turn to what it is now (``Refusals``), where that is later than the processes
            say.
    """
    found: list[Alert | Resolution] = []
    for subject in sorted({subject for process in states for subject in process}):
        of_family = [process[subject] for process in states if subject in process]
        refusals = [state for state in of_family if state.refused]
        if refusals:
            first = min(refusals, key=lambda state: state.since)
            when = max(first.since, (turned or {}).get(subject, first.since))
            found += [_alert(subject, first, when, len(refusals), len(states))] if now - first.since >= SETTLED else []
        elif len(of_family) == len(states):
            newest = max(of_family, key=lambda state: state.since)
            found.append(_served(subject, newest, max(newest.since, (turned or {}).get(subject, newest.since))))
    return found


@dataclass(frozen=True)
class UnfinishedPromotion:
    """A promotion that the audit log knows and that could not be carried out: the name of its act, when it was begun,
    and the digest of the model."""

    act: str
    begun: datetime
    model: str


def judge_promotions(
    subject: str, unfinished: Sequence[UnfinishedPromotion], now: datetime
) -> list[Alert | Resolution]:
    """What is wrong with the promotions of a family (``models/logistic``); that it is over where none is unfinished."""
    if not unfinished:
        reason = "every promotion that the audit log knows was carried out"
        return [Resolution(_KIND, subject, _ACT, reason, now, _ACTOR, event=1)]
    return [
        Alert(
            kind=_KIND,
            subject=subject,
            check=_ACT,
            summary=f"the promotion of {one.model} was recorded and could not be carried out; "
            "`nethical audit verify` says what to restore.",
            when=one.begun,
            occurrence=one.act,
            details={"model": one.model, "act": one.act},
        )
        for one in unfinished
    ]


def _alert(subject: str, state: ServedState, when: datetime, refusing: int, processes: int) -> Alert:
    instead = f"version {state.version} goes on" if state.served else "the family is not served"
    return Alert(
        kind=_KIND,
        subject=subject,
        check=_CHECK,
        summary=f"the gateway cannot serve the champion of {subject.rpartition('/')[2]}, {instead}: {state.reason}",
        when=when,
        occurrence=f"{state.refused} {state.fault}",
        details={
            "refused": state.refused,
            "fault": state.fault,
            "served instead": state.served or "nothing",
            "processes": f"{refusing} of {processes}",
        },
    )


def _served(subject: str, newest: ServedState, when: datetime) -> Resolution:
    reason = f"version {newest.version} ({newest.served}) is served since {newest.since:%Y-%m-%d %H:%M:%S} UTC"
    return Resolution(_KIND, subject, _CHECK, reason, when, _ACTOR, event=1)
