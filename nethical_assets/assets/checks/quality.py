"""Quality checks of raw and canonical datasets.

What belongs here: one check a rule, with its numbers and its table of failing columns. What does not: the rules
(``core.quality``, ``core.governance``). Values from the data never appear.
"""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from nethical_assets.assets.factory import asset_key, enter_events, expected_failures
from nethical_assets.assets.presentation import meaning, table
from nethical_assets.core.quality.checks import CheckOutcome, checks_of, stopping, stops
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.checking import CHECKED
from nethical_assets.stages.fetching import RAW
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Stage

_UNDECIDED = {"status": "undecided", "verdict": "needs_more_data"}


def build_raw_checks(entry: DatasetEntry, settings: Settings) -> dg.AssetChecksDefinition:
    """The checks of ``raw/<name>``; those that the settings name stop the families that read it when they fail."""
    key = asset_key(RAW, entry.name)
    used = bool(entry.families or entry.evaluation_families)
    specs = _specs(key, RAW, settings, used=used)

    @dg.multi_asset_check(name=_step(key), specs=specs, can_subset=True)
    def raw_checks(
        context: dg.AssetCheckExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> Iterator[dg.AssetCheckResult]:
        from nethical_assets.stages.checking import assess_raw

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        outcomes = _assessed(context, workspace, lambda: assess_raw(workspace, entry))
        yield from _results(context, key, specs, outcomes)
        if used:
            _stop(settings, key, RAW, outcomes)

    return raw_checks


def build_dataset_checks(family: str, settings: Settings) -> dg.AssetChecksDefinition:
    """The checks of ``datasets/<family>``; those that the settings name stop the family when they fail."""
    key = asset_key(DATASETS, family)
    specs = _specs(key, DATASETS, settings)

    @dg.multi_asset_check(name=_step(key), specs=specs, can_subset=True, pool=family)
    def dataset_checks(
        context: dg.AssetCheckExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> Iterator[dg.AssetCheckResult]:
        from nethical_assets.stages.checking import assess_family

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        outcomes = _assessed(context, workspace, lambda: assess_family(workspace, family))
        yield from _results(context, key, specs, outcomes)
        _stop(settings, key, DATASETS, outcomes)

    return dataset_checks


def build_split_checks(family: str, settings: Settings) -> dg.AssetChecksDefinition:
    """The checks of ``splits/<family>``; those that the settings name stop the family when they fail."""
    key = asset_key(SPLITS, family)
    specs = _specs(key, SPLITS, settings)

    @dg.multi_asset_check(name=_step(key), specs=specs, can_subset=True, pool=family)
    def split_checks(
        context: dg.AssetCheckExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> Iterator[dg.AssetCheckResult]:
        from nethical_assets.stages.checking import assess_splits

        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        outcomes = _assessed(context, workspace, lambda: assess_splits(workspace, family))
        yield from _results(context, key, specs, outcomes)
        _stop(settings, key, SPLITS, outcomes)

    return split_checks


def _assessed(
    context: dg.AssetCheckExecutionContext, workspace: Workspace, assess: Callable[[], tuple[CheckOutcome, ...]]
) -> tuple[CheckOutcome, ...]:
    """The outcomes, with what they are known by in the log."""
    with expected_failures():
        outcomes = assess()
        enter_events(context.run, context.instance, workspace)
    return outcomes


def _step(key: dg.AssetKey) -> str:
    return "__".join(["check", *key.path])


def _specs(key: dg.AssetKey, checked: Stage, settings: Settings, *, used: bool = True) -> list[dg.AssetCheckSpec]:
    """The specs; a table that no family reads has nothing to stop."""
    blocking = settings.file.datasets.blocking_checks if used else ()
    return [
        dg.AssetCheckSpec(
            name, asset=key, description=meaning(kind.description), blocking=stops(name, CHECKED[checked], blocking)
        )
        for name, kind in checks_of(CHECKED[checked]).items()
    ]


def _stop(settings: Settings, key: dg.AssetKey, checked: Stage, outcomes: Sequence[CheckOutcome]) -> None:
    """Fail the step where a check that the settings name did not pass, so that nothing after the table runs."""
    for failed in stopping(outcomes, CHECKED[checked], settings.file.datasets.blocking_checks):
        raise dg.Failure(
            f"{key.to_user_string()}: blocking check {failed.name} failed: {failed.message}; {failed.advice}",
            allow_retries=False,
        )


def _results(
    context: dg.AssetCheckExecutionContext,
    key: dg.AssetKey,
    specs: Sequence[dg.AssetCheckSpec],
    outcomes: Sequence[CheckOutcome],
) -> Iterator[dg.AssetCheckResult]:
    """One result an outcome; a check that had nothing to look at has no outcome and gives no result.

    Only where it would stop families, it says so: it is undecided then, and stops nothing.
    """
    known = {outcome.name for outcome in outcomes}
    for spec in specs:
        if spec.blocking and spec.name not in known and spec.key in context.selected_asset_check_keys:
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=spec.name,
                passed=False,
                severity=dg.AssetCheckSeverity.WARN,
                description="there was nothing to look at",
                metadata=_UNDECIDED,
            )
    for outcome in outcomes:
        if dg.AssetCheckKey(key, outcome.name) not in context.selected_asset_check_keys:
            continue
        failing = {"failing": table(outcome.failures)} if outcome.failures else {}
        advice = {} if outcome.status == "pass" else {"what_to_do": outcome.advice}
        if outcome.failing_since:
            advice["failing_since"] = outcome.failing_since
        if outcome.example_rows:
            advice["example_rows"] = ", ".join(map(str, outcome.example_rows))
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=outcome.name,
            passed=outcome.status == "pass",
            severity=dg.AssetCheckSeverity.ERROR if outcome.status == "fail" else dg.AssetCheckSeverity.WARN,
            description=outcome.message,
            metadata={
                "status": outcome.status,
                **outcome.numbers,
                **failing,
                **advice,
                **(_UNDECIDED if outcome.undecided else {}),
            },
        )
