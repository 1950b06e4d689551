"""Comparing the log with another record of what happened, so that an omitted event is found.

What belongs here: the comparison. What does not: where the other record comes from (Dagster's event log, a registry).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nethical_assets.core.audit.events import Event
from nethical_assets.core.audit.reader import LogReader


@dataclass(frozen=True, order=True)
class Fact:
    """Something the other record says happened: an event of this kind in this run, about this digest (if any)."""

    run_id: str
    kind: str
    digest: str | None = None


@dataclass(frozen=True)
class Reconciliation:
    """``omitted``: facts that the log does not have; ``waiting``: those recorded but not finalised yet."""

    omitted: tuple[Fact, ...]
    waiting: tuple[Fact, ...]
    matched: int

    @property
    def ok(self) -> bool:
        """Whether no fact is missing."""
        return not self.omitted

    def problems(self) -> list[str]:
        """One line for each omitted fact."""
        return [
            f"run {fact.run_id}: the log has no {fact.kind} event" + (f" about {fact.digest}" if fact.digest else "")
            for fact in self.omitted
        ]


def reconcile(expected: Iterable[Fact], log: LogReader) -> Reconciliation:
    """Look up every expected fact in the log, in one pass over the log.

    Raises:
        AuditError: the log is malformed.
    """
    facts = sorted(set(expected), key=lambda fact: (fact.run_id, fact.kind, fact.digest or ""))
    logged = {fact for found in log.entries() for fact in _facts(found.event)}
    pending = {
        fact
        for run_id in {fact.run_id for fact in facts} & set(log.pending_runs())
        for event in log.pending_events(b'"run_id":"%s"' % run_id.encode())
        for fact in _facts(event)
    }
    absent = [fact for fact in facts if fact not in logged]
    return Reconciliation(
        omitted=tuple(fact for fact in absent if fact not in pending),
        waiting=tuple(fact for fact in absent if fact in pending),
        matched=len(facts) - len(absent),
    )


def _facts(event: Event) -> Iterable[Fact]:
    yield Fact(event.run_id, event.type.value)
    for digest in {event.payload_digest, *(subject.digest for subject in event.subjects)} - {None}:
        yield Fact(event.run_id, event.type.value, digest)
