"""The audit stage: finalising a run's events as a chunk, verifying the log, and knowing which runs are alive.

What belongs here: joining ``core.audit`` with a workspace. What does not: the log itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import filelock

from nethical_assets.core.audit import LogReader, export_bundle, verify_log
from nethical_assets.core.audit.policy import Policy, read_checkpoints
from nethical_assets.core.audit.reconcile import Fact, Reconciliation, reconcile
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import ObjectStore, read_json, write_json
from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.home.progress import stage
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, run_lock_path


def finalize_run(workspace: Workspace, *, failed: bool = False) -> dict[str, Any]:
    """Append this run's events to the log as one signed chunk, and those of runs that died; facts about the head."""
    with stage("audit", "log"):
        _record_changes(workspace)
        workspace.record_event("run_failed" if failed else "run_completed", {})
        receipt = workspace.audit_log.finalize_run(workspace.run_id)
        finalize_abandoned(workspace)
        return {
            "size": receipt.size,
            "events": receipt.events,
            "root": receipt.root,
            "chunk_root": receipt.chunk_root,
            "checkpoint": receipt.checkpoint,
            "consistency_proof": list(receipt.consistency_proof),
        }


def _record_changes(workspace: Workspace) -> None:
    """Record that settings or screening rules are not those of the run before."""
    path = workspace.home / "data" / "records" / "in_force.json"
    in_force = {"settings": workspace.settings.digest(), "rules": workspace.screener.ruleset.digest}
    try:
        before = read_json(path)
    except (FileNotFoundError, IntegrityError):
        before = {}
    for name, digest in in_force.items():
        if before.get(name) != digest:
            parents = [before[name]] if name in before else []
            workspace.record_event(f"{name}_changed", {name: digest}, parents=parents)
    if before != in_force:
        write_json(path, in_force)


def reconcile_facts(settings: Settings, facts: Iterable[tuple[str, str, str]]) -> Reconciliation:
    """Which of these (run id, event type, digest) the log has; an omitted event is a problem."""
    return reconcile([Fact(*fact) for fact in facts], LogReader(settings.home / "audit"))


def seal(workspace: Workspace) -> None:
    """Append what this run recorded so far as a signed chunk; the run may go on recording."""
    workspace.audit_log.finalize_run(workspace.run_id)


def finalize_abandoned(workspace: Workspace) -> list[str]:
    """Append the events of runs whose process died; the run ids."""
    home, own = workspace.home, workspace.run_id
    receipts = workspace.audit_log.finalize_abandoned(lambda run_id: run_id == own or is_alive(home, run_id))
    return [receipt.run_id for receipt in receipts]


def is_alive(home: Path, run_id: str) -> bool:
    """Whether a process that records events of this run still exists: it holds the run's lock until it ends."""
    path = run_lock_path(home, run_id)
    if not path.exists():
        return False
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    path.unlink(missing_ok=True)
    return False


def verify(settings: Settings, policy: Policy | None = None) -> dict[str, Any]:
    """Recompute the log, all objects and all models from disk, and hold pointers and cards against the log."""
    from nethical_assets.operations.evidence import evidence_problems
    from nethical_assets.stages.carding import card_problems

    policy = policy or Policy()
    report = verify_log(
        settings.home / "audit",
        policy.log_keys or None,
        known_checkpoints=read_checkpoints(policy),
        witness_keys=policy.witness_keys,
        required_witnesses=policy.required_witnesses,
    ).to_json()
    problems = [*report["problems"], *evidence_problems(settings), *card_problems(settings)]
    return {**report, "problems": problems, "ok": not problems}


def export_run(settings: Settings, run_id: str, destination: Path) -> Path:
    """Everything a stranger needs to verify one run, in one folder: its events with proofs, the cards it issued, the
    manifests of the models it decided about, the evaluations and the decisions. Never rows of data.

    Raises:
        AuditError: the run is not in the log, or the destination exists.
    """
    return export_bundle(settings.home / "audit", run_id, destination, attachments=_evidence_files(settings, run_id))


def _evidence_files(settings: Settings, run_id: str) -> dict[str, Path]:
    """Attachment name -> file, for the documents that events of the run name."""
    registry = ModelRegistry(settings.home / "models")
    objects = ObjectStore(settings.home / "data" / "objects")
    cards = {pointer.card: registry.card_path(pointer, "json") for pointer in registry.pointers(family_names())}
    found: dict[str, Path] = {}
    for event in LogReader(settings.home / "audit").find_events(run_id=run_id):
        for subject in event.event.subjects:
            stage, _, family = subject.name.partition("/")
            path = {
                "models": registry.manifest_path(subject.digest),
                "model_cards": cards.get(subject.digest),
                "evaluations": objects.path(subject.digest),
                "releases": objects.path(subject.digest),
            }.get(stage)
            if path is not None and path.exists():
                short = subject.digest.partition(":")[2][:12]
                found[f"{stage.removesuffix('s')}-{family}-{short}.json"] = Path(str(path))
    return found
