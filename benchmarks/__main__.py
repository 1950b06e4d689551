"""``python -m benchmarks [NAME ...]``: run the benchmarks one after another and print what they measured.

What belongs here: running and printing. What does not: a measurement.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from typing import Any

from benchmarks import cycle, scaling

PROGRAMS = (
    "audit",
    "cohorts",
    "gateway",
    "inference_log",
    "label_errors",
    "monitors",
    "processes",
    "screening",
    "single_record",
    "stages",
    "validation",
    "watch",
)


def main(names: list[str]) -> int:
    """Run the named benchmarks, or all."""
    own = {"cycle": cycle.measure, "scaling": scaling.measure}
    chosen = names or [*own, *PROGRAMS]
    unknown = sorted(set(chosen) - {*own, *PROGRAMS})
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}: known are {', '.join((*own, *PROGRAMS))}", file=sys.stderr)
        return 2
    document: dict[str, Any] = {"machine": platform.machine(), "python": platform.python_version()}
    for name in chosen:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        document[name] = own[name]() if name in own else _run(name)
    print(json.dumps(document, indent=2))
    return 0


def _run(name: str) -> Any:
    """A benchmark that is a program of its own, in a process of its own so that it starts with empty caches."""
    done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
