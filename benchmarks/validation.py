"""Speed of dataset validation: every content check of a snapshot of a million rows and twenty columns, on one core.

Run ``python -m benchmarks.validation [ROWS]`` (default 1000000); prints one JSON document. The table is seeded and
synthetic: fourteen numbers, four categories, one short text, one label. What is measured is what a validation computes
when nothing is known from before: schema, gaps, balance, duplicates, personal data, near-duplicates, distribution
against a previous snapshot of the same size, leakage and label errors, after reading and verifying the snapshot. Every
text is different. Importing what the checks work with is shown by itself and not counted: a worker of a run finds most
of it imported. ``waiting_for_the_core`` is the load of the machine when the clock started, this process left out: where
others wait for the core, the processor seconds say more than the seconds, and are high themselves.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.screening import RULES, make_texts
from nethical_assets.core.datasets.snapshots import Snapshot, SnapshotStore
from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading
from nethical_assets.core.quality.declarations import QualityThresholds, assess, raw_schema
from nethical_assets.core.quality.distribution import DriftLimits, distribution_outcome
from nethical_assets.core.quality.label_errors import find_label_errors
from nethical_assets.core.quality.leakage import leakage_outcome
from nethical_assets.core.quality.near_duplicates import group_near_duplicates, near_duplicates_outcome
from nethical_assets.core.quality.personal_data import personal_data_outcome
from nethical_assets.core.rows.catalog import DatasetEntry

SEED = 11
NUMBERS = tuple(f"number_{index}" for index in range(14))
CATEGORIES = tuple(f"category_{index}" for index in range(4))
LIMIT_SECONDS = 8.0
IMPORTED = ("pandera.pandas", "scipy.sparse.csgraph", "sklearn.ensemble", "cleanlab.count", "cleanlab.filter")
"""What the checks import when they are first asked for."""


def make_frame(rows: int) -> pd.DataFrame:
    """``rows`` rows of twenty columns; the label depends on the numbers, with one label in fifty wrong."""
    generator = np.random.default_rng(SEED)
    columns: dict[str, Any] = {name: generator.normal(size=rows) for name in NUMBERS}
    for name in CATEGORIES:
        columns[name] = pd.array(np.array([f"value {index}" for index in range(20)])[generator.integers(0, 20, rows)])
    columns["message"] = make_texts(rows).to_numpy() + " number " + np.arange(rows).astype(str).astype(object)
    label = columns[NUMBERS[0]] + columns[NUMBERS[1]] > 0
    columns["label"] = (label ^ (generator.random(rows) < 0.02)).astype(np.int8)
    return pd.DataFrame(columns).astype(dict.fromkeys((*CATEGORIES, "message"), "str"))


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    entry = DatasetEntry.model_validate(
        {
            "name": "benchmark",
            "slug": "owner/benchmark",
            "title": "Benchmark",
            "licence": "CC0-1.0",
            "kind": "records",
            "files": [{"path": ["rows.csv"], "format": "csv", "label": {"column": "label", "positive": ["1"]}}],
            "numeric_columns": NUMBERS,
            "categorical_columns": CATEGORIES,
        }
    )
    screener = Screener(load_ruleset(RULES))
    steps: dict[str, dict[str, float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        steps[name] = {
            "seconds": round(time.perf_counter() - wall, 3),
            "processor_seconds": round(time.process_time() - processor, 3),
        }
        return result

    with tempfile.TemporaryDirectory() as folder:
        store = SnapshotStore(Path(folder))
        stored = store.store_table(
            pa.Table.from_pandas(make_frame(rows), preserve_index=False), _manifest(entry), _now()
        )
        waiting = max(0.0, os.getloadavg()[0] - 1.0)
        timed("imports", lambda: [importlib.import_module(name) for name in IMPORTED])
        frame = timed("read_and_verify", lambda: store.load(stored).to_pandas()).assign(_file="rows.csv")
    frame["_label"] = frame["label"]
    labels = frame["_label"].to_numpy()
    inputs = frame[[*NUMBERS, *CATEGORIES]]
    groups = pd.Series("", index=frame.index)
    contents = [name for name in frame.columns if not name.startswith("_")]
    limits = QualityThresholds(10_000, 0.2, 0.05, 0.5)
    timed(
        "schema_gaps_balance_duplicates",
        lambda: assess(
            frame, raw_schema(entry), limits, label="_label", identity=contents, required=contents, part_column="_file"
        ),
    )
    readings = {name: Reading.PROSE if name == "message" else Reading.VALUES for name in contents}
    timed("personal_data", lambda: personal_data_outcome(frame, readings, screener))
    timed("near_duplicates", lambda: near_duplicates_outcome(group_near_duplicates(frame["message"]), 0.2))
    timed("distribution", lambda: distribution_outcome(frame, frame, DriftLimits(0.15, 0.01, 200)))
    timed("leakage", lambda: leakage_outcome(inputs, labels, 0.99))
    found = timed("label_errors", lambda: find_label_errors(inputs, labels, groups, "records"))
    imports = steps.pop("imports")
    total = round(sum(step["seconds"] for step in steps.values()), 3)
    print(
        json.dumps(
            {
                "rows": rows,
                "columns": len(contents),
                "waiting_for_the_core": round(waiting, 2),
                "seconds": total,
                "limit_seconds": LIMIT_SECONDS,
                "within_limit": total <= LIMIT_SECONDS,
                "processor_seconds": round(sum(step["processor_seconds"] for step in steps.values()), 3),
                "imports": imports,
                "steps": steps,
                "wrong_labels_estimated": None if found is None else round(found.estimated / found.rows, 4),
                "wrong_labels_true": 0.02,
            },
            indent=2,
        )
    )


def _now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def _manifest(entry: DatasetEntry) -> Snapshot:
    return Snapshot(
        name=entry.name,
        slug=entry.slug,
        source="benchmark",
        licence=entry.licence,
        digest="",
        rows=0,
        columns=(),
        fetched_at="",
        definition="",
        entry=entry.model_dump(mode="json"),
        report={},
    )


if __name__ == "__main__":
    main()
