"""Assets of the release stage: gate decisions with their pointers.

What belongs here: load, call the pipeline, show. What does not: deciding (``core.evaluation``, ``core.delivery``). A
refused gate is a normal outcome: the asset is materialized and its check fails.
"""

import dagster as dg

from nethical_assets.assets.presentation import OWNERS, bullet_list, materialized
from nethical_assets.assets.stage import expected_failures, stage_asset
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace


def build_release_asset(family: str, settings: Settings) -> dg.AssetsDefinition:
    """``releases/<family>``: what was decided about the candidate, and where it went."""

    @dg.asset(
        **stage_asset(
            "releases",
            family,
            owner=OWNERS["model"],
            kinds={"json"},
            description="The gate (accuracy and calibration) and the comparison with the champion on the same test "
            "rows; a passing candidate becomes the champion, the replaced one is archived.",
            ins={
                "split": dg.AssetIn(key=dg.AssetKey(["splits", family])),
                "model": dg.AssetIn(key=dg.AssetKey(["models", family])),
                "evaluation": dg.AssetIn(key=dg.AssetKey(["evaluations", family])),
            },
        )
    )
    def release(
        context: dg.AssetExecutionContext,
        data_sources: DataSourcesResource,
        cycle: CycleResource,
        split: StageRecord,
        model: StageRecord,
        evaluation: StageRecord,
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.releasing import release_model

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            record = release_model(workspace, family, split, model, evaluation)
        facts = record.facts
        return materialized(
            record,
            {
                "verdict": facts["verdict"],
                "stage": facts["stage"],
                "version": facts["version"],
                "model": facts["model"],
                "champion_before": facts["champion_before"] or "none",
                "reasons": bullet_list(facts["reasons"]),
            },
        )

    return release
