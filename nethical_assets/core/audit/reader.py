"""Queries of the log: its events by run, type and digest, the newest of a kind, what waits.

What belongs here: one object to ask. What does not: the files (``files``), the proofs (``view``), checking everything
(``verify``), writing (``log``).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from datetime import datetime

from nethical_assets.core.audit.events import Event, EventType, timestamp
from nethical_assets.core.audit.files import (
    CHECKPOINT,
    CHECKPOINTS,
    KEYS,
    PAYLOADS,
    Head,
    LogFiles,
    LoggedEvent,
    digests_of,
)
from nethical_assets.core.audit.view import SignedView

__all__ = ["CHECKPOINT", "CHECKPOINTS", "KEYS", "PAYLOADS", "Head", "LogReader", "LoggedEvent"]


class LogReader(LogFiles):
    """The log in ``folder``, for asking. Runs and digests are found in O(log n), other queries scan."""

    _view: SignedView | None = None

    def view(self) -> SignedView:
        """The newest signed state, verified.

        Raises:
            AuditError: nothing was signed yet, or it does not verify.
        """
        view = self._view
        if view is None or view.head.text.encode() != self.checkpoint_bytes():
            view = self._view = SignedView(self)
        return view

    def find_events(
        self,
        *,
        run_id: str | None = None,
        event_type: EventType | str | None = None,
        digest: str | None = None,
        start: int = 0,
    ) -> Iterator[LoggedEvent]:
        """The signed events of a run, of a type, or that name ``digest`` (as subject, parent or payload), in order.

        Raises:
            AuditError: the log is malformed, or (by run or digest) not what was signed.
        """
        if self.checkpoint_bytes() is None:
            return
        if run_id is not None:
            found = iter([LoggedEvent(index, Event.parse(leaf)) for index, leaf in self.view().run_leaves(run_id)])
        elif digest is not None:
            found = self.view().naming(digest)
        else:
            found = self.scan(event_type=event_type, start=start)
        for one in found:
            if (
                one.index >= start
                and (event_type is None or one.event.type == event_type)
                and (digest is None or digest in digests_of(one.event))
            ):
                yield one

    def run_leaves(self, run_id: str) -> list[bytes]:
        """The leaves of a run that are in the log, in order.

        Raises:
            AuditError: the log is not what was signed.
        """
        if self.checkpoint_bytes() is None:
            return []
        return [leaf for _, leaf in self.view().run_leaves(run_id)]

    def newest(self, kind: str, subject: str) -> LoggedEvent | None:
        """The newest event of a kind (``state``) about a subject, proven; None, proven too, when there is none.

        Raises:
            AuditError: the log is not what was signed.
        """
        return None if self.checkpoint_bytes() is None else self.view().newest(kind, subject)

    def latest_times(self, leaves: Collection[int], now: datetime) -> dict[int, datetime]:
        """For each of ``leaves`` the latest time, not after ``now``, that a leaf up to and including it states: it is
        not older than that, also if the clock of its run was set back. Reads the log once, from its beginning.

        Raises:
            AuditError: the log is malformed.
        """
        limit, latest = timestamp(now), ""
        found: dict[int, datetime] = {}
        for one in itertools.islice(self.entries(), max(leaves, default=-1) + 1):
            if one.event.time <= limit:
                latest = max(latest, one.event.time)
            if one.index in leaves:
                found[one.index] = datetime.fromisoformat(latest or limit)
        return found

    def pending_events(self, *texts: bytes) -> list[Event]:
        """The events that wait to be finalised and whose leaf holds one of ``texts`` (any, without texts), in order of
        their times. Only those that the log's key signed for their place count, and of a damaged file those before the
        damage; without a signed log there are none.

        Raises:
            AuditError: the log is not what was signed.
        """
        waiting = {run_id: self.pending.bytes_of(run_id) for run_id in self.pending_runs()}
        if self.checkpoint_bytes() is None:
            return []
        found = []
        for run_id, data in waiting.items():
            if not texts or any(text in data for text in texts):
                leaves = self.view().pending(run_id, data).leaves
                found += [Event.parse(leaf) for leaf in leaves if not texts or any(text in leaf for text in texts)]
        return sorted(found, key=lambda event: (event.time, event.run_id, event.sequence))
