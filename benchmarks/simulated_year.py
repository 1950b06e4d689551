"""Families watched through simulated years: false alerts, detection delays, and how often intervals hold the truth.

What belongs here: the watch of the product over simulated traffic, other rules beside it, and the counts that are kept.
What does not: drawing (``simulated_traffic``), the bound that saves judgements (``simulated_screen``), running years
and adding them up (``monitors``).

Both periods of every window are judged with labels as they are at its end, at the level the ledger gives a first look,
with the trailing length, the calm traffic and the fewest rows of the product's own settings and functions. A judgement
is made by the product wherever the bound does not rule out a p-value that matters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from benchmarks.simulated_screen import Periods, Screen, sums
from benchmarks.simulated_traffic import (
    SUB_WINDOWS,
    Change,
    Rows,
    Traffic,
    draw,
    reference_of,
)
from nethical_assets.core.drift.budget import YEAR, Budget, Period, spend
from nethical_assets.core.drift.monitors import MonitorReport, WindowMeasurements, judge_window
from nethical_assets.core.drift.reference import Reference
from nethical_assets.core.drift.statistics.estimated_accuracy import (
    Confidence,
    confidence_of_bins,
    estimated_accuracy,
)
from nethical_assets.core.drift.statistics.measurement import Measurement
from nethical_assets.core.drift.traffic_noise import noise_of_totals
from nethical_assets.core.drift.watch import CALM_PERIOD, spans
from nethical_assets.core.drift.window import measure_totals
from nethical_assets.core.drift.windows import Window
from nethical_assets.home.settings import MonitoringSettings, PerformanceThresholds

FAMILIES = 5
MONITORING, THRESHOLDS = MonitoringSettings(), PerformanceThresholds()
HOURS = MONITORING.drift_interval_hours
WINDOWS = YEAR // timedelta(hours=HOURS)
WEEK = timedelta(days=7) // timedelta(hours=HOURS)
LONGEST = 40 * 24 // HOURS
PARTS, ESTIMATED = 4, 4
LEVELS = (0.01, 0.001, 0.0001)
CHANGES = (Change(0.25), Change(0.5), Change(1.0), Change(accuracy=0.03), Change(accuracy=0.05), Change(accuracy=0.1))
ALARMED, UNALARMED = ("drift", "changed"), "unalarmed"
RULES = ("plain_5_percent", "evidently_half_of_columns", "evidently_any_column")
_START = datetime(2026, 1, 1, tzinfo=UTC)
_FEWEST_MONITORS = 17
"""Of eight columns, six of them inputs, without those of labelled rows: Holm multiplies the smallest p-value by so much
at least."""
_SMALL = LEVELS[0] / _FEWEST_MONITORS


@dataclass(frozen=True)
class Judged:
    """One period: which, whether it is drift or changed, and its smallest corrected p-value (at least the largest of
    ``LEVELS`` where the bound spared the judgement)."""

    period: Period
    verdict: str
    p_value: float


class Watch:
    """One family as the product watches it: every window, and the trailing period that ends with it."""

    def __init__(self, reference: Reference, traffic: Traffic, *, screened: bool = True) -> None:
        self.reference, self.traffic = reference, traffic
        self.not_calm: list[int] = []
        self.periods = {name: _periods(traffic.windows, name) for name in ("window", "trailing")}
        budget = Budget(MONITORING.false_alerts_a_year, FAMILIES, len(self.periods) * WINDOWS)
        self.levels = {name: spend((), budget, "family", _START, "first", period=name).level for name in self.periods}
        self.screen = Screen(reference, traffic, MONITORING.drift_minimum_labelled_rows)
        self.small = {
            name: self.screen.smallest(periods) < _SMALL if screened else np.full(traffic.windows, True)
            for name, periods in self.periods.items()
        }

    def look(self, number: int) -> list[Judged]:
        """What is judged of one window; to be asked for one window after the other."""
        found = []
        for name, periods in self.periods.items():
            before, start, end = (int(side[number]) for side in (periods.before, periods.start, periods.end))
            if name == "trailing" and start == number:
                continue
            learnt = [one for one in range(before, start) if one not in self.not_calm]
            if not self.small[name][number] and len(learnt) == start - before:
                found.append(Judged(name, UNALARMED, 1.0))
                continue
            report = self.report(learnt, range(start, end), self.levels[name])
            smallest = min(one.adjusted_p_value for one in report.outcomes if one.adjusted_p_value is not None)
            found.append(Judged(name, report.verdict, smallest))
        if any(one.verdict in ALARMED for one in found):
            self.not_calm.append(number)
        return found

    def report(self, learnt: Sequence[int], judged: Sequence[int], level: float) -> MonitorReport:
        """The product's report about some windows, with the noise of others before them."""
        totals = self.traffic.period(judged)
        noise = noise_of_totals(self.reference, [*([self.traffic.period(learnt)] if learnt else []), totals])
        monitors = measure_totals(
            self.reference,
            totals,
            noise,
            minimum_rows=MONITORING.drift_minimum_rows,
            minimum_labelled_rows=MONITORING.drift_minimum_labelled_rows,
        )
        measured = WindowMeasurements("", "", int(totals.rows.sum()), 0, len(totals.rows), True, monitors)
        return judge_window(
            measured,
            level=level,
            threshold=THRESHOLDS.drift_alert_threshold,
            accuracy_drop=THRESHOLDS.accuracy_drop_alert,
        )

    def estimates(self, chosen: slice) -> list[Measurement]:
        """The estimated accuracy of some windows."""
        every, totals = self.periods["window"], self.traffic.totals
        periods = Periods(every.before[chosen], every.start[chosen], every.end[chosen])
        assert self.reference.reliability is not None
        confidence = Confidence.of(self.reference.reliability, self.reference.decision_threshold)
        noise = self.screen.confidence_noise(periods)
        found = []
        counts = sums(totals.bin_rows, periods), sums(totals.bin_sums, periods)
        for rows, bins, variance, degrees in zip(*counts, noise.matrix[:, 0, 0], noise.degrees, strict=True):
            _, of_rows = confidence_of_bins(confidence, rows, bins)
            effect = max(1.0, float(variance) / of_rows)
            found.append(estimated_accuracy(confidence, rows, bins, design_effect=effect, degrees=float(degrees)))
        return found


@cache
def _periods(windows: int, name: Period) -> Periods:
    """The periods that ``core.drift.watch`` judges of a champion promoted when the first window began."""
    found = []
    for number in range(windows):
        start = _START + number * timedelta(hours=HOURS)
        both = spans(Window(start, start + timedelta(hours=HOURS)), _START, MONITORING.drift_window_hours)
        span = next(one for one in both if one.name == name)
        learnt = max(_START, span.start - CALM_PERIOD)
        found.append([(moment - _START) // timedelta(hours=HOURS) for moment in (learnt, span.start, span.end)])
    return Periods(*np.array(found).T)


def year(seed: int, correlated: bool) -> dict[str, float]:
    """What one family shows in a year without a change."""
    generator = np.random.default_rng(seed)
    reference, sample = reference_of(generator)
    found = dict.fromkeys(("drift", "changed", "alarmed_windows", "estimates", "covered", "reports", "made"), 0)
    below = {f"below_{level:g}": 0 for level in LEVELS}
    others = dict.fromkeys((*RULES, "compared"), 0)
    parts, right = [], []
    for _ in range(PARTS):
        windows = WINDOWS // PARTS
        rows = draw(windows, generator, correlated=correlated, change=Change())
        parts.append(Traffic.of(reference, rows, windows))
        limits = _limits(rows, windows)
        correct = np.concatenate([[0], np.cumsum(rows.labels == (rows.probabilities >= 0.5))])
        right.append(np.diff(correct[limits]) / np.diff(limits))
        others["compared"] += 1
        for name, alarmed in other_rules(sample, rows, slice(limits[0], limits[1])).items():
            others[name] += int(alarmed)
    traffic, accuracy = Traffic.joined(parts), np.concatenate(right)
    watch = Watch(reference, traffic)
    found["made"] = sum(int(one.sum()) for one in watch.small.values())
    for number in range(traffic.windows):
        judged = watch.look(number)
        for one in judged:
            found["drift"] += one.verdict == "drift"
            found["changed"] += one.verdict == "changed"
            found["reports"] += 1
            for level in LEVELS:
                below[f"below_{level:g}"] += one.p_value < level
        found["alarmed_windows"] += any(one.verdict in ALARMED for one in judged)
    some = slice(0, None, ESTIMATED)
    for truth, estimate in zip(accuracy[some], watch.estimates(some), strict=True):
        assert estimate.low is not None
        assert estimate.high is not None
        found["covered"] += bool(estimate.low <= truth <= estimate.high)
        found["estimates"] += 1
    return {**found, **below, **others}


def other_rules(sample: Rows, rows: Rows, cut: slice) -> dict[str, bool]:
    """What other rules say of a window.

    Plain: the two-sample Kolmogorov-Smirnov test of each of the eight columns, of two rates of positives and of two
    accuracies, any below 5 %. Evidently's default for numbers and a reference of more than 1 000 rows: a column has
    drifted where the Wasserstein distance divided by the reference's standard deviation is at least 0.1; a data set
    where half of its columns have.
    """
    from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

    pairs = [
        *zip(sample.features.T, rows.features[cut].T, strict=True),
        (sample.scores, rows.scores[cut]),
        (sample.probabilities, rows.probabilities[cut]),
    ]
    p_values = [ks_2samp(one, other, method="asymp").pvalue for one, other in pairs]
    moved = [wasserstein_distance(one, other) / one.std() >= 0.1 for one, other in pairs]
    right = [side.labels == (side.probabilities >= 0.5) for side in (sample, rows)]
    rates = (
        (sample.probabilities >= 0.5, rows.probabilities[cut] >= 0.5),
        (right[0], right[1][cut][rows.known[cut]]),
    )
    for one, other in rates:
        table = [[side.sum(), (~side).sum()] for side in (one, other)]
        p_values.append(chi2_contingency(table, correction=False).pvalue)
    return {
        "plain_5_percent": min(p_values) < 0.05,
        "evidently_half_of_columns": sum(moved) >= len(moved) / 2,
        "evidently_any_column": any(moved),
    }


def delay(seed: int, correlated: bool, change: Change) -> dict[str, float]:
    """After how many hours each rule first sees a change that begins after four calm weeks; infinite if never."""
    generator = np.random.default_rng(seed)
    reference, sample = reference_of(generator)
    calm = 4 * WEEK
    before = Traffic.of(reference, draw(calm, generator, correlated=correlated, change=Change()), calm)
    rows = draw(LONGEST, generator, correlated=correlated, change=change)
    limits = _limits(rows, LONGEST)
    watch = Watch(reference, Traffic.joined([before, Traffic.of(reference, rows, LONGEST)]))
    for number in range(calm):
        watch.look(number)
    found: dict[str, float] = {}
    for number in range(LONGEST):
        verdicts = {one.verdict for one in watch.look(calm + number)}
        seen = {"alert": bool(verdicts & set(ALARMED)), "drift": "drift" in verdicts}
        if set(RULES) - found.keys():
            seen |= other_rules(sample, rows, slice(limits[number], limits[number + 1]))
        for name, alarmed in seen.items():
            if alarmed:
                found.setdefault(name, float(HOURS * (number + 1)))
        if found.keys() >= {"alert", "drift"} or (number >= LONGEST // 4 and not change.moved and "alert" in found):
            break
    return {name: found.get(name, math.inf) for name in ("alert", "drift", *RULES)}


def _limits(rows: Rows, windows: int) -> np.ndarray:
    return np.searchsorted(rows.sub_window // SUB_WINDOWS, np.arange(windows + 1))
