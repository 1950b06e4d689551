"""Assets of the data stages: raw snapshots, and the canonical dataset of every family.

What belongs here: load, call the pipeline, show. What does not: decisions about data (``core.datasets``).
"""

from datetime import timedelta
from typing import Any

import dagster as dg

from nethical_assets.assets.presentation import OWNERS, column_schema, materialized, table
from nethical_assets.assets.stage import expected_failures, stage_asset
from nethical_assets.core.detectors.registry import family_code_digest
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.home.records import StageRecord
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace


def build_raw_asset(entry: DatasetEntry, settings: Settings) -> dg.AssetsDefinition:
    """``raw/<name>``: the newest snapshot of one catalog entry, or the recorded reason why there is none."""
    users = ", ".join((*entry.families, *entry.evaluation_families)) or "no family (validated only)"
    interval = timedelta(days=settings.file.datasets.refresh_interval_days)

    @dg.asset(
        **stage_asset(
            "raw",
            entry.name,
            owner=OWNERS["data"],
            kinds={"parquet", entry.kind},
            description=f"{entry.title} (`{entry.slug}`, licence: {entry.licence}). Used by: {users}. {entry.notes}",
            freshness_policy=dg.FreshnessPolicy.time_window(fail_window=interval, warn_window=interval * 0.8),
        )
    )
    def raw(
        context: dg.AssetExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.fetching import fetch, snapshot_columns

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            record = fetch(workspace, entry)
            shown: dict[str, Any] = {key: value for key, value in record.facts.items() if isinstance(value, str | int)}
            if "snapshot" in record.objects:
                shown["dagster/row_count"] = shown.pop("rows")
                shown["dagster/column_schema"] = column_schema(snapshot_columns(workspace, record))
        return materialized(record, shown)

    return raw


def build_dataset_asset(family: str, settings: Settings) -> dg.AssetsDefinition:
    """``datasets/<family>``: the records of all sources of a family, identified, without duplicates."""
    entries = settings.catalog.for_family(family)

    @dg.asset(
        **stage_asset(
            "datasets",
            family,
            owner=OWNERS["data"],
            kinds={"parquet", "pandas"},
            description=f"Canonical records of the {family} family: one row a record, duplicates and label conflicts "
            "resolved. Synthetic, and labelled so, when no source can serve real data.",
            ins={entry.name: dg.AssetIn(key=dg.AssetKey(["raw", entry.name])) for entry in entries},
            code_version=family_code_digest(family),
        )
    )
    def dataset(
        context: dg.AssetExecutionContext,
        data_sources: DataSourcesResource,
        cycle: CycleResource,
        **raws: StageRecord,
    ) -> dg.MaterializeResult[StageRecord]:
        from nethical_assets.stages.fetching import canonical

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            record = canonical(workspace, family, raws)
        facts = record.facts
        return materialized(
            record,
            {
                "dagster/row_count": facts["rows"],
                "dagster/column_schema": column_schema(facts["columns"]),
                "source": facts["source"],
                "synthetic": facts["synthetic"],
                "positives": facts["positives"],
                "duplicates_removed": facts["duplicates_removed"],
                "rows_with_conflicting_labels": facts["rows_with_conflicting_labels"],
                "sources": table([{"source": name, **numbers} for name, numbers in facts["sources"].items()]),
                "skipped": table(facts["skipped"]),
            },
        )

    return dataset
