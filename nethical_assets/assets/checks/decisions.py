"""Checks of decisions: the release gate, the comparison with the champion, drift, and the audit log.

What belongs here: showing a decision that was already taken as a check. What does not: taking it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from nethical_assets.assets.factory import asset_key, expected_failures
from nethical_assets.assets.presentation import bullet_list, meaning, table
from nethical_assets.core.alerts.checks import HIGH_PRIORITY, advice_of
from nethical_assets.core.audit.events import EventType
from nethical_assets.home.settings import Settings
from nethical_assets.resources.platform import CycleResource, DataSourcesResource, open_workspace
from nethical_assets.stages.carding import MODEL_CARDS
from nethical_assets.stages.releasing import RELEASES
from nethical_assets.stages.sealing import AUDIT_ROOTS
from nethical_assets.stages.training import MODELS
from nethical_assets.stages.watching import DRIFT_REPORTS

_RECONCILED_EVENTS = 100


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
    decision = facts["regression"]
    passed = decision["verdict"] in ("pass", "no_champion")
    return _decision_result("regression", decision, passed=passed, numbers={HIGH_PRIORITY: facts["high_priority"]})


def _champion(facts: Mapping[str, Any]) -> dg.AssetCheckResult:
    fell = facts.get("champion_fell")
    if fell is None:
        none = facts["regression"]["verdict"] == "no_champion"
        # Too few rows, or a champion of synthetic data, say nothing about a fall.
        said = "there was no champion to watch" if none else "nothing shows that the champion fell"
        return dg.AssetCheckResult(check_name="champion", passed=True, description=said)
    numbers = {name: fell[name] for name in ("recorded", "recorded_rows", "now", "rows", "drop", "limit")}
    return dg.AssetCheckResult(
        check_name="champion",
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=fell["reason"],
        metadata={"verdict": fell["verdict"], HIGH_PRIORITY: True, **numbers, **_advice("champion", passed=False)},
    )


def build_drift_check(family: str, settings: Settings) -> dg.AssetChecksDefinition:
    """``drift`` of ``drift_reports/<family>``: fails on drift; "needs more data" is a warning, never a pass."""

    @dg.asset_check(
        asset=asset_key(DRIFT_REPORTS, family),
        pool=family,
        name="drift",
        description=meaning("What the champion scores still looks like its reference window."),
    )
    def drift(
        context: dg.AssetCheckExecutionContext, data_sources: DataSourcesResource, cycle: CycleResource
    ) -> dg.AssetCheckResult:
        workspace = open_workspace(settings, context.run.run_id, data_sources, cycle)
        with expected_failures():
            facts = workspace.records.load(DRIFT_REPORTS.name, family, context.run.run_id).facts
        hold, stable = facts["verdict"] in ("needs_more_data", "hold"), facts["verdict"] == "stable"
        score = {} if facts["drift_score"] is None else {"drift_score": float(facts["drift_score"])}
        return dg.AssetCheckResult(
            passed=stable,
            severity=dg.AssetCheckSeverity.WARN if hold else dg.AssetCheckSeverity.ERROR,
            description="; ".join(facts["reasons"]),
            metadata={
                "verdict": facts["verdict"],
                "rows": facts["rows"],
                **score,
                **_advice("drift", passed=stable or hold),
            },
        )

    return drift


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
    hold = decision["verdict"] == "needs_more_data"
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
