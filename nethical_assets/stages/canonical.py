"""The stage of canonical datasets: the records of all sources of a family, identified, without duplicates.

What belongs here: which fetched sources are used, and when synthetic rows stand in. What does not: joining, identity
    and duplicates (``core.datasets.canonical``), or how a record becomes inputs (``core.detectors.families``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nethical_assets.core.audit import subjects
from nethical_assets.core.ground.errors import DatasetError, SourceUnavailableError
from nethical_assets.stages.fetching import RAW, SNAPSHOT
from nethical_assets.stages.shown import COLUMN_SCHEMA, ROW_COUNT, ColumnTypes, Shown, Table
from nethical_assets.stages.stage import Plan, Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.core.datasets.snapshots import Snapshot
    from nethical_assets.core.rows.catalog import DatasetEntry
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace


COHORTS = "cohorts"
"""By which name a record of canonical rows names the table of their levels (``row_id``, ``level``), where a dataset
declares a cohort column."""
FOUND = "found"
"""By which name a record of canonical rows names the findings that were masked in them before they were stored."""


class _Sources:
    """The fetched sources of a family: which there are, how they are understood, and which may train.

    Raises:
        IntegrityError: a source is damaged.
        DatasetError: no source is left of a family that had real data before.
    """

    def __init__(self, work: Work) -> None:
        from nethical_assets.core.datasets.availability import Absence, check_absences
        from nethical_assets.core.datasets.raw_rows import effective_entry, find_snapshot

        raws = work.of_datasets(RAW)
        self.entries = {entry.name: entry for entry in work.entries}
        self.present = {name: record for name, record in raws.items() if SNAPSHOT in record.objects}
        self.snapshots: dict[str, Snapshot] = {
            name: find_snapshot(work.workspace.snapshots, name, record.objects[SNAPSHOT])
            for name, record in self.present.items()
        }
        self.understood: dict[str, DatasetEntry] = {
            name: effective_entry(self.entries[name], snapshot) for name, snapshot in self.snapshots.items()
        }
        self.trainable = [name for name, entry in self.understood.items() if work.subject in entry.families]
        self.skipped = [
            {"dataset": name, "reason": str(record.facts["reason"]), "cause": record.facts["cause"]}
            for name, record in raws.items()
            if name not in self.present
        ]
        check_absences(
            work.subject,
            [Absence(**row, had_data=raws[row["dataset"]].facts["had_data"]) for row in self.skipped],
            has_real_data=bool(self.trainable),
        )

    @property
    def label(self) -> str:
        """Where the rows come from, for people."""
        from nethical_assets.core.datasets.availability import SYNTHETIC

        used = sorted({str(self.present[name].facts["source"]) for name in self.trainable})
        return "+".join(used) or SYNTHETIC


def _plan(work: Work) -> Plan:
    workspace, sources = work.workspace, _Sources(work)
    choice, settings = workspace.options.source, workspace.settings.file
    if not sources.trainable and choice in ("kaggle", "mirror"):
        reasons = "; ".join(f"{row['dataset']}: {row['reason']}" for row in sources.skipped) or "the catalog has none"
        raise SourceUnavailableError(f"--source {choice} can serve no dataset of family {work.subject} ({reasons})")
    samples = workspace.options.samples
    parameters = {"source": sources.label, "skipped": sources.skipped, "synthetic": not sources.trainable}
    if not sources.trainable:
        rows = samples or settings.training.synthetic_samples
        return Plan({**parameters, "rows": rows, "seed": workspace.seed}, inputs=[])
    for name in sources.present:
        _refuse_unvalidated(workspace, sources.snapshots[name])
    return Plan(
        {
            **parameters,
            "maximum_rows": samples or settings.datasets.maximum_rows,
            "entries": {name: entry.dependencies() for name, entry in sources.understood.items()},
            "wrong_type_share_max": settings.datasets.wrong_type_share_max,
        },
        {"ruleset": workspace.ruleset.digest},
        inputs=[RAW.record_name(name) for name in sources.present],
    )


def _refuse_unvalidated(workspace: Workspace, snapshot: Snapshot) -> None:
    """Nothing trains on a restored copy before it was validated, whatever materializes this stage."""
    if workspace.evidence.waits_for_validation(RAW.record_name(snapshot.name), snapshot.digest):
        raise DatasetError(
            f"dataset {snapshot.name} was restored and no validation of it passed yet; run: nethical data validate "
            f"{snapshot.name}, or restore another copy: nethical data restore {snapshot.name}"
        )


def _build(work: Work) -> Result:
    from nethical_assets.core.datasets.canonical import build_dataset, synthetic_dataset
    from nethical_assets.core.datasets.cohort_levels import safe_levels
    from nethical_assets.core.datasets.raw_rows import snapshot_frame
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.governance.frames import canonical_readings
    from nethical_assets.core.governance.protection import protect
    from nethical_assets.core.governance.records import RecordScreener
    from nethical_assets.core.ground.parquet import column_types, put_table
    from nethical_assets.core.rows.columns import GROUP
    from nethical_assets.core.rows.sources import attach_sources

    workspace, family, sources = work.workspace, work.subject, _Sources(work)
    settings, samples = workspace.settings.file, workspace.options.samples
    spec = load_family(family)
    if sources.trainable:
        frames = []
        for name, entry in sources.understood.items():
            if family in (*entry.families, *entry.evaluation_families):
                frame = snapshot_frame(workspace.snapshots, sources.entries[name], sources.snapshots[name])
                frames.append((entry, frame.assign(_source=attach_sources(entry, frame))))
        dataset = build_dataset(
            spec,
            frames,
            maximum_rows=samples or settings.datasets.maximum_rows,
            screener=RecordScreener(workspace.screener, workspace.pseudonyms),
            wrong_share_max=settings.datasets.wrong_type_share_max,
        )
    else:
        dataset = synthetic_dataset(spec, rows=samples or settings.training.synthetic_samples, seed=workspace.seed)
    readings = canonical_readings(dataset.frame, spec.kind)
    rows = protect(dataset.frame, readings, workspace.screener, {GROUP: workspace.pseudonyms.token})
    objects = {"frame": put_table(workspace.objects, rows.frame), FOUND: put_table(workspace.objects, rows.found)}
    if dataset.levels.notna().any():
        levels = safe_levels(dataset.levels, workspace.screener, workspace.pseudonyms.token)
        told = dataset.frame[["row_id"]].assign(level=levels)[levels.notna()].reset_index(drop=True)
        objects[COHORTS] = put_table(workspace.objects, told)
    facts = {
        **dataset.facts,
        "columns": column_types(rows.frame),
        "source": sources.label,
        "skipped": sources.skipped,
        "screened_columns": {name: str(reading) for name, reading in readings.items()},
        "protected": rows.found["kind"].value_counts().sort_index().to_dict(),
        "kept_out": len(rows.kept_out),
    }
    return Result(objects["frame"], objects, facts, then=lambda: workspace.quarantine.put_aside(family, rows.kept_out))


def _rows_are_aside(workspace: Workspace, record: StageRecord) -> bool:
    """Whether the rows that screening is to keep out are still there as they came."""
    from nethical_assets.core.governance.protection import rows_kept_out
    from nethical_assets.core.ground.parquet import get_table

    if not record.facts["kept_out"]:
        return True
    rows = rows_kept_out(get_table(workspace.objects, record.objects[FOUND]))
    return workspace.quarantine.has_aside(record.subject, rows)


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    return {
        ROW_COUNT: facts["rows"],
        COLUMN_SCHEMA: ColumnTypes(facts["columns"]),
        "source": facts["source"],
        "synthetic": facts["synthetic"],
        "positives": facts["positives"],
        "duplicates_removed": facts["duplicates_removed"],
        "rows_with_conflicting_labels": facts["rows_with_conflicting_labels"],
        "sources": Table([{"source": name, **numbers} for name, numbers in facts["sources"].items()]),
        "skipped": Table(facts["skipped"]),
    }


DATASETS = Stage(
    name=subjects.DATASETS,
    scope="family",
    description="Canonical records of the family: one row a record, duplicates and label conflicts resolved. "
    "Synthetic, and labelled so, when no source can serve real data.",
    owner="team:data-stewards",
    needs=(RAW,),
    run=_build,
    plan=_plan,
    intact=_rows_are_aside,
    shows=_shown,
    sums_up=lambda record: {"source": record.facts["source"]},
    kinds=frozenset({"parquet", "pandas"}),
    of_family=True,
    in_chain=True,
)
