"""``python -m benchmarks.cohorts [ROWS]``: counting a week of predictions by route and window.

What belongs here: processor seconds and peak memory, without labels and with labels of a hundredth of the rows. What
does not: comparing the cohorts, which takes milliseconds whatever the rows.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nethical_assets.core.drift.feedback import FEEDBACK_SCHEMA, FeedbackLog
from nethical_assets.core.drift.inference_log import REQUEST_SCHEMA, InferenceLog, prediction_table
from nethical_assets.core.evaluation.cohort_traffic import count_traffic

ROWS, HOURS, LABELLED = 10_000_000, 168, 0.01
MODEL, START = "sha256:" + "a" * 64, datetime(2026, 3, 1, tzinfo=UTC)
ROUTES = np.array(["v1", "v2", "score"])


def write(folder: Path, rows: int) -> None:
    """A week of batches, one an hour: eight columns of a sketch, three routes, findings in a fiftieth of the rows."""
    generator, log, feedback = np.random.default_rng(0), InferenceLog(folder / "rows"), FeedbackLog(folder / "labels")
    size = rows // HOURS
    for hour in range(HOURS):
        begin = START + timedelta(hours=hour)
        at = np.sort(int(begin.timestamp()) * 10**9 + generator.integers(0, 3600 * 10**9, size))
        probability = generator.random(size)
        sketch = {f"column_{number}": generator.random(size).round(2) for number in range(8)}
        found = [[("EMAIL", 1)] if hit else [] for hit in (generator.random(size) < 0.02).tolist()]
        values = {
            "request_id": [f"{hour:03d}-{number:08d}-{number * 7919 % size:08d}" for number in range(size)],
            "at": at,
            "label": (probability >= 0.5).astype(np.int8),
            "route": ROUTES[generator.integers(0, 3, size)],
            "latency_us": generator.integers(100, 1000, size),
            "findings": found,
        }
        requests = pa.table(
            {field.name: pa.array(values[field.name], field.type) for field in REQUEST_SCHEMA}, schema=REQUEST_SCHEMA
        )
        table = prediction_table(probability, probability, sketch, requests)
        log.append_table("logistic", MODEL, table, occasion=str(hour), when=begin, record=lambda name, digest: None)
        labels = requests.slice(0, int(size * LABELLED)).select(["at", "request_id", "label"])
        labels = labels.append_column("actor", pa.repeat("analyst", len(labels))).cast(FEEDBACK_SCHEMA)
        feedback.append_table(
            labels, occasion=str(hour), when=begin + timedelta(hours=1), record=lambda name, digest: None
        )


def measure(folder: Path, labels: str) -> dict[str, Any]:
    """Count what ``write`` wrote, in this process."""
    log, feedback = InferenceLog(folder / "rows"), FeedbackLog(folder / labels)
    began = time.process_time()
    until = START + timedelta(hours=HOURS)
    traffic = count_traffic(log, feedback, "logistic", MODEL, START, until, hours=6)
    counted = time.process_time()
    if traffic is None:
        raise SystemExit("nothing was counted")
    cohorts = [*traffic.by_route(lambda kind: "low"), *traffic.by_window(lambda kind: "low")]
    return {
        "rows": traffic.rows,
        "labelled": traffic.labelled,
        "cohorts": len(cohorts),
        "counting_cpu_seconds": round(counted - began, 2),
        "cohorts_cpu_seconds": round(time.process_time() - counted, 2),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Measure and print; each measurement in a process of its own, whose memory is its own."""
    if len(sys.argv) == 4:
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3])))
        return
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), rows)
        report = {}
        for title, labels in (("without_labels", "none"), ("with_labels", "labels")):
            command = [sys.executable, "-m", "benchmarks.cohorts", "measure", folder, labels]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            report[title] = json.loads(done.stdout)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
