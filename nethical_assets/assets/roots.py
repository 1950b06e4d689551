"""The roots of the audit log that Dagster's own event log knows: a witness inside the home.

What belongs here: reading and adding them. What does not: holding the log against them (``core.audit``).
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import dagster as dg

from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.stages.sealing import AUDIT_ROOTS

_KEY = dg.AssetKey(AUDIT_ROOTS.name)
_KNOWN_ROOTS = 1000


def roots_of(instance: dg.DagsterInstance) -> list[tuple[int, str]]:
    """Size and root of the audit log as the newest materializations of its asset say."""
    found = []
    for record in instance.fetch_materializations(_KEY, limit=_KNOWN_ROOTS).records:
        known = _root_in(record.asset_materialization)
        if known is not None:
            found.append(known)
    return found


def witness_root(instance: dg.DagsterInstance, home: Path) -> None:
    """Have Dagster's event log know the newest root of the log, where no run that ends the usual way will tell it.

    A log that is not longer than what is known, or that does not open, is left to verification.
    """
    with contextlib.suppress(AuditError):
        reader = LogReader(home / "audit")
        newest = instance.get_latest_materialization_event(_KEY)
        known = None if newest is None else _root_in(newest.asset_materialization)
        if reader.checkpoint_bytes() is None or reader.view().size <= (0 if known is None else known[0]):
            return
        head = reader.view().head
        made = dg.AssetMaterialization(_KEY, metadata={"size": head.size, "root": head.root})
        instance.report_runless_asset_event(made)


def _root_in(made: dg.AssetMaterialization | None) -> tuple[int, str] | None:
    if made is None or not {"size", "root"} <= set(made.metadata):
        return None
    size, root = made.metadata["size"].value, made.metadata["root"].value
    return (size, root) if isinstance(size, int) and isinstance(root, str) else None
