"""What a champion is asked, and the drift reports about it.

What belongs here: records that drift, and one new report. What does not: what is expected of it (the tests).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from tests.across.platform import Home
from tests.tiny_mirror import connections


def drifted(rows: int) -> pd.DataFrame:
    """Connections of which all are attacks, of a kind that no training row is like."""
    frame = connections(rows * 3, np.random.default_rng(31))
    frame = frame[frame["attack"] != "normal"].head(rows)
    return frame.assign(src_bytes=90_000, dst_bytes=90_000, duration=4000, count=500)


def drift_report(home: Home) -> dict[str, Any]:
    """A new drift report about the logistic champion, as the drift watch makes it: its plain metadata.

    Empty when the run wrote none.
    """
    run = home.dagster("execute", json.dumps({"job": "drift_watch"}))
    newest = home.dagster("materializations", "drift_reports/logistic")[0]
    return dict(newest["metadata"]) if newest["run_id"] == run["run_id"] else {}
