"""``python -m benchmarks.few_sub_windows [--windows N]``: verdicts on the first minutes of a champion.

What belongs here: windows with too few sub-windows to learn from how alike rows are, of correlated traffic
(``simulated_traffic``), calm and moved by a standard deviation, judged by the product at the level of a watch. What
does not: whole windows (``simulated_year``).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.simulated_traffic import FEATURES, Change, draw, reference_of
from nethical_assets.core.drift.monitors import judge_window
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.window import measure_window

LEVEL, THRESHOLD, ACCURACY_DROP = 3.4e-5, 0.15, 0.05
ROWS = 960
"""Of a whole window of 24 sub-windows."""
SUB_WINDOWS = (4, 8, 15)
MOVED = {
    "calm": np.zeros(len(FEATURES)),
    "one column by 1 sd": np.eye(len(FEATURES))[0],
    "all by 1 sd": np.ones(len(FEATURES)),
}


def verdict(seed: int, sub_windows: int, moved: np.ndarray, *, is_traffic: bool) -> str:
    """The verdict on one window with a reference of its own."""
    generator = np.random.default_rng(seed)
    reference, _ = reference_of(generator)
    rows = draw(1, generator, correlated=True, change=Change(), rows=ROWS)
    sketches = []
    for number in range(sub_windows):
        of = rows.sub_window == number
        features = pd.DataFrame(rows.features[of] + moved, columns=list(FEATURES))
        sketches.append(Sketch.of(reference, rows.probabilities[of], rows.scores[of], features))
    measured = measure_window(
        reference, sketches, before=[], minimum_rows=100, minimum_labelled_rows=100, is_traffic=is_traffic
    )
    return judge_window(measured, level=LEVEL, threshold=THRESHOLD, accuracy_drop=ACCURACY_DROP).verdict


def verdicts(windows: int) -> dict[str, Any]:
    """How often each verdict was given, with the assumption about traffic and without."""
    found: dict[str, Any] = {}
    for name, moved in MOVED.items():
        for number in SUB_WINDOWS:
            for is_traffic in (True, False):
                told = Counter(verdict(seed, number, moved, is_traffic=is_traffic) for seed in range(windows))
                rows = "traffic" if is_traffic else "independent rows"
                found[f"{name}, {number} sub-windows, judged as {rows}"] = dict(told)
    return found


def main() -> None:
    """Print one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_sub_windows")
    parser.add_argument("--windows", type=int, default=100, help="of each kind (default 100)")
    print(json.dumps(verdicts(parser.parse_args().windows), indent=2))


if __name__ == "__main__":
    main()
