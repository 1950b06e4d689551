"""The asset of audit roots.

What belongs here: finalising the run's chunk and showing the head of the log. What does not: the log (``core.audit``).
"""

from collections.abc import Sequence

import dagster as dg

from nethical_assets.assets.presentation import OWNERS
from nethical_assets.assets.stage import expected_failures
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace

AUDIT_ROOTS = dg.AssetKey(["audit_roots"])


def build_audit_asset(families: Sequence[str], settings: Settings) -> dg.AssetsDefinition:
    """``audit_roots``: the signed root of the audit log after this run's events were appended to it."""

    @dg.asset(
        key=AUDIT_ROOTS,
        group_name="audit",
        owners=[OWNERS["audit"]],
        kinds={"merkle"},
        description="Root of the RFC 6962 Merkle tree over all events: one chunk a run, each event names what it is "
        "about by digest. Verify it with `nethical audit verify`.",
        deps=[dg.AssetKey(["model_cards", family]) for family in families],
    )
    def audit_roots(
        context: dg.AssetExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> dg.MaterializeResult[None]:
        from nethical_assets.stages.sealing import finalize_run

        with expected_failures():
            facts = finalize_run(open_workspace(settings, context.run.run_id, data_sources, cycle))
        return dg.MaterializeResult(
            data_version=dg.DataVersion(facts["root"]),
            metadata={
                "size": facts["size"],
                "events": facts["events"],
                "root": facts["root"],
                "chunk_root": facts["chunk_root"],
                "consistency_proof": dg.MetadataValue.json(facts["consistency_proof"]),
                "checkpoint": dg.MetadataValue.md(f"```\n{facts['checkpoint']}\n```"),
            },
        )

    return audit_roots
