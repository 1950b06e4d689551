"""Where a cycle's time goes, and how often the same text is looked at.

What belongs here: CPU seconds of each stage of one cycle in one process, texts asked for and screened, rows featurised.
What does not: whole processes (``cycle``). With ``NETHICAL_DATA_MIRROR`` the cycle reads that mirror, otherwise
synthetic data. Ratios say what sharing saves: both figures come from the same run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import tempfile
import time
from collections import Counter
from typing import Any

ROWS = 5_000


def measure() -> dict[str, Any]:
    """One cycle in a fresh home, its stages observed."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["NETHICAL_HOME"] = home
        return _measured()


def _measured() -> dict[str, Any]:
    from nethical_assets.core.detectors.registry import family_names, load_family
    from nethical_assets.home.options import CycleOptions
    from nethical_assets.home.progress import Event, observed_by
    from nethical_assets.home.settings import load_settings
    from nethical_assets.home.workspace import Workspace
    from nethical_assets.orchestration.cycle import run_cycle

    settings = load_settings()
    mirror = settings.mirror is not None
    options = CycleOptions() if mirror else CycleOptions(source="synthetic", samples=ROWS)
    seconds: Counter[str] = Counter()
    began: dict[tuple[str, str], float] = {}
    featurised: Counter[str] = Counter()

    def observe(event: Event, stage: str, subject: str) -> None:
        if event == "started":
            began[stage, subject] = time.process_time()
        else:
            seconds[f"{stage}/{subject}"] += time.process_time() - began.pop((stage, subject))

    families = family_names()
    for family in families:
        _count_features(family, load_family(family), featurised)
    started, cpu = time.monotonic(), time.process_time()
    with observed_by(observe):
        summary = run_cycle(settings, families, options)
    wall, cpu = time.monotonic() - started, time.process_time() - cpu
    memo = Workspace(settings, options, "benchmark").screener.memo
    by_stage: Counter[str] = Counter()
    for name, spent in seconds.items():
        by_stage[name.partition("/")[0]] += spent
    rows = {family: result["rows"] for family, result in summary["families"].items()}
    return {
        "data": "mirror" if mirror else "synthetic",
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "cpu_seconds_by_stage": {name: round(spent, 2) for name, spent in by_stage.most_common()},
        "slowest_steps": {name: round(spent, 2) for name, spent in seconds.most_common(10)},
        "texts_asked_for": memo.texts_asked if memo else None,
        "texts_screened": memo.texts_screened if memo else None,
        "rows_featurised_per_row": {name: round(count / rows[name], 2) for name, count in sorted(featurised.items())},
    }


def _count_features(family: str, spec: Any, featurised: Counter[str]) -> None:
    """Count the rows whose features the family computes, wherever it is asked to."""
    import importlib

    module = importlib.import_module(f"nethical_assets.core.detectors.families.{family}")
    if spec.featurise is None:
        return
    plain = spec.featurise

    def counted(inputs: Any) -> Any:
        featurised[family] += len(inputs)
        return plain(inputs)

    module.SPEC = dataclasses.replace(spec, featurise=counted)  # type: ignore[attr-defined]
    module.featurise = counted  # type: ignore[attr-defined]


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
