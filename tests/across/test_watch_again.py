"""A window that is judged again: by the same rows, without its sketches, and when labels came."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from nethical_assets.core.drift.segments import FeedbackRow, SegmentWriter
from nethical_assets.home.stores import segment_folder
from tests.across.conftest import Copy
from tests.across.platform import Home, files_of, flip, write_records
from tests.across.traffic import drift_report, drifted

ROWS = 300


def facts(home: Home) -> dict[str, Any]:
    """Of the newest report about the logistic champion."""
    record = home.path / "data" / "records" / "newest" / "drift_reports" / "logistic.json"
    return dict(json.loads(record.read_text())["facts"])


def test_a_window_is_judged_again_by_what_became_known_and_pays_once(copy: Copy, real: Home, tmp_path: Path) -> None:
    home = copy(real)
    answer, _ = home.score(write_records(tmp_path / "drifted.csv", drifted(ROWS)))
    answer.ok()
    assert drift_report(home)["verdict"] == "drift"
    first = facts(home)
    ledger = home.path / "serving" / "watch" / "budget.jsonl"
    paid = ledger.read_bytes()
    assert first["look"] == 1 and len(paid.splitlines()) == 1, "both periods have the same rows"

    # Sketches are no evidence: without them the report is the same, and costs nothing.
    sketches = files_of(home.path / "serving" / "sketches")
    assert sketches
    for path in sketches:
        flip(path)
    drift_report(home)
    assert facts(home) == first and ledger.read_bytes() == paid

    # All that the model called attacks were none.
    (batch,) = (home.path / "serving" / "inference").rglob("*.parquet")
    import pyarrow.parquet as pq

    ids = pq.read_table(batch, columns=["request_id"])["request_id"].to_pylist()
    writer = SegmentWriter(segment_folder(home.path))
    writer.append([FeedbackRow(time.time_ns(), request, 0, "analyst") for request in ids])
    writer.close()
    drift_report(home)
    again = facts(home)
    assert (again["labelled_rows"], again["look"], again["priority"]) == (ROWS, 2, "high")
    assert again["level"] == first["level"] / 2
    assert ledger.read_bytes().startswith(paid) and len(ledger.read_bytes().splitlines()) == 2
    assert home.problems() == []

    ledger.write_bytes(paid)
    (problem,) = home.problems()
    assert "no entry of what the newest drift report of logistic spent" in problem
