"""Assets of drift reports.

What belongs here: load, call the pipeline, show. What does not: statistics (``core.drift``).
"""

import dagster as dg

from nethical_assets.assets.presentation import OWNERS, bullet_list, materialized, table
from nethical_assets.assets.stage import expected_failures, stage_asset
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace


def build_drift_asset(family: str, settings: Settings) -> dg.AssetsDefinition:
    """``drift_reports/<family>``: what the champion scored since it was promoted, against its reference window."""

    @dg.asset(
        **stage_asset(
            "drift_reports",
            family,
            owner=OWNERS["run"],
            kinds={"json"},
            description="Scores, positive rate and inputs of the inference log against the reference stored at "
            "promotion. Three verdicts: drift, stable, needs more data; no traffic is never stable.",
            deps=[dg.AssetKey(["releases", family])],
        )
    )
    def drift_report(
        context: dg.AssetExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.watching import report_drift

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            record = report_drift(workspace, family)
        facts = record.facts
        numbers = {} if facts["drift_score"] is None else {"drift_score": float(facts["drift_score"])}
        return materialized(
            record,
            {
                **numbers,
                "verdict": facts["verdict"],
                "rows": facts["window_rows"],
                "model": facts["model"] or "none",
                "reasons": bullet_list(facts["reasons"]),
                "columns": table(facts["columns"]),
            },
        )

    return drift_report
