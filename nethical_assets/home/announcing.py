"""Alerts in the audit log: the event that says that an issue is about to be opened, reopened or closed.

What belongs here: recording that event. What does not: issues (``core.alerts``), or which problems there are.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.errors import NethicalError

if TYPE_CHECKING:
    from nethical_assets.core.alerts.tracker import Announce

COUNTED = "counted"
"""A further occurrence of an open issue: it changes no state, and a check that fails for a year is one event."""


def alert_announcer(home: Path) -> Announce:
    """What a tracker calls before it changes an issue: the event is in the log, signed, when it returns.

    A tracker is what tells people that the log is damaged, so a log that takes no event stops no alert: ``audit
        verify`` names the issues that the log does not know of."""

    def announce(kind: str, fingerprint: str, document: Mapping[str, Any]) -> None:
        from nethical_assets.core.audit import AuditLog
        from nethical_assets.core.delivery.expected import alert_subject

        if document.get("change") == COUNTED:
            return
        subjects = alert_subject(document["kind"], fingerprint, document.get("text"))
        log = AuditLog(home / "audit")
        run_id = f"alert-{uuid.uuid4()}"
        try:
            log.recorder(run_id).append(
                EventType(kind),
                actor="nethical",
                subjects=[{"name": name, "digest": digest} for name, digest in subjects.items()],
                payload=document,
            )
            log.finalize_run(run_id)
        except NethicalError:
            return

    return announce
