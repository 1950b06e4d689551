"""The validation stage: assessing raw and canonical datasets, and the report over all of them.

What belongs here: collecting what a check looks at. What does not: thresholds and rules (``core.datasets.quality``,
``core.governance``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nethical_assets.core.datasets.catalog import DatasetEntry
from nethical_assets.core.datasets.checks import CheckOutcome
from nethical_assets.core.datasets.quality import QualityThresholds, assess, canonical_schema, freshness, raw_schema
from nethical_assets.core.datasets.report import DatasetReport, render_validation_report
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.digests import digest_json
from nethical_assets.core.errors import DatasetError
from nethical_assets.core.governance import screen_frame
from nethical_assets.core.records import StageOutput, StageRecord, code_digest, get_table
from nethical_assets.pipeline.data import effective_entry, find_snapshot, snapshot_frame
from nethical_assets.pipeline.progress import stage
from nethical_assets.pipeline.workspace import Workspace, utc_now

if TYPE_CHECKING:
    import pandas as pd

PRIVATE_PACKS = ("pii", "secrets")


def assess_raw(workspace: Workspace, entry: DatasetEntry) -> tuple[CheckOutcome, ...]:
    """Every check of one raw dataset; one that cannot be had is only reported as not available."""
    record = workspace.load_record("raw", entry.name)
    if record is None or "snapshot" not in record.objects:
        reason = "it was never fetched" if record is None else str(record.facts["reason"])
        return (CheckOutcome("available", "warn", reason, {}),)
    with stage("checks", f"raw/{entry.name}"):
        snapshot = find_snapshot(workspace, record)
        understood = effective_entry(entry, snapshot)

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
            personal = _personal_data(workspace, frame, texts, "_label" if labelled else None)
            return StageOutput({}, {"outcomes": [outcome.to_json() for outcome in (*outcomes, personal)]})

        found = workspace.cache.run(
            "quality",
            f"raw/{entry.name}",
            inputs={"snapshot": snapshot.digest},
            parameters={"entry": understood.model_dump(mode="json"), **_parameters(workspace)},
            code=code_digest("datasets/quality.py", "governance"),
            compute=compute,
        )
        interval = workspace.settings.file.datasets.refresh_interval_days
        return (
            CheckOutcome("available", "pass", f"{snapshot.source}: {snapshot.rows} rows", {"rows": snapshot.rows}),
            *(CheckOutcome.from_json(document) for document in found.facts["outcomes"]),
            freshness(datetime.fromisoformat(snapshot.refreshed_at), utc_now(), interval),
        )


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
            personal = _personal_data(workspace, frame, spec.text_columns, "label")
            return StageOutput({}, {"outcomes": [outcome.to_json() for outcome in (*outcomes, personal)]})

        found = workspace.cache.run(
            "quality",
            f"datasets/{family}",
            inputs={"dataset": record.objects["frame"]},
            parameters=_parameters(workspace),
            code=code_digest("datasets/quality.py", "governance"),
            compute=compute,
        )
        return (
            _real_data(record),
            *(CheckOutcome.from_json(document) for document in found.facts["outcomes"]),
            *_oldest_source(workspace, record),
        )


def validation_report(workspace: Workspace) -> tuple[StageRecord, str]:
    """The report over every dataset of the catalog: facts, and Markdown for people."""
    reports = [
        DatasetReport(entry.name, entry.title, assess_raw(workspace, entry))
        for entry in workspace.settings.catalog.dataset
    ]
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
    return record, render_validation_report(reports)


def _thresholds(workspace: Workspace) -> QualityThresholds:
    datasets = workspace.settings.file.datasets
    return QualityThresholds(
        minimum_samples=datasets.minimum_samples,
        missing_share_max=datasets.missing_share_max,
        minority_share_min=datasets.minority_share_min,
        duplicate_share_max=datasets.duplicate_share_max,
    )


def _parameters(workspace: Workspace) -> dict[str, Any]:
    datasets = workspace.settings.file.datasets.model_dump(mode="json")
    return {"thresholds": datasets, "ruleset": workspace.screener.ruleset.digest}


def _declared_columns(entry: DatasetEntry) -> list[str]:
    """The columns that the catalog says somebody reads."""
    per_file = [name for file in entry.files for name in (file.text_column, file.sequence_column) if name]
    labels = [file.label.column for file in entry.files if file.label is not None and file.label.column]
    optional = [name for name in (entry.group_column, entry.time_column) if name]
    columns = (*per_file, *labels, *optional, *entry.numeric_columns, *entry.categorical_columns)
    return sorted({*columns, *entry.identity_columns})


def _text_columns(frame: pd.DataFrame) -> list[str]:
    return [str(name) for name, kind in frame.dtypes.items() if str(kind) in ("str", "string", "object")]


def _personal_data(workspace: Workspace, frame: pd.DataFrame, texts: Sequence[str], label: str | None) -> CheckOutcome:
    result = screen_frame(frame, texts, workspace.screener, label_column=label)
    kinds = {rule.kind for rule in workspace.screener.ruleset.all_rules if rule.pack in PRIVATE_PACKS}
    private = {kind: count for kind, count in result.counts["by_kind"].items() if kind in kinds}
    found = sum(private.values())
    return CheckOutcome(
        "personal_data",
        "warn" if found else "pass",
        f"{found} findings of personal data or secrets in {len(frame)} rows",
        {"rows": len(frame), "findings": found, **private},
    )


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
