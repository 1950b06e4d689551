"""Assets of the screening stage: what was found in every row, what was masked, and what was kept out.

What belongs here: load, call the pipeline, show. What does not: rules and decisions (``core.governance``). Matched
text never appears: only kinds and counts.
"""

from collections.abc import Iterator

import dagster as dg

from nethical_assets.assets.presentation import OWNERS, RECORDS_IO_MANAGER, column_schema, materialized, table
from nethical_assets.assets.stage import expected_failures
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace

ERROR_CARD = dg.AssetKey(["screening_error_card"])


def build_screening_assets(family: str, settings: Settings) -> dg.AssetsDefinition:
    """``screened/<family>`` and ``quarantine/<family>``: every row of the dataset through every screening rule."""

    def spec(stage: str, description: str) -> dg.AssetOut:
        return dg.AssetOut(
            key=dg.AssetKey([stage, family]),
            group_name="screening",
            owners=[OWNERS["data"]],
            kinds={"parquet"},
            description=description,
            io_manager_key=RECORDS_IO_MANAGER,
            tags={"nethical/stage": stage, "nethical/subject": family},
        )

    @dg.multi_asset(
        name=f"screen__{family}",
        ins={"dataset": dg.AssetIn(key=dg.AssetKey(["datasets", family]))},
        outs={
            "screened": spec("screened", "The rows that may train and test, personal data and secrets masked."),
            "quarantine": spec("quarantine", "The rows that screening kept out, for a person to decide about."),
        },
    )
    def screening(
        context: dg.AssetExecutionContext,
        data_sources: DataSourcesResource,
        cycle: CycleResource,
        dataset: StageRecord,
    ) -> Iterator[dg.MaterializeResult[StageRecord]]:
        from nethical_assets.stages.fetching import quarantine, screen

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            screened = screen(workspace, family, dataset)
            kept_out = quarantine(screened)
        facts = screened.facts
        yield dg.MaterializeResult(
            asset_key=dg.AssetKey(["screened", family]),
            value=screened,
            data_version=dg.DataVersion(screened.digest),
            metadata={
                "reused": screened.reused,
                "dagster/row_count": facts["rows"],
                "dagster/column_schema": column_schema(facts["columns"]),
                "rows_masked": facts["rows_masked"],
                "findings": facts["findings"],
                "findings_by_kind": table([{"kind": k, "findings": n} for k, n in facts["by_kind"].items()]),
                "removed_share_by_label": table(
                    [{"label": label, "share": share} for label, share in facts["removal_rate_by_label"].items()]
                ),
                "ruleset": facts["ruleset"],
            },
        )
        yield dg.MaterializeResult(
            asset_key=dg.AssetKey(["quarantine", family]),
            value=kept_out,
            data_version=dg.DataVersion(kept_out.digest),
            metadata={"dagster/row_count": kept_out.facts["rows"]},
        )

    return screening


def build_error_card_asset(settings: Settings) -> dg.AssetsDefinition:
    """``screening_error_card``: how often the screening rules miss and how often they are wrong."""

    @dg.asset(
        key=ERROR_CARD,
        group_name="screening",
        owners=[OWNERS["data"]],
        kinds={"markdown"},
        description="Precision and recall of every rule pack on labelled corpora, with intervals. Needs the corpora in "
        "the mirror folder. `nethical error-card` prints the same.",
        io_manager_key=RECORDS_IO_MANAGER,
    )
    def screening_error_card(
        context: dg.AssetExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.fetching import measure_rules

        with expected_failures():
            record, markdown = measure_rules(open_workspace(settings, context.run_id, data_sources, cycle))
        return materialized(
            record,
            {
                "error_card": dg.MetadataValue.md(markdown),
                "aims": table(record.facts["aims"]),
                "aims_met": sum(bool(aim["met"]) for aim in record.facts["aims"]),
                "ruleset": record.facts["ruleset"],
            },
        )

    return screening_error_card
