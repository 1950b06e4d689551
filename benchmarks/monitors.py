"""``python -m benchmarks.monitors``: monitors of windows, their cost, false alerts, delays and coverage.

What belongs here: a window of ten million predictions from Parquet and from sealed sketches; running simulated years
and adding them up. What does not: the simulation (``simulated_year``).

``--only year --repeats N --delays N --results FILE`` adds a line to the file for each family-year and each change as it
is finished, and leaves out those that are in it: killed, it goes on where it was. ``--only summary --results FILE ...``
adds up what is there. Lines are of the code that wrote them: begin another file after a change of the simulation or of
a statistic.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.simulated_traffic import FEATURES, Change, draw, reference_of
from benchmarks.simulated_year import CHANGES, FAMILIES, LEVELS, MONITORING, RULES, THRESHOLDS, WINDOWS, delay, year
from nethical_assets.core.drift.monitors import judge_window
from nethical_assets.core.drift.reference import PROBABILITY, SCORE, Reference
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.window import measure_window

TRAFFIC = ("independent", "correlated")
BIG_ROWS, BIG_BATCHES = 10_000_000, 24
_FIRST_CHANGED = 10**6
_CHANGES = {str(change): change for change in CHANGES}

Line = dict[str, Any]
"""A family-year (``kind``, ``seed``), or a change (``kind``, ``seed``, ``change``), and what was found."""


def simulated(results: Path, repeats: int, delays: int, workers: int, kinds: Sequence[str]) -> None:
    """Append what is missing of so many years of five families and so many changes of each size."""
    wanted = [
        *((kind, _FIRST_CHANGED + number, name) for number in range(delays) for kind in kinds for name in _CHANGES),
        *((kind, seed, "") for seed in range(repeats * FAMILIES) for kind in kinds),
    ]
    _without_torn_end(results)
    known = {_key(line) for line in _lines([results])}
    missing = [key for key in wanted if key not in known]
    with results.open("a") as file:
        for line in map(_found, missing) if workers == 1 else _side_by_side(missing, workers):
            file.write(json.dumps(line) + "\n")
            file.flush()


def _side_by_side(keys: Sequence[tuple[str, int, str]], workers: int) -> Iterator[Line]:
    with ProcessPoolExecutor(workers) as pool:
        for future in as_completed([pool.submit(_found, key) for key in keys]):
            yield future.result()


def _found(key: tuple[str, int, str]) -> Line:
    kind, seed, change = key
    correlated = kind == "correlated"
    if not change:
        return {"kind": kind, "seed": seed, **year(seed, correlated)}
    hours = delay(seed, correlated, _CHANGES[change])
    never_as_null = {name: None if math.isinf(value) else value for name, value in hours.items()}
    return {"kind": kind, "seed": seed, "change": change, **never_as_null}


def _key(line: Line) -> tuple[str, int, str]:
    return line["kind"], line["seed"], line.get("change", "")


def _lines(results: Sequence[Path]) -> Iterator[Line]:
    """The whole lines of files, each family-year and change once."""
    known = set()
    for path in results:
        text = path.read_text() if path.exists() else ""
        for written in text[: text.rfind("\n") + 1].splitlines():
            line = json.loads(written)
            if _key(line) not in known:
                known.add(_key(line))
                yield line


def _without_torn_end(results: Path) -> None:
    """Cut off what a killed process left of a line."""
    if results.exists():
        content = results.read_bytes()
        os.truncate(results, content.rfind(b"\n") + 1)


def summary(results: Sequence[Path]) -> dict[str, Any]:
    """The figures of the simulated years and of the delays, for each kind of traffic."""
    lines = list(_lines(results))
    document: dict[str, Any] = {}
    for kind in TRAFFIC:
        of_kind = [line for line in lines if line["kind"] == kind]
        years = [line for line in of_kind if "change" not in line]
        found = _false_alerts(years) if years else {}
        found["delay_hours"] = {
            name: _delays(changed)
            for name in _CHANGES
            if (changed := [line for line in of_kind if line.get("change") == name])
        }
        document[kind] = found
    return document


def _false_alerts(years: Sequence[Line]) -> dict[str, Any]:
    total = {name: sum(one[name] for one in years) for name in years[0] if name not in ("kind", "seed")}
    repeats = len(years) / FAMILIES
    alarmed = [one["alarmed_windows"] for one in years]
    return {
        "years_of_five_families": repeats,
        "judgements": total["reports"],
        "false_alerts_a_year": round(total["alarmed_windows"] / repeats, 3),
        "upper_95_percent_bound": round(_poisson_bound(total["alarmed_windows"]) / repeats, 3),
        "family_years_with_one": sum(one > 0 for one in alarmed),
        "most_in_one_family_year": max(alarmed),
        "judgements_a_year": {name: round(total[name] / repeats, 3) for name in ("drift", "changed")},
        "share_of_judgements_below_level": {
            f"{level:g}": round(total[f"below_{level:g}"] / total["reports"], 6) for level in LEVELS
        },
        "covered_by_the_estimated_accuracy": round(total["covered"] / total["estimates"], 4),
        "lowest_coverage_of_a_family_year": round(min(one["covered"] / one["estimates"] for one in years), 4),
        "others_a_year": {name: round(total[name] * FAMILIES * WINDOWS / total["compared"]) for name in RULES},
    }


def _poisson_bound(events: float) -> float:
    from scipy.special import gammaincinv

    return float(gammaincinv(events + 1.0, 0.95))


def _delays(changes: Sequence[Line]) -> dict[str, Any]:
    found: dict[str, Any] = {"changes": len(changes)}
    for name in ("alert", "drift", *RULES):
        hours = [math.inf if line[name] is None else line[name] for line in changes]
        middle = float(np.median(hours))
        share = round(float(np.mean(np.isfinite(hours))), 2)
        found[name] = {"found": share, "median": None if math.isinf(middle) else middle}
    return found


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
        measured = measure_window(
            reference,
            window,
            minimum_rows=MONITORING.drift_minimum_rows,
            minimum_labelled_rows=MONITORING.drift_minimum_labelled_rows,
        )
        report = judge_window(
            measured,
            level=3.4e-5,
            threshold=THRESHOLDS.drift_alert_threshold,
            accuracy_drop=THRESHOLDS.accuracy_drop_alert,
        )
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
    parser.add_argument("--delays", type=int, default=2, help="changes of each size")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=("window", "year", "summary"))
    parser.add_argument("--traffic", choices=TRAFFIC, nargs="+", default=TRAFFIC)
    parser.add_argument("--results", type=Path, nargs="+", help="where lines are kept; several for --only summary")
    parser.add_argument("--step", choices=("sketching", "judging"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        print(json.dumps(step(given.step, given.folder)))
        return 0
    if given.only == "summary" and not given.results:
        parser.error("--only summary needs --results")
    if given.only != "summary" and given.results and len(given.results) > 1:
        parser.error("lines are added to one file")
    document: dict[str, Any] = {}
    if given.only in (None, "window"):
        document["window_of_ten_million"] = big_window()
    if given.only == "summary":
        document |= summary(given.results)
    elif given.only != "window":
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            results = given.results[0] if given.results else Path(folder, "results.jsonl")
            simulated(results, given.repeats, given.delays, given.workers, given.traffic)
            document |= summary([results])
        document["wall_seconds"] = round(time.perf_counter() - started)
    print(json.dumps(document, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
