"""Stored models at work: loading one verified, and what it says about canonical rows.

What belongs here: what training, evaluation, release, scoring and serving all need of a stored model. What does not:
    how a model is stored (``registry``) or packed (``core.detectors.artifact``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nethical_assets.core.detectors.artifact import unpack
from nethical_assets.core.detectors.base import Detector, DetectorSpec, LabelledRows, Prediction
from nethical_assets.core.models.registry import ModelRegistry
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import CellTally, tallied
from nethical_assets.core.rows.columns import COMMON_COLUMNS

DECISION_THRESHOLD = 0.5


def load_detector(registry: ModelRegistry, model: str, spec: DetectorSpec) -> Detector:
    """The stored model ``model``, every byte verified before it is used.

    Raises:
        IntegrityError: it is not what was stored.
    """
    _, files = registry.load(model)
    return unpack(spec, files)


def input_columns(spec: DetectorSpec, frame: pd.DataFrame) -> list[str]:
    """The input columns of a canonical frame."""
    return list(spec.input_columns) or [name for name in frame.columns if name not in (*COMMON_COLUMNS, "split")]


def labelled_rows(spec: DetectorSpec, frame: pd.DataFrame, split: str) -> LabelledRows:
    """The rows of one split as a family's ``fit`` takes them."""
    rows = frame[frame["split"] == split].reset_index(drop=True)
    return LabelledRows(rows[input_columns(spec, frame)], rows["label"].to_numpy())


@dataclass(frozen=True)
class ScoredRecords:
    """Raw records as a detector read them, and what it said.

    ``inputs``: the family's input columns, a row a record (or an incident); ``predictions``: ``label`` (0 or 1, by the
    threshold), ``probability`` and ``score`` of each row, after the key of an incident where there is one; ``cells``:
    which cells were of the wrong type.
    """

    inputs: pd.DataFrame
    predictions: pd.DataFrame
    prediction: Prediction
    cells: CellTally


def score_records(
    detector: Detector,
    spec: DetectorSpec,
    records: pd.DataFrame,
    entries: tuple[DatasetEntry, ...],
    *,
    wrong_share_max: float,
    decision_threshold: float = DECISION_THRESHOLD,
    what: str = "the records",
) -> ScoredRecords:
    """Score raw records, one or many: the one way for files and for what is asked over the network.

    Raises:
        DatasetError: the records have no layout that the family knows; or in a column that is read as numbers or times
            more than the share ``wrong_share_max`` of the cells is neither (one line that begins with ``what``).
    """
    with tallied() as cells:
        inputs = spec.inputs_of(records, entries)
        found = detector.predict(inputs)
    cells.refuse_above(wrong_share_max, what)
    keys = [name for name in inputs.columns if name not in spec.input_columns] if spec.input_columns else []
    label = (found.probability >= decision_threshold).astype("int8")
    predictions = inputs[keys].assign(label=label, probability=found.probability, score=found.score)
    return ScoredRecords(inputs, predictions, found, cells)


def predict(
    detector: Detector,
    spec: DetectorSpec,
    rows: pd.DataFrame,
    columns: Sequence[str] | None = None,
    *,
    features: Any = None,
) -> pd.DataFrame:
    """Label, source, score and probability of canonical rows; nothing else of them.

    ``columns`` are what the detector reads, where it was trained on other rows than these; ``features`` are those of
    the rows where they were computed already.
    """
    inputs = rows[input_columns(spec, rows) if columns is None else list(columns)]
    found = detector.predict(inputs, features)
    return rows[["row_id", "label", "source"]].assign(score=found.score, probability=found.probability)
