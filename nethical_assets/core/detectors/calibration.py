"""From scores to probabilities.

What belongs here: the calibration every family shares, fitted on validation rows that training never saw. What does
not: the scores themselves (``families``), or how well calibrated a model is (``core.evaluation``).

Small samples get Platt's sigmoid with his smoothed targets (Platt 1999), larger ones isotonic regression (Zadrozny and
Elkan 2002), whose steps need data. Both are non-decreasing in the score, so ranking by probability never contradicts
ranking by score. Where the validation labels do not rise with the score at all, every score gets the base rate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from nethical_assets.core.detectors.base import OnePrediction, Prediction
from nethical_assets.core.ground.errors import TrainingError
from nethical_assets.core.rows.columns import FloatArray

ISOTONIC_MINIMUM_ROWS = 1000
ISOTONIC_MINIMUM_OF_A_CLASS = 100
_MAXIMUM_KNOTS = 100_000


class Calibration(BaseModel):
    """A fitted, non-decreasing map from score to probability; JSON through pydantic.

    ``sigmoid`` has one slope (>= 0) and one intercept: p = 1 / (1 + exp(-(slope * score + intercept))). ``isotonic``
    interpolates linearly between knots (score, probability) and is constant outside them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    method: Literal["sigmoid", "isotonic"]
    rows: int = Field(ge=1)
    positives: int = Field(ge=0)
    slope: float = Field(default=0.0, ge=0.0)
    intercept: float = 0.0
    knot_scores: tuple[float, ...] = Field(default=(), max_length=_MAXIMUM_KNOTS)
    knot_probabilities: tuple[float, ...] = Field(default=(), max_length=_MAXIMUM_KNOTS)

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        scores, probabilities = np.array(self.knot_scores), np.array(self.knot_probabilities)
        if len(scores) != len(probabilities):
            raise ValueError("knot_scores and knot_probabilities have different lengths")
        if (self.method == "isotonic") != (len(scores) > 0):
            raise ValueError("isotonic has knots, sigmoid has none")
        if (np.diff(scores) <= 0).any() or (np.diff(probabilities) < 0).any():
            raise ValueError("knots must rise")
        if ((probabilities < 0) | (probabilities > 1)).any():
            raise ValueError("knot_probabilities must lie in [0, 1]")
        return self

    @cached_property
    def knots(self) -> tuple[FloatArray, FloatArray]:
        """Scores and probabilities of the knots as arrays."""
        return np.array(self.knot_scores), np.array(self.knot_probabilities)

    def probability(self, scores: FloatArray) -> FloatArray:
        """The probability of the positive class for each score, same shape, in [0, 1]."""
        if self.method == "isotonic":
            return np.interp(scores, *self.knots)
        with np.errstate(over="ignore"):  # an infinite exponent is cut like any other large one
            exponent = np.clip(self.slope * scores + self.intercept, -700.0, 700.0)
        return np.asarray(1.0 / (1.0 + np.exp(-exponent)), dtype=np.float64)

    def probability_of_one(self, score: float) -> float:
        """The same for one score, bit for bit."""
        if self.method == "isotonic":
            return float(np.interp(score, *self.knots))
        exponent = min(max(self.slope * score + self.intercept, -700.0), 700.0)
        return float(1.0 / (1.0 + np.exp(-exponent)))


class CalibratedDetector(ABC):
    """The part of ``base.Detector`` that is the same for every family: a probability is a calibrated score."""

    @property
    @abstractmethod
    def calibration(self) -> Calibration:
        """The map from score to probability."""

    @abstractmethod
    def score(self, inputs: pd.DataFrame, features: Any = None) -> FloatArray:
        """See ``base.Detector``."""

    @abstractmethod
    def _score_of_one(self, record: Mapping[str, Any]) -> float:
        """The score of one row of input columns, equal to ``score`` of a frame of it bit for bit."""

    @abstractmethod
    def sketch_one(self, record: Mapping[str, Any]) -> Mapping[str, float]:
        """See ``base.Detector``."""

    def probability(self, inputs: pd.DataFrame) -> FloatArray:
        """The calibrated probability, shape ``(rows,)``, in [0, 1]."""
        return self.predict(inputs).probability

    def predict(self, inputs: pd.DataFrame, features: Any = None) -> Prediction:
        """Score and probability in one pass over the rows."""
        score = self.score(inputs, features)
        return Prediction(score, self.calibration.probability(score))

    def score_one(self, record: Mapping[str, Any]) -> OnePrediction:
        """Score and probability of one row of input columns, bit for bit as ``predict`` of a frame of it."""
        return self._calibrated(self._score_of_one(record))

    def score_and_sketch_one(self, record: Mapping[str, Any]) -> tuple[OnePrediction, Mapping[str, float]]:
        """``score_one`` and ``sketch_one``; a family in which both read the same reads it once."""
        return self.score_one(record), self.sketch_one(record)

    def _calibrated(self, score: float) -> OnePrediction:
        return OnePrediction(score, self.calibration.probability_of_one(score))


def fit_calibration(scores: FloatArray, labels: npt.NDArray[np.int8]) -> Calibration:
    """The calibration of ``scores`` (finite) against ``labels`` (0 or 1) of validation rows.

    Raises:
        TrainingError: fewer than two classes among the labels.
    """
    positives = int((labels == 1).sum())
    minority = min(positives, len(labels) - positives)
    if minority == 0:
        raise TrainingError(
            f"calibration needs validation rows of both classes, got {len(labels)} rows with {positives} positive; "
            "use more rows or a larger validation_ratio"
        )
    if len(labels) >= ISOTONIC_MINIMUM_ROWS and minority >= ISOTONIC_MINIMUM_OF_A_CLASS:
        return _fit_isotonic(scores, labels, positives)
    return _fit_sigmoid(scores, labels, positives)


def _fit_isotonic(scores: FloatArray, labels: npt.NDArray[np.int8], positives: int) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    rows = len(labels)
    # A finite sample cannot show a probability of exactly 0 or 1: one imagined row of the other class is added.
    margin = 1.0 / (rows + 2.0)
    model = IsotonicRegression(y_min=margin, y_max=1.0 - margin, out_of_bounds="clip").fit(scores, labels)
    knots, first = np.unique(np.asarray(model.X_thresholds_, dtype=np.float64), return_index=True)
    values = np.maximum.accumulate(np.asarray(model.y_thresholds_, dtype=np.float64)[first])
    return Calibration(
        method="isotonic",
        rows=rows,
        positives=positives,
        knot_scores=tuple(knots.tolist()),
        knot_probabilities=tuple(np.clip(values, margin, 1.0 - margin).tolist()),
    )


def _fit_sigmoid(scores: FloatArray, labels: npt.NDArray[np.int8], positives: int) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    rows = len(labels)
    centre, scale = float(np.mean(scores)), float(np.std(scores))
    base = float(np.log((positives + 1.0) / (rows - positives + 1.0)))
    if scale < 1e-12:
        return Calibration(method="sigmoid", rows=rows, positives=positives, intercept=base)
    # Platt's targets (N+ + 1) / (N+ + 2) and 1 / (N- + 2), written as weighted copies of every row in both classes.
    target = np.where(labels == 1, (positives + 1.0) / (positives + 2.0), 1.0 / (rows - positives + 2.0))
    standard = ((scores - centre) / scale).reshape(-1, 1)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(
        np.vstack([standard, standard]),
        np.repeat([1, 0], rows),
        sample_weight=np.concatenate([target, 1.0 - target]),
    )
    slope, intercept = float(model.coef_[0, 0]) / scale, float(model.intercept_[0])
    if slope <= 0.0:
        return Calibration(method="sigmoid", rows=rows, positives=positives, intercept=base)
    return Calibration(
        method="sigmoid", rows=rows, positives=positives, slope=slope, intercept=intercept - slope * centre
    )
