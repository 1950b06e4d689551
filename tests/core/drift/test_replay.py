from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.replay import replayed
from nethical_assets.core.ground.errors import DatasetError

ROWS = pd.DataFrame(
    {"size": [1.0, 2.0, 3.0, np.nan], "service": ["http", "ftp", "http", "smtp"], "label": np.int8([0, 0, 1, 0])}
)
TEXTS = pd.DataFrame({"text": [f"text {n}" for n in range(200)], "label": np.int8([1] * 10 + [0] * 190)})
COLUMNS = ["size", "service"]


def test_every_row_comes_once_before_any_comes_again():
    found = list(islice(replayed(ROWS, COLUMNS, "records", shift=0.0, seed=3), 8))
    for part in (found[:4], found[4:]):
        assert sorted((json.dumps(record), label) for record, label in part) == [
            ('{"size": 1.0, "service": "http"}', 0),
            ('{"size": 2.0, "service": "ftp"}', 0),
            ('{"size": 3.0, "service": "http"}', 1),
            ('{"size": null, "service": "smtp"}', 0),
        ]
    assert found == list(islice(replayed(ROWS, COLUMNS, "records", shift=0.0, seed=3), 8))


def test_numbers_move_by_their_own_deviation_and_nothing_else_does():
    plain = list(islice(replayed(ROWS, COLUMNS, "records", shift=0.0, seed=3), 4))
    moved = list(islice(replayed(ROWS, COLUMNS, "records", shift=-2.0, seed=3), 4))
    for (record, label), (changed, same) in zip(plain, moved, strict=True):
        assert (changed["service"], same) == (record["service"], label)
        if record["size"] is None:
            assert changed["size"] is None
        else:
            assert changed["size"] == pytest.approx(record["size"] - 2.0 * np.std([1.0, 2.0, 3.0]))


def test_of_texts_more_are_attacks():
    shares = {}
    for shift in (0.0, 0.5, 1.0):
        labels = [label for _, label in islice(replayed(TEXTS, ["text"], "text", shift=shift, seed=1), 2000)]
        shares[shift] = sum(labels) / len(labels)
    assert shares[0.0] == 0.05 and 0.45 < shares[0.5] < 0.6 and shares[1.0] == 1.0


@pytest.mark.parametrize(
    ("rows", "kind", "shift", "words"),
    [
        (ROWS[:0], "records", 0.0, "no held-out rows"),
        (ROWS, "records", float("nan"), "a finite number"),
        (TEXTS, "text", 1.5, "from 0 to 1"),
        (TEXTS, "sequence", -0.1, "from 0 to 1"),
        (TEXTS[20:], "text", 0.5, "no held-out attacks"),
    ],
)
def test_what_cannot_be_sent_is_said(rows, kind, shift, words):
    with pytest.raises(DatasetError, match=words):
        next(replayed(rows, [rows.columns[0]], kind, shift=shift, seed=0))
