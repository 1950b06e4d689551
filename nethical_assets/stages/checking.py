"""The stages of validation: every check of raw and canonical datasets and of splits, and the report over all of them.

What belongs here: the outcomes of all checks of a table, and since when they fail. What does not: thresholds and rules
(``core.quality``, ``core.governance``), or what the checks measured, which is remembered (``measuring``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.home.progress import stage as announced
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.fetching import RAW, SNAPSHOT
from nethical_assets.stages.measuring import QUALITY_OF_DATASETS, QUALITY_OF_RAW, QUALITY_OF_SPLITS
from nethical_assets.stages.shown import Markdown, Shown, Table
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Plan, Result, Stage, Work, carry_out

if TYPE_CHECKING:
    from nethical_assets.core.datasets.snapshots import Snapshot
    from nethical_assets.core.quality.checks import CheckOutcome, Subject
    from nethical_assets.core.quality.report import DatasetReport
    from nethical_assets.core.rows.catalog import DatasetEntry
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

_PROGRESS = "checks"
CHECKED: Mapping[Stage, Subject] = {RAW: "delivered", DATASETS: "canonical", SPLITS: "divided"}
"""By which name the declarations of checks know the tables of a stage."""


def assess_raw(workspace: Workspace, entry: DatasetEntry) -> tuple[CheckOutcome, ...]:
    """Every check of one raw dataset; one that cannot be had is only reported as not available."""
    from nethical_assets.core.datasets.availability import advice_for
    from nethical_assets.core.datasets.raw_rows import find_snapshot
    from nethical_assets.core.quality.availability import raw_availability
    from nethical_assets.core.quality.checks import CheckOutcome
    from nethical_assets.core.quality.declarations import freshness, licence_known, newest_record

    record = _record(workspace, RAW, entry.name)
    if record is None or SNAPSHOT not in record.objects:
        available = raw_availability(entry.name, None if record is None else record.facts)
        return _dated(workspace, RAW, entry.name, [available])
    with announced(_PROGRESS, record.name):
        snapshot = find_snapshot(workspace.snapshots, entry.name, record.objects[SNAPSHOT])
        damage = _damage(workspace, snapshot)
        if damage:
            advice = advice_for(entry.name, "damaged")
            available = CheckOutcome("available", "fail", damage, {"cause": "damaged"}, what_to_do=advice)
            return _dated(workspace, RAW, entry.name, [available])
        found = carry_out(QUALITY_OF_RAW, workspace, entry.name, [record], quietly=True)
        limits, newest, now = workspace.settings.file.datasets, found.facts["newest"], workspace.now()
        outcomes = [
            raw_availability(entry.name, record.facts),
            *_outcomes(found),
            freshness(datetime.fromisoformat(snapshot.refreshed_at), now, limits.refresh_interval_days),
            licence_known(snapshot.licence),
        ]
        if newest is not None:
            outcomes.append(newest_record(datetime.fromisoformat(newest), now, limits.newest_record_days_max))
        _settle_restored(workspace, record, outcomes)
        return _dated(workspace, RAW, entry.name, outcomes)


def assess_family(workspace: Workspace, family: str) -> tuple[CheckOutcome, ...]:
    """Every check of one canonical dataset.

    Raises:
        DatasetError: it was never built.
    """
    from nethical_assets.core.quality.availability import family_availability

    record = _record(workspace, DATASETS, family)
    if record is None:
        raise DatasetError(f"{DATASETS.record_name(family)} was never built; run: nethical run --families {family}")
    with announced(_PROGRESS, record.name):
        found = carry_out(QUALITY_OF_DATASETS, workspace, family, [record], quietly=True)
        outcomes = [family_availability(record.facts), *_outcomes(found), *_oldest_source(workspace, record)]
        return _dated(workspace, DATASETS, family, outcomes)


def assess_splits(workspace: Workspace, family: str) -> tuple[CheckOutcome, ...]:
    """The check of what the splits of one family share.

    Raises:
        DatasetError: they were never assigned.
    """
    split, dataset = _record(workspace, SPLITS, family), _record(workspace, DATASETS, family)
    if split is None or dataset is None:
        raise DatasetError(f"{SPLITS.record_name(family)} were never assigned; run: nethical run --families {family}")
    with announced(_PROGRESS, split.name):
        found = carry_out(QUALITY_OF_SPLITS, workspace, family, [split, dataset], quietly=True)
        return _dated(workspace, SPLITS, family, _outcomes(found))


def family_reports(workspace: Workspace) -> list[DatasetReport]:
    """The canonical datasets and splits of the families that have been built, with the outcome of each check."""
    from nethical_assets.core.quality.report import DatasetReport

    found = []
    for family in family_names():
        if _record(workspace, DATASETS, family) is None:
            continue
        outcomes = assess_family(workspace, family)
        if _record(workspace, SPLITS, family) is not None:
            outcomes += assess_splits(workspace, family)
        found.append(DatasetReport(DATASETS.record_name(family), f"Records of the {family} family", outcomes))
    return found


def _validate(work: Work) -> Result:
    """The report over every dataset of the catalog: facts, and Markdown for people."""
    from nethical_assets.core.quality.report import DatasetReport, render_validation_report

    workspace = work.workspace
    reports = [
        DatasetReport(entry.name, entry.title, assess_raw(workspace, entry))
        for entry in workspace.settings.catalog.dataset
    ]
    reports += family_reports(workspace)
    counts = {
        shown: sum(outcome.status == status for report in reports for outcome in report.outcomes)
        for shown, status in (("passed", "pass"), ("warned", "warn"), ("failed", "fail"))
    }
    facts = {"counts": counts, "datasets": [report.to_row() for report in reports]}
    markdown = workspace.objects.put(render_validation_report(reports).encode())
    return Result(workspace.objects.put(pretty_json(facts)), {"report": markdown}, facts)


def _shown_validation(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    return {
        **record.facts["counts"],
        "report": Markdown(workspace.objects.get(record.objects["report"]).decode()),
        "datasets": Table(record.facts["datasets"]),
    }


DATASET_VALIDATION = Stage(
    name="dataset_validation",
    scope="platform",
    description="Every dataset of the catalog with the outcome of each of its checks, as one report.",
    owner="team:data-stewards",
    follows=(RAW,),
    run=_validate,
    plan=lambda work: Plan(lookup=False),
    event=EventType.DATA_VALIDATED,
    tells=lambda record: record.facts["counts"],
    shows=_shown_validation,
    kinds=frozenset({"pandera", "markdown"}),
    group="validation",
    in_cycle=False,
    seals=True,
)


def _record(workspace: Workspace, stage: Stage, subject: str) -> StageRecord | None:
    """The record of a stage in this run, or the newest."""
    try:
        return workspace.records.load(stage.name, subject, workspace.run_id)
    except IntegrityError:
        return None


def _outcomes(found: StageRecord) -> list[CheckOutcome]:
    from nethical_assets.core.quality.checks import CheckOutcome

    return [CheckOutcome.from_json(document) for document in found.facts["outcomes"]]


def _settle_restored(workspace: Workspace, record: StageRecord, outcomes: Sequence[CheckOutcome]) -> None:
    """Record that a restored snapshot was validated: it may be used from now on unless a blocking check fails."""
    from nethical_assets.core.quality.checks import stopping

    blocking = workspace.settings.file.datasets.blocking_checks
    stopped = stopping(outcomes, CHECKED[RAW], blocking)
    if workspace.evidence.waits_for_validation(record.name, record.output) and not stopped:
        workspace.record_event(
            EventType.DATA_VALIDATED,
            {record.name: record.output},
            payload={"restored": True, **{outcome.name: outcome.status for outcome in outcomes}},
        )


def _damage(workspace: Workspace, snapshot: Snapshot) -> str:
    """What is wrong with the stored bytes of a snapshot, whose checks may be known from before; nothing if intact."""
    try:
        workspace.snapshots.objects.get(snapshot.digest)
    except IntegrityError as error:
        return f"{error}: nethical data restore {snapshot.name}"
    return ""


def _dated(
    workspace: Workspace, stage: Stage, subject: str, outcomes: Sequence[CheckOutcome]
) -> tuple[CheckOutcome, ...]:
    from nethical_assets.core.quality.checks import enforced

    found = enforced(outcomes, CHECKED[stage], workspace.settings.file.datasets.blocking_checks)
    return workspace.validation_history.dated(stage.name, subject, found, workspace.now())


def _oldest_source(workspace: Workspace, record: StageRecord) -> list[CheckOutcome]:
    """Freshness of the source that was refreshed the longest ago; nothing for synthetic data."""
    from nethical_assets.core.quality.declarations import freshness

    prefix = RAW.record_name("")
    refreshed = [
        datetime.fromisoformat(snapshot.refreshed_at)
        for name in record.inputs
        if (snapshot := workspace.snapshots.latest(name.removeprefix(prefix))) is not None
    ]
    interval = workspace.settings.file.datasets.refresh_interval_days
    return [freshness(min(refreshed), workspace.now(), interval)] if refreshed else []
