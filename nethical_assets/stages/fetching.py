"""The data stages: fetch, assess, canonical dataset, screening, splits.

What belongs here: each stage as one function of a workspace. What does not: training and after (``models``,
``releases``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.datasets.canonical import (
    SYNTHETIC,
    attach_sources,
    build_dataset,
    source_names,
    synthetic_dataset,
)
from nethical_assets.core.datasets.refresh import refresh_dataset
from nethical_assets.core.datasets.splits import SPLITS, assign_splits
from nethical_assets.core.detectors.registry import family_code_digest, load_family
from nethical_assets.core.evaluation.error_card import build_error_card, render_error_card
from nethical_assets.core.governance import screen_frame
from nethical_assets.core.governance.quarantine import REASONS_COLUMN
from nethical_assets.core.ground.digests import digest_json
from nethical_assets.core.ground.errors import IntegrityError, SettingsError, SourceUnavailableError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.labels import labels_of
from nethical_assets.home.progress import stage
from nethical_assets.home.records import StageOutput, StageRecord, code_digest, get_table, put_table
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.operations.lineage import Origin, attest

if TYPE_CHECKING:
    import pandas as pd

    from nethical_assets.core.datasets.snapshots import Snapshot

SKIPPED = "skipped"


def fetch(workspace: Workspace, entry: DatasetEntry, *, force: bool = False) -> StageRecord:
    """The newest snapshot of ``entry``. A dataset that cannot be had is a recorded skip, never an error."""
    with stage("raw", entry.name):
        sources = workspace.sources() if workspace.options.download else []
        outcome = refresh_dataset(
            entry,
            sources,
            workspace.snapshots,
            now=utc_now(),
            work_folder=downloads_folder(workspace),
            maximum_rows=workspace.settings.file.datasets.maximum_rows,
            seed=workspace.settings.file.training.seed,
            force=force,
        )
        synthetic_only = workspace.options.source == "synthetic"
        snapshot = None if synthetic_only else outcome.snapshot
        reason = "synthetic data was asked for" if synthetic_only else outcome.reason
        if snapshot is not None:
            reason += _back_up(workspace, snapshot)
        record = raw_record(
            entry,
            snapshot,
            status=outcome.status if snapshot else SKIPPED,
            reason=reason,
            reused=outcome.status != "new",
        )
        if snapshot is not None and outcome.status == "new":
            workspace.record_event(
                "data_fetched",
                {f"raw/{entry.name}": snapshot.digest},
                payload={"slug": entry.slug, "source": snapshot.source, "rows": snapshot.rows, "reason": reason},
            )
        if snapshot is not None:
            attest(
                workspace,
                record,
                snapshot.digest,
                parameters={"slug": entry.slug, "source": snapshot.source, "fetched_at": snapshot.fetched_at},
            )
        return record


def raw_record(
    entry: DatasetEntry, snapshot: Snapshot | None, *, status: str, reason: str, reused: bool = False
) -> StageRecord:
    """The record of a fetched or restored dataset, or of one that could not be had."""
    facts: dict[str, Any] = {"status": status, "reason": reason, "slug": entry.slug, "licence": entry.licence}
    objects: dict[str, str] = {}
    if snapshot is not None:
        facts |= {"source": snapshot.source, "rows": snapshot.rows, "snapshot": snapshot.digest}
        objects["snapshot"] = snapshot.digest
    return StageRecord(
        stage="raw",
        subject=entry.name,
        fingerprint=digest_json(entry.model_dump(mode="json")),
        digest=snapshot.digest if snapshot else digest_json({"skipped": entry.name}),
        inputs={},
        objects=objects,
        facts=facts,
        reused=reused,
    )


def downloads_folder(workspace: Workspace) -> Path:
    """Where downloads are while they are incomplete, and the locks of refreshes."""
    return workspace.home / "data" / "downloads"


def _back_up(workspace: Workspace, snapshot: Snapshot) -> str:
    """Back up a snapshot; a backup that cannot be made is said, and stops nothing."""
    try:
        workspace.backups.keep(snapshot, lambda: workspace.snapshots.objects.get(snapshot.digest), utc_now())
    except (OSError, IntegrityError) as error:
        return f"; no backup was made: {error}"
    return ""


def find_snapshot(workspace: Workspace, record: StageRecord) -> Snapshot:
    """The snapshot that a ``raw`` record points to.

    Raises:
        IntegrityError: it is not there any more.
    """
    digest = record.objects["snapshot"]
    for snapshot in reversed(workspace.snapshots.history(record.subject)):
        if snapshot.digest == digest:
            return snapshot
    raise IntegrityError(f"dataset {record.subject}: snapshot {digest} is gone; run: nethical data fetch")


def effective_entry(entry: DatasetEntry, snapshot: Snapshot) -> DatasetEntry:
    """The entry, with the layout and the use that were found at download where the catalog leaves them open."""
    return snapshot.dataset_entry if entry.discover else entry


def snapshot_frame(workspace: Workspace, entry: DatasetEntry, snapshot: Snapshot) -> pd.DataFrame:
    """The raw rows of a fetched dataset, with their ``_label`` (-1 unusable) where it has labels."""
    entry = effective_entry(entry, snapshot)
    table = workspace.snapshots.load(snapshot)
    frame: pd.DataFrame = table.to_pandas()
    if any(file.label is not None for file in entry.files):
        frame["_label"] = labels_of(entry, table)
    return frame


def snapshot_columns(workspace: Workspace, record: StageRecord) -> list[tuple[str, str]]:
    """(name, type) of the columns of a fetched dataset."""
    return list(find_snapshot(workspace, record).columns)


def column_types(frame: pd.DataFrame) -> list[list[str]]:
    """[name, type] of the columns of a frame."""
    return [[str(name), str(kind)] for name, kind in frame.dtypes.items()]


def canonical(workspace: Workspace, family: str, raws: Mapping[str, StageRecord]) -> StageRecord:
    """The canonical dataset of ``family`` from its fetched sources, synthetic when there is none to train on.

    Raises:
        SourceUnavailableError: a source was asked for by name and could serve no dataset of the family.
        DatasetError: the rows of all sources together cannot be used, or a restored source fails a blocking check.
    """
    settings = workspace.settings.file
    entries = {entry.name: entry for entry in workspace.settings.catalog.for_family(family)}
    present = {name: record for name, record in raws.items() if "snapshot" in record.objects}
    snapshots = {name: find_snapshot(workspace, record) for name, record in present.items()}
    understood = {name: effective_entry(entries[name], snapshot) for name, snapshot in snapshots.items()}
    trainable = [name for name, entry in understood.items() if family in entry.families]
    skipped = [
        {"dataset": name, "reason": str(record.facts["reason"])} for name, record in raws.items() if name not in present
    ]
    choice = workspace.options.source
    if not trainable and choice in ("kaggle", "mirror"):
        reasons = "; ".join(f"{row['dataset']}: {row['reason']}" for row in skipped) or "the catalog has none"
        raise SourceUnavailableError(f"--source {choice} can serve no dataset of family {family} ({reasons})")
    spec = load_family(family)
    samples = workspace.options.samples

    if trainable:
        from nethical_assets.operations.restoring import validate_restored

        validate_restored(workspace, [entries[name] for name in present])

    def compute() -> StageOutput:
        if trainable:
            frames = []
            for name, entry in understood.items():
                if family in (*entry.families, *entry.evaluation_families):
                    frame = snapshot_frame(workspace, entries[name], snapshots[name])
                    frames.append((entry, frame.assign(_source=attach_sources(entry, frame))))
            dataset = build_dataset(spec, frames, maximum_rows=samples or settings.datasets.maximum_rows)
        else:
            rows = samples or settings.training.synthetic_samples
            dataset = synthetic_dataset(spec, rows=rows, seed=workspace.seed)
        columns = [[str(name), str(kind)] for name, kind in dataset.frame.dtypes.items()]
        return StageOutput(
            {"frame": put_table(workspace.objects, dataset.frame)}, {**dataset.facts, "columns": columns}
        )

    code = digest_json(
        [family_code_digest(family), code_digest("datasets/canonical.py", "rows/labels.py", "quality/overlap.py")]
    )
    with stage("datasets", family):
        record = workspace.cache.run(
            "datasets",
            family,
            inputs={f"raw/{name}": present[name].digest for name in present} if trainable else {},
            parameters={
                "maximum_rows": samples or settings.datasets.maximum_rows,
                "entries": {n: e.model_dump(mode="json") for n, e in understood.items()} if trainable else {},
                "synthetic": {}
                if trainable
                else {"rows": samples or settings.training.synthetic_samples, "seed": workspace.seed},
            },
            code=code,
            compute=compute,
        )
        attest(
            workspace,
            record,
            record.objects["frame"],
            origins=[Origin("raw", name, present[name].digest) for name in present] if trainable else [],
            materials={"code": code},
            parameters={"maximum_rows": samples or settings.datasets.maximum_rows, "synthetic": not trainable},
        )
        sources = sorted({str(present[name].facts["source"]) for name in trainable}) if trainable else [SYNTHETIC]
        return record.with_facts(source="+".join(sources), skipped=skipped)


def screen(workspace: Workspace, family: str, dataset: StageRecord) -> StageRecord:
    """Every row of the canonical dataset through every screening rule: masked, kept out, or as it was."""
    spec = load_family(family)
    ruleset = workspace.screener.ruleset.digest
    released = sorted(workspace.quarantine.released(family))

    def compute() -> StageOutput:
        frame = get_table(workspace.objects, dataset.objects["frame"])
        result = screen_frame(frame, spec.text_columns, workspace.screener, released=released)
        listed = result.quarantined[["row_id", "label", "source", REASONS_COLUMN]]
        objects = {
            "frame": put_table(workspace.objects, result.frame),
            "quarantined": put_table(workspace.objects, listed),
        }
        added = workspace.quarantine.add(family, result.quarantined, now=utc_now())
        if added:
            workspace.record_event(
                "data_quarantined", {f"quarantine/{family}": objects["quarantined"]}, payload={"rows": len(added)}
            )
        summary = result.summary()
        facts = {**summary, "rows": len(result.frame), "quarantined": len(result.quarantined)}
        return StageOutput(objects, {**facts, "columns": column_types(result.frame)})

    with stage("screened", family):
        record = workspace.cache.run(
            "screened",
            family,
            inputs={"dataset": dataset.digest},
            parameters={"ruleset": ruleset, "columns": list(spec.text_columns), "released": released},
            code=code_digest("governance"),
            compute=compute,
        )
        if not record.reused:
            workspace.record_event(
                "data_screened",
                {f"screened/{family}": record.objects["frame"], "ruleset": ruleset},
                parents=[dataset.objects["frame"]],
                payload={"by_kind": record.facts["by_kind"], "quarantined": record.facts["quarantined"]},
            )
        attest(
            workspace,
            record,
            record.objects["frame"],
            origins=[Origin("datasets", family, dataset.objects["frame"])],
            materials={"code": code_digest("governance"), "ruleset": ruleset},
        )
        return record.with_facts(ruleset=ruleset)


def quarantine(screened: StageRecord) -> StageRecord:
    """The record of the rows that screening kept out."""
    return StageRecord(
        stage="quarantine",
        subject=screened.subject,
        fingerprint=screened.fingerprint,
        digest=screened.objects["quarantined"],
        inputs={"screened": screened.digest},
        objects={"frame": screened.objects["quarantined"]},
        facts={"rows": screened.facts["quarantined"]},
        reused=screened.reused,
    )


def split_rows(workspace: Workspace, family: str, screened: StageRecord) -> StageRecord:
    """Which screened rows train, calibrate, test, or only measure."""
    training = workspace.settings.file.training
    entries = workspace.settings.catalog.for_family(family)
    evaluation = sorted({name for e in entries if family in e.evaluation_families for name in source_names(e)})
    test_from = {name: e.test_from for e in entries if e.test_from is not None for name in source_names(e)}

    def compute() -> StageOutput:
        frame = get_table(workspace.objects, screened.objects["frame"])
        split = assign_splits(
            frame,
            train_ratio=training.train_ratio,
            validation_ratio=training.validation_ratio,
            evaluation_sources=frozenset(evaluation),
            test_from=test_from,
        )
        numbers = {
            name: {"rows": int((split == name).sum()), "positives": int(frame.loc[split == name, "label"].sum())}
            for name in SPLITS
        }
        table = frame.assign(split=split)
        facts = {"rows": len(frame), "splits": numbers, "columns": column_types(table)}
        return StageOutput({"frame": put_table(workspace.objects, table)}, facts)

    with stage("splits", family):
        record = workspace.cache.run(
            "splits",
            family,
            inputs={"screened": screened.objects["frame"]},
            parameters={
                "train_ratio": training.train_ratio,
                "validation_ratio": training.validation_ratio,
                "evaluation_sources": evaluation,
                "test_from": {name: day.isoformat() for name, day in test_from.items()},
            },
            code=code_digest("datasets/splits.py"),
            compute=compute,
        )
        if not record.reused:
            workspace.record_event(
                "data_split",
                {f"splits/{family}": record.objects["frame"]},
                parents=[screened.objects["frame"]],
                payload=record.facts["splits"],
            )
        attest(
            workspace,
            record,
            record.objects["frame"],
            origins=[Origin("screened", family, screened.objects["frame"])],
            materials={"code": code_digest("datasets/splits.py")},
            parameters={"train_ratio": training.train_ratio, "validation_ratio": training.validation_ratio},
        )
        return record


def measure_rules(workspace: Workspace) -> tuple[StageRecord, str]:
    """The error card of the screening rules on the labelled corpora of the mirror folder, and its Markdown.

    Raises:
        SettingsError: no mirror folder is configured.
        DatasetError: a corpus is not in it.
    """
    mirror = workspace.settings.mirror
    if mirror is None:
        raise SettingsError("the error card needs the labelled corpora: set NETHICAL_DATA_MIRROR to a mirror folder")
    ruleset = workspace.screener.ruleset.digest

    def compute() -> StageOutput:
        return StageOutput({}, build_error_card(mirror, workspace.screener))

    with stage("error card", "rules"):
        record = workspace.cache.run(
            "screening_error_card",
            "rules",
            inputs={},
            parameters={"ruleset": ruleset, "corpora": str(mirror)},
            code=code_digest("governance"),
            compute=compute,
        )
        return record, render_error_card(record.facts)
