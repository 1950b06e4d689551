"""The IO manager that hands stage records from asset to asset.

What belongs here: passing the small record of a stage, of the same run where that run made one. What does not: the
    tables and models that a record points to; they are content-addressed and are opened by the stage that needs them.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

from nethical_assets.home.options import CycleOptions
from nethical_assets.home.records import StageRecord, StageRecords
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.resources.platform import opened_workspace

RECORDS_IO_MANAGER = "records"


class RecordIOManager(dg.IOManager):
    """Keeps the newest record of every asset and, while a run goes on, the record that this run made."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: tuple[str, StageRecords] | None = None

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Make the record the newest of its asset."""
        if isinstance(obj, StageRecord):
            self._records(context.run_id).publish(obj, context.run_id)

    def load_input(self, context: dg.InputContext) -> StageRecord:
        """The record of the upstream asset, verified.

        Raises:
            dagster.Failure: it was never materialized, or its record does not verify.
        """
        from nethical_assets.core.ground.errors import NethicalError
        from nethical_assets.stages.stage import PLATFORM

        stage, subject = (*context.asset_key.path, PLATFORM)[:2]
        run_id = str(context.step_context.run_id)
        try:
            return self._records(run_id).load(stage, subject, run_id)
        except NethicalError as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error

    def _records(self, run_id: str) -> StageRecords:
        workspace = opened_workspace(self._settings, run_id)
        if workspace is not None:
            return workspace.records
        if self._opened is None or self._opened[0] != run_id:
            self._opened = (run_id, Workspace(self._settings, CycleOptions(), run_id).records)
        return self._opened[1]
