"""The validation stage: assessing raw and canonical datasets, and the report over all of them.

What belongs here: collecting what a check looks at. What does not: thresholds and rules (``core.datasets.quality``,
``core.governance``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.core.quality.checks import CheckOutcome
from nethical_assets.core.quality.declarations import (
    QualityThresholds,
    assess,
    canonical_schema,
    freshness,
    licence_known,
    newest_record,
    raw_schema,
)
from nethical_assets.core.quality.personal_data import personal_data_outcome
from nethical_assets.core.quality.report import DatasetReport, render_validation_report
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.home.progress import stage
from nethical_assets.home.records import StageOutput, StageRecord, code_digest, get_table
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations.restoring import settle_restored
from nethical_assets.stages.content_checks import (
    CODE,
    family_content,
    newest_moment,
    previous_snapshot,
    raw_content,
    split_content,
)
from nethical_assets.stages.fetching import effective_entry, find_snapshot, snapshot_frame
from nethical_assets.stages.sealing import seal

if TYPE_CHECKING:
    import pandas as pd

    from nethical_assets.core.datasets.snapshots import Snapshot

_NOT_MEASURED = ("refresh_interval_days", "newest_record_days_max", "backups_kept", "blocking_checks")


def assess_raw(workspace: Workspace, entry: DatasetEntry) -> tuple[CheckOutcome, ...]:
    """Every check of one raw dataset; one that cannot be had is only reported as not available."""
    record = workspace.load_record("raw", entry.name)
    if record is None or "snapshot" not in record.objects:
        reason = "it was never fetched" if record is None else str(record.facts["reason"])
        return _dated(workspace, "raw", entry.name, [CheckOutcome("available", "warn", reason, {})])
    with stage("checks", f"raw/{entry.name}"):
        snapshot = find_snapshot(workspace, record)
        understood = effective_entry(entry, snapshot)
        damage = _damage(workspace, snapshot)
        if damage:
            return _dated(workspace, "raw", entry.name, [CheckOutcome("available", "fail", damage, {})])
        previous, returned = previous_snapshot(workspace, snapshot)

        def compute() -> StageOutput:
            frame = snapshot_frame(workspace, entry, snapshot)
            labelled = "_label" in frame
            contents = [name for name in frame.columns if name not in ("_label", "_file")]
            outcomes = assess(
                frame,
                raw_schema(understood) if labelled else raw_schema(understood).remove_columns(["_label"]),
                _thresholds(workspace),
                label="_label" if labelled else None,
                identity=list(understood.identity_columns) or contents,
                required=_declared_columns(understood),
                part_column="_file",
            )
            texts = [] if understood.kind == "sequence" else _text_columns(frame[contents])
            personal = personal_data_outcome(frame, texts, workspace.screener)
            content = raw_content(workspace, understood, frame, previous, returned=returned)
            return StageOutput(
                {},
                {
                    "outcomes": [outcome.to_json() for outcome in (*outcomes, personal, *content)],
                    "newest": newest_moment(understood, frame),
                },
            )

        found = workspace.cache.run(
            "quality",
            f"raw/{entry.name}",
            inputs={"snapshot": snapshot.digest, **({} if previous is None else {"previous": previous.digest})},
            parameters={
                "entry": understood.model_dump(mode="json"),
                "returned": returned,
                **_parameters(workspace),
            },
            code=_code(),
            compute=compute,
        )
        limits = workspace.settings.file.datasets
        newest, now = found.facts["newest"], utc_now()
        outcomes = [
            CheckOutcome("available", "pass", f"{snapshot.source}: {snapshot.rows} rows", {"rows": snapshot.rows}),
            *(CheckOutcome.from_json(document) for document in found.facts["outcomes"]),
            freshness(datetime.fromisoformat(snapshot.refreshed_at), now, limits.refresh_interval_days),
            licence_known(snapshot.licence),
        ]
        if newest is not None:
            outcomes.append(newest_record(datetime.fromisoformat(newest), now, limits.newest_record_days_max))
        settle_restored(workspace, entry.name, snapshot, outcomes)
        return _dated(workspace, "raw", entry.name, outcomes)


def assess_family(workspace: Workspace, family: str) -> tuple[CheckOutcome, ...]:
    """Every check of one canonical dataset.

    Raises:
        DatasetError: it was never built.
    """
    record = workspace.load_record("datasets", family)
    if record is None:
        raise DatasetError(f"datasets/{family} was never built; run: nethical run --families {family}")
    with stage("checks", f"datasets/{family}"):
        spec = load_family(family)

        def compute() -> StageOutput:
            frame = get_table(workspace.objects, record.objects["frame"])
            outcomes = assess(
                frame.drop(columns=["time"]),
                canonical_schema(spec, record.facts["input_columns"]),
                _thresholds(workspace),
                label="label",
                identity=["row_id"],
                required=["row_id", "label", "source", *record.facts["input_columns"]],
            )
            personal = personal_data_outcome(frame, spec.text_columns, workspace.screener)
            content = family_content(workspace, spec, record, frame)
            return StageOutput({}, {"outcomes": [outcome.to_json() for outcome in (*outcomes, personal, *content)]})

        found = workspace.cache.run(
            "quality",
            f"datasets/{family}",
            inputs={"dataset": record.objects["frame"]},
            parameters={"overlap": record.facts.get("source_overlap", []), **_parameters(workspace)},
            code=_code(),
            compute=compute,
        )
        outcomes = [
            _real_data(record),
            *(CheckOutcome.from_json(document) for document in found.facts["outcomes"]),
            *_oldest_source(workspace, record),
        ]
        return _dated(workspace, "datasets", family, outcomes)


def assess_splits(workspace: Workspace, family: str) -> tuple[CheckOutcome, ...]:
    """The check of what the splits of one family share.

    Raises:
        DatasetError: they were never assigned.
    """
    split, dataset = workspace.load_record("splits", family), workspace.load_record("datasets", family)
    if split is None or dataset is None:
        raise DatasetError(f"splits/{family} were never assigned; run: nethical run --families {family}")
    with stage("checks", f"splits/{family}"):

        def compute() -> StageOutput:
            frame = get_table(workspace.objects, split.objects["frame"])
            outcome = split_content(workspace, load_family(family), dataset, frame)
            return StageOutput({}, {"outcomes": [outcome.to_json()]})

        found = workspace.cache.run(
            "quality",
            f"splits/{family}",
            inputs={"splits": split.objects["frame"], "dataset": dataset.objects["frame"]},
            parameters={"maximum_share": workspace.settings.file.datasets.near_duplicate_share_max},
            code=_code(),
            compute=compute,
        )
        outcomes = [CheckOutcome.from_json(document) for document in found.facts["outcomes"]]
        return _dated(workspace, "splits", family, outcomes)


def family_reports(workspace: Workspace) -> list[DatasetReport]:
    """The canonical datasets and splits of the families that have been built, with the outcome of each check."""
    found = []
    for family in family_names():
        if workspace.load_record("datasets", family) is None:
            continue
        outcomes = assess_family(workspace, family)
        if workspace.load_record("splits", family) is not None:
            outcomes += assess_splits(workspace, family)
        found.append(DatasetReport(f"datasets/{family}", f"Records of the {family} family", outcomes))
    return found


def validation_report(workspace: Workspace) -> tuple[StageRecord, str]:
    """The report over every dataset of the catalog: facts, and Markdown for people."""
    reports = [
        DatasetReport(entry.name, entry.title, assess_raw(workspace, entry))
        for entry in workspace.settings.catalog.dataset
    ]
    reports += family_reports(workspace)
    counts = {
        status: sum(outcome.status == status for report in reports for outcome in report.outcomes)
        for status in ("pass", "warn", "fail")
    }
    facts: dict[str, Any] = {
        "counts": {"passed": counts["pass"], "warned": counts["warn"], "failed": counts["fail"]},
        "datasets": [report.to_row() for report in reports],
    }
    record = StageRecord(
        stage="dataset_validation",
        subject="all",
        fingerprint=digest_json(facts),
        digest=digest_json(facts),
        inputs={},
        objects={},
        facts=facts,
    )
    workspace.record_event("data_validated", {"dataset_validation": record.digest}, payload=facts["counts"])
    seal(workspace)
    return record, render_validation_report(reports)


def _damage(workspace: Workspace, snapshot: Snapshot) -> str:
    """What is wrong with the stored bytes of a snapshot, whose checks may be known from before; nothing if intact."""
    try:
        workspace.snapshots.objects.get(snapshot.digest)
    except IntegrityError as error:
        return f"{error}: nethical data restore {snapshot.name}"
    return ""


def _thresholds(workspace: Workspace) -> QualityThresholds:
    datasets = workspace.settings.file.datasets
    return QualityThresholds(
        minimum_samples=datasets.minimum_samples,
        missing_share_max=datasets.missing_share_max,
        minority_share_min=datasets.minority_share_min,
        duplicate_share_max=datasets.duplicate_share_max,
    )


def _parameters(workspace: Workspace) -> dict[str, Any]:
    settings = workspace.settings.file
    return {
        "thresholds": settings.datasets.model_dump(mode="json", exclude=set(_NOT_MEASURED)),
        "drift": [settings.performance_thresholds.drift_alert_threshold, settings.monitoring.model_dump(mode="json")],
        "ruleset": workspace.screener.ruleset.digest,
    }


def _code() -> str:
    return code_digest(
        "quality/declarations.py",
        "quality/personal_data.py",
        "governance",
        "drift/statistics.py",
        "drift/tables.py",
        *CODE,
    )


def _dated(
    workspace: Workspace, stage_name: str, subject: str, outcomes: Sequence[CheckOutcome]
) -> tuple[CheckOutcome, ...]:
    return workspace.validation_history.dated(stage_name, subject, outcomes, utc_now())


def _declared_columns(entry: DatasetEntry) -> list[str]:
    """The columns that the catalog says somebody reads."""
    per_file = [name for file in entry.files for name in (file.text_column, file.sequence_column) if name]
    labels = [file.label.column for file in entry.files if file.label is not None and file.label.column]
    optional = [name for name in (entry.group_column, entry.time_column) if name]
    columns = (*per_file, *labels, *optional, *entry.numeric_columns, *entry.categorical_columns)
    return sorted({*columns, *entry.identity_columns})


def _text_columns(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name, kind in frame.dtypes.items() if str(kind) in ("str", "string", "object")]


def _real_data(record: StageRecord) -> CheckOutcome:
    if record.facts["synthetic"]:
        return CheckOutcome("available", "warn", "no source could serve real data: the rows are synthetic", {})
    return CheckOutcome("available", "pass", f"real data from {record.facts['source']}", {})


def _oldest_source(workspace: Workspace, record: StageRecord) -> list[CheckOutcome]:
    """Freshness of the source that was refreshed the longest ago; nothing for synthetic data."""
    refreshed = [
        datetime.fromisoformat(snapshot.refreshed_at)
        for name in record.inputs
        if (snapshot := workspace.snapshots.latest(name.removeprefix("raw/"))) is not None
    ]
    interval = workspace.settings.file.datasets.refresh_interval_days
    return [freshness(min(refreshed), utc_now(), interval)] if refreshed else []
