"""Leave-one-source-out: what to expect of data from a source the model has never seen.

What belongs here: fitting on all sources but one and measuring on that one. What does not: metrics (``metrics``).
Cross-validation inside one collection overstates quality, because its rows share authors, tools and phrasing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nethical_assets.core.datasets.splits import TRAIN, VALIDATION
from nethical_assets.core.detectors.base import COMMON_COLUMNS, DetectorSpec, LabelledRows
from nethical_assets.core.evaluation.metrics import evaluate
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import TrainingError


def leave_one_source_out(
    spec: DetectorSpec, frame: pd.DataFrame, seed: int, measured: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    """For every source of ``frame``: a model fitted on the training rows of the others, measured on all of its rows.

    Args:
        frame: canonical rows with a ``split`` column, without evaluation-only sources.
        measured: ``ece_bins``, ``bootstrap_samples`` and ``seed`` of the measurement.

    Returns:
        One evaluation a source (``SourceEvaluation`` as JSON), and a sentence for each source that could not be left
        out. A single source gives no evaluation and a sentence that says so.
    """
    sources = sorted(frame["source"].unique())
    if len(sources) < 2:
        return [], [f"one source only ({sources[0]}): how the model does on other sources is not known"]
    columns = list(spec.input_columns) or [name for name in frame.columns if name not in (*COMMON_COLUMNS, "split")]
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for source in sources:
        rest, rows = frame[frame["source"] != source], frame[frame["source"] == source]
        if rows["label"].nunique() < 2:
            notes.append(f"{source} has one class only: it cannot be measured by itself")
            continue
        fitted, calibrated = (_rows(rest, split, columns) for split in (TRAIN, VALIDATION))
        try:
            detector = spec.fit(fitted, calibrated, seed)
        except TrainingError as error:
            notes.append(f"without {source} the family cannot be trained: {error}")
            continue
        inputs = rows[columns].reset_index(drop=True)
        evaluation = evaluate(
            rows["label"].to_numpy(),
            detector.probability(inputs),
            detector.score(inputs),
            sources=rows["source"].to_numpy(dtype=object),
            **measured,
        )
        found += [to_document(part) for part in evaluation.sources]
    return found, notes


def _rows(frame: pd.DataFrame, split: str, columns: list[str]) -> LabelledRows:
    rows = frame[frame["split"] == split]
    return LabelledRows(rows[columns].reset_index(drop=True), rows["label"].to_numpy())
