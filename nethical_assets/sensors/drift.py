"""The drift sensor: reads the newest drift reports, asks for retraining, and says on the issue what came of it.

What belongs here: reading metadata, requesting runs, commenting. What does not: computing drift (an asset does, on a
schedule), or deciding (``core.delivery.retraining``).
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from nethical_assets.assets.factory import asset_key
from nethical_assets.assets.requests import TRAINING_JOB, TRIGGER_TAG, family_request
from nethical_assets.assets.selections import family_assets
from nethical_assets.core.alerts import fingerprint
from nethical_assets.core.delivery.retraining import NewestReport, Situation, decide_retraining, remarks
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import NethicalError
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import utc_now
from nethical_assets.resources.platform import IssueTrackerResource
from nethical_assets.sensors.results import Release
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.watching import DRIFT_REPORTS

ACTOR = "drift sensor"
TRIGGER = "drift"
_INTERVAL_SECONDS = 30
_DATA_VERSION_TAG = "dagster/data_version"
_REMEMBERED_RELEASES = 20
_UNPARTITIONED_LOOKED_AT = 20


def build_drift_sensor(settings: Settings, families: tuple[str, ...]) -> dg.SensorDefinition:
    """One forced training run for every family whose newest report is above the threshold, once for each cause."""
    threshold = settings.file.performance_thresholds.drift_alert_threshold
    cooldown = timedelta(hours=settings.file.monitoring.retraining_cooldown_hours)

    @dg.sensor(
        name="drift_sensor",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        job_name=TRAINING_JOB,
        description="Requests retraining of families whose newest drift report is above the threshold.",
    )
    def drift_sensor(
        context: dg.SensorEvaluationContext, issue_tracker: IssueTrackerResource
    ) -> dg.SensorResult | dg.SkipReason:
        instance, now = context.instance, utc_now()
        reports = [report for family in families if (report := newest_report(instance, family)) is not None]
        situations = {
            report.family: situation_of(instance, settings, report.family)
            for report in reports
            if report.verdict == "drift"
        }
        # What the cursor held before this look: a preview in the UI looks too, and requests nothing.
        said = remarks(reports, context.cursor, now=now, threshold=threshold, cooldown=cooldown, situations=situations)
        requests, cursor = decide_retraining(
            reports, context.cursor, now=now, threshold=threshold, cooldown=cooldown, situations=situations
        )
        context.update_cursor(cursor)
        unsaid = ""
        try:
            for remark in said:
                problem = fingerprint("drift", DRIFT_REPORTS.record_name(remark.family), "drift")
                issue_tracker.open(settings).note(problem, remark.key, remark.text, ACTOR)
        except NethicalError as error:
            unsaid = f"; not commented: {error}"
        if not requests:
            seen = ", ".join(f"{report.family}: {report.verdict}" for report in reports) or "no drift report yet"
            why = " ".join(dict.fromkeys(f"{remark.family}: {remark.text}" for remark in said))
            return dg.SkipReason(f"no retraining is due ({seen}) {why}{unsaid}".strip())
        return dg.SensorResult(
            run_requests=[
                family_request(
                    context.repository_def,
                    settings,
                    request.family,
                    run_key=request.key,
                    trigger=TRIGGER,
                    reason=request.reason,
                    force=True,
                    drift_report=request.report,
                )
                for request in requests
            ]
        )

    return drift_sensor


def newest_report(instance: dg.DagsterInstance, family: str) -> NewestReport | None:
    """What the report of the family's newest window says, as it was judged last, or None.

    A window that is judged again is never the newest for that. Runs without a partition are about a window all the
    same; reports of older versions are about none and come before all that are.
    """
    key = asset_key(DRIFT_REPORTS, family)
    found = instance.fetch_materializations(key, limit=_UNPARTITIONED_LOOKED_AT).records
    records = [record for record in found if record.partition_key is None]
    # Keys of windows are sorted as windows are.
    newest = max(instance.get_materialized_partitions(key), default=None)
    if newest is not None:
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[newest])
        records += instance.fetch_materializations(wanted, limit=1).records
    reports = [
        (_shown(made, "window_start"), record.storage_id, made)
        for record in records
        if (made := record.asset_materialization) is not None
    ]
    if not reports:
        return None
    _, _, made = max(reports, key=lambda one: one[:2])
    score, model, cause = made.metadata.get("drift_score"), _shown(made, "model"), _shown(made, "cause")
    return NewestReport(
        family=family,
        digest=_shown(made, "digest"),
        verdict=_shown(made, "verdict"),
        score=None if score is None else float(score.value),  # type: ignore[arg-type]
        model="" if model == "none" else model,
        window=_shown(made, "window"),
        cause="" if cause == "none" else cause,
    )


def _shown(made: dg.AssetMaterialization, name: str) -> str:
    """What a materialization shows by that name, as text; empty where it shows nothing."""
    return str(made.metadata[name].value) if name in made.metadata else ""


def situation_of(instance: dg.DagsterInstance, settings: Settings, family: str) -> Situation:
    """Champion, data, and the newest training because of drift, as the assets of the family say."""
    releases = _releases(instance, family)
    champion = releases[0][1].champion if releases else ""
    data = data_version(instance, settings, family)
    for record, release in releases:
        run = instance.get_run_by_id(record.run_id)
        if run is not None and run.tags.get(TRIGGER_TAG) == TRIGGER:
            verdict = "unchanged" if release.is_same_model else release.verdict
            return Situation(champion, data, datetime.fromtimestamp(record.timestamp, UTC), verdict)
    return Situation(champion, data)


def data_version(instance: dg.DagsterInstance, settings: Settings, family: str) -> str:
    """A digest of the data versions of the family's raw datasets and of its joined dataset."""
    versions = {}
    for key in family_assets(settings, family):
        if key.path[0] in (RAW.name, DATASETS.name):
            event = instance.get_latest_materialization_event(key)
            made = event.asset_materialization if event is not None else None
            versions[key.to_user_string()] = (made.tags or {}).get(_DATA_VERSION_TAG, "") if made is not None else ""
    return digest_json(versions)


def _releases(instance: dg.DagsterInstance, family: str) -> list[tuple[dg.EventLogRecord, Release]]:
    """The newest decisions about a family, newest first."""
    records = instance.fetch_materializations(asset_key(RELEASES, family), limit=_REMEMBERED_RELEASES).records
    return [(record, Release.of(made)) for record in records if (made := record.asset_materialization) is not None]
