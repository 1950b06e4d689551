"""What a server was asked, from its segments to a drift report, whoever died in between."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest

from nethical_assets.core.drift.reference import PROBABILITY, SCORE
from nethical_assets.core.drift.segments import SegmentWriter
from nethical_assets.core.ground.storage import ObjectStore
from nethical_assets.home.stores import segment_folder
from tests.across.conftest import Copy
from tests.across.platform import Home
from tests.across.traffic import drift_report
from tests.core.drift.logged import scored
from tests.processes import start_child

ROWS = 250


def answer_and_die(home: Home) -> None:
    """A worker that answered requests with the champion and was killed."""
    pointer = json.loads(home.pointer() or b"")
    reference = json.loads(ObjectStore(home.path / "data" / "objects").get(pointer["reference"]))
    names = {column["name"] for column in reference["columns"]} - {PROBABILITY, SCORE}
    model, now = pointer["model"], time.time_ns()

    def work() -> None:
        writer = SegmentWriter(segment_folder(home.path))
        for number in range(ROWS):
            writer.append([scored(number, model=model, at_ns=now + number, sketch=dict.fromkeys(names, float(number)))])

    assert start_child(work)() == 0


@pytest.mark.slow
def test_what_a_killed_worker_answered_is_judged_by_the_next_drift_report(copy: Copy, real: Home) -> None:
    home = copy(real)
    answer_and_die(home)
    assert drift_report(home)["rows"] == ROWS
    assert drift_report(home)["rows"] == ROWS, "and once"
    assert home.problems() == []


@pytest.mark.slow
def test_scoring_a_file_seals_what_is_left_and_logs_the_file_once(copy: Copy, real: Home, records: Path) -> None:
    home = copy(real)
    answer_and_die(home)
    for _ in range(2):
        home.score(records)[0].ok()
    assert not list(segment_folder(home.path).iterdir())
    assert drift_report(home)["rows"] == ROWS + len(pd.read_csv(records))
    assert home.faults(records) == []
    ids = set()
    for path in (home.path / "serving" / "inference").rglob("*.parquet"):
        ids |= set(pd.read_parquet(path)["request_id"])
    assert len(ids) == ROWS + len(pd.read_csv(records))
