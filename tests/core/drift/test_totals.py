from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.drift.reference import PROBABILITY, build_reference
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.totals import Totals


def drawn(random, rows):
    probabilities = random.random(rows)
    frame = pd.DataFrame({"length": np.where(random.random(rows) < 0.1, np.nan, random.normal(size=rows))})
    labels = np.where(random.random(rows) < 0.5, (random.random(rows) < probabilities) * 1.0, np.nan)
    return probabilities, frame, labels


@pytest.mark.parametrize("number", [0, 1, 128, 300])
def test_totals_are_those_of_each_sub_window_in_its_order(number):
    random = np.random.default_rng(1)
    probabilities, frame, labels = drawn(random, 500)
    reference = build_reference(None, probabilities, frame, labels=labels)
    few = [Sketch.empty(reference)]
    for rows in (1, 40, 7):
        probabilities, frame, labels = drawn(random, rows)
        few.append(Sketch.of(reference, probabilities, None, frame, labels))
    sketches = [few[place] for place in random.integers(len(few), size=number)]
    totals = Totals.of(reference, sketches)
    expected = sketches or [Sketch.empty(reference)]
    assert totals.rows.tolist() == [sketch.rows for sketch in expected]
    assert totals.positives.tolist() == [sketch.positives(reference) for sketch in expected]
    assert totals.bin_rows.tolist() == [sketch.reliability_rows(reference).tolist() for sketch in expected]
    assert totals.bin_sums.tolist() == [sketch.probability_sums.tolist() for sketch in expected]
    assert totals.labelled_rows.tolist() == [list(sketch.labelled.rows) for sketch in expected]
    for name in (PROBABILITY, "length"):
        assert totals.columns[name].tolist() == [sketch.histogram(reference, name).tolist() for sketch in expected]
    cells = np.sum([sketch.columns[PROBABILITY][:-1] for sketch in expected], axis=0)
    assert totals.probability_cells.tolist() == cells.tolist()
