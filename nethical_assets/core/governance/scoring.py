"""Raw records in front of a model: screened and masked as training records are, then scored.

What belongs here: the one way from raw records to predictions, for files and for what is asked over the network. What
does not: what a record means to a family (``core.detectors``), screening what a model puts out (``predictions``), or
the records it is trained on (``records``).

A model that learned ``[EMAIL]`` has to be asked about ``[EMAIL]``: what is masked in training records is masked here by
the same rules, in the same columns. A record is judged by itself, so that its score does not depend on what else is
asked at the time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nethical_assets.core.detectors.base import Detector, DetectorSpec, Prediction
from nethical_assets.core.governance.findings import Token, kind_token
from nethical_assets.core.governance.frames import canonical_reading, canonical_readings
from nethical_assets.core.governance.one_value import ValueTest
from nethical_assets.core.governance.protection import is_protected
from nethical_assets.core.governance.pseudonyms import PassingPseudonyms
from nethical_assets.core.governance.records import replaced, without_pseudonyms
from nethical_assets.core.governance.rules import Role
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import FoundValues, Reading, find_in, holds_nothing
from nethical_assets.core.ground.errors import RecordError
from nethical_assets.core.models.loading import DECISION_THRESHOLD
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import CellTally, tallied
from nethical_assets.core.rows.columns import PSEUDONYM
from nethical_assets.core.rows.frames import strings, texts
from nethical_assets.core.rows.labels import FILE_COLUMN
from nethical_assets.core.rows.naming import shown_columns
from nethical_assets.core.rows.one_record import frame_of_one

_PSEUDONYM = re.compile(PSEUDONYM)


@dataclass(frozen=True)
class ScoredRecords:
    """Raw records as a detector read them, and what it said.

    ``inputs``: the family's input columns, masked, a row a record (or an incident); ``predictions``: ``label`` (0 or 1,
    by the threshold), ``probability`` and ``score`` of each row, after the key of an incident where there is one;
    ``cells``: which cells were of the wrong type; ``masked``: kind -> how many findings were masked; ``texts``: each
    row's text as it came, for whoever looks whether an output repeats it, None where the family reads no text.
    """

    inputs: pd.DataFrame
    predictions: pd.DataFrame
    prediction: Prediction
    cells: CellTally
    masked: Mapping[str, int]
    texts: pd.Series | None = None


def score_records(
    detector: Detector,
    spec: DetectorSpec,
    records: pd.DataFrame,
    entries: tuple[DatasetEntry, ...],
    screener: Screener,
    *,
    wrong_share_max: float,
    decision_threshold: float = DECISION_THRESHOLD,
    what: str = "the records",
    clean: Collection[str] = (),
) -> ScoredRecords:
    """Score raw records, one or many: the one way for files and for what is asked over the network.

    Personal data and secrets are masked in every column before the family reads it. The key of an incident is as it
    came. The columns ``clean`` are known to hold nothing that is masked, and are not looked at before the family reads
    them.

    Raises:
        DatasetError: the records have no layout that the family knows; or in a column that is read as numbers or times
            more than the share ``wrong_share_max`` of the cells is neither (one line that begins with ``what``).
    """
    masking, pseudonyms = _Masking(screener), PassingPseudonyms()
    screened = records.copy(deep=False)
    for name in (str(column) for column in records.columns if column not in (FILE_COLUMN, *clean)):
        raw, reading = records[name], _reading(spec, entries, name)
        token = pseudonyms.token if reading is Reading.VALUES else kind_token
        masked = masking.masked(raw, reading, token)
        if masked is not raw:
            screened[name] = masked
    with tallied() as cells:
        inputs = spec.inputs_of(screened, entries)
    cells.refuse_above(wrong_share_max, what)
    keys = [name for name in inputs.columns if name not in spec.input_columns] if spec.input_columns else []
    own = inputs[keys].assign(**{key: pseudonyms.restored(inputs[key]) for key in keys})
    # Of personal data they say what it was and not whose, also where it only shows in what records became.
    inputs = inputs.copy(deep=False)
    for name, reading in canonical_readings(inputs.drop(columns=keys), spec.kind).items():
        values = without_pseudonyms(strings(texts(inputs[name]), inputs.index))
        inputs[name] = masking.masked(values.rename(name), reading, kind_token)
    said = detector.predict(inputs)
    label = (said.probability >= decision_threshold).astype("int8")
    predictions = own.assign(label=label, probability=said.probability, score=said.score)
    as_they_came = spec.inputs_of(records, entries)[spec.text_columns[0]] if spec.text_columns else None
    return ScoredRecords(inputs, predictions, said, cells, dict(sorted(masking.counts.items())), as_they_came)


def _reading(spec: DetectorSpec, entries: tuple[DatasetEntry, ...], column: str) -> Reading:
    """How a column is read, in whichever of the layouts that the family knows the records are."""
    files = [file for entry in entries for file in entry.files]
    if column in {*spec.text_columns, *(file.text_column for file in files)}:
        return Reading.PROSE
    of_sequences = spec.input_columns if spec.kind == "sequence" else ()
    if column in {*of_sequences, *(file.sequence_column for file in files)}:
        return Reading.ACTIONS
    return Reading.VALUES


class _Readings(dict[str, Reading]):
    """Column -> how it is read, looked up once."""

    def __init__(self, spec: DetectorSpec, entries: tuple[DatasetEntry, ...]) -> None:
        super().__init__()
        self._spec, self._entries = spec, entries

    def __missing__(self, column: str) -> Reading:
        return self.setdefault(column, _reading(self._spec, self._entries, column))


class ScoredRecord(NamedTuple):
    """One raw record as a detector read it, and what it said: the fields of ``ScoredRecords`` for one row.

    ``inputs``: the family's input columns, masked; ``label``: 0 or 1, by the threshold; ``sketch``: see ``Detector``;
    ``masked``: kind -> how many findings were masked.
    """

    inputs: Mapping[str, Any]
    label: int
    probability: float
    score: float
    sketch: Mapping[str, float]
    masked: Mapping[str, int]


class RecordScorer:
    """Scores records one by one with one detector: made once for a loaded model, safe for threads.

    A record in which screening certainly finds nothing is read, scored and sketched without a frame; any other goes the
    way of ``score_records`` as a frame of one. The result is the same either way, bit for bit.
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
        self._detector, self._spec, self._entries = detector, spec, entries
        self._screener = screener
        self._threshold = decision_threshold
        self._reader = spec.record_reader(entries)
        self._test = ValueTest(screener, masked_rules(screener))
        self._readings = _Readings(spec, entries)
        self._canonical = canonical_reading(spec.kind)

    def score(self, record: Mapping[str, Any]) -> ScoredRecord:
        """Score one raw or canonical record of plain JSON values.

        Raises:
            RecordError: a field is of the wrong type, unknown, or missing where it is required; see ``one_record``.
        """
        return self.score_at_once(record) or self._scored_as_frame(record)

    def score_at_once(self, record: Mapping[str, Any]) -> ScoredRecord | None:
        """As :meth:`score`, in microseconds; None where it takes a frame of one: screening may find something, or the
        family does not read a record by itself.

        Raises:
            RecordError: as :meth:`score`.
        """
        inputs = self._reader.inputs(record)
        if inputs is None or not self.holds_nothing(record, inputs):
            return None
        (score, probability), sketch = self._detector.score_and_sketch_one(inputs)
        return ScoredRecord(inputs, int(probability >= self._threshold), probability, score, sketch, {})

    def score_many(self, frame: pd.DataFrame) -> ScoredRecords:
        """Score records as ``score_records`` does, with cells as strict as the fields of one record.

        Raises:
            RecordError: as :meth:`score`, with the number of the first record of which the field is wrong.
        """
        self._reader.check_frame(frame)
        return self._scored(frame)

    def _scored(self, frame: pd.DataFrame, clean: Collection[str] = ()) -> ScoredRecords:
        scored = score_records(
            self._detector,
            self._spec,
            frame,
            self._entries,
            self._screener,
            wrong_share_max=1.0,
            decision_threshold=self._threshold,
            clean=clean,
        )
        wrong = min(scored.cells.columns.values(), key=lambda cells: cells.first, default=None)
        if wrong is not None:
            number = wrong.first if len(frame) > 1 else None
            raise RecordError(shown_columns([wrong.column]), next(iter(wrong.reasons)), number)
        return scored

    def holds_nothing(self, record: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
        """Whether screening certainly finds nothing in ``record`` nor in the ``inputs`` that it becomes."""
        readings, holds_nothing, reading = self._readings, self._test.holds_nothing, self._canonical
        if not self._test.all_hold_nothing(record, readings):
            return False
        for name, value in inputs.items():
            if type(value) is not str:
                continue
            if "[" in value and _PSEUDONYM.search(value):
                return False
            same = record.get(name) == value and readings[name] is reading
            if not same and not holds_nothing(name, reading, value):
                return False
        return True

    def _scored_as_frame(self, record: Mapping[str, Any]) -> ScoredRecord:
        certain = self._test.holds_nothing
        clean = [name for name, value in record.items() if certain(name, self._readings[name], value)]
        scored = self._scored(frame_of_one(record), clean)
        columns = [
            name for name in scored.inputs.columns if name in self._spec.input_columns or not self._spec.input_columns
        ]
        said = scored.prediction
        return ScoredRecord(
            inputs=_first_row(scored.inputs[columns]),
            label=int(scored.predictions["label"].iloc[0]),
            probability=float(said.probability[0]),
            score=float(said.score[0]),
            sketch=_first_row(self._detector.sketch(scored.inputs)),
            masked=scored.masked,
        )


def _first_row(frame: pd.DataFrame) -> dict[str, Any]:
    return {str(name): value for name, value in frame.to_dict("records")[0].items()}


def masked_rules(screener: Screener) -> list[str]:
    """The rules whose findings are masked in front of a model, by their identifiers."""
    rules = screener.ruleset.all_rules
    return [rule.id for rule in rules if is_protected(rule) and rule.role is not Role.ENGINE]


class _Masking:
    """Masks what is masked in training rows, each value by itself, and counts it.

    A value that could not be screened to its end stays, masked where something was found: text that a model is not
    shown could be hidden from it.
    """

    def __init__(self, screener: Screener) -> None:
        self._screener = screener
        self._rules = masked_rules(screener)
        self._clean: dict[tuple[str, Reading], pd.Series] = {}
        self.counts: Counter[str] = Counter()

    def masked(self, column: pd.Series, reading: Reading, token: Token) -> pd.Series:
        """``column`` with every finding replaced by its ``token``; ``column`` itself where there is none."""
        if holds_nothing(column):
            return column
        key = str(column.name), reading
        # A family's input mostly is a column of the records as it came, and what is found depends on nothing else.
        if key in self._clean and self._clean[key].equals(column):
            return column
        found = find_in(column, reading, self._screener, alone=True)
        findings = found.findings
        if len(findings):
            findings = findings.where(np.isin(findings.names("rule"), self._rules))
        if len(findings) == 0:
            self._clean[key] = column
            return column
        here = FoundValues(found.codes, found.values, findings)
        self.counts.update(here.on_rows().names("kind").tolist())
        return replaced(column, here, token)
