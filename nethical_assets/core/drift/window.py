"""What is measured of one window: every statistic of its sketches against the reference.

What belongs here: handing counts and the traffic's noise to the statistics. What does not: the statistics
(``statistics``), the verdict (``monitors``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.monitors import Kind, Monitor, WindowMeasurements
from nethical_assets.core.drift.reference import PROBABILITY, SCORE, ColumnSketch, Reference
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.statistics.calibration_change import calibration_change
from nethical_assets.core.drift.statistics.estimated_accuracy import (
    Confidence,
    confidence_of_bins,
    estimated_accuracy,
)
from nethical_assets.core.drift.statistics.jensen_shannon import distance
from nethical_assets.core.drift.statistics.kolmogorov_smirnov import kolmogorov_smirnov
from nethical_assets.core.drift.statistics.measurement import Measurement, too_few
from nethical_assets.core.drift.statistics.rate_change import rate_change
from nethical_assets.core.drift.statistics.unseen_levels import unseen_levels
from nethical_assets.core.drift.totals import Totals
from nethical_assets.core.drift.traffic_noise import (
    ASSUMED_ROWS,
    MINIMUM_SUB_WINDOWS,
    Noise,
    TrafficNoise,
    assumed_noise,
    block_noise,
    noise_of_totals,
)
from nethical_assets.core.ground.digests import digest_json

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def measure_window(
    reference: Reference,
    window: Sequence[Sketch],
    *,
    before: Sequence[Sketch] = (),
    minimum_rows: int,
    minimum_labelled_rows: int,
    is_traffic: bool = False,
) -> WindowMeasurements:
    """All statistics of a window.

    Args:
        window: sketches of its consecutive sub-windows of equal length, oldest first, those without rows included; one
            alone is right where nothing is known about time. Labelled rows are in their sketches
            (``Sketch.with_labels``).
        before: the same of calm windows before, from which the noise of the traffic is learnt; a week or more gives
            tests more power than the window alone. May be none. They are no part of the evidence: the p-values of a
            window change with them, but its rows are judged once, with what was known then (``budget.Spending``).
        minimum_rows, minimum_labelled_rows: with fewer, statistics of rows or of labelled rows need more data.
        is_traffic: whether clients sent the rows, which then are alike also where too few sub-windows are there to
            learn how much (``traffic_noise.assumed_noise``). Rows of a table count as independent.

    Raises:
        DatasetError: a sketch is of another reference.
    """
    periods = [Totals.of(reference, part) for part in (before, window) if part]
    totals = periods[-1] if window else Totals.of(reference, ())
    filled = sum(int(np.count_nonzero(period.rows)) for period in periods)
    notes = []
    is_assumed = is_traffic and 0 < filled < MINIMUM_SUB_WINDOWS
    if totals.rows.any() and filled < MINIMUM_SUB_WINDOWS:
        counted = (
            f"Rows count as at most {ASSUMED_ROWS:g} independent ones" if is_assumed else "Rows count as independent"
        )
        notes.append(
            f"{counted}: {filled} sub-windows with rows are too few to learn how alike rows are that follow each other "
            f"({MINIMUM_SUB_WINDOWS} are needed)."
        )
    return WindowMeasurements(
        reference=reference.digest,
        evidence=digest_json(
            [reference.digest, minimum_rows, minimum_labelled_rows, *(sketch.digest for sketch in window)]
        ),
        rows=int(totals.rows.sum()),
        labelled_rows=totals.labelled.total,
        sub_windows=len(window),
        correlated=filled >= MINIMUM_SUB_WINDOWS,
        monitors=measure_totals(
            reference,
            totals,
            assumed_noise(reference, totals) if is_assumed else noise_of_totals(reference, periods),
            minimum_rows=minimum_rows,
            minimum_labelled_rows=minimum_labelled_rows,
        ),
        notes=tuple(notes),
    )


def measure_totals(
    reference: Reference, totals: Totals, noise: TrafficNoise, *, minimum_rows: int, minimum_labelled_rows: int
) -> tuple[Monitor, ...]:
    """The monitors of ``measure_window``, from the totals of the window and the noise of its traffic."""
    case = _Case(reference, totals, noise, minimum_rows, minimum_labelled_rows)
    columns = [monitor for column in reference.columns for monitor in _column(case, column)]
    return (*columns, _positive_rate(case), _estimated(case), _accuracy(case), _calibration(case))


@dataclass(frozen=True, eq=False)
class _Case:
    reference: Reference
    totals: Totals
    noise: TrafficNoise
    minimum_rows: int
    minimum_labelled_rows: int


def _monitor(kind: Kind, measurement: Measurement, name: str = "", size: float | None = None) -> Monitor:
    return Monitor(name or kind, kind, (measurement.effect or 0.0) if size is None else size, measurement)


def _degrees(noise: Noise | None) -> float:
    return noise.degrees if noise else math.inf


def _column(case: _Case, column: ColumnSketch) -> list[Monitor]:
    name, own = column.name, column.own_histogram()
    counts = case.totals.columns[name].sum(axis=0)
    noise = case.noise.columns[name]
    shares = (own + counts) / max(int((own + counts).sum()), 1)
    measured = distance(
        own,
        counts,
        design_effects=noise.design_effects(shares) if noise else None,
        degrees=_degrees(noise),
        minimum_rows=case.minimum_rows,
    )
    found = [_monitor("distribution", measured, name)]
    if name == PROBABILITY and case.reference.probability_counts:
        measured = kolmogorov_smirnov(
            np.array(case.reference.probability_counts, dtype=np.int64),
            case.totals.probability_cells,
            design_effect=_largest_below(noise, shares),
            degrees=_degrees(noise),
            minimum_rows=case.minimum_rows,
        )
        found.append(_monitor("cumulative_distribution", measured, name))
    if name not in (SCORE, PROBABILITY):
        effect = _burst(case, name, (own == 0).astype(np.float64))
        measured = unseen_levels(own, counts, design_effect=effect, minimum_rows=case.minimum_rows)
        found.append(_monitor("unseen_levels", measured, name))
    return found


def _largest_below(noise: Noise | None, shares: FloatArray) -> float:
    """The largest design effect of a cumulative share, over the edges of the bins."""
    if noise is None:
        return 1.0
    below = np.tril(np.ones((len(shares), len(shares))))[:-1]
    return max(
        (noise.design_effect(cut, float(cut @ shares) * (1.0 - float(cut @ shares))) for cut in below), default=1.0
    )


def _burst(case: _Case, name: str, unseen: FloatArray) -> float:
    """The design effect of a window's unseen rows, of which the traffic before says nothing: it had none."""
    totals = case.totals
    rows = totals.columns[name] @ unseen
    share = float(rows.sum()) / max(int(totals.rows.sum()), 1)
    noise = block_noise([(rows[:, np.newaxis], totals.rows)]) if share else None
    return noise.design_effect(np.ones(1), share * (1.0 - share)) if noise else case.noise.unknown


def _positive_rate(case: _Case) -> Monitor:
    reference, noise = case.reference, case.noise.positives
    rows, positives = int(case.totals.rows.sum()), int(case.totals.positives.sum())
    pooled = (reference.positives + positives) / max(reference.rows + rows, 1)
    effect = noise.design_effect(np.ones(1), pooled * (1.0 - pooled)) if noise else 1.0
    measured = rate_change(
        reference.positives,
        reference.rows,
        positives,
        rows,
        design_effect=effect,
        degrees=_degrees(noise),
        minimum_rows=case.minimum_rows,
    )
    if not measured.needs_more_data:
        # On the scale of the other columns, as two tables are compared.
        both = (
            np.array([reference.rows - reference.positives, reference.positives], dtype=np.int64),
            np.array([rows - positives, positives], dtype=np.int64),
        )
        measured = replace(measured, effect=distance(*both, design_effects=np.array([effect])).effect)
    return _monitor("positive_rate", measured)


def _estimated(case: _Case) -> Monitor:
    known, noise = case.reference.reliability, case.noise.confidence
    if known is None:
        return _monitor("estimated_accuracy", _without_labels(int(case.totals.rows.sum())))
    confidence = Confidence.of(known, case.reference.decision_threshold)
    rows, sums = case.totals.bin_rows.sum(axis=0), case.totals.bin_sums.sum(axis=0)
    _, variance = confidence_of_bins(confidence, rows, sums)
    measured = estimated_accuracy(
        confidence,
        rows,
        sums,
        design_effect=noise.design_effect(np.ones(1), variance) if noise else 1.0,
        degrees=_degrees(noise),
        minimum_rows=case.minimum_rows,
    )
    if measured.effect is None or measured.statistic is None or measured.high is None:
        return _monitor("estimated_accuracy", measured)
    certain = measured.effect - (measured.high - measured.statistic)
    return _monitor("estimated_accuracy", measured, size=max(0.0, certain))


def _accuracy(case: _Case) -> Monitor:
    known, threshold, labelled = case.reference.reliability, case.reference.decision_threshold, case.totals.labelled
    noise = case.noise.correct
    if known is None:
        return _monitor("accuracy", _without_labels(labelled.total))
    right = known.correct(threshold), labelled.correct(threshold)
    pooled = sum(right) / max(known.total + labelled.total, 1)
    measured = rate_change(
        right[0],
        known.total,
        right[1],
        labelled.total,
        design_effect=noise.design_effect(np.ones(1), pooled * (1.0 - pooled)) if noise else 1.0,
        degrees=_degrees(noise),
        minimum_rows=case.minimum_labelled_rows,
    )
    return _monitor("accuracy", measured, size=max(0.0, -(measured.statistic or 0.0)))


def _calibration(case: _Case) -> Monitor:
    known, labelled, noise = case.reference.reliability, case.totals.labelled, case.noise.gaps
    if known is None:
        return _monitor("calibration", _without_labels(labelled.total))
    measured = calibration_change(
        known,
        labelled,
        covariance=noise.covariance if noise else None,
        degrees=_degrees(noise),
        minimum_rows=case.minimum_labelled_rows,
    )
    return _monitor("calibration", measured)


def _without_labels(rows: int) -> Measurement:
    return too_few(0, rows, "the reference has no labelled rows")
