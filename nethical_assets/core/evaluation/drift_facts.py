"""What a drift report says of the rows called positive, in the documents of this and of older versions.

What belongs here: finding it in a report's facts. What does not: making reports (``core.drift``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrafficShift:
    """The share of rows called positive in traffic minus that of the test rows, with its 95 % interval; None where
    there are too few rows. ``window``, ``reference``: both shares, where they are known."""

    rows: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    window: float | None = None
    reference: float | None = None


def traffic_shift(facts: Mapping[str, Any]) -> TrafficShift | None:
    """What the facts of a drift report say of the positive rate; None where they are of no champion or no traffic.

    Reports name it among their ``monitors``, of which the longest period counts; those of versions before had
    ``positive_rate``. What is in neither form counts as too little data, never as no shift.
    """
    rows = _whole(facts.get("rows", facts.get("window_rows")))
    if not facts.get("model") or not rows:
        return None
    if "monitors" in facts:
        return _of_monitors(facts, rows)
    rate = facts.get("positive_rate")
    if not isinstance(rate, Mapping) or rows < (_whole(facts.get("minimum_rows")) or 0):
        return TrafficShift(rows)
    window, reference, low, high = (_number(rate.get(name)) for name in ("window", "reference", "low", "high"))
    if window is None or reference is None or low is None or high is None:
        return TrafficShift(rows)
    return TrafficShift(rows, window - reference, low, high, window, reference)


def _of_monitors(facts: Mapping[str, Any], rows: int) -> TrafficShift:
    found: dict[str, Mapping[str, Any]] = {}
    for monitor in facts["monitors"] or ():
        if isinstance(monitor, Mapping) and monitor.get("kind") == "positive_rate":
            found[str(monitor.get("period"))] = monitor
    monitor = found.get("trailing") or next(iter(found.values()), {})
    difference, low, high = (_number(monitor.get(name)) for name in ("statistic", "low", "high"))
    if difference is None or low is None or high is None:
        return TrafficShift(rows)
    if monitor.get("period") != "trailing":
        return TrafficShift(rows, difference, low, high)
    rates = [one for one in facts.get("rates") or () if isinstance(one, Mapping)]
    told = [(_whole(one.get("rows")), _number(one.get("positive_rate"))) for one in rates]
    known = [(size, rate) for size, rate in told if size and rate is not None]
    total = sum(size for size, _ in known)
    if not total:
        return TrafficShift(rows, difference, low, high)
    window = sum(size * rate for size, rate in known) / total
    return TrafficShift(total, difference, low, high, window, window - difference)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
