"""What one record costs by itself, in CPU microseconds, against the batch path asked about a frame of one row.

Run ``python -m benchmarks.single_record [RECORDS]`` (default 2000); prints one JSON document. Each family is fitted on
its own synthetic rows. The records are raw ones where the layout has a maker here (connections with 43 fields), else
canonical. ``whole`` is ``RecordScorer.score``; ``inputs``, ``screening``, ``score`` and ``sketch`` are its parts, each
measured by itself; ``first_time`` is a scorer that has not seen any value before. ``frame_of_one`` is ``score_records``
and ``sketch`` of a frame of the same record, on a part of them. Ratios are of one run, and hold where microseconds do
not. With NETHICAL_DATA_MIRROR the texts are real ones.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.screening import RULES, make_texts, real_texts
from nethical_assets.core.detectors.base import Detector, DetectorSpec, LabelledRows
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.governance.scoring import RecordScorer, score_records
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.rows.catalog import Catalog, load_catalog

CATALOG = RULES.parent / "datasets.toml"
SEED = 7
FITTED_ROWS = 6000
FRAMES = 60
REPETITIONS = 3

Record = dict[str, Any]


def microseconds(work: Callable[[Record], Any], records: Sequence[Record]) -> float:
    """CPU microseconds a record, the best of some repetitions."""
    best = float("inf")
    for _ in range(REPETITIONS):
        start = time.process_time()
        for record in records:
            work(record)
        best = min(best, time.process_time() - start)
    return round(best / len(records) * 1e6, 1)


def connections(catalog: Catalog, rows: int, seed: int = SEED) -> list[Record]:
    """Raw records of NSL-KDD's layout."""
    entry, generator = catalog.entry("nslkdd"), np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for name in entry.files[0].columns:
        if name in entry.categorical_columns:
            columns[name] = generator.choice(["tcp", "udp", "http", "SF", "S0", "private"], rows)
        elif name.endswith("_rate"):
            columns[name] = generator.random(rows).round(2)
        elif name == "attack":
            columns[name] = generator.choice(["normal", "neptune"], rows)
        else:
            columns[name] = generator.integers(0, 5000, rows)
    return records_of(pd.DataFrame(columns))


def records_of(frame: pd.DataFrame) -> list[Record]:
    """Each row as plain Python values."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def fitted(spec: DetectorSpec, catalog: Catalog) -> Detector:
    """A detector of the family."""
    training, validation = labelled_parts(spec, catalog)
    return spec.fit(training, validation, SEED)


def labelled_parts(spec: DetectorSpec, catalog: Catalog, seed: int = SEED) -> tuple[LabelledRows, LabelledRows]:
    """Rows to fit on: connections where their columns are the family's inputs, else synthetic ones."""
    if spec.input_columns:
        frame = spec.synthesise(FITTED_ROWS, np.random.default_rng(seed))
    else:
        raw = pd.DataFrame(connections(catalog, FITTED_ROWS, seed))
        raw["_label"] = (raw["attack"] != "normal").astype("int8")
        entry = catalog.entry("nslkdd")
        frame = spec.canonicalise(entry, raw)[[*entry.numeric_columns, *entry.categorical_columns, "label"]]
    columns = [name for name in frame.columns if name != "label"]
    half = len(frame) // 2
    parts = (frame.iloc[:half].reset_index(drop=True), frame.iloc[half:].reset_index(drop=True))
    training, validation = (LabelledRows(part[columns], part["label"].to_numpy(dtype=np.int8)) for part in parts)
    return training, validation


def asked(spec: DetectorSpec, catalog: Catalog, rows: int) -> dict[str, list[Record]]:
    """What each way of asking the family is called, and its records."""
    if spec.family in ("logistic", "heuristic", "correlation"):
        return {spec.family: connections(catalog, rows)}
    if spec.kind != "text":
        frame = spec.synthesise(rows, np.random.default_rng(SEED + 1)).drop(columns="label")
        return {spec.family: records_of(frame)}
    texts = {"short": make_texts(rows)}
    mirror = os.environ.get("NETHICAL_DATA_MIRROR")
    if mirror:
        texts |= {name: part.iloc[:rows] for name, part in real_texts(Path(mirror)).items()}
    return {f"{spec.family}_{name}": [{"text": text} for text in part.tolist()] for name, part in texts.items()}


def measure(spec: DetectorSpec, detector: Detector, catalog: Catalog, screener: Screener, records: list[Record]) -> Any:
    """The figures of one family for some records."""
    entries = catalog.for_family(spec.family)
    reader = spec.record_reader(entries)
    read = [(record, dict(reader.inputs(record) or {})) for record in records]
    inputs = [each for _, each in read]
    first = RecordScorer(detector, spec, entries, screener)
    start = time.process_time()
    for record in records:
        first.score(record)
    first_time = (time.process_time() - start) / len(records) * 1e6

    def as_frame(record: Record) -> None:
        scored = score_records(detector, spec, pd.DataFrame([record]), entries, screener, wrong_share_max=1.0)
        detector.sketch(scored.inputs)

    whole = microseconds(first.score, records)
    frame = microseconds(as_frame, records[:FRAMES])
    clean = [(record, own) for record, own in read if first.holds_nothing(record, own)]
    started = time.process_time()
    for record, own in clean:
        first.holds_nothing(record, own)
    screening = (time.process_time() - started) / max(len(clean), 1) * 1e6
    return {
        "records": len(records),
        "microseconds": {
            "whole": whole,
            "first_time": round(first_time, 1),
            "inputs": microseconds(reader.inputs, records),
            "screening": round(screening, 1),
            "score": microseconds(detector.score_one, inputs),
            "sketch": microseconds(detector.sketch_one, inputs),
            "whole_where_nothing_is_found": microseconds(first.score, [record for record, _ in clean]),
            "frame_of_one": frame,
        },
        "share_without_a_frame": round(len(clean) / len(records), 3),
        "times_cheaper_than_a_frame_of_one": round(frame / whole, 1),
    }


def main() -> None:
    """Measure and print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    pa.set_cpu_count(1)
    catalog, screener = load_catalog(CATALOG, family_names()), Screener(load_ruleset(RULES))
    report: dict[str, Any] = {}
    for name in family_names():
        spec = load_family(name)
        detector = fitted(spec, catalog)
        for title, records in asked(spec, catalog, rows).items():
            report[title] = measure(spec, detector, catalog, screener, records)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
