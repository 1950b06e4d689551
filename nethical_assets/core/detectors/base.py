"""The contract between a detector family and the rest of the product.

What belongs here: the types every family implements and the columns every canonical dataset has. What does not: any
family's own features or model (``core.detectors.families``), or the registry that finds them (``registry``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.one_record import RecordReader


class Features(Protocol):
    """What a family reads of its inputs before anything is fitted: an element a row, each from its own row alone.

    So features of a table may be computed once, and taken apart for every fit and every score.
    """

    def __len__(self) -> int:
        """How many rows there are."""

    def take(self, positions: npt.NDArray[np.int64]) -> Self:
        """The features of the rows at ``positions``, in that order."""


@dataclass(frozen=True)
class LabelledRows:
    """Rows to fit or calibrate on: ``inputs`` holds the family's input columns, ``labels`` is int8, as long.

    ``features`` are those of ``inputs`` where they were computed already; ``fit`` gives the same detector without.
    """

    inputs: pd.DataFrame
    labels: npt.NDArray[np.int8]
    features: Any = None


@dataclass(frozen=True)
class Prediction:
    """Score and calibrated probability of rows, each of shape ``(rows,)``."""

    score: FloatArray
    probability: FloatArray


class OnePrediction(NamedTuple):
    """Score and calibrated probability of one record."""

    score: float
    probability: float


class Detector(Protocol):
    """A fitted detector. Everything is deterministic: the same rows give the same numbers, whatever their order or
    number; one record by itself too, bit for bit, without a frame around it."""

    def score(self, inputs: pd.DataFrame, features: Any = None) -> FloatArray:
        """The uncalibrated score, shape ``(rows,)``: any finite real number, higher is more suspicious.

        ``features`` are those of ``inputs`` where they were computed already; the score is the same without.
        """

    def probability(self, inputs: pd.DataFrame) -> FloatArray:
        """The calibrated probability of the positive class, shape ``(rows,)``, in [0, 1]; monotone in the score."""

    def predict(self, inputs: pd.DataFrame, features: Any = None) -> Prediction:
        """``score`` and ``probability`` in one pass over the rows."""

    def sketch(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """A few numeric columns that describe the inputs for drift monitoring; never content that could be personal."""

    def score_one(self, record: Mapping[str, Any]) -> OnePrediction:
        """Score and probability of one row of input columns (plain values: float, str or None); equal to ``predict`` of
        a frame of it, bit for bit.

        Raises:
            DatasetError: an input column is not in ``record``.
        """

    def sketch_one(self, record: Mapping[str, Any]) -> Mapping[str, float]:
        """The columns of ``sketch`` for one row of input columns, equal bit for bit.

        Raises:
            DatasetError: an input column is not in ``record``.
        """

    def score_and_sketch_one(self, record: Mapping[str, Any]) -> tuple[OnePrediction, Mapping[str, float]]:
        """``score_one`` and ``sketch_one`` in one pass over the record.

        Raises:
            DatasetError: an input column is not in ``record``.
        """

    def to_files(self) -> Mapping[str, bytes]:
        """The artifact: file name -> bytes, without pickle; the same detector always gives the same bytes."""


@dataclass(frozen=True)
class DetectorSpec:
    """Everything the product needs to know about a family; a family's module defines exactly one, named ``SPEC``.

    Attributes:
        family: the registered name, equal to the module's name.
        kind: which catalog entries it understands.
        input_columns: names of the columns its detector reads; empty when they come from the catalog (``records``).
        text_columns: those of them that hold free text: compared for near-duplicates, and their golden inputs are
            synthetic. What is screened does not depend on it: every column is (``core.governance.records``).
        canonicalise: raw records of one entry -> frame with the input columns, ``label``, and, where the entry
            declares them, ``group`` and ``time``; one output row a record, or a documented aggregate (an incident).
            Never looks at the label to compute an input, and fits nothing.
        inputs_of: raw or canonical records without labels -> input columns, for batch scoring.
        record_reader: entries -> what reads one record of their layouts strictly (``inputs_of_one``); made once, it
            looks nothing up again.
        fit: training rows, validation rows (for calibration only), seed -> detector.
        featurise: input columns -> ``Features``; None where reading the inputs costs next to nothing.
        load: artifact files -> detector; raises IntegrityError on anything malformed.
        synthesise: number of rows, generator -> canonical frame (inputs and ``label``) with the distributions
            documented for the family; vectorised.
        model_form: what the model is, in one sentence, for the card.
        intended_use, limits: for the card, written for this family.
    """

    family: str
    title: str
    kind: Literal["text", "sequence", "records"]
    input_columns: tuple[str, ...]
    text_columns: tuple[str, ...]
    canonicalise: Callable[[DatasetEntry, pd.DataFrame], pd.DataFrame]
    inputs_of: Callable[[pd.DataFrame, tuple[DatasetEntry, ...]], pd.DataFrame]
    record_reader: Callable[[tuple[DatasetEntry, ...]], RecordReader]
    fit: Callable[[LabelledRows, LabelledRows, int], Detector]
    load: Callable[[Mapping[str, bytes]], Detector]
    synthesise: Callable[[int, np.random.Generator], pd.DataFrame]
    model_form: str
    intended_use: str
    limits: tuple[str, ...]
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    featurise: Callable[[pd.DataFrame], Features] | None = None

    def inputs_of_one(self, record: Mapping[str, Any], entries: tuple[DatasetEntry, ...]) -> Mapping[str, Any] | None:
        """The input columns of one raw or canonical record, as ``inputs_of`` of a frame of it gives them; None where it
        means nothing by itself (evidence of an incident, an event with a history) and has to be read as a frame.

        Whoever asks often keeps the ``record_reader`` of its entries.

        Raises:
            RecordError: a field is of the wrong type, unknown, or missing where it is required.
        """
        return self.record_reader(entries).inputs(record)
