"""The code sensor: asks for retraining when the code of a family is not the code its model was trained with.

What belongs here: comparing digests. What does not: computing them (``core.detectors.registry``).
"""

from dataclasses import dataclass

import dagster as dg

from nethical_assets.core.detectors.registry import family_code_digest
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.jobs import cycle_assets, family_assets

_INTERVAL_SECONDS = 300


def build_code_sensor(settings: Settings, families: tuple[str, ...]) -> dg.SensorDefinition:
    """One training run for every family whose code changed since its newest model."""

    @dg.sensor(
        name="code_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        target=dg.AssetSelection.assets(*cycle_assets(settings, families)),
        description="Requests retraining of families whose code changed since their newest model was trained.",
    )
    def code_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        requests = []
        for family in families:
            model, now = newest_model(context.instance, family), family_code_digest(family)
            if model is not None and model.code != now:
                requests.append(
                    dg.RunRequest(
                        # Dagster remembers run keys forever: code that returns to an earlier state has to ask again.
                        run_key=f"code:{family}:{now}:{model.materialized_at:.6f}",
                        asset_selection=family_assets(settings, family),
                        tags={"nethical/family": family, "nethical/trigger": "code"},
                    )
                )
        if not requests:
            return dg.SkipReason("every trained family's code is the code its model was trained with")
        return dg.SensorResult(run_requests=requests)

    return code_sensor


@dataclass(frozen=True)
class TrainedModel:
    """The code digest of a model, and when its asset was materialized (seconds since the epoch)."""

    code: str
    materialized_at: float


def newest_model(instance: dg.DagsterInstance, family: str) -> TrainedModel | None:
    """The newest materialization of ``models/<family>``, or None when there is no model yet."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["models", family]))
    if event is None or event.asset_materialization is None:
        return None
    return TrainedModel(str(event.asset_materialization.metadata["code"].value), event.timestamp)
