"""The inference log: processor microseconds a row of appending, sealing and reading.

What belongs here: ``python -m benchmarks.inference_log`` prints one JSON document. What does not: a gateway around it.
Rows have the eight sketch columns of the logistic family. Figures are the least of several repetitions, so that other
work on the machine disturbs them least; processor time includes the thread that syncs. The ratio is of an append to a
plain ``os.write`` of as many bytes.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nethical_assets.core.drift.feedback import labelled_rows
from nethical_assets.core.drift.segments import FeedbackRow, LoggedRow, SegmentWriter, ended_segments, read_segment
from nethical_assets.home.inference import InferenceStore
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import load_settings
from nethical_assets.home.stores import segment_folder
from nethical_assets.home.workspace import Workspace, utc_now

ROWS = 100_000
SINGLE = 20_000
REPETITIONS = 5
LABELLED_EVERY = 10
_HOUR_NS = 3_600_000_000_000


def measure() -> dict[str, Any]:
    rows = _rows()
    with tempfile.TemporaryDirectory() as folder:
        single = _appended(Path(folder) / "single", rows[:SINGLE], 1)
        batches = {size: _appended(Path(folder) / str(size), rows, size) for size in (100, 1500)}
        (path, *_) = ended_segments(Path(folder) / "1500")
        size = path.stat().st_size / read_segment(path).rows
        plain = _plain_writes(Path(folder) / "plain", SINGLE, round(size))
        reading = min(_microseconds(lambda: sum(1 for _ in read_segment(path))) for _ in range(REPETITIONS))
        return {
            "rows": ROWS,
            "bytes_a_row": round(size),
            "append_one_microseconds": single,
            "append_one_to_a_plain_write": round(single / plain, 2),
            "append_of_batches_microseconds_a_row": batches,
            "read_microseconds_a_row": round(reading / read_segment(path).rows, 2),
            **_sealed(Path(folder) / "home", rows),
        }


def _rows() -> list[LoggedRow]:
    """Answers of half an hour, as a gateway logs them."""
    chance = random.Random(7)
    start = int(utc_now().timestamp()) * 1_000_000_000 // _HOUR_NS * _HOUR_NS
    return [
        LoggedRow(
            at_ns=start + number * 1_800_000_000_000 // ROWS,
            request_id=f"{chance.getrandbits(128):032x}",
            family="logistic",
            model="sha256:" + "a" * 64,
            route="v1",
            label=number % 2,
            probability=chance.random(),
            score=chance.gauss(0, 1),
            sketch={f"column_{name}": chance.gauss(0, 1) for name in range(8)},
            latency_us=chance.randrange(50, 5000),
            findings={},
        )
        for number in range(ROWS)
    ]


def _appended(folder: Path, rows: Sequence[LoggedRow], size: int) -> float:
    """Processor microseconds a row."""

    def append(attempt: int) -> float:
        writer = SegmentWriter(folder if attempt == 0 else folder.with_name(f"{folder.name}-{attempt}"))
        parts = [rows[start : start + size] for start in range(0, len(rows), size)]

        def work() -> None:
            for part in parts:
                writer.append(part)
            writer.close()

        return _microseconds(work) / len(rows)

    return round(min(append(attempt) for attempt in range(REPETITIONS)), 2)


def _plain_writes(path: Path, rows: int, size: int) -> float:
    data = b"x" * size

    def work() -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for _ in range(rows):
            os.write(descriptor, data)
        os.close(descriptor)

    return min(_microseconds(work) / rows for _ in range(REPETITIONS))


def _sealed(home: Path, rows: Sequence[LoggedRow]) -> dict[str, Any]:
    """Sealing all rows with a label for some of them, and reading the window they are in."""
    settings = load_settings({**os.environ, "NETHICAL_HOME": str(home)})
    workspace = Workspace(settings, CycleOptions(), "benchmark")
    writer = SegmentWriter(segment_folder(home))
    for start in range(0, len(rows), 1500):
        writer.append(rows[start : start + 1500])
    labelled = rows[::LABELLED_EVERY]
    for start in range(0, len(labelled), 1500):
        some = labelled[start : start + 1500]
        writer.append([FeedbackRow(row.at_ns + 1, row.request_id, row.label, "benchmark") for row in some])
    writer.close()
    # The recorder founds the log, which is no part of a pass.
    workspace.recorder.prefix_root()
    sealing = _microseconds(lambda: InferenceStore(workspace).seal())
    since = utc_now().replace(minute=0, second=0, microsecond=0)
    log, feedback = workspace.inference_log, workspace.feedback_log
    files = list((home / "serving" / "inference").rglob("*.parquet"))

    def read() -> None:
        for _ in log.parts("logistic", since, columns=["probability"]):
            pass

    def join() -> None:
        assert sum(one.labelled for one in labelled_rows(log, feedback, "logistic", since)) == len(labelled)

    windows = [min(_microseconds(work) for _ in range(REPETITIONS)) / len(rows) for work in (read, join)]
    return {
        "seal_microseconds_a_row": round(sealing / len(rows), 2),
        "sealed_bytes_a_row": round(sum(path.stat().st_size for path in files) / len(rows)),
        "read_window_microseconds_a_row": round(windows[0], 3),
        "join_labels_microseconds_a_row": round(windows[1], 3),
    }


def _microseconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1e6


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
