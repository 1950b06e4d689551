"""The roots of the audit log that Dagster's own event log knows: a witness inside the home.

What belongs here: reading them. What does not: holding the log against them (``core.audit``).
"""

from __future__ import annotations

import dagster as dg

from nethical_assets.assets.factory import asset_key
from nethical_assets.stages.sealing import AUDIT_ROOTS

_KNOWN_ROOTS = 1000


def roots_of(instance: dg.DagsterInstance) -> list[tuple[int, str]]:
    """Size and root of the audit log as the newest materializations of its asset say."""
    found = []
    for record in instance.fetch_materializations(asset_key(AUDIT_ROOTS), limit=_KNOWN_ROOTS).records:
        made = record.asset_materialization
        if made is not None and {"size", "root"} <= set(made.metadata):
            size, root = made.metadata["size"].value, made.metadata["root"].value
            if isinstance(size, int) and isinstance(root, str):
                found.append((size, root))
    return found
