"""The graph: every stage in its order, and what follows from the declarations.

What belongs here: the list of stages, and what is derived from it for the orchestrator, for lineage and for the docs.
    What does not: any stage. A new stage is one file with its declaration, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.carding import MODEL_CARDS
from nethical_assets.stages.checking import DATASET_VALIDATION
from nethical_assets.stages.evaluating import EVALUATIONS
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.judging import ETHICAL_DRIFT_REPORT
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.screening import ERROR_CARD, QUARANTINE, SCREENED
from nethical_assets.stages.sealing import AUDIT_ROOTS
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import code_digest, earlier_stages, find
from nethical_assets.stages.training import MODELS
from nethical_assets.stages.watching import DRIFT_REPORTS

if TYPE_CHECKING:
    from nethical_assets.core.lineage.chain import ChainShape
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

STAGES = (
    RAW,
    DATASETS,
    SCREENED,
    QUARANTINE,
    SPLITS,
    MODELS,
    EVALUATIONS,
    RELEASES,
    MODEL_CARDS,
    AUDIT_ROOTS,
    DRIFT_REPORTS,
    ETHICAL_DRIFT_REPORT,
    DATASET_VALIDATION,
    ERROR_CARD,
)
FAMILY_CYCLE = tuple(stage for stage in STAGES if stage.scope == "family" and stage.in_cycle)
"""What a training cycle carries out for a family, in order."""
KEPT_ELSEWHERE = frozenset(stage.name for stage in STAGES if not stage.known_by_object)
"""The stages whose results are no stored objects; those of all others, parts of stages included, are."""


def chain_shape() -> ChainShape:
    """Through which stages a model's chain of provenance leads, as the declarations say."""
    from nethical_assets.core.lineage.chain import ChainShape

    linked = [stage for stage in STAGES if stage.in_chain]
    return ChainShape(
        previous={stage.name: tuple(needed.name for needed in stage.needs if needed.in_chain) for stage in linked},
        raw=RAW.name,
        datasets=DATASETS.name,
        splits=SPLITS.name,
        models=MODELS.name,
        releases=RELEASES.name,
        on_card={
            "model": MODELS.name,
            "dataset": DATASETS.name,
            "screened": SCREENED.name,
            "splits": SPLITS.name,
            "evaluation": EVALUATIONS.name,
            "decision": RELEASES.name,
        },
    )


def dependencies_digest(workspace: Workspace, family: str) -> str:
    """The digest of everything but data that a family's model depends on: the code of its detector and of the stages
    that lead to it, its catalog entries, the screening rules, and the settings of training."""
    settings = workspace.settings
    stages = [stage for stage in (*earlier_stages(MODELS), MODELS) if stage is not RAW]
    return digest_json(
        {
            "code": {stage.name: code_digest(workspace, stage, family) for stage in stages},
            "entries": [entry.dependencies() for entry in settings.catalog.for_family(family)],
            "rules": workspace.ruleset.digest,
            "training": settings.file.training.model_dump(mode="json", exclude={"bootstrap_samples"}),
            "maximum_rows": settings.file.datasets.maximum_rows,
        }
    )


def is_new(workspace: Workspace, family: str) -> bool:
    """Whether the family has no evaluated model yet."""
    return workspace.records.newest(EVALUATIONS.name, family) is None


def is_evaluated(workspace: Workspace, family: str) -> bool:
    """Whether everything up to the evaluation of a family's model would be found and not computed, from the datasets
    that this run has."""
    found: dict[str, StageRecord] = {}
    try:
        for entry in workspace.settings.catalog.for_family(family):
            record = workspace.records.load(RAW.name, entry.name, workspace.run_id)
            found[record.name] = record
        for stage in (*earlier_stages(EVALUATIONS), EVALUATIONS):
            if stage.scope != "family":
                continue
            handed = {one.name for one in stage.needs}
            known = find(stage, workspace, family, [record for record in found.values() if record.stage in handed])
            if known is None:
                return False
            found[known.name] = known
    except NethicalError:
        # The stage that it stops at says why.
        return False
    return True


def stage_table() -> str:
    """The stages as a Markdown table, for the docs."""
    rows = ["| stage | one for each | needs | event | owner |", "|---|---|---|---|---|"]
    for stage in STAGES:
        needs = ", ".join(f"`{needed.name}`" for needed in (*stage.needs, *stage.follows)) or "-"
        event = "-" if stage.event is None else f"`{stage.event.value}`"
        rows.append(f"| `{stage.name}` | {stage.scope} | {needs} | {event} | {stage.owner.removeprefix('team:')} |")
    return "\n".join(rows)
