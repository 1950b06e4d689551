"""One detector in front of raw records, by today's batch path: a frame of one row a record.

What belongs here: the strict rule of the gateway over ``core.governance.scoring.score_records``. What does not: any way
of scoring. A path without frames takes this module's place, with the same names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nethical_assets.core.detectors.base import Detector, DetectorSpec
from nethical_assets.core.governance.scoring import ScoredRecords, score_records
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.models.loading import DECISION_THRESHOLD
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.signals import SIGNALS

_SCALARS = frozenset({str, int, float, bool, type(None)})


class RecordError(Exception):
    """A record is not what its family reads: the field, and the reason without its value."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True)
class ScoredRecord:
    """One raw record as a detector read it, and what it said."""

    inputs: Mapping[str, Any]
    label: int
    probability: float
    score: float
    sketch: Mapping[str, float]
    masked: Mapping[str, int]


class RecordScorer:
    """A detector that scores raw records as they come. Safe for threads.

    Every record has to be what the family reads: a wrong type, an unknown field or a missing one is refused, never
    taken for a missing value.
    """

    def __init__(
        self,
        detector: Detector,
        spec: DetectorSpec,
        entries: tuple[DatasetEntry, ...],
        screener: Screener,
        *,
        decision_threshold: float = DECISION_THRESHOLD,
    ) -> None:
        self._detector = detector
        self._spec = spec
        self._entries = entries
        self._screener = screener
        self._threshold = decision_threshold
        self._known = _known_fields(spec, entries)

    def score(self, record: Mapping[str, Any]) -> ScoredRecord:
        """Score one record.

        Raises:
            RecordError: it is not what the family reads.
        """
        scored = self.score_many(pd.DataFrame([dict(record)]))
        row = scored.predictions.iloc[0]
        return ScoredRecord(
            inputs={str(name): value for name, value in scored.inputs.iloc[0].items()},
            label=int(row["label"]),
            probability=float(row["probability"]),
            score=float(row["score"]),
            sketch={str(name): float(value) for name, value in self._detector.sketch(scored.inputs).iloc[0].items()},
            masked=scored.masked,
        )

    def score_many(self, frame: pd.DataFrame) -> ScoredRecords:
        """Score records, one a row.

        Raises:
            RecordError: one of them is not what the family reads.
        """
        self._check_fields([str(name) for name in frame.columns])
        for name in frame.columns:
            if frame[name].dtype == object:
                kinds = {type(cell) for cell in frame[name]}
                if strange := kinds - _SCALARS:
                    raise RecordError(str(name), "a list" if list in strange else "an object")
        try:
            scored = score_records(
                self._detector,
                self._spec,
                frame,
                self._entries,
                self._screener,
                wrong_share_max=1.0,
                decision_threshold=self._threshold,
            )
        except DatasetError as error:
            raise RecordError("", str(error)) from None
        for wrong in scored.cells.columns.values():
            raise RecordError(wrong.column, f"{wrong.reason} (first: record {wrong.first})")
        return scored

    def _check_fields(self, names: Collection[str]) -> None:
        if self._known:
            for name in names:
                if name not in self._known:
                    raise RecordError(name, "unknown field")


def _known_fields(spec: DetectorSpec, entries: tuple[DatasetEntry, ...]) -> frozenset[str]:
    """The fields that a family knows, where the catalog declares all of them; a mapping of its own may read others."""
    if any(entry.mapping for entry in entries) and spec.family != "logistic":
        return frozenset()
    declared = {name for entry in entries for name in (*entry.numeric_columns, *entry.categorical_columns)}
    of_files = {
        name for entry in entries for file in entry.files for name in (file.text_column, file.sequence_column) if name
    }
    signals = set() if spec.input_columns else set(SIGNALS)
    return frozenset({*declared, *of_files, *spec.input_columns, *signals})
