from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from nethical_assets.core.evaluation import Evaluation, evaluate

Sample = tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]


def sample_with(rows: int, accuracy: float, overconfidence: float, generator: np.random.Generator) -> Sample:
    """Labels and probabilities of a model with this true accuracy whose stated confidence is off by ``overconfidence``.

    The true chance of being right varies around ``accuracy`` by row, so that several bins are occupied.
    """
    right = accuracy + 0.14 * (generator.random(rows) - 0.5)
    called_positive = generator.random(rows) < 0.5
    correct = generator.random(rows) < right
    labels = np.where(correct, called_positive, ~called_positive).astype(np.int8)
    stated = np.clip(right + overconfidence, 0.5, 1.0)
    return labels, np.where(called_positive, stated, 1.0 - stated)


def quick_evaluation(labels: npt.NDArray[np.int8], probabilities: npt.NDArray[np.float64], seed: int = 0) -> Evaluation:
    return evaluate(labels, probabilities, probabilities, ece_bins=10, bootstrap_samples=2, seed=seed)


@pytest.fixture
def make_sample() -> Callable[..., Sample]:
    return sample_with


@pytest.fixture
def quick() -> Callable[..., Evaluation]:
    return quick_evaluation
