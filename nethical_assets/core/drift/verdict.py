"""The drift verdict: one window of predictions against the champion's reference.

What belongs here: the rule that turns effects and p-values into drift, stable or needs more data, and its report. What
does not: the statistics (``statistics``), tables from files (``tables``), alerts about a verdict (``core.alerts``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from nethical_assets.core.drift.reference import PROBABILITY, FloatArray, IntArray, Reference, prediction_columns
from nethical_assets.core.drift.rule import is_significant, outcome
from nethical_assets.core.drift.statistics.holm import holm
from nethical_assets.core.drift.statistics.jensen_shannon import drift_effect
from nethical_assets.core.drift.statistics.rate_difference import rate_difference_interval
from nethical_assets.core.ground.documents import to_document

Verdict = Literal["drift", "stable", "needs_more_data"]

POSITIVE_RATE = "positive_rate"
"""The name under which a shift of the share of positives appears among the columns."""

_SEED = 20_260_101


@dataclass(frozen=True)
class ColumnDrift:
    """One monitored column: de-biased Jensen-Shannon distance in [0, 1], p-values, missing shares, and the outcome."""

    name: str
    effect: float
    p_value: float
    adjusted_p_value: float
    missing_share_reference: float
    missing_share_window: float
    drifted: bool


@dataclass(frozen=True)
class RateShift:
    """The share of positives in both windows and the 95 % interval of window minus reference."""

    reference: float
    window: float
    low: float
    high: float


@dataclass(frozen=True)
class DriftReport:
    """The verdict on one window.

    Attributes:
        drift_score: in [0, 1]: the largest effect among columns whose change is significant, 0 when none is. It exceeds
            ``threshold`` exactly when the statistics say drift; about 0.15 is a population stability index of 0.12.
        alpha: the chance, over all columns together, that a window without drift is called drifted.
        columns: every compared column, largest effect first.
        not_compared: columns that are on one side only or hold nothing comparable, each with why.
        notes: what was done to values so that columns could be compared.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    drift_score: float
    threshold: float
    alpha: float
    minimum_rows: int
    reference_rows: int
    window_rows: int
    positive_rate: RateShift | None
    columns: tuple[ColumnDrift, ...]
    not_compared: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return to_document(self)

    def to_markdown(self) -> str:
        """The verdict, what was not compared, and the table of columns."""
        lines = [f"**{self.verdict.replace('_', ' ')}** (drift score {self.drift_score:.3f})", ""]
        lines += [f"- {reason}" for reason in (*self.reasons, *self.notes)]
        said = {_lost(column) for column in self.not_compared} & set(self.reasons)
        lines += [f"- Not compared: {column}." for column in self.not_compared if _lost(column) not in said]
        lines += [
            "",
            "| Column | Effect | Adjusted p | Missing before | Missing now | Drifted |",
            "|---|---:|---:|---:|---:|---|",
        ]
        for column in self.columns:
            missing = f"{column.missing_share_reference:.1%} | {column.missing_share_window:.1%}"
            drifted = "yes" if column.drifted else "no"
            lines.append(
                f"| {column.name} | {column.effect:.3f} | {column.adjusted_p_value:.2g} | {missing} | {drifted} |"
            )
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class NotCompared:
    """A column that cannot be compared, and why; ``lost`` where that leaves open whether it changed."""

    name: str
    reason: str
    lost: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True)
class HistogramPair:
    """The counts of one column in both windows, missing values last, over the same bins."""

    reference: IntArray
    window: IntArray
    has_missing_bin: bool = True


def compare(
    reference: Reference,
    window_probabilities: FloatArray,
    window_sketch: pd.DataFrame,
    *,
    threshold: float,
    alpha: float,
    minimum_rows: int,
    window_scores: FloatArray | None = None,
) -> DriftReport:
    """Judge a later window of predictions of the same model.

    Rule: fewer than ``minimum_rows`` window rows need more data. Otherwise the window has drifted when for some column
    the effect exceeds ``threshold`` and its p-value, corrected for the number of columns, is below ``alpha``; it needs
    more data when an effect exceeds the threshold without being significant; else it is stable.

    Args:
        window_probabilities, window_scores: shape (rows,).
        window_sketch: the same columns as the reference's sketch.
        threshold: of the effect, in [0, 1].

    Raises:
        DatasetError: lengths differ, or a sketch column is not numeric.
    """
    columns = prediction_columns(window_scores, window_probabilities, window_sketch)
    known = {sketch.name: sketch for sketch in reference.columns}
    if window_scores is None:
        known.pop("score", None)
    pairs = {
        name: HistogramPair(sketch.own_histogram(), sketch.histogram(columns[name]))
        for name, sketch in known.items()
        if name in columns
    }
    rows = len(window_probabilities)
    positives = int((columns[PROBABILITY] >= reference.decision_threshold).sum())
    pairs[POSITIVE_RATE] = HistogramPair(
        _two_bins(reference.positives, reference.rows), _two_bins(positives, rows), has_missing_bin=False
    )
    shift = None
    if rows:
        interval = rate_difference_interval(reference.positives, reference.rows, positives, rows)
        shift = RateShift(reference.positive_rate, positives / rows, *interval)
    lost = [NotCompared(name, "not in the window", lost=True) for name in sorted(known.keys() - columns.keys())]
    lost += [NotCompared(name, "not in the reference", lost=True) for name in sorted(columns.keys() - known.keys())]
    return judge(
        pairs,
        reference_rows=reference.rows,
        window_rows=rows,
        threshold=threshold,
        alpha=alpha,
        minimum_rows=minimum_rows,
        positive_rate=shift,
        not_compared=tuple(lost),
    )


def judge(
    pairs: Mapping[str, HistogramPair],
    *,
    reference_rows: int,
    window_rows: int,
    threshold: float,
    alpha: float,
    minimum_rows: int,
    positive_rate: RateShift | None = None,
    not_compared: tuple[NotCompared, ...] = (),
    notes: tuple[str, ...] = (),
) -> DriftReport:
    """The report on histograms of both windows; the rule is ``compare``'s.

    A column that was lost is named in the reasons, and keeps the verdict from being ``stable``.
    """
    columns = _columns(pairs, threshold, alpha) if window_rows else ()
    outcomes = [outcome(column.effect, column.adjusted_p_value, threshold=threshold, level=alpha) for column in columns]
    significant = [column for column, found in zip(columns, outcomes, strict=True) if is_significant(found)]
    drifted = [column for column in columns if column.drifted]
    suspected = [column for column, found in zip(columns, outcomes, strict=True) if found == "suspected"]
    lost = [_lost(str(column)) for column in not_compared if column.lost]
    lost += [reason for name, pair in pairs.items() if window_rows and (reason := _emptied(name, pair, alpha))]
    verdict: Verdict
    if window_rows < minimum_rows:
        verdict = "needs_more_data"
        reasons = [f"The window has {window_rows} rows; at least {minimum_rows} are needed for a verdict."]
    elif drifted:
        verdict, reasons = "drift", [_reason(column, threshold, alpha) for column in drifted]
    elif suspected:
        verdict, reasons = "needs_more_data", [_reason(column, threshold, alpha) for column in suspected]
    elif lost or not columns:
        verdict, reasons = "needs_more_data", [] if lost else ["No column could be compared."]
    else:
        largest = f" (largest: {columns[0].name}, {columns[0].effect:.3f})" if columns else ""
        verdict = "stable"
        number = f"{len(columns)} column" + ("s" if len(columns) > 1 else "")
        reasons = [f"No effect of {number} over {window_rows} rows exceeds {threshold:g}{largest}."]
    return DriftReport(
        verdict=verdict,
        reasons=(*reasons, *lost),
        drift_score=max((column.effect for column in significant), default=0.0),
        threshold=threshold,
        alpha=alpha,
        minimum_rows=minimum_rows,
        reference_rows=reference_rows,
        window_rows=window_rows,
        positive_rate=positive_rate,
        columns=columns,
        not_compared=tuple(map(str, not_compared)),
        notes=notes,
    )


def _columns(pairs: Mapping[str, HistogramPair], threshold: float, alpha: float) -> tuple[ColumnDrift, ...]:
    generator = np.random.default_rng(_SEED)
    measured = [drift_effect(pair.reference, pair.window, generator) for pair in pairs.values()]
    adjusted = holm([p_value for _, p_value in measured])
    columns = [
        ColumnDrift(
            name=name,
            effect=effect,
            p_value=p_value,
            adjusted_p_value=adjusted_p_value,
            missing_share_reference=_missing_share(pair.reference, pair.has_missing_bin),
            missing_share_window=_missing_share(pair.window, pair.has_missing_bin),
            drifted=outcome(effect, adjusted_p_value, threshold=threshold, level=alpha) == "drifted",
        )
        for (name, pair), (effect, p_value), adjusted_p_value in zip(pairs.items(), measured, adjusted, strict=True)
    ]
    return tuple(sorted(columns, key=lambda column: (-column.effect, column.name)))


def _lost(column: str) -> str:
    return f"Column {column}, so whether it changed is not known."


def _emptied(name: str, pair: HistogramPair, alpha: float) -> str:
    """What is said of a column of which one side has no value at all, although the other's share of missing values
    makes that unlikely."""
    if not pair.has_missing_bin:
        return ""
    for title, empty, other in (("window", pair.window, pair.reference), ("reference", pair.reference, pair.window)):
        rows, share = int(empty.sum()), _missing_share(other, True)
        if rows and empty[-1] == rows and share < 1.0 and share**rows < alpha:
            return _lost(f"{name}: no value in the {title}")
    return ""


def _missing_share(histogram: IntArray, has_missing_bin: bool) -> float:
    return float(histogram[-1] / max(int(histogram.sum()), 1)) if has_missing_bin else 0.0


def _two_bins(positives: int, rows: int) -> IntArray:
    return np.array([rows - positives, positives], dtype=np.int64)


def _reason(column: ColumnDrift, threshold: float, alpha: float) -> str:
    outcome = "changed" if column.drifted else "may have changed, but chance is not ruled out"
    sign = "<" if column.adjusted_p_value < alpha else ">="
    return (
        f"Column {column.name} {outcome}: effect {column.effect:.3f} above {threshold:g}, "
        f"adjusted p-value {column.adjusted_p_value:.2g} {sign} {alpha:g}."
    )
