"""Fixtures of the contract suite: each registered family fitted once on its own synthetic data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from nethical_assets.core.detectors.artifact import choose_golden_inputs, pack
from nethical_assets.core.detectors.base import Detector, DetectorSpec, LabelledRows
from nethical_assets.core.detectors.registry import family_names, load_family

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


@pytest.fixture(scope="session")
def _fitted_families() -> dict[str, Fitted]:
    return {}


@pytest.fixture(params=family_names())
def family(request: pytest.FixtureRequest, _fitted_families: dict[str, Fitted]) -> Fitted:
    """The fitted family; the whole suite runs over every registered one."""
    name = request.param
    if name not in _fitted_families:
        spec = load_family(name)
        frame = spec.synthesise(ROWS, np.random.default_rng(SEED))
        columns = [column for column in frame.columns if column != "label"]
        frame = frame.drop_duplicates(columns)
        training, validation, test = (
            labelled(part, columns) for part in (frame.iloc[:3500], frame.iloc[3500:4600], frame.iloc[4600:])
        )
        detector = spec.fit(training, validation, SEED)
        files = pack(spec, detector, choose_golden_inputs(spec, validation.inputs, SEED))
        _fitted_families[name] = Fitted(spec, columns, training, validation, test, detector, files)
    return _fitted_families[name]
