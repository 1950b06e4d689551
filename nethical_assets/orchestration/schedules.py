"""Schedules: weekly training, weekly dataset validation, drift reports every few hours, weekly retention
of models, daily retention of runs.

What belongs here: when and with which run key. What does not: what a run does (``jobs``), or which windows are to be
judged (``watching``). All times are UTC.
"""

from collections.abc import Iterator

import dagster as dg

from nethical_assets.assets.requests import (
    RETENTION_JOB,
    RUN_RETENTION_JOB,
    TRAINING_JOB,
    VALIDATION_JOB,
    family_request,
)
from nethical_assets.home.settings import Settings
from nethical_assets.orchestration.watching import build_watch_schedule


def build_schedules(settings: Settings, families: tuple[str, ...]) -> list[dg.ScheduleDefinition]:
    """All schedules, running as soon as the daemon runs."""
    monitoring = settings.file.monitoring
    running = dg.DefaultScheduleStatus.RUNNING

    @dg.schedule(
        name="weekly_training",
        cron_schedule=settings.file.default_schedule,
        execution_timezone="UTC",
        default_status=running,
        job_name=TRAINING_JOB,
        description="One training run a family, so that one family's failure never stops another.",
    )
    def weekly_training(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        when = context.scheduled_execution_time.strftime("%Y-%m-%dT%H:%M")
        for family in families:
            yield family_request(
                context.repository_def, settings, family, run_key=f"weekly:{when}:{family}", trigger="weekly"
            )

    validation = dg.ScheduleDefinition(
        name="dataset_validation_schedule",
        cron_schedule=monitoring.validation_schedule,
        execution_timezone="UTC",
        default_status=running,
        job_name=VALIDATION_JOB,
        description="Refresh and validate every dataset.",
    )
    retention = dg.ScheduleDefinition(
        name="retention_schedule",
        cron_schedule=settings.file.model_retention.schedule,
        execution_timezone="UTC",
        default_status=running,
        job_name=RETENTION_JOB,
        description="Remove candidates that are older than the settings keep them.",
    )
    run_retention = dg.ScheduleDefinition(
        name="run_retention_schedule",
        cron_schedule=monitoring.run_retention_schedule,
        execution_timezone="UTC",
        default_status=running,
        job_name=RUN_RETENTION_JOB,
        description="Remove Dagster's records of runs that the settings keep no longer, and what killed ones left.",
    )
    return [weekly_training, validation, build_watch_schedule(settings, families), retention, run_retention]
