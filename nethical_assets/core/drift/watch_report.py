"""The report about one watch window, as everything that shows, alerts or asks for retraining reads it.

What belongs here: the document and its words. What does not: judging (``watch``), or showing it (``assets``).

The document of every verdict has the same fields:

    verdict, priority, drift_score, threshold, accuracy_drop, reasons, what_next     as in ``monitors.MonitorReport``
    window        start and end (ISO times, UTC), and whether it was complete when it was judged
    model, reference       digests, empty without a champion
    rows, labelled_rows    of the window
    labels_given, labels_unknown, labels_not_counted   labels that came in the time of the window, those of no request,
                  each None where it is not known, and why it is not (``feedback.labels_given``), as whoever has the
                  logs adds them
    level, look   of the judgement whose verdict counts
    cause         ``watch.Watched.cause``
    periods       name, hours and report: of the window, and of the trailing period, which is the same report where
                  both have the same rows
    monitors      kind, name, period, statistic, low, high, score, adjusted_p_value and outcome of every monitor of
                  every judgement
    rates         start, rows, positive_rate, accuracy and estimated_accuracy of every window of the trailing period
    estimates     ``track_record.TrackRecord``: estimates of accuracy held against labels, as far back as is read
    histograms    column -> edges, and the shares of the reference and of the window, the last one of missing values
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.monitors import NEXT
from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.sketches import Sketch, added
from nethical_assets.core.drift.statistics.estimated_accuracy import Confidence, estimated_accuracy
from nethical_assets.core.drift.track_record import TrackRecord, track_record
from nethical_assets.core.drift.watch import Judgement, Timeline, Watched, WatchLimits, earliest, spans
from nethical_assets.core.drift.windows import Window

WatchFacts = dict[str, Any]


@dataclass(frozen=True)
class About:
    """What a report is about: a window that was judged at ``now``, of a champion promoted at ``since``."""

    window: Window
    now: datetime
    limits: WatchLimits
    model: str = ""
    reference: str = ""
    since: datetime | None = None


def hold_report(about: About, reason: str, what_next: str = NEXT["hold"]) -> WatchFacts:
    """The report of a window in which there is nothing to judge."""
    return {
        **_head(about),
        "verdict": "hold",
        "priority": "none",
        "drift_score": None,
        "rows": 0,
        "labelled_rows": 0,
        "reasons": [reason],
        "what_next": what_next,
        "level": 0.0,
        "look": 0,
        "cause": "",
        "periods": [],
        "monitors": [],
        "rates": [],
        "estimates": TrackRecord().to_json(),
        "histograms": {},
    }


def watch_report(about: About, watched: Watched, timeline: Timeline, silent: str) -> WatchFacts:
    """The report of a window that was judged; ``silent`` says since when there is no traffic, where there is none."""
    worst, window = watched.worst, added(timeline.reference, timeline.between(*_time_of(about.window)))
    return {
        **_head(about),
        "verdict": watched.verdict,
        "priority": watched.priority,
        "drift_score": watched.drift_score,
        "rows": window.rows,
        "labelled_rows": window.labelled.total,
        "reasons": [silent] if watched.verdict == "hold" else _reasons(watched),
        "what_next": worst.report.what_next,
        "level": worst.report.level,
        "look": worst.look,
        "cause": watched.cause,
        "periods": _periods(about, watched),
        "monitors": [row for one in watched.judgements for row in _monitors(one)],
        "rates": rates(about, timeline),
        "estimates": estimates(about, timeline).to_json(),
        "histograms": histograms(timeline.reference, window),
    }


def rates(about: About, timeline: Timeline) -> list[dict[str, Any]]:
    """What is shown over time: each window of the trailing period, oldest first, those without rows included."""
    window, found = about.window, []
    start = spans(window, about.since or window.start, about.limits.trailing_hours)[1].start
    while window.end > start:
        sketch = added(timeline.reference, timeline.between(max(window.start, start), window.end))
        found.append({"start": window.start.isoformat(), **_rates(timeline.reference, sketch)})
        window = window.before()
    return found[::-1]


def estimates(about: About, timeline: Timeline) -> TrackRecord:
    """What labels say of the estimates of the champion up to this window."""
    window, labelled = about.window, {}
    start = earliest(window, about.since or window.start, about.limits.trailing_hours)
    while window.end > start:
        sub_windows = timeline.between(max(window.start, start), window.end)
        labelled[_time_of(window)] = [sketch.labelled for sketch in sub_windows]
        window = window.before()
    return track_record(timeline.reference, labelled, about.limits.minimum_labelled_rows)


def histograms(reference: Reference, window: Sketch) -> dict[str, dict[str, list[float]]]:
    """Shares of every column; nothing where the window has no rows."""
    if window.rows == 0:
        return {}
    return {
        column.name: {
            "edges": list(column.edges),
            "reference": _shares(column.own_histogram()),
            "window": _shares(window.histogram(reference, column.name)),
        }
        for column in reference.columns
    }


def _head(about: About) -> dict[str, Any]:
    start, end = about.window.start, about.window.end
    return {
        "threshold": about.limits.threshold,
        "accuracy_drop": about.limits.accuracy_drop,
        "window": {"start": start.isoformat(), "end": end.isoformat(), "complete": end <= about.now},
        "model": about.model,
        "reference": about.reference,
    }


def _time_of(window: Window) -> tuple[datetime, datetime]:
    return window.start, window.end


def _periods(about: About, watched: Watched) -> list[dict[str, Any]]:
    reports = {one.span.name: one.report.to_json() for one in watched.judgements}
    return [
        {"name": span.name, "hours": span.hours, "report": reports.get(span.name, reports["window"])}
        for span in spans(about.window, about.since or about.window.start, about.limits.trailing_hours)
    ]


def _reasons(watched: Watched) -> list[str]:
    """Those of the verdict on the whole, from every judgement that has it; with one judgement there is nothing to tell
    apart."""
    if len(watched.judgements) == 1:
        return list(watched.judgements[0].report.reasons)
    return [
        f"{_named(one)}: {reason}"
        for one in watched.judgements
        if one.report.verdict == watched.verdict
        for reason in one.report.reasons
    ]


def _named(judgement: Judgement) -> str:
    span = judgement.span
    return "This window" if span.name == "window" else f"The {span.hours} hours that end with this window"


def _monitors(judgement: Judgement) -> list[dict[str, Any]]:
    return [
        {
            "kind": one.monitor.kind,
            "name": one.monitor.name,
            "period": judgement.span.name,
            "statistic": one.monitor.measurement.statistic,
            "low": one.monitor.measurement.low,
            "high": one.monitor.measurement.high,
            "score": one.score,
            "adjusted_p_value": one.adjusted_p_value,
            "outcome": "unremarkable" if one.outcome == "calm" else one.outcome,
        }
        for one in judgement.report.outcomes
    ]


def _rates(reference: Reference, sketch: Sketch) -> dict[str, Any]:
    rows, labelled = sketch.rows, sketch.labelled
    estimated = None
    if reference.reliability is not None and rows:
        confidence = Confidence.of(reference.reliability, reference.decision_threshold)
        bins = sketch.reliability_rows(reference)
        estimated = estimated_accuracy(confidence, bins, sketch.probability_sums).statistic if bins.any() else None
    return {
        "rows": rows,
        "positive_rate": sketch.positives(reference) / rows if rows else None,
        "accuracy": labelled.correct(reference.decision_threshold) / labelled.total if labelled.total else None,
        "estimated_accuracy": estimated,
    }


def _shares(counts: npt.NDArray[np.int64]) -> list[float]:
    shares: Sequence[float] = (counts / max(int(counts.sum()), 1)).tolist()
    return list(shares)
