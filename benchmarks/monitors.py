"""``python -m benchmarks.monitors [--repeats N]``: monitors of windows, their cost, false alerts, delays and coverage.

What belongs here: a window of ten million predictions from Parquet and from sealed sketches; a simulated year; how long
changes stay unseen, beside other rules; how often the interval of the estimated accuracy holds the truth. What does
not: rows of a real model.

A simulated window has six hours in 24 sub-windows. Counts are drawn as rows, then kept as totals, and judged by the
product's own functions. A family has a new reference of 4 000 labelled rows each time, so the reference's own noise is
in the figures. Independent traffic draws every row anew. In correlated traffic a third of the rows repeat the row
before them, and every column's mean wanders with a correlation time of an hour and a standard deviation of 0.2 of the
column's.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from nethical_assets.core.drift.budget import Budget, spend
from nethical_assets.core.drift.monitors import MonitorReport, WindowMeasurements, judge_window
from nethical_assets.core.drift.reference import PROBABILITY, SCORE, Reference, build_reference
from nethical_assets.core.drift.reliability import FIXED_POINT
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.totals import Totals
from nethical_assets.core.drift.traffic_noise import noise_of_totals
from nethical_assets.core.drift.window import measure_totals, measure_window

REFERENCE_ROWS = 4000
FEATURES = tuple(f"feature_{number}" for number in range(6))
SUB_WINDOWS = 24
WINDOWS_A_DAY, DAYS = 4, 365
ROWS = 500
LABELLED = 0.2
FAMILIES = 5
WEEK = 7 * WINDOWS_A_DAY
REPEATED, WANDER, CORRELATION_SUB_WINDOWS = 1 / 3, 0.2, 4.0
THRESHOLD, ACCURACY_DROP = 0.15, 0.05
MINIMUM_ROWS, MINIMUM_LABELLED = 200, 50
LONGEST = 40 * WINDOWS_A_DAY
LEVELS = (0.05, 0.01, 0.001)
TRAFFIC = ("independent", "correlated")
BIG_ROWS, BIG_BATCHES = 10_000_000, 24


@dataclass(frozen=True)
class Change:
    """What happens to the traffic: standard deviations by which one feature moves, and points of accuracy lost."""

    moved: float = 0.0
    accuracy: float = 0.0

    def __str__(self) -> str:
        return f"moved by {self.moved:g} sd" if self.moved else f"accuracy less {100 * self.accuracy:g} points"


CHANGES = (Change(0.25), Change(0.5), Change(1.0), Change(accuracy=0.03), Change(accuracy=0.05), Change(accuracy=0.1))


@dataclass(frozen=True)
class Rows:
    """Rows of traffic: features, shape (rows, columns), scores, probabilities, labels and whether they are known."""

    features: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray
    known: np.ndarray
    sub_window: np.ndarray


def draw(windows: int, generator: np.random.Generator, *, correlated: bool, change: Change, rows: int = ROWS) -> Rows:
    """The rows of so many windows."""
    from scipy.signal import lfilter

    counts = generator.poisson(rows / SUB_WINDOWS, size=windows * SUB_WINDOWS)
    sub_window = np.repeat(np.arange(len(counts)), counts)
    total, width = len(sub_window), len(FEATURES) + 1
    values = generator.normal(size=(total, width))
    chance = generator.random(total)
    if correlated:
        decay = math.exp(-1.0 / CORRELATION_SUB_WINDOWS)
        noise = generator.normal(size=(len(counts), width)) * math.sqrt(1.0 - decay**2)
        noise[0] /= math.sqrt(1.0 - decay**2)
        wander = lfilter([1.0], [1.0, -decay], noise, axis=0)
        source = np.maximum.accumulate(np.where(generator.random(total) < REPEATED, 0, np.arange(total)))
        values, chance = values[source], chance[source]
        values = values * math.sqrt(1.0 - WANDER**2) + WANDER * wander[sub_window]
    scores = 2.5 * values[:, -1] - 1.0
    probabilities = 1.0 / (1.0 + np.exp(-scores))
    labels = chance < probabilities
    if change.accuracy:
        # Labels turn round in rows that were right: so many that accuracy falls by so much.
        right = labels == (probabilities >= 0.5)
        turned = right & (generator.random(total) < change.accuracy / 0.853)
        labels = labels ^ turned
    features = values[:, :-1]
    features[:, 0] += change.moved
    return Rows(features, scores, probabilities, labels, generator.random(total) < LABELLED, sub_window)


def reference_of(generator: np.random.Generator) -> tuple[Reference, Rows]:
    """A reference, and the rows it is of."""
    rows = draw(1, generator, correlated=False, change=Change(), rows=REFERENCE_ROWS)
    frame = pd.DataFrame(rows.features, columns=list(FEATURES))
    return build_reference(rows.scores, rows.probabilities, frame, labels=rows.labels.astype(np.float64)), rows


def window_totals(reference: Reference, rows: Rows, windows: int) -> list[Totals]:
    """The totals of each window."""
    subs = windows * SUB_WINDOWS
    columns = dict(
        zip((*FEATURES, SCORE, PROBABILITY), (*rows.features.T, rows.scores, rows.probabilities), strict=True)
    )
    counts = {}
    for column in reference.columns:
        cells = np.searchsorted(column.edges, columns[column.name], side="left")
        width = len(column.edges) + 2
        counts[column.name] = np.bincount(rows.sub_window * width + cells, minlength=subs * width).reshape(subs, width)
    grid = reference.grid
    window = rows.sub_window // SUB_WINDOWS
    cells = np.bincount(window * grid.size + grid.cells(rows.probabilities), minlength=windows * grid.size)
    bins = np.searchsorted(grid.bins, rows.probabilities, side="left")
    width = len(grid.bins) + 1
    place, fixed = rows.sub_window * width + bins, np.rint(rows.probabilities * FIXED_POINT)

    def binned(chosen: Any, weights: np.ndarray | None = None) -> np.ndarray:
        of = None if weights is None else weights[chosen]
        found = np.bincount(place[chosen], weights=of, minlength=subs * width)
        return found.astype(np.int64).reshape(subs, width)

    everything, known = slice(None), rows.known
    parts = {
        "bin_rows": binned(everything),
        "bin_sums": binned(everything, fixed),
        "labelled_rows": binned(known),
        "labelled_positives": binned(known & rows.labels),
        "labelled_sums": binned(known, fixed),
    }
    total = np.bincount(rows.sub_window, minlength=subs)
    positives = np.bincount(rows.sub_window[rows.probabilities >= 0.5], minlength=subs)
    cells = cells.reshape(windows, grid.size)
    found = []
    for number in range(windows):
        cut = slice(number * SUB_WINDOWS, (number + 1) * SUB_WINDOWS)
        found.append(
            Totals(
                total[cut],
                positives[cut],
                {name: values[cut] for name, values in counts.items()},
                **{name: values[cut] for name, values in parts.items()},
                probability_cells=cells[number],
            )
        )
    return found


def joined(windows: Sequence[Totals]) -> Totals:
    """The totals of windows one after another."""
    fields = ("rows", "positives", "bin_rows", "bin_sums", "labelled_rows", "labelled_positives", "labelled_sums")
    return Totals(
        **{name: np.concatenate([getattr(one, name) for one in windows]) for name in fields},
        columns={name: np.concatenate([one.columns[name] for one in windows]) for name in windows[0].columns},
        probability_cells=np.sum([one.probability_cells for one in windows], axis=0),
    )


class Watch:
    """One family as the product would watch it: every window alone, and once a day the week behind it.

    The level is the ledger's for a first look; no window is looked at twice.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.budget = Budget(1.0, FAMILIES, (WINDOWS_A_DAY + 1) * DAYS)
        self.level = spend((), self.budget, "f", datetime(2026, 1, 1, tzinfo=UTC), "first").level
        self.looks = 0
        self.calm: list[Totals] = []
        self.recent: list[Totals] = []

    def look(self, window: Totals) -> list[MonitorReport]:
        """What is reported after one more window."""
        reports = [self._judge(window, self.calm)]
        self.recent = [*self.recent, window][-WEEK:]
        self.looks += 1
        if len(self.recent) == WEEK and self.looks % WINDOWS_A_DAY == 0:
            reports.append(self._judge(joined(self.recent), ()))
        if reports[0].verdict == "stable":
            self.calm = [*self.calm, window][-WEEK:]
        return reports

    def _judge(self, totals: Totals, before: Sequence[Totals]) -> MonitorReport:
        noise = noise_of_totals(self.reference, [*([joined(before)] if before else []), totals])
        monitors = measure_totals(
            self.reference, totals, noise, minimum_rows=MINIMUM_ROWS, minimum_labelled_rows=MINIMUM_LABELLED
        )
        measured = WindowMeasurements("", "", int(totals.rows.sum()), 0, SUB_WINDOWS, True, monitors)
        return judge_window(measured, level=self.level, threshold=THRESHOLD, accuracy_drop=ACCURACY_DROP)


def year(seed: int, correlated: bool) -> dict[str, float]:
    """False alerts of one family in a year, and how often intervals of the estimated accuracy held the truth."""
    generator = np.random.default_rng(seed)
    reference, sample = reference_of(generator)
    found = dict.fromkeys(("drift", "changed", "windows", "covered", "reports"), 0.0)
    below = dict.fromkeys(LEVELS, 0.0)
    plain = dict.fromkeys(("plain_5_percent", "evidently_half_of_columns", "evidently_any_column", "compared"), 0.0)
    watch = Watch(reference)
    months = 13
    for _ in range(months):
        windows = DAYS * WINDOWS_A_DAY // months
        rows = draw(windows, generator, correlated=correlated, change=Change())
        limits = np.searchsorted(rows.sub_window // SUB_WINDOWS, np.arange(windows + 1))
        right = rows.labels == (rows.probabilities >= 0.5)
        for number, totals in enumerate(window_totals(reference, rows, windows)):
            reports = watch.look(totals)
            for report in reports:
                found["drift"] += report.verdict == "drift"
                found["changed"] += report.verdict == "changed"
                found["reports"] += 1
                smallest = min(one.adjusted_p_value or 1.0 for one in report.outcomes)
                below = {level: count + (smallest < level) for level, count in below.items()}
            cut = slice(limits[number], limits[number + 1])
            estimate = next(one for one in reports[0].outcomes if one.monitor.kind == "estimated_accuracy")
            low, high = estimate.monitor.measurement.low, estimate.monitor.measurement.high
            found["covered"] += low <= right[cut].mean() <= high
            found["windows"] += 1
            if number % 20 == 0:
                for name, alarmed in others(sample, rows, cut).items():
                    plain[name] += alarmed
                plain["compared"] += 1
    return {**found, **plain, **{f"below_{level:g}": count for level, count in below.items()}}


def others(sample: Rows, rows: Rows, cut: slice) -> dict[str, bool]:
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
    watch = Watch(reference)
    for totals in window_totals(reference, draw(4 * WEEK, generator, correlated=correlated, change=Change()), 4 * WEEK):
        watch.look(totals)
    rows = draw(LONGEST, generator, correlated=correlated, change=change)
    limits = np.searchsorted(rows.sub_window // SUB_WINDOWS, np.arange(LONGEST + 1))
    found: dict[str, float] = {}
    wanted = {"alert", "drift", "plain_5_percent", "evidently_half_of_columns", "evidently_any_column"}
    for number, totals in enumerate(window_totals(reference, rows, LONGEST)):
        verdicts = {report.verdict for report in watch.look(totals)}
        seen = {"alert": bool(verdicts & {"drift", "changed"}), "drift": "drift" in verdicts}
        if wanted - found.keys() - seen.keys():
            seen |= others(sample, rows, slice(limits[number], limits[number + 1]))
        for name, alarmed in seen.items():
            if alarmed:
                found.setdefault(name, 6.0 * (number + 1))
        if found.keys() >= {"alert", "drift"} or (number >= LONGEST // 4 and not change.moved and "alert" in found):
            break
    return {name: found.get(name, math.inf) for name in sorted(wanted)}


def simulated(repeats: int, delays: int, workers: int, kinds: Sequence[str]) -> dict[str, Any]:
    """The figures of the simulated year and of the delays, for both kinds of traffic."""
    document: dict[str, Any] = {}
    with ProcessPoolExecutor(workers) as pool:
        for kind in kinds:
            correlated = kind == "correlated"
            years = list(pool.map(year, range(repeats * FAMILIES), [correlated] * repeats * FAMILIES))
            document[kind] = _false_alerts(years, repeats) if years else {}
            seeds = range(10**6, 10**6 + delays)
            document[kind]["delay_hours"] = {
                str(change): _delays(list(pool.map(delay, seeds, [correlated] * delays, [change] * delays)))
                for change in CHANGES
                if delays
            }
    return document


def _false_alerts(years: Sequence[dict[str, float]], repeats: int) -> dict[str, Any]:
    total = {name: sum(one[name] for one in years) for name in years[0]}
    scale = FAMILIES * WINDOWS_A_DAY * DAYS / total["compared"]
    alerts = total["drift"] + total["changed"]
    return {
        "years_of_five_families": repeats,
        "reports": int(total["reports"]),
        "false_alerts_a_year": round(alerts / repeats, 3),
        "upper_95_percent_bound": round(_poisson_bound(alerts) / repeats, 3),
        "of_them_drift": round(total["drift"] / repeats, 3),
        "share_of_reports_below_level": {
            f"{level:g}": round(total[f"below_{level:g}"] / total["reports"], 5) for level in LEVELS
        },
        "covered_by_the_estimated_accuracy": round(total["covered"] / total["windows"], 4),
        "others_a_year": {
            name: round(total[name] * scale) for name in total if name.startswith(("plain", "evidently"))
        },
    }


def _poisson_bound(events: float) -> float:
    from scipy.special import gammaincinv

    return float(gammaincinv(events + 1.0, 0.95))


def _delays(found: list[dict[str, float]]) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "found": round(float(np.mean([math.isfinite(one[name]) for one in found])), 2),
            "median": None if math.isinf(middle := float(np.median([one[name] for one in found]))) else middle,
        }
        for name in found[0]
    }


def big_window() -> dict[str, Any]:
    """Counting ten million predictions of eight columns from Parquet batches, and judging their sketches."""
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(1)
        reference, _ = reference_of(generator)
        Path(folder, "reference.json").write_text(json.dumps(reference.to_json()))
        for number in range(BIG_BATCHES):
            rows = draw(1, generator, correlated=False, change=Change(), rows=BIG_ROWS // BIG_BATCHES)
            columns = dict(zip(FEATURES, rows.features.T, strict=True))
            table = pa.table({PROBABILITY: rows.probabilities, SCORE: rows.scores, **columns})
            pq.write_table(table, Path(folder, f"{number:02}.parquet"), compression="zstd")
        return {
            name: json.loads(
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.monitors", "--step", name, "--folder", folder],
                    stdout=subprocess.PIPE,
                    check=True,
                ).stdout
            )
            for name in ("sketching", "judging")
        }


def step(name: str, folder: Path) -> dict[str, Any]:
    """One of the two steps of ``big_window``, in this process."""
    started = time.process_time()
    reference = Reference.from_json(json.loads((folder / "reference.json").read_text()))
    document: dict[str, Any] = {}
    if name == "sketching":
        rows = 0
        for path in sorted(folder.glob("*.parquet")):
            frame = pq.read_table(path).to_pandas()
            rows += len(frame)
            rest = frame.drop(columns=[PROBABILITY, SCORE])
            sketch = Sketch.of(reference, frame[PROBABILITY].to_numpy(), frame[SCORE].to_numpy(), rest)
            path.with_suffix(".sketch").write_bytes(sketch.to_bytes())
            document["bytes_a_sketch"] = path.with_suffix(".sketch").stat().st_size
        document["rows"] = rows
    else:
        window = [Sketch.from_bytes(path.read_bytes(), reference) for path in sorted(folder.glob("*.sketch"))]
        measured = measure_window(reference, window, minimum_rows=MINIMUM_ROWS, minimum_labelled_rows=MINIMUM_LABELLED)
        report = judge_window(measured, level=7e-5, threshold=THRESHOLD, accuracy_drop=ACCURACY_DROP)
        document |= {"rows": measured.rows, "verdict": report.verdict}
    return {
        **document,
        "processor_seconds": round(time.process_time() - started, 3),
        "processor_seconds_with_imports": round(time.process_time(), 3),
        "peak_megabytes": _peak_megabytes(),
    }


def _peak_megabytes() -> int:
    """Of this program: what ``getrusage`` says is never below what its parent had when it was started."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one JSON document."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=1, help="simulated years of five families")
    parser.add_argument("--delays", type=int, default=4, help="changes of each size")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=("window", "year"))
    parser.add_argument("--traffic", choices=TRAFFIC, nargs="+", default=TRAFFIC)
    parser.add_argument("--step", choices=("sketching", "judging"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        print(json.dumps(step(given.step, given.folder)))
        return 0
    document: dict[str, Any] = {}
    if given.only != "year":
        document["window_of_ten_million"] = big_window()
    if given.only != "window":
        started = time.perf_counter()
        document |= simulated(given.repeats, given.delays, given.workers, given.traffic)
        document["wall_seconds"] = round(time.perf_counter() - started)
    print(json.dumps(document, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
