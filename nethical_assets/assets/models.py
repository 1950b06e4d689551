"""Assets of the model stages: splits, trained candidates and their evaluations.

What belongs here: load, call the pipeline, show. What does not: training or measuring (``core``).
"""

import dagster as dg

from nethical_assets.assets.presentation import OWNERS, bullet_list, column_schema, materialized, picture, table
from nethical_assets.assets.stage import expected_failures, stage_asset
from nethical_assets.core.detectors.registry import family_code_digest, family_summary
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace


def build_split_asset(family: str, settings: Settings) -> dg.AssetsDefinition:
    """``splits/<family>``: which rows train, calibrate and test."""

    @dg.asset(
        **stage_asset(
            "splits",
            family,
            owner=OWNERS["model"],
            kinds={"parquet"},
            description="Rows assigned by the digest of their content, their group or a fixed day: a row never moves "
            "between training and test, and a group never straddles them.",
            ins={"screened": dg.AssetIn(key=dg.AssetKey(["screened", family]))},
        )
    )
    def split(
        context: dg.AssetExecutionContext,
        data_sources: DataSourcesResource,
        cycle: CycleResource,
        screened: StageRecord,
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.fetching import split_rows

        with expected_failures():
            record = split_rows(open_workspace(settings, context.run.run_id, data_sources, cycle), family, screened)
        facts = record.facts
        shown = {f"{name}_rows": numbers["rows"] for name, numbers in facts["splits"].items()}
        rows = [{"split": name, **numbers} for name, numbers in facts["splits"].items()]
        schema = {"dagster/row_count": facts["rows"], "dagster/column_schema": column_schema(facts["columns"])}
        return materialized(record, {**schema, **shown, "splits": table(rows)})

    return split


def build_model_asset(family: str, settings: Settings) -> dg.AssetsDefinition:
    """``models/<family>``: the trained candidate."""

    @dg.asset(
        **stage_asset(
            "models",
            family,
            owner=OWNERS["model"],
            kinds={"sklearn", "safetensors"},
            description=family_summary(family),
            ins={"split": dg.AssetIn(key=dg.AssetKey(["splits", family]))},
            code_version=family_code_digest(family),
        )
    )
    def model(
        context: dg.AssetExecutionContext,
        data_sources: DataSourcesResource,
        cycle: CycleResource,
        split: StageRecord,
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.training import train

        with expected_failures():
            record = train(open_workspace(settings, context.run.run_id, data_sources, cycle), family, split)
        facts = record.facts
        files = [{"file": name, "bytes": size} for name, size in facts["files"].items()]
        return materialized(
            record,
            {
                "model": facts["model"],
                "training_rows": facts["train_rows"],
                "validation_rows": facts["validation_rows"],
                "seed": facts["seed"],
                "code": facts["code"],
                "artifact_bytes": sum(facts["files"].values()),
                "files": table(files),
            },
        )

    return model


def build_evaluation_asset(family: str, settings: Settings) -> dg.AssetsDefinition:
    """``evaluations/<family>``: the candidate on test rows it never saw, and across sources."""

    @dg.asset(
        **stage_asset(
            "evaluations",
            family,
            owner=OWNERS["model"],
            kinds={"sklearn"},
            description="Metrics with 95 % intervals on the test split, a reliability diagram and a confusion matrix; "
            "for several sources also leave-one-source-out, which says what to expect of data from elsewhere.",
            ins={
                "split": dg.AssetIn(key=dg.AssetKey(["splits", family])),
                "model": dg.AssetIn(key=dg.AssetKey(["models", family])),
            },
        )
    )
    def evaluation(
        context: dg.AssetExecutionContext,
        data_sources: DataSourcesResource,
        cycle: CycleResource,
        split: StageRecord,
        model: StageRecord,
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.training import evaluate, evaluation_pictures, metric_rows, source_rows

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            record = evaluate(workspace, family, split, model)
            pictures = evaluation_pictures(workspace, record)
        facts = record.facts
        numbers = {row["metric"]: float(row["value"]) for row in metric_rows(record) if row["value"] is not None}
        return materialized(
            record,
            {
                **numbers,
                "test_rows": facts["evaluation"]["rows"],
                "metrics": table(metric_rows(record)),
                "reliability_diagram": picture("Reliability diagram", pictures["reliability"]),
                "confusion_matrix": picture("Confusion matrix", pictures["confusion"]),
                "by_source": table(source_rows(record)),
                "prediction_findings": table(
                    [{"kind": kind, "findings": count} for kind, count in facts["prediction_findings"].items()]
                ),
                "notes": bullet_list(facts["notes"]),
            },
        )

    return evaluation
