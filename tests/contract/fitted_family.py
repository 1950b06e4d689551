"""A detector family fitted on its own synthetic data, as the contract suite looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nethical_assets.core.detectors.artifact import choose_golden_inputs, pack
from nethical_assets.core.detectors.base import Detector, DetectorSpec, LabelledRows
from nethical_assets.core.detectors.registry import load_family

ROWS = 6000
SEED = 7


@dataclass(frozen=True)
class Fitted:
    """A family with its synthetic data and what was fitted on it."""

    spec: DetectorSpec
    columns: list[str]
    training: LabelledRows
    validation: LabelledRows
    test: LabelledRows
    detector: Detector
    files: dict[str, bytes]


def labelled(frame: pd.DataFrame, columns: list[str]) -> LabelledRows:
    return LabelledRows(frame[columns].reset_index(drop=True), frame["label"].to_numpy(dtype=np.int8))


def fit_on_synthetic_data(name: str) -> Fitted:
    spec = load_family(name)
    frame = spec.synthesise(ROWS, np.random.default_rng(SEED))
    columns = [column for column in frame.columns if column != "label"]
    frame = frame.drop_duplicates(columns)
    training, validation, test = (
        labelled(part, columns) for part in (frame.iloc[:3500], frame.iloc[3500:4600], frame.iloc[4600:])
    )
    detector = spec.fit(training, validation, SEED)
    files = pack(spec, detector, choose_golden_inputs(spec, validation.inputs, SEED))
    return Fitted(spec, columns, training, validation, test, detector, files)
