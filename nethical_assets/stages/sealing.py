"""The stage of audit roots: the events of a run enter the log as one signed chunk.

What belongs here: finalising a run, also one that failed, and those whose process died. What does not: the log
(``core.audit``), or verifying it (``operations.verification``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import read_json
from nethical_assets.stages.carding import MODEL_CARDS
from nethical_assets.stages.shown import Document, Markdown, Shown
from nethical_assets.stages.stage import Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace


def finalize_run(workspace: Workspace, *, end: EventType = EventType.RUN_COMPLETED) -> dict[str, Any]:
    """Append this run's events, with the one of its ``end``, to the log as one signed chunk, and those of runs that
    died; facts about the head."""
    workspace.acts.settle()
    _record_changes(workspace)
    workspace.record_event(end, {})
    receipt = workspace.seal()
    workspace.finalize_abandoned()
    return {
        "size": receipt.size,
        "events": receipt.events,
        "root": receipt.root,
        "chunk_root": receipt.chunk_root,
        "checkpoint": receipt.checkpoint,
        "consistency_proof": list(receipt.consistency_proof),
    }


def seal_step(workspace: Workspace) -> None:
    """Append what a step of a run recorded, if it recorded anything: more may follow."""
    if workspace.recorded:
        workspace.seal()


def _record_changes(workspace: Workspace) -> None:
    """Record that settings, screening rules or the catalog are not those of the run before."""
    from nethical_assets.home.changes import put_in_force

    in_force = {
        "settings": workspace.settings.digest(),
        "rules": workspace.ruleset.digest,
        "catalog": workspace.settings.catalog_digest(),
    }
    try:
        before = read_json(workspace.in_force_path)
    except (FileNotFoundError, IntegrityError):
        before = {}
    kinds = {
        "settings": EventType.SETTINGS_CHANGED,
        "rules": EventType.RULES_CHANGED,
        "catalog": EventType.CATALOG_CHANGED,
    }
    now = dict(before)
    for name, digest in in_force.items():
        if before.get(name) != digest:
            now[name] = digest
            parents = [before[name]] if name in before else []
            workspace.act(kinds[name], {name: digest}, put_in_force(now), parents=parents)


def _seal(work: Work) -> Result:
    facts = finalize_run(work.workspace)
    return Result(f"sha256:{facts['root']}", facts=facts)


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    return {
        "size": facts["size"],
        "events": facts["events"],
        "root": facts["root"],
        "chunk_root": facts["chunk_root"],
        "consistency_proof": Document(facts["consistency_proof"]),
        "checkpoint": Markdown(f"```\n{facts['checkpoint']}\n```"),
    }


AUDIT_ROOTS = Stage(
    name="audit_roots",
    scope="platform",
    description="Root of the RFC 6962 Merkle tree over all events: one chunk a run, each event names what it is about "
    "by digest. Verify it with `nethical audit verify`.",
    owner="team:auditors",
    follows=(MODEL_CARDS,),
    known_by_object=False,
    run=_seal,
    shows=_shown,
    kinds=frozenset({"merkle"}),
    group="audit",
    ends_run=True,
)
