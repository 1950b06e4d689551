"""Whole cycles as a user starts them: five families on synthetic data, from process start to exit.

What belongs here: wall seconds and peak memory of ``nethical run`` and of loading the definitions. Synthetic data makes
the figures the same everywhere; they say nothing about the quality of models.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

ROWS = 20_000
LOAD = "import dagster as dg; from nethical_assets.definitions import defs; dg.Definitions.validate_loadable(defs())"


def measure() -> dict[str, Any]:
    """A cold cycle, the same again with nothing changed, and loading the definitions (cold: first, warm: second time).

    The first cycle pays for everything a new machine pays for: importing the libraries, creating the databases.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "NETHICAL_HOME": home, "PYTHONWARNINGS": "ignore"}
        environment.pop("NETHICAL_DATA_MIRROR", None)
        command = [sys.executable, "-m", "nethical_assets.command_line.app", "run", "--source", "synthetic", "--json"]
        command += ["--samples", str(ROWS)]
        first_load = _timed([sys.executable, "-c", LOAD], environment)
        cold = _timed(command, environment)
        unchanged = _timed(command, environment)
        second_load = _timed([sys.executable, "-c", LOAD], environment)
        families = json.loads(cold.pop("output"))["families"]
        verdicts = json.loads(unchanged.pop("output"))["families"]
        return {
            "rows_per_family": {family: result["rows"] for family, result in families.items()},
            "full_cycle": cold,
            "unchanged_cycle": {**unchanged, "verdicts": sorted({result["verdict"] for result in verdicts.values()})},
            "load_definitions_first": {"wall_seconds": first_load["wall_seconds"]},
            "load_definitions_again": {"wall_seconds": second_load["wall_seconds"]},
        }


def _timed(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Wall seconds and peak memory of one process, as the operating system accounts for it."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        output.seek(0)
        if os.waitstatus_to_exitcode(status) != 0:
            raise SystemExit(f"{' '.join(command)} failed with status {status}")
        return {
            "wall_seconds": round(seconds, 2),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_memory_mb": round(usage.ru_maxrss / 1024),
            "output": output.read().decode(),
        }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
