"""Checks of decisions: the release gate, the comparison with the champion, the watch, and the audit log.

What belongs here: showing a decision that was already taken as a check. What does not: taking it.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from nethical_assets.assets.factory import asset_key, expected_failures
from nethical_assets.assets.presentation import bullet_list, meaning, table
from nethical_assets.core.alerts.checks import HIGH_PRIORITY, REPLACED, advice_of
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.release_checks import champion_check, regression_verdict, watch_of
from nethical_assets.core.drift.watch_checks import CHECKS, WatchCheck, watch_checks
from nethical_assets.core.drift.windows import KEY_FORMAT
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace
from nethical_assets.stages.carding import MODEL_CARDS
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.sealing import AUDIT_ROOTS
from nethical_assets.stages.training import MODELS
from nethical_assets.stages.watching import DRIFT_REPORTS

_RECONCILED_EVENTS = 100
_UNDECIDED = "needs_more_data"


def build_release_checks(family: str, settings: Settings) -> dg.AssetChecksDefinition:
    """``gate``, ``regression`` and ``champion`` of ``releases/<family>``: one step, as all show the same record."""
    key = asset_key(RELEASES, family)

    @dg.multi_asset_check(
        name=f"{RELEASES.name}__{family}__checks",
        specs=[
            dg.AssetCheckSpec(
                "gate", asset=key, description=meaning("Accuracy and calibration error are good enough to be promoted.")
            ),
            dg.AssetCheckSpec(
                "regression", asset=key, description=meaning("Not worse than the champion on the same test rows.")
            ),
            dg.AssetCheckSpec(
                "champion",
                asset=key,
                description=meaning("The champion has not fallen on newly labelled rows since it was released."),
            ),
        ],
        can_subset=True,
        pool=family,
    )
    def release_checks(
        context: dg.AssetCheckExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> Iterator[dg.AssetCheckResult]:
        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            facts = workspace.records.load(RELEASES.name, family, context.run.run_id).facts
        for result in (_gate(facts), _regression(facts), _champion(facts)):
            if dg.AssetCheckKey(key, str(result.check_name)) in context.selected_asset_check_keys:
                yield result

    return release_checks


def _gate(facts: Mapping[str, Any]) -> dg.AssetCheckResult:
    decision = facts["gate"]
    return _decision_result("gate", decision, passed=decision["verdict"] == "pass", numbers={})


def _regression(facts: Mapping[str, Any]) -> dg.AssetCheckResult:
    verdict = regression_verdict(facts)
    decision = facts["regression"]
    if verdict == "undecided":
        decision = {**decision, "verdict": _UNDECIDED}
    numbers = {HIGH_PRIORITY: facts["high_priority"]}
    return _decision_result("regression", decision, passed=verdict == "passed", numbers=numbers)


def _champion(facts: Mapping[str, Any]) -> dg.AssetCheckResult:
    check = champion_check(facts)
    watch = watch_of(facts)
    numbers = {name: watch.get(name) for name in ("recorded", "recorded_rows", "now", "rows", "drop", "limit")}
    failed = {HIGH_PRIORITY: True, **({REPLACED: True} if check.replaced else {})}
    said = "held" if check.verdict == "passed" else "fell" if check.verdict == "failed" else _UNDECIDED
    # A champion that is one no more is nothing to act on now.
    stands = check.verdict == "failed" and not check.replaced
    return dg.AssetCheckResult(
        check_name="champion",
        passed=check.verdict == "passed",
        severity=dg.AssetCheckSeverity.ERROR if stands else dg.AssetCheckSeverity.WARN,
        description=check.reason,
        metadata={
            "verdict": said,
            **{name: number for name, number in numbers.items() if number is not None},
            **(failed if check.verdict == "failed" else {}),
            **_advice("champion", passed=not stands),
        },
    )


def build_watch_checks(family: str, settings: Settings) -> dg.AssetChecksDefinition:
    """``drift``, ``accuracy`` and ``calibration`` of ``drift_reports/<family>``: one step, as all show the same report.
    What could not tell is a warning, never a pass."""
    key = asset_key(DRIFT_REPORTS, family)

    @dg.multi_asset_check(
        name=f"{DRIFT_REPORTS.name}__{family}__checks",
        specs=[dg.AssetCheckSpec(name, asset=key, description=meaning(holds)) for name, holds in CHECKS.items()],
        can_subset=True,
        pool=family,
    )
    def watch_checks_of_family(
        context: dg.AssetCheckExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> Iterator[dg.AssetCheckResult]:
        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            facts = workspace.records.load(DRIFT_REPORTS.name, family, context.run.run_id).facts
            found = watch_checks(facts)
        newest = _newest_window(context.instance, key)
        for check in found:
            if dg.AssetCheckKey(key, check.name) in context.selected_asset_check_keys:
                yield _watch_result(check, facts, newest)

    return watch_checks_of_family


def _newest_window(instance: dg.DagsterInstance, key: dg.AssetKey) -> tuple[str, str]:
    """The key of the newest window that has a report, and the report's verdict; both empty where there is none."""
    newest = max(instance.get_materialized_partitions(key), default="")
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[newest])
    for record in instance.fetch_materializations(wanted, limit=1).records if newest else ():
        if (made := record.asset_materialization) is not None and "verdict" in made.metadata:
            return newest, str(made.metadata["verdict"].value).replace("_", " ")
    return "", ""


def _watch_result(check: WatchCheck, facts: Mapping[str, Any], newest: tuple[str, str]) -> dg.AssetCheckResult:
    """The result; Dagster shows the one evaluated last, of whatever window: so it says itself which it is about."""
    undecided = check.verdict == "undecided"
    key = datetime.fromisoformat(facts["window"]["start"]).astimezone(UTC).strftime(KEY_FORMAT)
    about, later = f"Window from {key} UTC: {check.reason}", {}
    if newest[0] > key:
        said = f"the newest window is the one from {newest[0]} UTC, whose report says {newest[1]}"
        about = f"An OLDER window, from {key} UTC, was judged again ({said}): {check.reason}"
        later = {"newest_window": newest[0], "newest_window_verdict": newest[1]}
    return dg.AssetCheckResult(
        check_name=check.name,
        passed=check.verdict == "passed",
        severity=dg.AssetCheckSeverity.WARN if undecided else dg.AssetCheckSeverity.ERROR,
        description=about,
        metadata={
            "verdict": _UNDECIDED if undecided else check.verdict,
            "report_verdict": facts["verdict"],
            **later,
            "window_end": facts["window"]["end"],
            "rows": facts["rows"],
            "labelled_rows": facts["labelled_rows"],
            **check.numbers,
            **({HIGH_PRIORITY: True} if check.high_priority else {}),
            **_advice(check.name, passed=check.verdict != "failed"),
        },
    )


def build_audit_check(settings: Settings) -> dg.AssetChecksDefinition:
    """``log_verifies`` of ``audit_roots``: everything recomputed from disk."""

    @dg.asset_check(
        asset=asset_key(AUDIT_ROOTS),
        name="log_verifies",
        description=meaning("Every entry, tile, root, signature and payload on disk agrees with every other."),
        blocking=True,
    )
    def log_verifies(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from nethical_assets.assets.roots import roots_of
        from nethical_assets.operations.verification import verify

        with expected_failures():
            report = verify(settings, known_roots=roots_of(context.instance), with_alerts=False)
        return dg.AssetCheckResult(
            passed=report["ok"],
            description=f"{report['size']} leaves verified" if report["ok"] else report["problems"][0],
            metadata={
                "size": report["size"],
                "root": report["root"] or "",
                "problems": table([{"problem": problem} for problem in report["problems"]]),
                **_advice("log_verifies", passed=report["ok"]),
            },
        )

    return log_verifies


def build_reconciliation_check(families: Sequence[str], settings: Settings) -> dg.AssetChecksDefinition:
    """``events_reconciled`` of ``audit_roots``: what Dagster saw happen is in the log."""

    @dg.asset_check(
        asset=asset_key(AUDIT_ROOTS),
        name="events_reconciled",
        description=meaning(
            "Every model and card that Dagster's own event log says was made has its event in the audit log."
        ),
    )
    def events_reconciled(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        from nethical_assets.operations.verification import reconcile_facts

        # Runs of older versions said another digest of a model's record; the model's own is there in every version.
        facts = [
            (event.run_id, kind, str(event.asset_materialization.metadata[name].value))
            for family in families
            for stage, kind, name in (
                (MODELS, EventType.MODEL_TRAINED, "model"),
                (MODEL_CARDS, EventType.CARD_ISSUED, "digest"),
            )
            for event in context.instance.fetch_materializations(
                asset_key(stage, family), limit=_RECONCILED_EVENTS
            ).records
            if event.asset_materialization is not None and not event.asset_materialization.metadata["reused"].value
        ]
        with expected_failures():
            result = reconcile_facts(settings, facts)
        return dg.AssetCheckResult(
            passed=result.ok,
            description=f"{result.matched} events found" if result.ok else result.problems()[0],
            metadata={
                "matched": result.matched,
                "waiting": len(result.waiting),
                "omitted": table([{"problem": problem} for problem in result.problems()]),
                **_advice("events_reconciled", passed=result.ok),
            },
        )

    return events_reconciled


def _decision_result(
    check: str, decision: Mapping[str, Any], *, passed: bool, numbers: Mapping[str, bool]
) -> dg.AssetCheckResult:
    reasons: Sequence[str] = decision["reasons"]
    hold = decision["verdict"] == _UNDECIDED
    return dg.AssetCheckResult(
        check_name=check,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN if hold else dg.AssetCheckSeverity.ERROR,
        description="; ".join(reasons),
        metadata={
            "verdict": decision["verdict"],
            "reasons": bullet_list(reasons),
            **numbers,
            **_advice(check, passed=passed),
        },
    )


def _advice(check: str, *, passed: bool) -> dict[str, str]:
    return {} if passed else {"what_to_do": advice_of(check)}
