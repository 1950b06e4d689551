"""The heuristic family: five documented risk signals and a transparent monotone score.

What belongs here: the score over the five signals. What does not: how the signals follow from raw records
(``core.rows.signals``, one documented mapping a layout).

The score is a sum of points, one table a signal: each signal's points start at 0 and never fall as the signal rises
(a monotone generalised additive model, Hastie and Tibshirani 1990), so anybody can recompute a score with pencil and
paper and no rise of a risk signal can ever lower it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from nethical_assets.core.detectors.artifact import FileModel, expect_files, read_model
from nethical_assets.core.detectors.base import DetectorSpec, LabelledRows
from nethical_assets.core.detectors.calibration import CalibratedDetector, Calibration, fit_calibration
from nethical_assets.core.detectors.fitting import in_content_order, one_thread, require_both_classes
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import read_numbers
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.frames import (
    inputs_for_scoring,
    numbers_or_zero,
    require_columns,
)
from nethical_assets.core.rows.one_cell import number_of
from nethical_assets.core.rows.one_record import RecordReader, number_layout, require_fields
from nethical_assets.core.rows.signals import MAPPINGS, SIGNALS, record_layouts

_FAMILY = "heuristic"
_FILE = "score_table.json"
_INTERVALS = 12
_PENALTY = 1e-4
_DECIMALS = 4


class _Step(FileModel):
    signal_at_least: float = Field(ge=0.0, le=1.0)
    points: float = Field(ge=0.0)


class _ScoreTable(FileModel):
    """``tables``: signal -> rising steps; between two steps points are interpolated linearly."""

    base_points: float
    tables: dict[str, tuple[_Step, ...]]
    calibration: Calibration

    @model_validator(mode="after")
    def _monotone(self) -> _ScoreTable:
        if set(self.tables) != set(SIGNALS):
            raise ValueError(f"tables must be of {', '.join(SIGNALS)}")
        for signal, steps in self.tables.items():
            positions = np.array([step.signal_at_least for step in steps])
            points = np.array([step.points for step in steps])
            if not 2 <= len(steps) <= 100 or (np.diff(positions) <= 0).any() or (np.diff(points) < 0).any():
                raise ValueError(f"the table of {signal} must rise in both columns and have 2 to 100 steps")
        return self


class HeuristicDetector(CalibratedDetector):
    """Score: the sum of the points of the five signals, in log-odds; see ``base.Detector``."""

    def __init__(self, table: _ScoreTable) -> None:
        self._table = table
        self._points = [
            (signal, np.array([step.signal_at_least for step in steps]), np.array([step.points for step in steps]))
            for signal, steps in ((signal, table.tables[signal]) for signal in SIGNALS)
        ]

    def score(self, inputs: pd.DataFrame, features: Any = None) -> FloatArray:
        """Base points plus the points of each signal, shape ``(rows,)``; a missing signal counts as 0."""
        signals = _signals(inputs)
        total = np.full(len(inputs), self._table.base_points)
        for column, (_, positions, points) in enumerate(self._points):
            total += np.interp(signals[:, column], positions, points)
        return total

    def _score_of_one(self, record: Mapping[str, Any]) -> float:
        signals = _signals_of_one(record)
        total = self._table.base_points
        for signal, positions, points in self._points:
            total += float(np.interp(signals[signal], positions, points))
        return total

    @property
    def calibration(self) -> Calibration:
        """The map from score to probability."""
        return self._table.calibration

    def sketch(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """The five signals."""
        return pd.DataFrame(_signals(inputs), columns=list(SIGNALS))

    def sketch_one(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The five signals of one row of input columns."""
        return _signals_of_one(record)

    def to_files(self) -> Mapping[str, bytes]:
        """``score_table.json``: the readable point tables and the calibration."""
        return {_FILE: pretty_json(self._table.model_dump())}


def canonicalise(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """The five signals of raw records: a row a connection or alert, or a row an incident (mapping incident_evidence).

    Raises:
        DatasetError: the entry names no known mapping, or the mapping's columns are missing.
    """
    mapping = MAPPINGS.get(entry.mapping or "")
    if mapping is None:
        raise DatasetError(
            f"dataset {entry.name}: mapping {entry.mapping!r} is unknown to family {_FAMILY}; use {', '.join(MAPPINGS)}"
        )
    return mapping.compute(entry, raw)


def inputs_of(frame: pd.DataFrame, entries: tuple[DatasetEntry, ...]) -> pd.DataFrame:
    """The five signals for batch scoring, row order preserved.

    A row is a connection or an alert; evidence records give one row an incident, in order of first appearance, with
    its key in the column ``incident``. History signals see only the records of the batch.

    Raises:
        DatasetError: columns of no known layout; one line with the expected ones.
    """
    return inputs_for_scoring(
        frame,
        entries,
        family=_FAMILY,
        canonical=SIGNALS,
        read=read_numbers,
        layout=lambda entry: MAPPINGS[entry.mapping].columns if entry.mapping in MAPPINGS else (),
        canonicalise=canonicalise,
        keep=("incident",),
    )


def record_reader(entries: tuple[DatasetEntry, ...]) -> RecordReader:
    """Reads one record of any layout that ``inputs_of`` reads; evidence and alerts, which have a history, as frames."""
    return RecordReader([number_layout(SIGNALS, beside=("incident",)), *record_layouts(entries, MAPPINGS)])


@one_thread()
def fit(training: LabelledRows, validation: LabelledRows, seed: int) -> HeuristicDetector:
    """Fit the point tables on training rows and the calibration on validation rows (``seed`` is not needed).

    Raises:
        TrainingError: one class only among the training or the validation rows.
    """
    from scipy.optimize import minimize

    require_both_classes(training.labels, _FAMILY)
    rows = in_content_order(training)
    signals = _signals(rows.inputs)
    knots = [_knots(signals[:, column]) for column in range(len(SIGNALS))]
    design = np.hstack([_rises(signals[:, column], knots[column]) for column in range(len(SIGNALS))])
    sign = np.where(rows.labels == 1, 1.0, -1.0)

    def loss(parameters: FloatArray) -> tuple[float, FloatArray]:
        margin = sign * (design @ parameters[1:] + parameters[0])
        slope = -sign / (1.0 + np.exp(np.clip(margin, -500.0, 500.0))) / len(sign)
        gradient = np.concatenate([[slope.sum()], design.T @ slope + _PENALTY * parameters[1:]])
        penalty = 0.5 * _PENALTY * float(parameters[1:] @ parameters[1:])
        return float(np.logaddexp(0.0, -margin).mean()) + penalty, gradient

    bounds = [(None, None)] + [(0.0, None)] * design.shape[1]
    start = np.zeros(design.shape[1] + 1)
    fitted = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 500}).x
    tables, position = {}, 1
    for signal, own in zip(SIGNALS, knots, strict=True):
        rises = np.maximum(fitted[position : position + len(own) - 1], 0.0)
        position += len(own) - 1
        points = np.round(np.concatenate([[0.0], np.cumsum(rises)]), _DECIMALS)
        tables[signal] = tuple(
            _Step(signal_at_least=float(at), points=float(value)) for at, value in zip(own, points, strict=True)
        )
    base = round(float(fitted[0]), _DECIMALS)
    uncalibrated = Calibration(method="sigmoid", rows=1, positives=1, slope=1.0)
    plain = HeuristicDetector(_ScoreTable(base_points=base, tables=tables, calibration=uncalibrated))
    calibration = fit_calibration(plain.score(validation.inputs), validation.labels)
    return HeuristicDetector(_ScoreTable(base_points=base, tables=tables, calibration=calibration))


def load(files: Mapping[str, bytes]) -> HeuristicDetector:
    """The detector in ``files``.

    Raises:
        IntegrityError: a file is missing, extra or malformed, or a table falls.
    """
    expect_files(files, {_FILE})
    return HeuristicDetector(read_model(files, _FILE, _ScoreTable))


def synthesise(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """``rows`` of five independent uniform signals; the label is 1 where violation_count + severity_max > 1."""
    frame = pd.DataFrame(generator.random((rows, len(SIGNALS))), columns=list(SIGNALS))
    label = (frame["violation_count"] + frame["severity_max"] > 1.0).to_numpy(dtype=np.int8)
    return frame.assign(label=label)


def _signals(inputs: pd.DataFrame) -> FloatArray:
    require_columns(inputs, SIGNALS, f"inputs of family {_FAMILY}")
    return np.column_stack([np.clip(numbers_or_zero(inputs, signal), 0.0, 1.0) for signal in SIGNALS])


def _signals_of_one(record: Mapping[str, Any]) -> dict[str, float]:
    require_fields(record, SIGNALS, f"inputs of family {_FAMILY}")
    return {signal: _within_unit(number_of(record[signal])) for signal in SIGNALS}


def _within_unit(number: float) -> float:
    """``number`` within [0, 1] as ``np.clip`` gives it, which leaves a negative zero; 0 for NaN."""
    return number if 0.0 <= number <= 1.0 else float(number > 1.0)


def _knots(signal: FloatArray) -> FloatArray:
    """Where a signal's table has steps: its quantiles among training rows, from 0 to 1, at most _INTERVALS apart."""
    inner = np.round(np.quantile(signal, np.linspace(0.0, 1.0, _INTERVALS + 1)), _DECIMALS)
    return np.unique(np.concatenate([[0.0], inner, [1.0]]))


def _rises(signal: FloatArray, knots: FloatArray) -> FloatArray:
    """For each interval between knots, how much of it the signal has covered: 0 before it, 1 beyond it."""
    return np.clip((signal[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0)


SPEC = DetectorSpec(
    family=_FAMILY,
    title="Risk signals with a transparent score",
    kind="records",
    input_columns=SIGNALS,
    text_columns=(),
    canonicalise=canonicalise,
    inputs_of=inputs_of,
    record_reader=record_reader,
    fit=fit,
    load=load,
    synthesise=synthesise,
    model_form=(
        "a monotone additive point table over five risk signals (piecewise linear, non-negative rises fitted by "
        "penalised logistic loss), calibrated on validation rows"
    ),
    intended_use=(
        "First-line triage of connections and security incidents where every score must be explainable line by line."
    ),
    limits=(
        "Sees five numbers only; attacks that leave connection state, volume and history ordinary are missed.",
        "Incident signals of the GUIDE layout carry little information without identifiers: expect weak separation.",
        "History signals of a batch see only that batch; score complete time ranges, not single rows.",
    ),
    hyperparameters={"intervals": _INTERVALS, "penalty": _PENALTY},
)
