"""Stored models at work: loading one verified, and what it says about canonical rows.

What belongs here: what training, evaluation, release, scoring and serving all need of a stored model. What does not:
    how a model is stored (``registry``) or packed (``core.detectors.artifact``), or raw records
    (``core.governance.scoring``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from nethical_assets.core.detectors.artifact import unpack
from nethical_assets.core.detectors.base import Detector, DetectorSpec, LabelledRows
from nethical_assets.core.models.registry import ModelRegistry
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
