"""The correlation family: groups of events of several agents.

What belongs here: five quantities of a group of events (``agent_count``, ``action_rate``, ``entropy_variance``,
``time_correlation``, ``payload_similarity``), one documented mapping a layout, and the tree ensemble over them. What
does not: how trees are stored and walked (``forest``), how evidence is grouped (``core.rows.incidents``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.detectors.artifact import FileModel, expect_files, read_model
from nethical_assets.core.detectors.base import DetectorSpec, LabelledRows
from nethical_assets.core.detectors.calibration import CalibratedDetector, Calibration, fit_calibration
from nethical_assets.core.detectors.families.correlation.forest import Forest, fit_forest, read_forest
from nethical_assets.core.detectors.families.correlation.groups import GROUP_MAPPINGS, GROUP_QUANTITIES
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
from nethical_assets.core.rows.one_cell import number_or_zero
from nethical_assets.core.rows.one_record import RecordReader, number_layout, require_fields
from nethical_assets.core.rows.signals import record_layouts

_FAMILY = "correlation"
_MODEL_FILE = "model.json"
_FOREST_FILE = "forest.safetensors"
_TREES = 100
_MINIMUM_LEAF_ROWS = 10
_LARGEST = 1e12
# Of the synthetic groups: kind -> bounds of the five quantities, in the order of GROUP_QUANTITIES.
_NORMAL_BOUNDS = ((1, 3), (1.0, 10.0), (0.05, 0.3), (0.0, 0.25), (0.0, 0.3))
_ATTACK_BOUNDS = (
    ((6, 15), (25.0, 100.0), (0.4, 0.9), (0.5, 0.75), (0.4, 0.8)),
    ((4, 10), (20.0, 60.0), (0.3, 0.7), (0.75, 1.0), (0.6, 0.95)),
    ((10, 20), (15.0, 50.0), (0.65, 1.0), (0.3, 0.6), (0.25, 0.65)),
)
_NORMAL_SHARE = 0.65


class _Model(FileModel):
    inputs: tuple[str, ...]
    calibration: Calibration


class CorrelationDetector(CalibratedDetector):
    """Score: the share of positives in the leaves a group falls into, averaged over trees; see ``base.Detector``."""

    def __init__(self, forest: Forest, calibration: Calibration) -> None:
        self._forest = forest
        self._calibration = calibration

    def score(self, inputs: pd.DataFrame, features: Any = None) -> FloatArray:
        """The mean leaf share, shape ``(rows,)``, in [0, 1]; a missing quantity counts as 0."""
        return self._forest.score(_quantities(inputs))

    @property
    def calibration(self) -> Calibration:
        """The map from score to probability."""
        return self._calibration

    def sketch(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """The five quantities."""
        return pd.DataFrame(_quantities(inputs), columns=list(GROUP_QUANTITIES))

    def _score_of_one(self, record: Mapping[str, Any]) -> float:
        return float(self._forest.score(np.array([[*self.sketch_one(record).values()]]))[0])

    def sketch_one(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The five quantities of one row of input columns."""
        require_fields(record, GROUP_QUANTITIES, f"inputs of family {_FAMILY}")
        numbers = (number_or_zero(record[name]) for name in GROUP_QUANTITIES)
        values = np.array([min(max(number, -_LARGEST), _LARGEST) for number in numbers], dtype=np.float32)
        return dict(zip(GROUP_QUANTITIES, values.tolist(), strict=True))

    def to_files(self) -> Mapping[str, bytes]:
        """``model.json``: inputs and calibration; ``forest.safetensors``: the trees."""
        model = _Model(inputs=GROUP_QUANTITIES, calibration=self._calibration)
        return {_MODEL_FILE: pretty_json(model.model_dump()), _FOREST_FILE: self._forest.to_bytes()}


def canonicalise(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """The five quantities: a row a connection (with its windows), or a row an incident (all its evidence rows).

    Raises:
        DatasetError: the entry names no known mapping, or the mapping's columns are missing.
    """
    mapping = GROUP_MAPPINGS.get(entry.mapping or "")
    if mapping is None:
        known = ", ".join(GROUP_MAPPINGS)
        raise DatasetError(
            f"dataset {entry.name}: mapping {entry.mapping!r} is unknown to family {_FAMILY}; use {known}"
        )
    return mapping.compute(entry, raw)


def inputs_of(frame: pd.DataFrame, entries: tuple[DatasetEntry, ...]) -> pd.DataFrame:
    """The five quantities for batch scoring, row order preserved.

    A row is a connection; evidence records give one row an incident, in order of first appearance, with its key
    (``OrgId/IncidentId``) in the column ``incident``.

    Raises:
        DatasetError: columns of no known layout; one line with the expected ones.
    """
    return inputs_for_scoring(
        frame,
        entries,
        family=_FAMILY,
        canonical=GROUP_QUANTITIES,
        read=read_numbers,
        layout=lambda entry: GROUP_MAPPINGS[entry.mapping].columns if entry.mapping in GROUP_MAPPINGS else (),
        canonicalise=canonicalise,
        keep=("incident",),
    )


def record_reader(entries: tuple[DatasetEntry, ...]) -> RecordReader:
    """Reads one record of any layout that ``inputs_of`` reads; evidence, of which an incident is made, as a frame."""
    return RecordReader(
        [number_layout(GROUP_QUANTITIES, beside=("incident",)), *record_layouts(entries, GROUP_MAPPINGS)]
    )


@one_thread()
def fit(training: LabelledRows, validation: LabelledRows, seed: int) -> CorrelationDetector:
    """Grow the trees on training rows with ``seed``, calibrate on validation rows.

    Raises:
        TrainingError: one class only among the training or the validation rows.
    """
    require_both_classes(training.labels, _FAMILY)
    rows = in_content_order(training)
    forest = fit_forest(
        _quantities(rows.inputs), rows.labels, trees=_TREES, minimum_leaf_rows=_MINIMUM_LEAF_ROWS, seed=seed
    )
    calibration = fit_calibration(forest.score(_quantities(validation.inputs)), validation.labels)
    return CorrelationDetector(forest, calibration)


def load(files: Mapping[str, bytes]) -> CorrelationDetector:
    """The detector in ``files``.

    Raises:
        IntegrityError: a file is missing, extra or malformed, or a tree's structure is unsound.
    """
    expect_files(files, {_MODEL_FILE, _FOREST_FILE})
    model = read_model(files, _MODEL_FILE, _Model)
    return CorrelationDetector(read_forest(files, _FOREST_FILE, len(GROUP_QUANTITIES)), model.calibration)


def synthesise(rows: int, generator: np.random.Generator) -> pd.DataFrame:
    """``rows`` groups: 65 % normal, the rest escalating, coordinated or distributed in equal parts."""
    label = generator.random(rows) >= _NORMAL_SHARE
    kind = np.where(label, 1 + generator.integers(0, len(_ATTACK_BOUNDS), rows), 0)
    bounds = np.array([_NORMAL_BOUNDS, *_ATTACK_BOUNDS], dtype=np.float64)[kind]
    values = bounds[:, :, 0] + generator.random((rows, len(GROUP_QUANTITIES))) * (bounds[:, :, 1] - bounds[:, :, 0])
    frame = pd.DataFrame(values, columns=list(GROUP_QUANTITIES))
    frame["agent_count"] = np.round(frame["agent_count"])
    return frame.assign(label=label.astype(np.int8))


def _quantities(inputs: pd.DataFrame) -> FloatArray:
    require_columns(inputs, GROUP_QUANTITIES, f"inputs of family {_FAMILY}")
    columns = [np.clip(numbers_or_zero(inputs, name), -_LARGEST, _LARGEST) for name in GROUP_QUANTITIES]
    # Thresholds were learned between 32-bit values; comparing at the same precision keeps rows on their side.
    return np.column_stack(columns).astype(np.float32).astype(np.float64)


SPEC = DetectorSpec(
    family=_FAMILY,
    title="Correlated activity of several agents",
    kind="records",
    input_columns=GROUP_QUANTITIES,
    text_columns=(),
    canonicalise=canonicalise,
    inputs_of=inputs_of,
    record_reader=record_reader,
    fit=fit,
    load=load,
    synthesise=synthesise,
    model_form="100 extremely randomised trees over five quantities of an event group, calibrated on validation rows",
    intended_use="Finding coordinated, escalating or distributed activity among windows of events or incidents.",
    limits=(
        "Needs groups: an incident with a single evidence row says almost nothing about coordination.",
        "The window columns of NSL-KDD describe one network of 1998; rates of other networks differ.",
        "Does not say which agents act together, only that a group looks as if some did.",
    ),
    hyperparameters={"trees": _TREES, "minimum_leaf_rows": _MINIMUM_LEAF_ROWS},
)
