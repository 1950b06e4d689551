"""Assets from stage declarations: one factory for the whole graph.

What belongs here: keys, dependencies and metadata of the asset of a stage, and what every stage's execution has in
    common. What does not: any stage's own work (``stages``), or its checks (``assets.checks``)."""

import contextlib
from collections.abc import Iterator, Sequence

import dagster as dg

from nethical_assets.assets.presentation import present
from nethical_assets.assets.roots import witness_root
from nethical_assets.core.drift.windows import KEY_FORMAT, Window
from nethical_assets.core.ground.errors import NethicalError, SettingsError
from nethical_assets.core.ground.unexpected import describe_unexpected, may_quote_data
from nethical_assets.home.settings import Settings
from nethical_assets.home.watched_windows import first_window
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace
from nethical_assets.stages.graph import STAGES, dependencies_digest
from nethical_assets.stages.sealing import seal_step
from nethical_assets.stages.stage import PLATFORM, Stage, carry_out
from nethical_assets.stages.training import MODELS

DEPENDS_ON = "depends_on"
"""Under which name a model's metadata says what, beside data, it depends on."""


def asset_key(stage: Stage, subject: str = PLATFORM) -> dg.AssetKey:
    """The key of the asset that a stage makes of a subject."""
    return dg.AssetKey([stage.name] if stage.scope == "platform" else [stage.name, subject])


def stage_of(key: dg.AssetKey) -> tuple[str, str]:
    """The name of the stage and the subject that an asset is of, as progress is told."""
    return key.path[0], key.path[1] if len(key.path) > 1 else PLATFORM


def subjects_of(stage: Stage, settings: Settings, families: Sequence[str]) -> tuple[str, ...]:
    """What a stage is carried out for."""
    if stage.scope == "dataset":
        return tuple(entry.name for entry in settings.catalog.dataset)
    return tuple(families) if stage.scope == "family" else (PLATFORM,)


def window_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """The windows of the watch, in UTC, from the beginning of the home to the one that now is in, which can be judged
    before it ends."""
    hours = settings.file.monitoring.drift_interval_hours
    return dg.TimeWindowPartitionsDefinition(
        start=first_window(settings.home, hours, utc_now()).start,
        fmt=KEY_FORMAT,
        cron_schedule=window_cron(settings),
        timezone="UTC",
        end_offset=1,
    )


def window_cron(settings: Settings) -> str:
    """When the windows of the watch begin and end."""
    hours = settings.file.monitoring.drift_interval_hours
    return "0 0 * * *" if hours == 24 else f"0 */{hours} * * *"


def build_stage_asset(stage: Stage, subject: str, settings: Settings, families: Sequence[str]) -> dg.AssetsDefinition:
    """The asset of one stage and subject."""
    handed = [
        (needed, source) for needed in stage.needs for source in _sources(needed, stage, subject, settings, families)
    ]
    followed = [
        (needed, source) for needed in stage.follows for source in _sources(needed, stage, subject, settings, families)
    ]
    description = stage.description if isinstance(stage.description, str) else stage.description(settings, subject)
    age = None if stage.fresh_for is None else stage.fresh_for(settings)

    @dg.asset(
        key=asset_key(stage, subject),
        # Records are read by the step itself: as inputs, each would be two events, and a third for what is made.
        deps=[asset_key(needed, source) for needed, source in (*handed, *followed)],
        group_name=stage.group or stage.name,
        owners=[stage.owner],
        kinds=set(stage.kinds),
        description=description,
        tags={"nethical/stage": stage.name, "nethical/subject": subject},
        # Two runs of a family never interleave: the queue keeps the second one waiting.
        pool=subject if stage.scope == "family" else None,
        partitions_def=window_partitions(settings) if stage.in_windows else None,
        freshness_policy=None
        if age is None
        else dg.FreshnessPolicy.time_window(fail_window=age, warn_window=age * 0.8),
    )
    def stage_asset(
        context: dg.AssetExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> dg.MaterializeResult[None]:
        with expected_failures():
            workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
            if stage.scope == "family":
                workspace.hold_family(subject, said=context.log.warning)
            records = [workspace.records.load(needed.name, source, context.run.run_id) for needed, source in handed]
            window = _window(context, settings) if stage.in_windows else None
            record = carry_out(stage, workspace, subject, records, window=window)
            shown = present(stage.shows(workspace, record))
            if stage is MODELS:
                shown[DEPENDS_ON] = dependencies_digest(workspace, subject)
            if not stage.ends_run:
                workspace.records.publish(record, context.run.run_id)
                shown |= {"digest": record.output, "reused": record.reused}
                enter_events(context.run, context.instance, workspace)
        return dg.MaterializeResult(data_version=dg.DataVersion(record.output), metadata=shown)

    return stage_asset


def _window(context: dg.AssetExecutionContext, settings: Settings) -> Window:
    """The window that a run is asked to judge; one that names none judges the window that now is in, and says so.

    Raises:
        DatasetError: the partition is no window.
        SettingsError: the run is asked for several at once.
    """
    hours = settings.file.monitoring.drift_interval_hours
    if context.has_partition_key:
        return Window.from_key(context.partition_key, hours)
    if context.has_partition_key_range:
        raise SettingsError("a run judges one window; launch one run for each partition")
    window = Window.at(utc_now(), hours)
    context.log.info(f"no partition was named: the window that began at {window.key} UTC is judged, as far as it is")
    return window


def enter_events(run: dg.DagsterRun, instance: dg.DagsterInstance, workspace: Workspace) -> None:
    """Enter what a step recorded into the log, where its run was asked for assets none of which does that for all, or
    the one that does it was among the first.

    Left to the next run, it would look like the remains of one that was interrupted.
    """
    entering = [asset_key(one) for one in STAGES if one.scope == "platform" and (one.ends_run or one.seals)]
    steps, selected = run.step_keys_to_execute, run.asset_selection
    if steps is not None:
        later = any(key.to_python_identifier() in steps for key in entering)
    else:
        later = selected is None or any(key in selected for key in entering)
    if workspace.sealed or not later:
        seal_step(workspace)
        witness_root(instance, workspace.home)


def _sources(needed: Stage, stage: Stage, subject: str, settings: Settings, families: Sequence[str]) -> tuple[str, ...]:
    """The subjects of a needed stage: its own, or every dataset of a family, or everything there is."""
    if needed.scope == stage.scope:
        return (subject,)
    if needed.scope == "dataset" and stage.scope == "family":
        return tuple(entry.name for entry in settings.catalog.for_family(subject))
    return subjects_of(needed, settings, families)


@contextlib.contextmanager
def expected_failures() -> Iterator[None]:
    """Show an expected error as a step failure with its one line; trying again would not help. Of any other only its
    kind and place are shown and kept, for its words may quote data."""
    try:
        yield
    except NethicalError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    except (dg.Failure, dg.RetryRequested, dg.DagsterError):
        raise
    except Exception as error:
        if not may_quote_data(error):
            raise
        raise dg.Failure(description=describe_unexpected(error)) from None
