"""Materializing a part of the graph in tests, and reading what it recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from nethical_assets.assets.selections import family_assets
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.build import build_assets, build_checks, build_resources


@dataclass(frozen=True)
class Graph:
    """What one run left behind."""

    result: dg.ExecuteInProcessResult

    @property
    def success(self) -> bool:
        return self.result.success

    def metadata(self, *key: str) -> Mapping[str, Any]:
        """The metadata of one materialized asset, as plain values."""
        (event,) = self.result.asset_materializations_for_node("__".join(key))
        return {name: value.value for name, value in event.metadata.items()}

    def typed_metadata(self, *key: str) -> Mapping[str, dg.MetadataValue[Any]]:
        """The metadata of one materialized asset, as Dagster holds it."""
        (event,) = self.result.asset_materializations_for_node("__".join(key))
        return event.metadata

    def materialized(self) -> set[str]:
        """The keys of all materialized assets."""
        events = self.result.get_asset_materialization_events()
        return {event.asset_key.to_user_string() for event in events if event.asset_key is not None}

    def checks(self, *key: str) -> dict[str, dg.AssetCheckEvaluation]:
        """The evaluations of one asset's checks by name."""
        wanted = dg.AssetKey(list(key))
        return {e.check_name: e for e in self.result.get_asset_check_evaluations() if e.asset_key == wanted}

    def failures(self) -> dict[str, str]:
        """Step -> the one line that says why it failed."""
        return {
            event.step_key: event.step_failure_data.user_failure_data.description or ""
            for event in self.result.all_events
            if event.is_step_failure and event.step_failure_data.user_failure_data is not None
        }


def materialize(
    settings: Settings,
    instance: dg.DagsterInstance,
    *families: str,
    keys: Sequence[dg.AssetKey] = (),
    partition_key: str | None = None,
    **cycle: Any,
) -> Graph:
    """Materialize everything of ``families`` (or ``keys`` alone) with their checks, or a partition of it."""
    wanted = list(keys) or list(dict.fromkeys(key for family in families for key in family_assets(settings, family)))
    names = families or family_names()
    result = dg.materialize(
        [*build_assets(settings, names, wanted), *build_checks(settings, names, wanted)],
        selection=dg.AssetSelection.assets(*wanted),
        instance=instance,
        partition_key=partition_key,
        resources=build_resources(settings),
        run_config={
            "resources": {"cycle": {"config": cycle}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        raise_on_error=False,
    )
    return Graph(result)
