"""The pictures of a drift report: the same facts give the same bytes, different facts other ones, and all are small."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from nethical_assets.core.drift.pictures import columns_png, rates_png

SHARES = [0.1, 0.2, 0.3, 0.2, 0.2]
HISTOGRAMS = {
    "with_missing": {"edges": [1.0, 2.5, 1e6], "reference": SHARES, "window": SHARES[::-1]},
    "without": {"edges": [1.0, 2.0, 3.0, 4.0], "reference": SHARES, "window": SHARES},
    "of one value": {"edges": [], "reference": [1.0, 0.0], "window": [0.5, 0.5]},
}
SCORES = {"without": 0.1, "with_missing": 0.4}


def rate(hour: int, **values: float | None) -> dict[str, Any]:
    known = {"positive_rate": 0.4, "accuracy": None, "estimated_accuracy": 0.9, **values}
    return {"start": f"2026-11-22T{hour:02d}:00:00+00:00", "rows": 100 * hour, **known}


RATES = [rate(0), rate(6, positive_rate=None), rate(12, accuracy=0.95)]


def size(png: bytes) -> tuple[int, int]:
    assert len(png) < 50_000
    return Image.open(io.BytesIO(png)).size


def test_the_same_facts_give_the_same_bytes_and_other_facts_other_ones() -> None:
    columns, rates = columns_png(HISTOGRAMS, SCORES), rates_png(RATES)
    assert (size(columns), size(rates)) == ((900, 300), (900, 500))
    assert columns == columns_png(dict(reversed(list(HISTOGRAMS.items()))), SCORES)
    assert columns != columns_png(HISTOGRAMS, {**SCORES, "without": 0.5})
    assert rates == rates_png(RATES) != rates_png(RATES[:2])


def test_of_many_columns_those_that_moved_most_are_drawn() -> None:
    many = {f"column_{number}": HISTOGRAMS["without"] for number in range(40)}
    scores = {name: 0.01 * number for number, name in enumerate(many)}
    most = sorted(many, key=lambda name: -scores[name])[:9]
    assert columns_png(many, scores) == columns_png({name: many[name] for name in most}, scores)
    assert size(columns_png(many, scores)) == (900, 760)


def test_nothing_to_draw_is_drawn_too() -> None:
    assert size(columns_png({}, {}))[0] == size(rates_png([]))[0] == 900
    assert size(rates_png([rate(0, positive_rate=None, estimated_accuracy=None)])) == (900, 500)
