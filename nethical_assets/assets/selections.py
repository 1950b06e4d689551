"""Which assets belong together in a run, for jobs, schedules and sensors alike.

What belongs here: the assets of a family's cycle. What does not: jobs (``orchestration.jobs``), or when they run.
"""

import dagster as dg

from nethical_assets.assets.factory import asset_key
from nethical_assets.home.settings import Settings
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.graph import FAMILY_CYCLE
from nethical_assets.stages.sealing import AUDIT_ROOTS


def family_assets(settings: Settings, family: str) -> list[dg.AssetKey]:
    """Everything one family's cycle materializes: its raw datasets, its stages, and the audit root."""
    raw = [asset_key(RAW, entry.name) for entry in settings.catalog.for_family(family)]
    return [*raw, *(asset_key(stage, family) for stage in FAMILY_CYCLE), asset_key(AUDIT_ROOTS)]


def cycle_assets(settings: Settings, families: tuple[str, ...]) -> list[dg.AssetKey]:
    """Everything a cycle of several families materializes, each asset once."""
    return list(dict.fromkeys(key for family in families for key in family_assets(settings, family)))
