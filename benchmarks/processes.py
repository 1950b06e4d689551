"""A full cycle in one process and in two, in fresh homes, in turn.

What belongs here: wall and CPU seconds and peak memory of the whole tree of processes, and their ratios. What does not:
cycles that have nothing to compute (``cycle``). Data is that of ``NETHICAL_DATA_MIRROR``, else synthetic. Linux only:
memory is the sum of the processes' shares (PSS), looked at twice a second.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PAIRS = 3
RUN = """
import sys
from nethical_assets.orchestration import executor
workers, sys.argv = int(sys.argv[1]), ["nethical", *sys.argv[2:]]
executor.default_workers = lambda: workers
from nethical_assets.command_line.app import main
main()
"""
_PR_SET_CHILD_SUBREAPER = 36
_LOOKS_A_SECOND = 2


def measure() -> dict[str, Any]:
    """Medians of the pairs; ratios are of two processes to one."""
    pairs = [(_cycle(1), _cycle(2)) for _ in range(PAIRS)]
    digests = {json.dumps(run.pop("models"), sort_keys=True) for pair in pairs for run in pair}
    return {
        "data": "mirror" if "NETHICAL_DATA_MIRROR" in os.environ else "synthetic",
        "same_models": len(digests) == 1,
        "one_process": _medians([one for one, _ in pairs]),
        "two_processes": _medians([two for _, two in pairs]),
        "ratio": _medians([{name: two[name] / one[name] for name in one} for one, two in pairs]),
    }


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}


def _cycle(workers: int) -> dict[str, Any]:
    """One full cycle in a fresh home."""
    # Whatever outlives its parent becomes a child of this process, and its time is counted.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile() as output:
        environment = {**os.environ, "NETHICAL_HOME": home, "PYTHONWARNINGS": "ignore"}
        started, peak = time.monotonic(), 0
        command = [sys.executable, "-c", RUN, str(workers), "run", "--json"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, _memory_below(os.getpid()))
            time.sleep(1 / _LOOKS_A_SECOND)
        seconds = time.monotonic() - started
        if process.returncode != 0:
            raise SystemExit(f"a cycle of {workers} processes failed with status {process.returncode}")
        _wait_for_the_rest()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        output.seek(0)
        families = json.loads(output.read())["families"]
    return {
        "wall_seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_memory_mb": peak / 1024,
        "models": {family: result["model_digest"] for family, result in families.items()},
    }


def _wait_for_the_rest() -> None:
    try:
        while True:
            os.wait()
    except ChildProcessError:
        return


def _memory_below(root: int) -> int:
    """KiB of all processes below ``root``, shared pages divided."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, waiting = 0, [root]
    while waiting:
        for child in children.get(waiting.pop(), []):
            waiting.append(child)
            try:
                lines = Path(f"/proc/{child}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            found += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return found


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
