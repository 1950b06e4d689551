"""Assets of model cards.

What belongs here: load, call the pipeline, show the Markdown. What does not: the content of a card (``core.cards``).
"""

import dagster as dg

from nethical_assets.assets.presentation import OWNERS, materialized
from nethical_assets.assets.stage import expected_failures, stage_asset
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace


def build_card_asset(family: str, settings: Settings) -> dg.AssetsDefinition:
    """``model_cards/<family>``: the card of the model that was last decided about."""
    stages = ("datasets", "screened", "splits", "models", "evaluations", "releases")

    @dg.asset(
        **stage_asset(
            "model_cards",
            family,
            owner=OWNERS["model"],
            kinds={"markdown", "html", "json"},
            description="What the model is, what it was trained and measured on, what was decided, and the audit root "
            "by which all of it can be verified.",
            ins={stage: dg.AssetIn(key=dg.AssetKey([stage, family])) for stage in stages},
        )
    )
    def model_card(
        context: dg.AssetExecutionContext,
        data_sources: DataSourcesResource,
        cycle: CycleResource,
        **records: StageRecord,
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.carding import issue_card

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            record, markdown = issue_card(workspace, family, records)
        return materialized(
            record,
            {
                "card": dg.MetadataValue.md(markdown),
                "path": dg.MetadataValue.path(record.facts["path"]),
                "version": record.facts["version"],
                "audit_merkle_root": record.facts["audit_merkle_root"],
                **{title: dg.MetadataValue.path(path) for title, path in record.facts["paths"].items()},
            },
        )

    return model_card
