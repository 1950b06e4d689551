"""The part of a stage's checks that is remembered: what they measured of one raw or canonical dataset, or of splits.

What belongs here: what each check is given, and on what its result depends. What does not: thresholds and rules
(``core.quality``, ``core.governance``), which rows content checks compare (``content_checks``), or what is said of a
result that depends on the time, such as whether data are fresh (``checking``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.stages.canonical import DATASETS
from nethical_assets.stages.fetching import RAW, SNAPSHOT
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Plan, Result, Stage, Work, carry_out

if TYPE_CHECKING:
    from nethical_assets.core.datasets.snapshots import Snapshot
    from nethical_assets.core.quality.checks import CheckOutcome
    from nethical_assets.core.quality.declarations import QualityThresholds
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace
    from nethical_assets.stages.content_checks import Groups


_NOT_MEASURED = ("refresh_interval_days", "newest_record_days_max", "backups_kept", "blocking_checks")


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
    protected = record.facts.get("protected")
    personal = personal_data_outcome(frame, readings, workspace.screener, masked, protected)
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
            "protected": work.of(DATASETS).facts.get("protected"),
        },
    ),
)


QUALITY_OF_SPLITS = _quality("quality_of_splits", SPLITS, _check_splits, lambda work: _plan(work.workspace, {}))


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


def _thresholds(workspace: Workspace) -> QualityThresholds:
    from nethical_assets.core.quality.declarations import QualityThresholds

    datasets = workspace.settings.file.datasets
    return QualityThresholds(
        minimum_samples=datasets.minimum_samples,
        missing_share_max=datasets.missing_share_max,
        minority_share_min=datasets.minority_share_min,
        duplicate_share_max=datasets.duplicate_share_max,
    )
