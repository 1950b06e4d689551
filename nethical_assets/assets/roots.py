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
_PAGE = 1000
_COMPARED = 10
"""As many of the newest as several runs that end at the same moment may report out of order."""


def roots_of(instance: dg.DagsterInstance, newest: int | None = None) -> list[tuple[int, str]]:
    """Size and root of the audit log as the materializations of its asset say, newest first: all, or some."""
    found: list[tuple[int, str]] = []
    cursor = None
    while True:
        page = instance.fetch_materializations(_KEY, limit=newest or _PAGE, cursor=cursor)
        found += [known for record in page.records if (known := _root_in(record.asset_materialization)) is not None]
        if newest is not None or not page.has_more:
            return found
        cursor = page.cursor


def runs_of_newest_roots(instance: dg.DagsterInstance) -> set[str]:
    """The runs that told the roots which the next one is compared with."""
    return {record.run_id for record in instance.fetch_materializations(_KEY, limit=_COMPARED).records}


def witness_root(instance: dg.DagsterInstance, home: Path) -> None:
    """Have Dagster's event log know the newest root of the log, where no run that ends the usual way will tell it.

    A log that is not longer than what is known, that does not have the known root at the known size, or that does not
    open, is left to verification: a fork never becomes what is known.
    """
    with contextlib.suppress(AuditError, OSError):
        reader = LogReader(home / "audit")
        if reader.checkpoint_bytes() is None:
            return
        view = reader.view()
        size, root = max(roots_of(instance, newest=_COMPARED), default=(0, ""))
        if view.size > size and (size == 0 or view.root(size).hex() == root):
            made = dg.AssetMaterialization(_KEY, metadata={"size": view.size, "root": view.head.root})
            instance.report_runless_asset_event(made)


def _root_in(made: dg.AssetMaterialization | None) -> tuple[int, str] | None:
    if made is None or not {"size", "root"} <= set(made.metadata):
        return None
    size, root = made.metadata["size"].value, made.metadata["root"].value
    return (size, root) if isinstance(size, int) and isinstance(root, str) else None
