"""The offline comparison of two tables of predictions: columns as ``tables`` does, predictions as a window is judged.

What belongs here: reading probabilities and labels out of tables, and putting both comparisons into one report. What
does not: other columns (``tables``), statistics and their verdict (``window``, ``monitors``). No error holds a value.

The earlier table becomes a reference and the later one a sketch, so that every number is what a drift report would say
of the same rows. Nothing is known of time: rows count as independent, and the report says so. What a false alarm may
happen by is shared: half of it is for the columns together, half for the monitors of the predictions together
(Bonferroni over both, Holm within each).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.drift.monitors import MonitorOutcome, MonitorReport, judge_window
from nethical_assets.core.drift.reference import build_reference
from nethical_assets.core.drift.sketches import Sketch
from nethical_assets.core.drift.tables import compare_tables
from nethical_assets.core.drift.verdict import DriftReport
from nethical_assets.core.drift.window import measure_window
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.naming import columns_there

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["drift", "changed", "needs_more_data", "stable"]
_GRAVEST_FIRST: tuple[Verdict, ...] = ("drift", "changed", "needs_more_data", "stable")


@dataclass(frozen=True)
class ScoredTablesReport:
    """What two tables of predictions say.

    ``columns`` is about all columns but those of probabilities and labels, None where there are no others;
    ``predictions`` is about these. The verdict is the graver of theirs.
    """

    columns: DriftReport | None
    predictions: MonitorReport
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """``drift``, ``changed``, ``needs_more_data`` or ``stable``: the first of these that either part says."""
        parts = {self.predictions.verdict, *([self.columns.verdict] if self.columns else [])}
        return next(verdict for verdict in _GRAVEST_FIRST if verdict in parts)

    def to_json(self) -> dict[str, Any]:
        """A JSON object. What follows from a report of the watch does not follow from this one, and is left out."""
        predictions = self.predictions.to_json()
        del predictions["what_next"], predictions["measured"]["evidence"]
        return {
            "verdict": self.verdict,
            "drift_score": max(self.predictions.drift_score, self.columns.drift_score if self.columns else 0.0),
            "threshold": self.predictions.threshold,
            "reasons": [*self.predictions.reasons, *(self.columns.reasons if self.columns else ())],
            "notes": [*self.predictions.measured.notes, *self.notes],
            "predictions": predictions,
            "columns": None if self.columns is None else self.columns.to_json(),
        }

    def to_markdown(self) -> str:
        """The verdict, the monitors of the predictions, and the report on the other columns."""
        measured = self.predictions.measured
        lines = [
            f"**{self.verdict.replace('_', ' ')}** (predictions: {self.predictions.verdict.replace('_', ' ')})",
            "",
        ]
        lines += [f"- {reason}" for reason in (*self.predictions.reasons, *measured.notes, *self.notes)]
        lines += ["", "| Monitor | Value | 95 % interval | Adjusted p | Outcome |", "|---|---:|---:|---:|---|"]
        lines += [_row(one) for one in self.predictions.outcomes]
        lines += ["", f"{measured.rows} rows in the window, {measured.labelled_rows} of them with a label.", ""]
        if self.columns is not None:
            lines += ["The other columns:", "", self.columns.to_markdown()]
        return "\n".join(lines).rstrip("\n") + "\n"


def compare_scored_tables(
    reference: pd.DataFrame,
    window: pd.DataFrame,
    *,
    score: str,
    label: str | None = None,
    threshold: float,
    accuracy_drop: float,
    alpha: float,
    minimum_rows: int,
    minimum_labelled_rows: int,
) -> ScoredTablesReport:
    """Judge the drift from one table of predictions to another.

    Args:
        score: the column of probabilities, each in [0, 1].
        label: the column of what was true, 0, 1 or nothing.
        threshold, accuracy_drop: as of ``monitors.judge_window``.
        alpha: the chance that tables without a change are called changed or drifted.

    Raises:
        DatasetError: a table has no rows, a column is missing, or a value of it is not what it has to be; one line.
    """
    named = [score, *([] if label is None else [label])]
    if len(set(named)) < len(named):
        raise DatasetError("--label names the column of --score; probabilities and labels are two columns")
    tables = (("reference", reference), ("window", window))
    for title, frame in tables:
        if frame.empty:
            raise DatasetError(f"the {title} table has no rows")
        for option, name in zip(("--score", "--label"), named, strict=False):
            if name not in frame.columns:
                raise DatasetError(
                    f"{option}: the {title} table has no column {name!r}; {columns_there(frame.columns)}"
                )
    scores = [_probabilities(frame[score], title) for title, frame in tables]
    labels = [None if label is None else _labels(frame[label], title) for title, frame in tables]
    nothing = [pd.DataFrame(index=frame.index) for _, frame in tables]
    built = build_reference(None, scores[0], nothing[0], labels=labels[0])
    measured = measure_window(
        built,
        [Sketch.of(built, scores[1], None, nothing[1], labels[1])],
        minimum_rows=minimum_rows,
        minimum_labelled_rows=minimum_labelled_rows,
    )
    others = [frame.drop(columns=named) for _, frame in tables]
    compared = None
    if any(len(frame.columns) for frame in others):
        compared = compare_tables(*others, threshold=threshold, alpha=alpha / 2.0, minimum_rows=minimum_rows)
    judged = judge_window(
        measured, level=alpha / 2.0 if compared else alpha, threshold=threshold, accuracy_drop=accuracy_drop
    )
    return ScoredTablesReport(compared, judged)


def _probabilities(column: pd.Series, title: str) -> FloatArray:
    values = _numbers(column)
    _refuse(~((values >= 0.0) & (values <= 1.0)), title, "--score", "is no probability from 0 to 1")
    return values


def _labels(column: pd.Series, title: str) -> FloatArray:
    values = _numbers(column)
    is_blank = (column.isna() | (column.astype("str").str.strip() == "")).to_numpy(dtype=bool)
    _refuse(~(np.isin(values, (0.0, 1.0)) | is_blank), title, "--label", "is neither 0 nor 1, nor empty")
    return values


def _numbers(column: pd.Series) -> FloatArray:
    """The numbers of a column, NaN for whatever is none; truth values are none."""
    if pd.api.types.is_bool_dtype(column):
        return np.full(len(column), np.nan)
    numbers = pd.to_numeric(column, errors="coerce")
    return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan))


def _refuse(wrong: npt.NDArray[np.bool_], title: str, option: str, what: str) -> None:
    if count := int(wrong.sum()):
        first = int(wrong.argmax()) + 1
        raise DatasetError(
            f"{option}: row {first} of the {title} table {what} ({count} such rows); correct it, or name another column"
        )


def _row(one: MonitorOutcome) -> str:
    name, measurement = one.monitor.kind.replace("_", " "), one.monitor.measurement
    if measurement.needs_more_data:
        return f"| {name} | | | | needs more data: {measurement.reason} |"
    interval = (
        ""
        if measurement.low is None or measurement.high is None
        else f"{measurement.low:.3f} to {measurement.high:.3f}"
    )
    value = "" if measurement.statistic is None else f"{measurement.statistic:.3f}"
    return f"| {name} | {value} | {interval} | {one.adjusted_p_value or 0.0:.2g} | {one.outcome} |"
