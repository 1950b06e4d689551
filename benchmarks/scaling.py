"""How data handling grows with the number of rows: ten times the rows against one time, in one run.

What belongs here: ratios of the data stages (canonical dataset, screening, splits, quality checks). What does not:
fitting models.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from nethical_assets.core.datasets.canonical import synthetic_dataset
from nethical_assets.core.datasets.splits import assign_splits
from nethical_assets.core.detectors.registry import family_names, load_family
from nethical_assets.core.governance.frames import canonical_readings, screen_frame
from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.quality.declarations import QualityThresholds, assess, canonical_schema
from nethical_assets.home.settings import DEFAULT_SETTINGS_FILE

ROWS = 20_000
FACTOR = 10
THRESHOLDS = QualityThresholds(10_000, 0.2, 0.05, 0.5)


def measure() -> dict[str, Any]:
    """Seconds at ``ROWS`` and at ``FACTOR * ROWS`` for each family, and their ratio."""
    screener = Screener(load_ruleset(DEFAULT_SETTINGS_FILE.parent / "screening"))
    found: dict[str, Any] = {}
    for family in family_names():
        _handle(family, 1000, screener)
        small = _seconds(lambda family=family: _handle(family, ROWS, screener))
        large = _seconds(lambda family=family: _handle(family, FACTOR * ROWS, screener))
        found[family] = {
            "seconds": round(small, 3),
            "seconds_at_ten_times": round(large, 3),
            "ratio": round(large / small, 2),
        }
    return {"rows": ROWS, "factor": FACTOR, "families": found}


def _handle(family: str, rows: int, screener: Screener) -> None:
    spec = load_family(family)
    dataset = synthetic_dataset(spec, rows=rows, seed=1)
    result = screen_frame(dataset.frame, canonical_readings(dataset.frame, spec.kind), screener)
    assign_splits(result.frame, train_ratio=0.8, validation_ratio=0.1)
    schema = canonical_schema(spec, dataset.facts["input_columns"])
    assess(
        result.frame.drop(columns=["time"]), schema, THRESHOLDS, label="label", identity=["row_id"], required=["row_id"]
    )


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
