"""Leave-one-source-out: features are computed once, and the figures are those of refits from the inputs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from nethical_assets.core.datasets.splits import TEST, TRAIN, VALIDATION
from nethical_assets.core.detectors.base import Features
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.evaluation.cross_source import leave_one_source_out

MEASURED = {"ece_bins": 10, "bootstrap_samples": 100, "seed": 1}


def canonical(family: str, rows: int = 600) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    frame = load_family(family).synthesise(rows, generator)
    sources = generator.choice(["first", "second", "third"], rows)
    splits = generator.choice([TRAIN, VALIDATION, TEST], rows, p=[0.6, 0.2, 0.2])
    return frame.assign(source=sources, split=splits, group="")


def test_features_are_computed_once_for_all_refits_and_change_no_figure() -> None:
    spec, frame = load_family("prompt_injection"), canonical("prompt_injection")
    assert spec.featurise is not None
    sizes: list[int] = []

    def counted(inputs: pd.DataFrame) -> Features:
        sizes.append(len(inputs))
        assert spec.featurise is not None
        return spec.featurise(inputs)

    once = leave_one_source_out(dataclasses.replace(spec, featurise=counted), frame, 3, MEASURED)
    assert sizes == [len(frame)]
    every_time = leave_one_source_out(dataclasses.replace(spec, featurise=None), frame, 3, MEASURED)
    assert once == every_time and len(once[0]) == 3
    given = leave_one_source_out(spec, frame, 3, MEASURED, features=spec.featurise(frame[["text"]]))
    assert given == once
