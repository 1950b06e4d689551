"""The IO manager that hands stage records from asset to asset.

What belongs here: passing the small JSON record of a stage. What does not: the tables and models that a record points
to; they are content-addressed and are opened by the stage that needs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import read_json, write_json
from nethical_assets.home.records import StageRecord


class RecordIOManager(dg.ConfigurableIOManager):
    """Keeps the newest record of every asset as ``<folder>/<asset key>.json``."""

    folder: str = Field(description="where the records are kept")

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Replace the asset's record atomically."""
        if isinstance(obj, StageRecord):
            write_json(self._path(context.asset_key), obj.to_json())

    def load_input(self, context: dg.InputContext) -> StageRecord:
        """The newest record of the upstream asset.

        Raises:
            IntegrityError: it was never materialized, or its record is damaged.
        """
        try:
            return StageRecord.from_json(read_json(self._path(context.asset_key)))
        except FileNotFoundError:
            key = context.asset_key.to_user_string()
            raise IntegrityError(f"asset {key} has no record yet; materialize it first") from None

    def _path(self, key: dg.AssetKey) -> Path:
        return Path(self.folder, *key.path[:-1], f"{key.path[-1]}.json")
