"""The code sensor: asks for retraining when a family's model was made from something else than is in force.

What belongs here: comparing digests. What does not: computing them (``stages.graph``). New data is no reason: the
weekly cycle looks at it.
"""

from dataclasses import dataclass

import dagster as dg

from nethical_assets.assets.factory import DEPENDS_ON, asset_key
from nethical_assets.assets.requests import TRAINING_JOB, family_request
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.stages.graph import dependencies_digest
from nethical_assets.stages.training import MODELS

_INTERVAL_SECONDS = 300
_OBSERVER = "code-sensor"


def build_code_sensor(settings: Settings, families: tuple[str, ...]) -> dg.SensorDefinition:
    """One training run for every family whose newest model was made from something else than is in force."""

    @dg.sensor(
        name="code_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        job_name=TRAINING_JOB,
        description="Requests retraining of families whose detector, stages, catalog entries, screening rules or "
        "training settings changed since their newest model was trained.",
    )
    def code_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        workspace, requests = Workspace(settings, CycleOptions(), _OBSERVER), []
        for family in families:
            model = newest_model(context.instance, family)
            now = None if model is None else dependencies_digest(workspace, family)
            if model is not None and model.depends_on != now:
                requests.append(
                    family_request(
                        context.repository_def,
                        settings,
                        family,
                        # Dagster remembers run keys forever: code that returns to an earlier state has to ask again.
                        run_key=f"code:{family}:{now}:{model.materialized_at:.6f}",
                        trigger="code",
                    )
                )
        if not requests:
            return dg.SkipReason("every model was made from the code, catalog entries, rules and settings in force")
        return dg.SensorResult(run_requests=requests)

    return code_sensor


@dataclass(frozen=True)
class TrainedModel:
    """What a model depended on, as a digest, and when its asset was materialized (seconds since the epoch)."""

    depends_on: str
    materialized_at: float


def newest_model(instance: dg.DagsterInstance, family: str) -> TrainedModel | None:
    """The newest materialization of ``models/<family>``, or None when there is no model yet."""
    event = instance.get_latest_materialization_event(asset_key(MODELS, family))
    if event is None or event.asset_materialization is None:
        return None
    depends_on = event.asset_materialization.metadata.get(DEPENDS_ON)
    return TrainedModel("" if depends_on is None else str(depends_on.value), event.timestamp)
