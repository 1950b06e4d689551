"""A week of 10 M predictions in 168 sealed batches: counting its sub-windows from sketches and from rows, and judging.

What belongs here: ``python -m benchmarks.watch`` prints one JSON document. What does not: statistics (``monitors``).
Each measurement is a process of its own; processor seconds and peak memory are those of the whole process, imports
included; ``seconds_without_imports`` begins after them. ``--batches`` and ``--rows`` make it smaller. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.expected import promotion_payload, promotion_subjects
from nethical_assets.core.drift.inference_log import AT, REQUEST_ID, REQUEST_SCHEMA
from nethical_assets.core.drift.reference import build_reference
from nethical_assets.core.drift.windows import Window
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.models.registry import ModelPointer
from nethical_assets.home.changes import place_pointer
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import load_settings
from nethical_assets.home.watch import watch_window
from nethical_assets.home.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

BATCHES, ROWS, COLUMNS = 168, 10_000_000, 8
FAMILY, MODEL = "logistic", "sha256:" + "a" * 64
START = datetime(2026, 3, 2, tzinfo=UTC)
_HOUR = timedelta(hours=1)


def measure(batches: int = BATCHES, rows: int = ROWS) -> dict[str, Any]:
    """The document."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["NETHICAL_HOME"] = home
        workspace = _workspace("benchmark")
        _promote(workspace)
        for number in range(batches):
            _append(workspace, number, rows // batches)
        workspace.finish_errand()
        found = {what: _in_child(what, batches) for what in ("sketches", "judged", "rows")}
        return {"batches": batches, "rows": rows // batches * batches, "columns": COLUMNS, **found}


def _workspace(run_id: str) -> Workspace:
    return Workspace(load_settings(), CycleOptions(), run_id)


def _drawn(rows: int, seed: int) -> tuple[Any, Any, pd.DataFrame, Any]:
    import pandas as pd

    random = np.random.default_rng(seed)
    scores = random.normal(-1.0, 2.5, size=rows)
    probabilities = 1 / (1 + np.exp(-scores))
    frame = pd.DataFrame({f"column_{name}": random.normal(size=rows) for name in range(COLUMNS)})
    return scores, probabilities, frame, (random.random(rows) < probabilities).astype(float)


def _promote(workspace: Workspace) -> None:
    scores, probabilities, frame, labels = _drawn(20_000, 1)
    reference = build_reference(scores, probabilities, frame, labels=labels)
    named = digest_bytes(b"benchmark")
    pointer = ModelPointer(
        family=FAMILY,
        model=MODEL,
        version="1.0.0",
        decision=named,
        decided_at=START.isoformat(timespec="microseconds"),
        run_id=workspace.run_id,
        evaluation=named,
        thresholds=named,
        compared_with="",
        verdict="promoted",
        reasons=(),
        reference=workspace.objects.put(pretty_json(reference.to_json())),
    )
    subjects, payload = promotion_subjects(pointer), promotion_payload(pointer)
    change = place_pointer(pointer, "current")
    workspace.act(EventType.MODEL_PROMOTED, subjects, change, parents=[named], payload=payload)


def _append(workspace: Workspace, number: int, rows: int) -> None:
    """A full hour of requests."""
    scores, probabilities, frame, _ = _drawn(rows, number + 2)
    start = START + number * _HOUR
    first = int(start.timestamp()) * 10**9
    times = pa.array(first + np.arange(rows) * (3_600_000_000_000 // rows), REQUEST_SCHEMA.field(AT).type)
    ids = pa.array([f"{number:04}-{row:08}" for row in range(rows)])
    workspace.inference_log.append(
        FAMILY,
        MODEL,
        probabilities,
        scores,
        frame,
        occasion=str(number),
        when=start,
        record=lambda name, digest: workspace.record_batch(name, digest, MODEL, {"rows": rows}),
        requests=pa.table({REQUEST_ID: ids, AT: times}),
    )


def _in_child(what: str, batches: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.watch", "--child", what, "--batches", str(batches)]
    document: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return document


def _child(what: str, batches: int) -> dict[str, float]:
    """Read the week (``sketches``, or ``rows`` where no sketches are known), or judge its last window (``judged``)."""
    from nethical_assets.core.drift.batch_sketches import SketchedBy, SketchLog
    from nethical_assets.home.sketching import reference_of

    workspace, end = _workspace("reader"), START + batches * _HOUR
    reference = reference_of(workspace, FAMILY, MODEL)
    assert reference is not None
    by = SketchedBy(reference, workspace.settings.file.monitoring.sub_window_minutes)
    log = workspace.sketch_log
    if what == "rows":
        log = SketchLog(workspace.home / "none", workspace.inference_log, counts=lambda name, digest: False)
    began = time.process_time()
    if what == "judged":
        facts = watch_window(workspace, FAMILY, Window(end - 6 * _HOUR, end))
        assert facts["verdict"] == "stable", facts["reasons"]
    else:
        log.read(FAMILY, MODEL, by, START, end)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds_without_imports": round(time.process_time() - began, 2),
        "seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_megabytes": _peak_megabytes(),
    }


def _peak_megabytes() -> int:
    """Of this process alone: what ``getrusage`` says is at least that of the process which started it."""
    with open("/proc/self/status") as status:
        return next(round(int(line.split()[1]) / 1024) for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=BATCHES)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--child", choices=("sketches", "judged", "rows"))
    given = parser.parse_args()
    found = _child(given.child, given.batches) if given.child else measure(given.batches, given.rows)
    print(json.dumps(found, indent=2))
