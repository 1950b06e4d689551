"""The logistic family: tabular security records of any catalog layout.

What belongs here: standardised signed logarithms of the numeric columns, one-hot levels of the categorical ones, and a
logistic regression over both, all fitted on training rows only. What does not: which columns those are (the catalog
says so, per dataset).
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from nethical_assets.core.detectors.artifact import FileModel, expect_files, read_model, read_tensors, write_tensors
from nethical_assets.core.detectors.base import DetectorSpec, LabelledRows, OnePrediction
from nethical_assets.core.detectors.calibration import CalibratedDetector, Calibration, fit_calibration
from nethical_assets.core.detectors.fitting import in_content_order, one_thread, require_both_classes
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError, TrainingError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import read_numbers
from nethical_assets.core.rows.columns import COMMON_COLUMNS, FloatArray
from nethical_assets.core.rows.frames import (
    MISSING,
    categories,
    record_identity,
    require_columns,
    unreadable,
    with_declared_columns,
)
from nethical_assets.core.rows.one_cell import Reads, category_of, floats_of, numbers_of
from nethical_assets.core.rows.one_record import (
    Inputs,
    RecordLayout,
    RecordReader,
    entry_fields,
    number_layout,
    require_fields,
)
from nethical_assets.core.rows.signals import SIGNALS

_FAMILY = "logistic"
_MODEL_FILE = "model.json"
_TENSOR_FILE = "coefficients.safetensors"
_INVERSE_PENALTY = 1.0
_RARE_LEVEL_ROWS = 20
_MAXIMUM_LEVELS = 200
_LARGEST_DEVIATION = 8.0
_SKETCHED_COLUMNS = 8
_ROWS_AT_ONCE = 1024
"""So many rows of a design stay near the processor."""


class _Category(FileModel):
    column: str
    levels: tuple[str, ...] = Field(max_length=_MAXIMUM_LEVELS)


class _Model(FileModel):
    """Column names in design order; coefficients and scaling are in the tensors file."""

    numeric_columns: tuple[str, ...]
    categorical_columns: tuple[_Category, ...]
    calibration: Calibration

    @property
    def width(self) -> int:
        """Design columns: a value and a "was missing" flag a numeric column; levels and "rare" a categorical one."""
        return 2 * len(self.numeric_columns) + sum(len(each.levels) + 1 for each in self.categorical_columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """All input columns."""
        return (*self.numeric_columns, *(each.column for each in self.categorical_columns))


class LogisticDetector(CalibratedDetector):
    """Score: the log-odds of the regression; see ``base.Detector``."""

    def __init__(self, model: _Model, centre: FloatArray, scale: FloatArray, coefficients: FloatArray) -> None:
        self._model = model
        self._centre = centre
        self._scale = scale
        self._coefficients = coefficients
        self._columns, self._numeric = model.columns, model.numeric_columns
        self._levels = _level_places(model)
        self._sketched = _sketched_columns(model, coefficients)
        # For one record: what of the model would be looked up again each time.
        self._width = model.width
        self._rare_places = [rare for _, _, rare in self._levels]
        self._intercept, self._weights = float(coefficients[0]), coefficients[1:]
        self._sketched_places = np.array([self._numeric.index(name) for name in self._sketched], dtype=np.intp)

    def score(self, inputs: pd.DataFrame, features: Any = None) -> FloatArray:
        """Log-odds before calibration, shape ``(rows,)``."""
        require_columns(inputs, self._model.columns, f"inputs of family {_FAMILY}")
        read = _read(inputs, self._model)
        products = np.empty(len(inputs), dtype=np.float64)
        for start in range(0, len(inputs), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            design = _design(read, self._model, self._centre, self._scale, rows)
            # einsum adds each row's products in the same order however many rows there are; BLAS does not.
            products[rows] = np.einsum("ij,j->i", design, self._weights)
        return np.asarray(products + self._intercept, dtype=np.float64)

    def _score_of_one(self, record: Mapping[str, Any]) -> float:
        return self._score_of_read(*self._read_one(record))

    def _read_one(self, record: Mapping[str, Any]) -> tuple[FloatArray, list[int]]:
        """The signed logarithm of each numeric column, NaN where it is missing, and the place of the level of each
        categorical one."""
        try:
            numbers = numbers_of([record[name] for name in self._numeric])
            levels = [places.get(category_of(record[column]), rare) for column, places, rare in self._levels]
        except KeyError:
            require_fields(record, self._columns, f"inputs of family {_FAMILY}")
            raise
        return signed_log(numbers), levels

    def _score_of_read(self, logs: FloatArray, levels: Sequence[int]) -> float:
        row = np.zeros((1, self._width))
        count = len(logs)
        if count:
            values, missing = _standardised(logs, self._centre, self._scale)
            row[0, :count] = values
            if missing is not None:
                row[0, count : 2 * count] = missing
        for place in levels:
            row[0, place] = 1.0
        return float(np.einsum("ij,j->i", row, self._weights)[0]) + self._intercept

    @property
    def calibration(self) -> Calibration:
        """The map from score to probability."""
        return self._model.calibration

    def sketch(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """Signed logarithms of the numeric columns that weigh most in the score, and the share of rare levels."""
        require_columns(inputs, self._model.columns, f"inputs of family {_FAMILY}")
        chosen = self._sketched
        frame = pd.DataFrame({name: np.nan_to_num(signed_log(read_numbers(inputs[name]))) for name in chosen})
        if self._model.categorical_columns:
            rare = [~categories(inputs[each.column]).isin(each.levels) for each in self._model.categorical_columns]
            frame["rare_level_share"] = np.mean([each.to_numpy(dtype=np.float64) for each in rare], axis=0)
        return frame

    def sketch_one(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The columns of ``sketch`` for one row of input columns."""
        return self._sketch_of_read(*self._read_one(record))

    def score_and_sketch_one(self, record: Mapping[str, Any]) -> tuple[OnePrediction, dict[str, float]]:
        """``score_one`` and ``sketch_one``: the numbers are read, and their logarithms taken, once for both."""
        logs, levels = self._read_one(record)
        return self._calibrated(self._score_of_read(logs, levels)), self._sketch_of_read(logs, levels)

    def _sketch_of_read(self, logs: FloatArray, levels: Sequence[int]) -> dict[str, float]:
        values = [0.0 if math.isnan(value) else value for value in logs[self._sketched_places].tolist()]
        sketch = dict(zip(self._sketched, values, strict=True))
        if levels:
            unknown = sum(map(operator.eq, levels, self._rare_places))
            sketch["rare_level_share"] = unknown / len(levels)
        return sketch

    def to_files(self) -> Mapping[str, bytes]:
        """``model.json``: columns, levels, calibration; ``coefficients.safetensors``: scaling and coefficients."""
        tensors = {"centre": self._centre, "scale": self._scale, "coefficients": self._coefficients}
        return {_MODEL_FILE: pretty_json(self._model.model_dump()), _TENSOR_FILE: write_tensors(tensors)}


def _level_places(model: _Model) -> list[tuple[str, dict[str, int], int]]:
    """Of each categorical column the place of each level in a design row, and that of all others."""
    found, at = [], 2 * len(model.numeric_columns)
    for each in model.categorical_columns:
        found.append((each.column, {level: at + n for n, level in enumerate(each.levels)}, at + len(each.levels)))
        at += len(each.levels) + 1
    return found


def _sketched_columns(model: _Model, coefficients: FloatArray) -> list[str]:
    """The numeric columns that weigh most in the score."""
    numeric = model.numeric_columns
    weight = np.abs(coefficients[1 : len(numeric) + 1])
    return [numeric[i] for i in np.argsort(-weight, kind="stable")[:_SKETCHED_COLUMNS]]


def signed_log(values: FloatArray) -> FloatArray:
    """sign(x) * log(1 + |x|): keeps sign and order, tames counts and byte sizes over many magnitudes."""
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)), dtype=np.float64)


def canonicalise(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """The declared numeric (NaN when missing) and categorical (``missing``) columns; a row a record.

    Raises:
        DatasetError: the entry declares no columns, or declared ones are absent.
    """
    declared = (*entry.numeric_columns, *entry.categorical_columns)
    if not declared:
        raise DatasetError(
            f"dataset {entry.name}: family {_FAMILY} needs numeric_columns or categorical_columns in its catalog entry"
        )
    require_columns(raw, declared, f"dataset {entry.name}")
    taken = sorted({*COMMON_COLUMNS, "identity"} & set(declared))
    if taken:
        raise DatasetError(f"dataset {entry.name}: input column name {taken[0]!r} is reserved; leave it out")
    inputs = {column: read_numbers(raw[column]) for column in entry.numeric_columns}
    inputs |= {column: categories(raw[column]).array for column in entry.categorical_columns}
    frame = pd.DataFrame(inputs, index=raw.index).assign(identity=record_identity(entry, raw))
    return with_declared_columns(entry, raw, frame)


def inputs_of(frame: pd.DataFrame, entries: tuple[DatasetEntry, ...]) -> pd.DataFrame:
    """The input columns for batch scoring: the union over ``entries``, a row a record, row order preserved.

    Columns of other entries than the record's own are missing values; synthetic records have the five risk signals.

    Raises:
        DatasetError: columns of no known layout; one line with the expected ones.
    """
    layouts = {entry.name: (*entry.numeric_columns, *entry.categorical_columns) for entry in entries}
    numeric = {column for entry in entries for column in entry.numeric_columns}
    union = list(dict.fromkeys(column for columns in layouts.values() for column in columns))
    for columns in (union, *layouts.values()):
        if columns and set(columns) <= set(frame.columns):
            absent = {column: np.nan if column in numeric else MISSING for column in union if column not in columns}
            filled = frame.assign(**absent)
            return pd.DataFrame(
                {c: read_numbers(filled[c]) if c in numeric else categories(filled[c]).array for c in union}
            )
    if set(SIGNALS) <= set(frame.columns):
        return pd.DataFrame({signal: read_numbers(frame[signal]) for signal in SIGNALS})
    raise unreadable(_FAMILY, frame, layouts | {"synthetic": SIGNALS})


def record_reader(entries: tuple[DatasetEntry, ...]) -> RecordReader:
    """Reads one record of any layout that ``inputs_of`` reads, in its order."""
    numeric = {column for entry in entries for column in entry.numeric_columns}
    own = {entry.name: (*entry.numeric_columns, *entry.categorical_columns) for entry in entries}
    union = list(dict.fromkeys(column for columns in own.values() for column in columns))

    def layout(name: str, columns: Sequence[str], others: Mapping[str, Reads]) -> RecordLayout:
        read = {column: Reads.NUMBER if column in numeric else Reads.CATEGORY for column in columns}
        numbers = [column for column in columns if column in numeric]
        categorical = [column for column in columns if column not in numeric]
        order = union if [*numbers, *categorical] != union else None
        absent = {column: np.nan if column in numeric else MISSING for column in union if column not in read}

        def inputs(record: Mapping[str, Any]) -> Inputs:
            found = dict(zip(numbers, floats_of([record[column] for column in numbers]), strict=True)) | absent
            for column in categorical:
                found[column] = category_of(record[column])
            return found if order is None else {column: found[column] for column in order}

        return RecordLayout(name, columns, {**others, **read}, inputs)

    known = {name: reads for entry in entries for name, reads in entry_fields(entry, {}).items()}
    layouts = [layout("", union, known)] if len(entries) > 1 else []
    layouts += [layout(entry.name, own[entry.name], entry_fields(entry, {})) for entry in entries]
    return RecordReader([*layouts, number_layout(SIGNALS)])


@one_thread()
def fit(training: LabelledRows, validation: LabelledRows, seed: int) -> LogisticDetector:
    """Fit scaling, levels and coefficients on training rows, the calibration on validation rows.

    Columns of a numeric dtype are numeric, all others categorical. ``seed`` is not needed: the optimum is unique.

    Raises:
        TrainingError: one class only, or no column that varies.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    require_both_classes(training.labels, _FAMILY)
    rows = in_content_order(training)
    names = sorted(map(str, rows.inputs.columns))
    numeric = tuple(name for name in names if pd.api.types.is_numeric_dtype(rows.inputs[name].dtype))
    categorical = tuple(
        _Category(column=name, levels=_levels(rows.inputs[name])) for name in names if name not in numeric
    )
    uncalibrated = Calibration(method="sigmoid", rows=1, positives=1, slope=1.0)
    model = _Model(numeric_columns=numeric, categorical_columns=categorical, calibration=uncalibrated)
    if model.width == 0:
        raise TrainingError(f"family {_FAMILY} has no input column; declare some in the catalog")
    logs = np.column_stack(
        [np.zeros((len(rows.labels), 0)), *(signed_log(read_numbers(rows.inputs[n])) for n in numeric)]
    )
    known = ~np.isnan(logs)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, logs, 0.0).sum(axis=0) / count
    scale = np.sqrt((np.where(known, logs - centre, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(scale > 1e-9, scale, 1.0)
    design = _design(_read(rows.inputs, model), model, centre, scale, slice(None))
    regression = LogisticRegression(C=_INVERSE_PENALTY, max_iter=300, tol=1e-4)
    with warnings.catch_warnings():
        # Separable classes have no finite optimum without the penalty; stopping early is as good a model.
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit(design, rows.labels)
    coefficients = np.concatenate([regression.intercept_, regression.coef_[0]]).astype(np.float64)
    plain = LogisticDetector(model, centre, scale, coefficients)
    calibration = fit_calibration(plain.score(validation.inputs), validation.labels)
    return LogisticDetector(model.model_copy(update={"calibration": calibration}), centre, scale, coefficients)


def load(files: Mapping[str, bytes]) -> LogisticDetector:
    """The detector in ``files``.

    Raises:
        IntegrityError: a file is missing, extra or malformed, or sizes do not fit together.
    """
    expect_files(files, {_MODEL_FILE, _TENSOR_FILE})
    model = read_model(files, _MODEL_FILE, _Model)
    numeric = len(model.numeric_columns)
    tensors = read_tensors(
        files,
        _TENSOR_FILE,
        {"centre": ("F64", (numeric,)), "scale": ("F64", (numeric,)), "coefficients": ("F64", (model.width + 1,))},
    )
    if (tensors["scale"] <= 0).any():
        raise IntegrityError(f"{_TENSOR_FILE}: tensor scale must be positive")
    return LogisticDetector(model, tensors["centre"], tensors["scale"], tensors["coefficients"])


def synthesise(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """``rows`` of five independent uniform columns; the label is 1 where violation_count + severity_max > 1."""
    frame = pd.DataFrame(generator.random((rows, len(SIGNALS))), columns=list(SIGNALS))
    return frame.assign(label=(frame["violation_count"] + frame["severity_max"] > 1.0).to_numpy(dtype=np.int8))


def _levels(values: pd.Series) -> tuple[str, ...]:
    counts = categories(values).value_counts()
    frequent = counts[counts >= _RARE_LEVEL_ROWS]
    order = sorted(frequent.index, key=lambda level: (-int(frequent[level]), level))
    return tuple(sorted(order[:_MAXIMUM_LEVELS]))


def _standardised(logs: FloatArray, centre: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """Signed logarithms in deviations from the training rows, 0 where missing, and which ones are missing (1.0), None
    where none is."""
    values = (logs - centre) / scale
    missing = np.isnan(logs)
    flags = missing.astype(np.float64) if np.count_nonzero(missing) else None
    if flags is not None:
        values = np.where(missing, 0.0, values)
    return np.minimum(np.maximum(values, -_LARGEST_DEVIATION), _LARGEST_DEVIATION), flags


@dataclass(frozen=True)
class _Read:
    """Columns of ``rows`` inputs: numbers, and of each categorical one the place of its level, -1 where that is rare or
    unseen."""

    rows: int
    numbers: list[FloatArray]
    places: list[npt.NDArray[np.intp]]


def _read(inputs: pd.DataFrame, model: _Model) -> _Read:
    places = [
        pd.Index(each.levels, dtype="str").get_indexer(pd.Index(categories(inputs[each.column]), dtype="str"))
        for each in model.categorical_columns
    ]
    return _Read(len(inputs), [read_numbers(inputs[name]) for name in model.numeric_columns], places)


def _design(read: _Read, model: _Model, centre: FloatArray, scale: FloatArray, rows: slice) -> FloatArray:
    """Standardised values, "was missing" flags, then one-hot levels with a bucket for rare and unseen ones."""
    some = [numbers[rows] for numbers in read.numbers]
    places = [place[rows] for place in read.places]
    parts = [np.zeros((len(range(read.rows)[rows]), 0))]
    if some:
        values, missing = _standardised(np.column_stack([signed_log(numbers) for numbers in some]), centre, scale)
        parts += [values, np.zeros_like(values) if missing is None else missing]
    for each, place in zip(model.categorical_columns, places, strict=True):
        parts.append((place[:, None] == np.array([*range(len(each.levels)), -1])).astype(np.float64))
    return np.hstack(parts)


SPEC = DetectorSpec(
    family=_FAMILY,
    title="Logistic regression on security records",
    kind="records",
    input_columns=(),
    text_columns=(),
    canonicalise=canonicalise,
    inputs_of=inputs_of,
    record_reader=record_reader,
    fit=fit,
    load=load,
    synthesise=synthesise,
    model_form=(
        "L2-penalised logistic regression over standardised signed logarithms and one-hot levels with a bucket for "
        "rare ones, calibrated on validation rows"
    ),
    intended_use="Scoring tabular security records of the layouts it was trained on, for ranking and alerting.",
    limits=(
        "Knows the attacks and the network of its training records; another network needs its own training.",
        "Linear in its inputs: attacks that show only in combinations of columns are missed.",
        "Records of a layout it was not trained on cannot be scored.",
    ),
    hyperparameters={
        "inverse_penalty": _INVERSE_PENALTY,
        "rare_level_rows": _RARE_LEVEL_ROWS,
        "maximum_levels": _MAXIMUM_LEVELS,
    },
)
