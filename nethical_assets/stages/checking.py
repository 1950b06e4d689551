"""The stages of validation: every check of raw and canonical datasets and of splits, and the report over all of them.

What belongs here: what each check is given, and what is remembered of it. What does not: thresholds and rules
(``core.quality``, ``core.governance``), or which rows content checks compare (``content_checks``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.detectors.registry import family_names
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.home.progress import stage as announced
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.fetching import RAW, SNAPSHOT
from nethical_assets.stages.shown import Markdown, Shown, Table
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Plan, Result, Stage, Work, carry_out

if TYPE_CHECKING:
    from nethical_assets.core.datasets.snapshots import Snapshot
    from nethical_assets.core.quality.checks import CheckOutcome, Subject
    from nethical_assets.core.quality.declarations import QualityThresholds
    from nethical_assets.core.quality.report import DatasetReport
    from nethical_assets.core.rows.catalog import DatasetEntry
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace
    from nethical_assets.stages.content_checks import Groups

_PROGRESS = "checks"
CHECKED: Mapping[Stage, Subject] = {RAW: "delivered", DATASETS: "canonical", SPLITS: "divided"}
"""By which name the declarations of checks know the tables of a stage."""
_NOT_MEASURED = ("refresh_interval_days", "newest_record_days_max", "backups_kept", "blocking_checks")


def assess_raw(workspace: Workspace, entry: DatasetEntry) -> tuple[CheckOutcome, ...]:
    """Every check of one raw dataset; one that cannot be had is only reported as not available."""
    from nethical_assets.core.datasets.availability import advice_for
    from nethical_assets.core.quality.availability import raw_availability
    from nethical_assets.core.quality.checks import CheckOutcome
    from nethical_assets.core.quality.declarations import freshness, licence_known, newest_record

    record = _record(workspace, RAW, entry.name)
    if record is None or SNAPSHOT not in record.objects:
        available = raw_availability(entry.name, None if record is None else record.facts)
        return _dated(workspace, RAW, entry.name, [available])
    with announced(_PROGRESS, record.name):
        snapshot = _snapshot(workspace, record)
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


def _check_raw(work: Work) -> Result:
    from nethical_assets.core.datasets.raw_rows import effective_entry, snapshot_frame
    from nethical_assets.core.governance.records import reading_of
    from nethical_assets.core.quality.declarations import assess, raw_schema
    from nethical_assets.core.quality.personal_data import personal_data_outcome
    from nethical_assets.stages.content_checks import newest_moment, raw_content

    workspace, record = work.workspace, work.of(RAW)
    entry, snapshot = workspace.settings.catalog.entry(work.subject), _snapshot(workspace, record)
    understood = effective_entry(entry, snapshot)
    previous, returned = _previous(workspace, snapshot)
    frame = snapshot_frame(workspace.snapshots, entry, snapshot)
    labelled = "_label" in frame
    contents = [name for name in frame.columns if name not in ("_label", "_file")]
    outcomes = assess(
        frame,
        raw_schema(understood) if labelled else raw_schema(understood).remove_columns(["_label"]),
        _thresholds(workspace),
        label="_label" if labelled else None,
        identity=list(understood.identity_columns) or contents,
        required=understood.read_columns(),
        part_column="_file",
    )
    readings = {str(name): reading_of(understood, str(name)) for name in contents}
    personal = personal_data_outcome(frame, readings, workspace.screener)
    content = raw_content(workspace, understood, frame, previous, returned=returned)
    return _checked(workspace, [*outcomes, personal, *content], newest=newest_moment(understood, frame))


def _plan_raw(work: Work) -> Plan:
    from nethical_assets.core.datasets.raw_rows import effective_entry

    workspace = work.workspace
    entry, snapshot = workspace.settings.catalog.entry(work.subject), _snapshot(workspace, work.of(RAW))
    previous, returned = _previous(workspace, snapshot)
    understood = effective_entry(entry, snapshot).model_dump(mode="json")
    materials = {} if previous is None else {"previous snapshot": previous.digest}
    return _plan(workspace, {"entry": understood, "returned": returned}, materials)


def _check_dataset(work: Work) -> Result:
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.governance.frames import canonical_readings
    from nethical_assets.core.ground.parquet import get_table
    from nethical_assets.core.quality.declarations import assess, canonical_schema
    from nethical_assets.core.quality.personal_data import personal_data_outcome
    from nethical_assets.stages.content_checks import family_content

    workspace, record = work.workspace, work.of(DATASETS)
    spec, columns = load_family(work.subject), record.facts["input_columns"]
    frame = get_table(workspace.objects, record.output)
    outcomes = assess(
        frame.drop(columns=["time"]),
        canonical_schema(spec, columns),
        _thresholds(workspace),
        label="label",
        identity=["row_id"],
        required=["row_id", "label", "source", *columns],
    )
    # Records of older versions do not say what was masked: nothing was.
    readings, masked = canonical_readings(frame, spec.kind), record.facts.get("screening")
    personal = personal_data_outcome(frame, readings, workspace.screener, masked)
    content = family_content(workspace, spec, record, frame, _groups(workspace, record))
    return _checked(workspace, [*outcomes, personal, *content])


def _check_splits(work: Work) -> Result:
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.ground.parquet import get_table
    from nethical_assets.stages.content_checks import split_content

    workspace = work.workspace
    frame = get_table(workspace.objects, work.of(SPLITS).output)
    found = _groups(workspace, work.of(DATASETS))
    return _checked(workspace, [split_content(workspace, load_family(work.subject), frame, found)])


def _checked(workspace: Workspace, outcomes: Sequence[CheckOutcome], **facts: Any) -> Result:
    document = {"outcomes": [outcome.to_json() for outcome in outcomes], **facts}
    return Result(workspace.objects.put(pretty_json(document)), facts=document)


def _groups(workspace: Workspace, record: StageRecord) -> Groups | None:
    """The near-duplicates of a canonical dataset; None where the family reads no text."""
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.ground.parquet import get_table
    from nethical_assets.core.quality.near_duplicates import NearDuplicates

    if not load_family(record.subject).text_columns:
        return None
    found = carry_out(NEAR_DUPLICATES, workspace, record.subject, [record], quietly=True)
    table = get_table(workspace.objects, found.output)
    groups = NearDuplicates(found.facts["rows"], table["position"].to_numpy(), table["group"].to_numpy())
    return table["row_id"], groups


def _group(work: Work) -> Result:
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.ground.parquet import get_table, put_table
    from nethical_assets.core.quality.near_duplicates import group_near_duplicates

    objects = work.workspace.objects
    frame = get_table(objects, work.of(DATASETS).output)
    found = group_near_duplicates(frame[load_family(work.subject).text_columns[0]])
    table = frame[["row_id"]].iloc[found.compared].assign(position=found.compared, group=found.group)
    stored = put_table(objects, table)
    return Result(stored, {"groups": stored}, {"rows": found.rows})


def _plan(workspace: Workspace, parameters: Mapping[str, Any], materials: Mapping[str, str] | None = None) -> Plan:
    settings = workspace.settings.file
    return Plan(
        {
            **parameters,
            "thresholds": settings.datasets.model_dump(mode="json", exclude=set(_NOT_MEASURED)),
            "drift_threshold": settings.performance_thresholds.drift_alert_threshold,
            "monitoring": settings.monitoring.model_dump(mode="json"),
        },
        {**(materials or {}), "ruleset": workspace.ruleset.digest},
    )


def _quality(name: str, checked: Stage, run: Callable[[Work], Result], plan: Callable[[Work], Plan]) -> Stage:
    """The part of a stage's checks that is worth remembering."""
    return Stage(
        name=name,
        scope=checked.scope,
        description=f"What the checks of {checked.name} measured.",
        owner="team:data-stewards",
        needs=(checked,) if checked is not SPLITS else (SPLITS, DATASETS),
        run=run,
        plan=plan,
        of_family=checked.scope == "family",
        in_cycle=False,
        in_graph=False,
    )


NEAR_DUPLICATES = Stage(
    name="near_duplicates",
    scope="family",
    description="Groups of nearly equal texts of a canonical dataset, for the checks that ask for them.",
    owner="team:data-stewards",
    needs=(DATASETS,),
    run=_group,
    in_cycle=False,
    in_graph=False,
)
QUALITY_OF_RAW = _quality("quality_of_raw", RAW, _check_raw, _plan_raw)
QUALITY_OF_DATASETS = _quality(
    "quality_of_datasets",
    DATASETS,
    _check_dataset,
    lambda work: _plan(
        work.workspace,
        {
            "overlap": work.of(DATASETS).facts.get("source_overlap", []),
            "screening": work.of(DATASETS).facts.get("screening"),
        },
    ),
)
QUALITY_OF_SPLITS = _quality("quality_of_splits", SPLITS, _check_splits, lambda work: _plan(work.workspace, {}))
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


def _snapshot(workspace: Workspace, record: StageRecord) -> Snapshot:
    from nethical_assets.core.datasets.raw_rows import find_snapshot

    return find_snapshot(workspace.snapshots, record.subject, record.objects[SNAPSHOT])


def _previous(workspace: Workspace, snapshot: Snapshot) -> tuple[Snapshot | None, bool]:
    """The snapshot that was the newest when the content of ``snapshot`` was first fetched, or None; and whether the
    dataset had other content since then.

    Going back to content that was there before is no change of the distribution.
    """
    history = enumerate(workspace.snapshots.history(snapshot.name))
    dated = sorted(((one.fetched_at, number), one) for number, one in history)
    first = next((number for number, (_, one) in enumerate(dated) if one.digest == snapshot.digest), len(dated))
    since = any(one.digest != snapshot.digest for _, one in dated[first:])
    return (dated[first - 1][1] if first else None), since


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


def _thresholds(workspace: Workspace) -> QualityThresholds:
    from nethical_assets.core.quality.declarations import QualityThresholds

    datasets = workspace.settings.file.datasets
    return QualityThresholds(
        minimum_samples=datasets.minimum_samples,
        missing_share_max=datasets.missing_share_max,
        minority_share_min=datasets.minority_share_min,
        duplicate_share_max=datasets.duplicate_share_max,
    )


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
