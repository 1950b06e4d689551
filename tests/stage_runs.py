"""Carrying stages out without the orchestrator, as its assets do.

What belongs here: handing each stage the records it needs. What does not: checks, or anything of Dagster's.
"""

from __future__ import annotations

from collections.abc import Sequence

from nethical_assets.home.records import StageRecord
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.graph import FAMILY_CYCLE
from nethical_assets.stages.stage import Stage, carry_out

Records = dict[Stage, StageRecord]


def publish(workspace: Workspace, stage: Stage, subject: str, records: Sequence[StageRecord] = ()) -> StageRecord:
    """Carry one stage out and make its record the newest of its asset."""
    record = carry_out(stage, workspace, subject, records)
    workspace.records.publish(record, workspace.run_id)
    return record


def fetch_all(workspace: Workspace, family: str) -> list[StageRecord]:
    """The raw records of every dataset of a family."""
    return [publish(workspace, RAW, entry.name) for entry in workspace.settings.catalog.for_family(family)]


def run_family(
    workspace: Workspace, family: str, raws: Sequence[StageRecord] = (), *, until: Stage | None = None
) -> Records:
    """A family's part of a cycle, up to and including ``until``; each stage's record."""
    found: Records = {}
    for stage in FAMILY_CYCLE:
        needed = [*raws] if RAW in stage.needs else [found[one] for one in stage.needs]
        found[stage] = publish(workspace, stage, family, needed)
        if stage is until:
            break
    return found
