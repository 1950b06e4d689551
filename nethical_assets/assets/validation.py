"""The asset that sums up the validation of all datasets.

What belongs here: showing the report. What does not: assessing (``pipeline.quality``).
"""

import dagster as dg

from nethical_assets.assets.presentation import OWNERS, RECORDS_IO_MANAGER, materialized, table
from nethical_assets.assets.stage import expected_failures
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.jobs import DATASET_VALIDATION
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace


def build_validation_asset(settings: Settings) -> dg.AssetsDefinition:
    """``dataset_validation``: every dataset of the catalog with the outcome of each of its checks."""

    @dg.asset(
        key=DATASET_VALIDATION,
        group_name="validation",
        owners=[OWNERS["data"]],
        kinds={"pandera", "markdown"},
        description="Every dataset of the catalog with the outcome of each of its checks, as one report.",
        deps=[dg.AssetKey(["raw", entry.name]) for entry in settings.catalog.dataset],
        io_manager_key=RECORDS_IO_MANAGER,
    )
    def dataset_validation(
        context: dg.AssetExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> dg.MaterializeResult[object]:
        from nethical_assets.stages.checking import validation_report

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            record, markdown = validation_report(workspace)
        counts = record.facts["counts"]
        return materialized(
            record,
            {
                **counts,
                "report": dg.MetadataValue.md(markdown),
                "datasets": table(record.facts["datasets"]),
            },
        )

    return dataset_validation
