"""The stage of splits: which screened rows train, calibrate, test, or only measure.

What belongs here: what is asked of the split. What does not: assigning rows (``core.datasets.splits``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.stages.screening import SCREENED
from nethical_assets.stages.shown import COLUMN_SCHEMA, ROW_COUNT, ColumnTypes, Shown, Table
from nethical_assets.stages.stage import Plan, Result, Stage, Work

if TYPE_CHECKING:
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace


def _plan(work: Work) -> Plan:
    from nethical_assets.core.rows.sources import datasets_of_groups, source_names

    training = work.workspace.settings.file.training
    dated = [entry for entry in work.entries if entry.test_from is not None]
    measured = {n for entry in work.entries if work.subject in entry.evaluation_families for n in source_names(entry)}
    return Plan(
        {
            "train_ratio": training.train_ratio,
            "validation_ratio": training.validation_ratio,
            "evaluation_sources": sorted(measured),
            "test_from": {name: str(entry.test_from) for entry in dated for name in source_names(entry)},
            "datasets": datasets_of_groups(work.entries),
        }
    )


def _split(work: Work) -> Result:
    from datetime import date

    from nethical_assets.core.datasets.splits import SPLITS as PARTS
    from nethical_assets.core.datasets.splits import assign_splits
    from nethical_assets.core.ground.parquet import column_types, get_table, put_table

    objects, asked = work.workspace.objects, _plan(work).parameters
    frame = get_table(objects, work.of(SCREENED).output)
    split = assign_splits(
        frame,
        train_ratio=asked["train_ratio"],
        validation_ratio=asked["validation_ratio"],
        evaluation_sources=frozenset(asked["evaluation_sources"]),
        test_from={name: date.fromisoformat(day) for name, day in asked["test_from"].items()},
        datasets=asked["datasets"],
    )
    numbers: dict[str, Any] = {
        name: {"rows": int((split == name).sum()), "positives": int(frame.loc[split == name, "label"].sum())}
        for name in PARTS
    }
    table = frame.assign(split=split)
    stored = put_table(objects, table)
    return Result(stored, {"frame": stored}, {"rows": len(frame), "splits": numbers, "columns": column_types(table)})


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    return {
        ROW_COUNT: facts["rows"],
        COLUMN_SCHEMA: ColumnTypes(facts["columns"]),
        **{f"{name}_rows": numbers["rows"] for name, numbers in facts["splits"].items()},
        "splits": Table([{"split": name, **numbers} for name, numbers in facts["splits"].items()]),
    }


SPLITS = Stage(
    name="splits",
    scope="family",
    description="Screened records with the split each belongs to, by content and group: a record never moves between "
    "splits when a dataset is refreshed.",
    owner="team:ml-engineers",
    needs=(SCREENED,),
    run=_split,
    plan=_plan,
    event=EventType.DATA_SPLIT,
    tells=lambda record: record.facts["splits"],
    shows=_shown,
    sums_up=lambda record: {
        "rows": record.facts["rows"],
        "train_rows": record.facts["splits"]["train"]["rows"],
        "test_rows": record.facts["splits"]["test"]["rows"],
    },
    kinds=frozenset({"parquet", "pandas"}),
    in_chain=True,
)
