"""Decisions about quarantined rows, and their place in the audit log.

What belongs here: joining the quarantine store with the log. What does not: the store.
"""

from __future__ import annotations

import secrets
import uuid
from typing import Any, Literal

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.home.changes import decide_quarantined
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.stages.screening import QUARANTINE
from nethical_assets.stages.sealing import finalize_run


def quarantine_workspace(settings: Settings) -> Workspace:
    """A workspace for one person's decisions."""
    return Workspace(settings, CycleOptions(), f"quarantine-{uuid.uuid4()}")


def decide(
    settings: Settings, verdict: Literal["release", "confirm"], family: str, row: str, *, actor: str, reason: str
) -> dict[str, Any]:
    """Release or confirm one row; the decision is an audit event at once.

    The leaf names the decision by the digest of a salted document, so that nobody can find out from the log which text
    it was about.

    Raises:
        DatasetError: there is no such row, or actor or reason is empty.
    """
    from nethical_assets.core.governance.quarantine import CONFIRMED, RELEASED

    workspace = quarantine_workspace(settings)
    status = RELEASED if verdict == "release" else CONFIRMED
    event = workspace.quarantine.decision(family, row, status, actor=actor, reason=reason, now=utc_now())
    document = workspace.objects.put(pretty_json({**event, "salt": secrets.token_hex(16)}))
    workspace.act(
        EventType.DATA_RELEASED if verdict == "release" else EventType.DATA_QUARANTINED,
        {QUARANTINE.record_name(family): document},
        decide_quarantined(document),
        actor=actor,
        payload={"decision": verdict},
    )
    finalize_run(workspace)
    return event
