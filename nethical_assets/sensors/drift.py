"""The drift sensor: reads the newest drift reports and asks for retraining.

What belongs here: reading metadata and requesting runs. What does not: computing drift (an asset does, on a schedule),
or deciding (``core.delivery.retraining``).
"""

from datetime import timedelta

import dagster as dg

from nethical_assets.assets.factory import asset_key
from nethical_assets.assets.selections import cycle_assets, family_assets
from nethical_assets.core.delivery.retraining import NewestReport, decide_retraining
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import utc_now
from nethical_assets.stages.watching import DRIFT_REPORTS


def build_drift_sensor(settings: Settings, families: tuple[str, ...]) -> dg.SensorDefinition:
    """One forced training run for every family whose newest report is above the threshold."""
    monitoring = settings.file.monitoring

    @dg.sensor(
        name="drift_sensor",
        minimum_interval_seconds=monitoring.drift_interval_hours * 3600,
        default_status=dg.DefaultSensorStatus.RUNNING,
        target=dg.AssetSelection.assets(*cycle_assets(settings, families)),
        description="Requests retraining of families whose newest drift report is above the threshold.",
    )
    def drift_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        reports = [report for family in families if (report := newest_report(context.instance, family)) is not None]
        requests, cursor = decide_retraining(
            reports,
            context.cursor,
            now=utc_now(),
            threshold=settings.file.performance_thresholds.drift_alert_threshold,
            cooldown=timedelta(hours=monitoring.retraining_cooldown_hours),
        )
        context.update_cursor(cursor)
        if not requests:
            seen = ", ".join(f"{report.family}: {report.verdict}" for report in reports) or "no drift report yet"
            return dg.SkipReason(f"no retraining is due ({seen})")
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    run_key=request.key,
                    asset_selection=family_assets(settings, request.family),
                    run_config={"resources": {"cycle": {"config": {"force": True}}}},
                    tags={
                        "nethical/family": request.family,
                        "nethical/trigger": "drift",
                        "nethical/reason": request.reason,
                    },
                )
                for request in requests
            ]
        )

    return drift_sensor


def newest_report(instance: dg.DagsterInstance, family: str) -> NewestReport | None:
    """What the newest materialization of ``drift_reports/<family>`` says, or None."""
    event = instance.get_latest_materialization_event(asset_key(DRIFT_REPORTS, family))
    materialization = event.asset_materialization if event is not None else None
    if materialization is None:
        return None
    metadata = materialization.metadata
    score = metadata.get("drift_score")
    return NewestReport(
        family=family,
        digest=str(metadata["digest"].value),
        verdict=str(metadata["verdict"].value),
        score=None if score is None else float(score.value),  # type: ignore[arg-type]
    )
