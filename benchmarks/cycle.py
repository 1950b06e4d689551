"""Whole cycles as a user starts them: five families on synthetic data, from process start to exit.

What belongs here: seconds and peak memory of ``nethical run`` and of loading the definitions, and how often an
unchanged cycle opens and commits to Dagster's databases. Synthetic data makes the figures the same everywhere; they say
nothing about the quality of models. Seconds depend on the machine and what else it does; ratios of processes that ran
in turn do not.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROWS = 20_000
PAIRS = 3
ANSWERS = 7
COUNT = """
import json, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool
seen = {"connects": 0, "commits": 0}
def note(what):
    seen[what] += 1
event.listen(Pool, "connect", lambda *_: note("connects"))
event.listen(Engine, "commit", lambda *_: note("commits"))
report, sys.argv = Path(sys.argv[1]), ["nethical", *sys.argv[2:]]
from nethical_assets.command_line.app import main
try:
    main()
finally:
    report.write_text(json.dumps({**seen, "modules": list(sys.modules)}))
"""
IMPORT = """
import contextlib, gc, importlib, json, sys
from pathlib import Path
from nethical_assets.command_line.program import OBJECTS_BETWEEN_COLLECTIONS
gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
for name in json.loads(Path(sys.argv[1]).read_text())["modules"]:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
"""
LOAD = "import dagster as dg; from nethical_assets.definitions import defs; dg.Definitions.validate_loadable(defs())"


def measure() -> dict[str, Any]:
    """A cold cycle, the same again with nothing changed, and loading the definitions (cold: first, warm: second time).

    Beside them, the commands that only answer: ``status`` and ``--help``.

    The first cycle pays for everything a new machine pays for: importing the libraries, creating the databases. The
    unchanged cycle is measured several times, in turn with a process that only imports the modules it imports.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "NETHICAL_HOME": home, "PYTHONWARNINGS": "ignore"}
        environment.pop("NETHICAL_DATA_MIRROR", None)
        arguments = ["run", "--source", "synthetic", "--json", "--samples", str(ROWS)]
        command = [sys.executable, "-m", "nethical_assets.command_line.program", *arguments]
        first_load = _timed([sys.executable, "-c", LOAD], environment)
        cold = _timed(command, environment)
        counted = Path(home) / "counted.json"
        storage = _storage_figures(Path(home), counted, arguments, environment)
        pairs = [
            (_timed(command, environment), _timed([sys.executable, "-c", IMPORT, str(counted)], environment))
            for _ in range(PAIRS)
        ]
        unchanged = pairs[0][0]
        second_load = _timed([sys.executable, "-c", LOAD], environment)
        families = json.loads(cold.pop("output"))["families"]
        verdicts = json.loads(unchanged.pop("output"))["families"]
        return {
            "rows_per_family": {family: result["rows"] for family, result in families.items()},
            # Its families are computed in other processes: ``processes`` measures all of them.
            "full_cycle": {"wall_seconds": cold["wall_seconds"]},
            "unchanged_cycle": {
                **unchanged,
                "verdicts": sorted({result["verdict"] for result in verdicts.values()}),
                "wall_seconds": statistics.median(cycle["wall_seconds"] for cycle, _ in pairs),
                "cpu_seconds": statistics.median(cycle["cpu_seconds"] for cycle, _ in pairs),
                "imports_cpu_seconds": statistics.median(imports["cpu_seconds"] for _, imports in pairs),
                "cpu_ratio_to_imports": round(
                    statistics.median(cycle["cpu_seconds"] / imports["cpu_seconds"] for cycle, imports in pairs), 2
                ),
                **storage,
            },
            **_answers(environment),
            "load_definitions_first": {"wall_seconds": first_load["wall_seconds"]},
            "load_definitions_again": {"wall_seconds": second_load["wall_seconds"]},
        }


def _answers(environment: dict[str, str]) -> dict[str, Any]:
    """How long commands take that only answer, in turn with an interpreter that does nothing."""
    program = [sys.executable, "-m", "nethical_assets.command_line.program"]
    found = {}
    for name, arguments in (("status", ["status"]), ("help", ["--help"])):
        pairs = [
            (_timed([*program, *arguments], environment), _timed([sys.executable, "-c", ""], environment))
            for _ in range(ANSWERS)
        ]
        found[name] = {
            "wall_seconds": statistics.median(answer["wall_seconds"] for answer, _ in pairs),
            "cpu_ratio_to_an_interpreter": round(
                statistics.median(answer["cpu_seconds"] / max(bare["cpu_seconds"], 0.01) for answer, bare in pairs), 1
            ),
        }
    return found


def _storage_figures(home: Path, report: Path, arguments: list[str], environment: dict[str, str]) -> dict[str, float]:
    """How often one more cycle opens a database and commits, for each event that Dagster stores."""
    runs = home / "dagster" / "history" / "runs"
    before = {path.name for path in runs.glob("*.db")}
    _timed([sys.executable, "-c", COUNT, str(report), *arguments], environment)
    (run,) = [path for path in runs.glob("*.db") if path.name not in before]
    connection = sqlite3.connect(run)
    (events,) = connection.execute("SELECT count(*) FROM event_logs").fetchone()
    connection.close()
    seen = json.loads(report.read_text())
    return {
        "events": events,
        "connects_per_event": round(seen["connects"] / events, 3),
        "commits_per_event": round(seen["commits"] / events, 3),
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
