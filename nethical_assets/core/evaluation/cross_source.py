"""Leave-one-source-out: what to expect of data from a source the model has never seen.

What belongs here: fitting on all sources but one and measuring on that one. What does not: metrics (``metrics``).
Cross-validation inside one collection overstates quality, because its rows share authors, tools and phrasing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.datasets.splits import TRAIN, VALIDATION
from nethical_assets.core.detectors.base import DetectorSpec, LabelledRows
from nethical_assets.core.evaluation.metrics import evaluate
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import TrainingError
from nethical_assets.core.rows.columns import COMMON_COLUMNS


def leave_one_source_out(
    spec: DetectorSpec, frame: pd.DataFrame, seed: int, measured: Mapping[str, int], *, features: Any = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """For every source of ``frame``: a model fitted on the training rows of the others, measured on all of its rows.

    Args:
        frame: canonical rows with a ``split`` column, without evaluation-only sources; rows that are left out of the
            splits are measured on too.
        measured: ``ece_bins``, ``bootstrap_samples`` and ``seed`` of the measurement.
        features: those of ``frame`` where they were computed already.

    Returns:
        One evaluation a source (``SourceEvaluation`` as JSON), and a sentence for each source that could not be left
        out. A single source gives no evaluation and a sentence that says so.
    """
    sources = sorted(frame["source"].unique())
    if len(sources) < 2:
        return [], [f"one source only ({sources[0]}): how the model does on other sources is not known"]
    columns = list(spec.input_columns) or [name for name in frame.columns if name not in (*COMMON_COLUMNS, "split")]
    if features is None and spec.featurise is not None:
        features = spec.featurise(frame[columns])
    table = _Table(frame, columns, features)
    split, origin, groups = (frame[name].to_numpy(dtype=object) for name in ("split", "source", "group"))
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for source in sources:
        rows = table.where(origin == source)
        if len(np.unique(rows.labels)) < 2:
            notes.append(f"{source} has one class only: it cannot be measured by itself")
            continue
        fitted, calibrated = (table.where((origin != source) & (split == part)) for part in (TRAIN, VALIDATION))
        try:
            detector = spec.fit(fitted, calibrated, seed)
        except TrainingError as error:
            notes.append(f"without {source} the family cannot be trained: {error}")
            continue
        predicted = detector.predict(rows.inputs, rows.features)
        evaluation = evaluate(
            rows.labels,
            predicted.probability,
            predicted.score,
            sources=np.full(len(rows.labels), source, dtype=object),
            groups=groups[origin == source],
            **measured,
        )
        found += [to_document(part) for part in evaluation.sources]
    return found, notes


@dataclass(frozen=True)
class _Table:
    """All rows, and their features where the family computes some: each is computed once, however often it is used."""

    frame: pd.DataFrame
    columns: list[str]
    features: Any

    def where(self, chosen: npt.NDArray[np.bool_]) -> LabelledRows:
        positions = np.flatnonzero(chosen)
        rows = self.frame.iloc[positions]
        features = None if self.features is None else self.features.take(positions)
        return LabelledRows(rows[self.columns].reset_index(drop=True), rows["label"].to_numpy(), features)
