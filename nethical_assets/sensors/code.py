"""The code sensor: asks for retraining when the code of a family is not the code its model was trained with.

What belongs here: comparing digests. What does not: computing them (``core.detectors.registry``).
"""

import dagster as dg

from nethical_assets.core.detectors.registry import family_code_digest
from nethical_assets.jobs import cycle_assets, family_assets
from nethical_assets.settings import Settings

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
            trained, now = trained_code(context.instance, family), family_code_digest(family)
            if trained is not None and trained != now:
                requests.append(
                    dg.RunRequest(
                        run_key=f"code:{family}:{now}",
                        asset_selection=family_assets(settings, family),
                        tags={"nethical/family": family, "nethical/trigger": "code"},
                    )
                )
        if not requests:
            return dg.SkipReason("every trained family's code is the code its model was trained with")
        return dg.SensorResult(run_requests=requests)

    return code_sensor


def trained_code(instance: dg.DagsterInstance, family: str) -> str | None:
    """The code digest of the newest model of ``family``, or None when there is no model yet."""
    event = instance.get_latest_materialization_event(dg.AssetKey(["models", family]))
    materialization = event.asset_materialization if event is not None else None
    return None if materialization is None else str(materialization.metadata["code"].value)
