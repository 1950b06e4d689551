"""The audit stage: finalising a run's events as a chunk, verifying the log, and knowing which runs are alive.

What belongs here: joining ``core.audit`` with a workspace. What does not: the log itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import filelock

from nethical_assets.core.audit import verify_log
from nethical_assets.pipeline.progress import stage
from nethical_assets.pipeline.workspace import Workspace, run_lock_path
from nethical_assets.settings import Settings


def finalize_run(workspace: Workspace, *, failed: bool = False) -> dict[str, Any]:
    """Append this run's events to the log as one signed chunk, and those of runs that died; facts about the head."""
    with stage("audit", "log"):
        workspace.record_event("run_failed" if failed else "run_completed", {})
        receipt = workspace.audit_log.finalize_run(workspace.run_id)
        finalize_abandoned(workspace)
        return {
            "size": receipt.size,
            "events": receipt.events,
            "root": receipt.root,
            "chunk_root": receipt.chunk_root,
            "checkpoint": receipt.checkpoint,
        }


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


def verify(settings: Settings) -> dict[str, Any]:
    """Recompute the whole log from disk, and check every model card against it."""
    from nethical_assets.pipeline.cards import card_problems

    report = verify_log(settings.home / "audit").to_json()
    problems = [*report["problems"], *card_problems(settings)]
    return {**report, "problems": problems, "ok": not problems}
