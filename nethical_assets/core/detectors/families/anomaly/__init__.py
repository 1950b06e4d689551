"""The anomaly family: sequences of actions that differ from normal behaviour.

What belongs here: the detector around the novelty measures (``novelty``), its files and its inputs. What does not:
synthetic sequences (``sequences``). The model of normal behaviour is learned from normal training rows only; labelled
anomalies are used for nothing but calibration.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nethical_assets.core.detectors.artifact import (
    FileModel,
    Tensor,
    expect_files,
    read_model,
    read_tensors,
    write_tensors,
)
from nethical_assets.core.detectors.base import DetectorSpec, LabelledRows
from nethical_assets.core.detectors.calibration import CalibratedDetector, Calibration, fit_calibration
from nethical_assets.core.detectors.families.anomaly.novelty import (
    MAXIMUM_REFERENCES,
    MEASURES,
    MODES,
    RUNS,
    NormalBehaviour,
    learn_normal_behaviour,
)
from nethical_assets.core.detectors.families.anomaly.sequences import synthesise
from nethical_assets.core.detectors.fitting import in_content_order, one_thread, require_both_classes
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.characters import CharacterTable
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.frames import (
    inputs_for_scoring,
    joined_column,
    require_columns,
    strings,
    texts,
    with_declared_columns,
)
from nethical_assets.core.rows.one_cell import Reads, text_of
from nethical_assets.core.rows.one_record import Inputs, RecordLayout, RecordReader, entry_fields, require_fields

_FAMILY = "anomaly"
_MODEL_FILE = "model.json"
_TENSOR_FILE = "normal_behaviour.safetensors"
_BLANK = r"[\s\p{Z}]"
_WITH_SPACES = CharacterTable(_BLANK, " ")
# What RE2 means by \S; Python's holds fewer characters.
_TOKEN = re.compile(r"[^\t\n\f\r ]+")


class _Model(FileModel):
    measures: tuple[str, ...]
    calibration: Calibration


class AnomalyDetector(CalibratedDetector):
    """Score: the mean standardised novelty of a sequence; see ``base.Detector``."""

    def __init__(self, behaviour: NormalBehaviour, calibration: Calibration) -> None:
        self._behaviour = behaviour
        self._calibration = calibration
        # Score and sketch of a record are asked for one after the other, and measure the same.
        self._of_one = functools.lru_cache(maxsize=8)(behaviour.of_one)

    def score(self, inputs: pd.DataFrame, features: Any = None) -> FloatArray:
        """Novelty in standard deviations of normal behaviour, shape ``(rows,)``, within -50 and 50."""
        return self._behaviour.novelty(_sequences(inputs))

    @property
    def calibration(self) -> Calibration:
        """The map from score to probability."""
        return self._calibration

    def sketch(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """Length (log) and the novelty measures."""
        sequences = _sequences(inputs)
        measured = pd.DataFrame(self._behaviour.measures(sequences), columns=list(MEASURES))
        tokens = pc.count_substring_regex(sequences, r"\S+").to_numpy(zero_copy_only=False)
        measured.insert(0, "log_tokens", np.log1p(tokens.astype(np.float64)))
        return measured

    def _score_of_one(self, record: Mapping[str, Any]) -> float:
        return self._of_one(_sequence_of(record))[0]

    def sketch_one(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The columns of ``sketch`` for one row of input columns."""
        sequence = _sequence_of(record)
        tokens = float(np.log1p(float(len(_TOKEN.findall(sequence)))))
        return {"log_tokens": tokens, **dict(zip(MEASURES, self._of_one(sequence)[1], strict=True))}

    def to_files(self) -> Mapping[str, bytes]:
        """``model.json``: calibration; ``normal_behaviour.safetensors``: hashed runs, token mixes and modes."""
        known = self._behaviour
        tensors: dict[str, Tensor] = {
            "vocabulary": known.vocabulary.view(np.int64),
            "references": known.references,
            "modes": known.modes,
            "centre": known.centre,
            "spread": known.spread,
        }
        for size in RUNS:
            tensors[f"run_hashes_{size}"] = known.run_hashes[size].view(np.int64)
            tensors[f"run_counts_{size}"] = known.run_counts[size]
        model = _Model(measures=MEASURES, calibration=self._calibration)
        return {_MODEL_FILE: pretty_json(model.model_dump()), _TENSOR_FILE: write_tensors(tensors)}


def canonicalise(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """The sequence of each record in ``sequence``: tokens with the entry's prefix, joined by one space; a row a record.

    Raises:
        DatasetError: the declared sequence column is missing.
    """
    column = joined_column(entry, raw, [file.sequence_column for file in entry.files])
    squeezed = pc.replace_substring_regex(pc.utf8_trim_whitespace(texts(column)), f"{_BLANK}+", " ")
    if entry.token_prefix:
        prefix = entry.token_prefix.replace("\\", "\\\\")
        squeezed = pc.replace_substring_regex(squeezed, r"(\S+)", prefix + r"\1")
    sequence = strings(squeezed, raw.index)
    return with_declared_columns(entry, raw, pd.DataFrame({"sequence": sequence, "identity": sequence}))


def inputs_of(frame: pd.DataFrame, entries: tuple[DatasetEntry, ...]) -> pd.DataFrame:
    """The column ``sequence`` for batch scoring, a row a record, row order preserved.

    A column ``sequence`` is taken as it is: its tokens must carry the prefix of their source (``E5``, ``S192``).

    Raises:
        DatasetError: neither ``sequence`` nor the sequence column of a known entry; one line with the expected ones.
    """
    return inputs_for_scoring(
        frame,
        entries,
        family=_FAMILY,
        canonical=("sequence",),
        layout=lambda entry: [str(entry.files[0].sequence_column)] if entry.files else [],
        canonicalise=canonicalise,
    )


def record_reader(entries: tuple[DatasetEntry, ...]) -> RecordReader:
    """Reads one record of any layout that ``inputs_of`` reads."""

    def layout(name: str, column: str, others: Mapping[str, Reads], prefix: str | None) -> RecordLayout:
        def inputs(record: Mapping[str, Any]) -> Inputs:
            text = text_of(record[column])
            return {"sequence": text if prefix is None else _squeezed_one(text, prefix)}

        return RecordLayout(name, (column,), {**others, column: Reads.TEXT}, inputs)

    layouts = [layout("", "sequence", {}, None)]
    for entry in entries:
        if entry.files:
            layouts.append(
                layout(entry.name, str(entry.files[0].sequence_column), entry_fields(entry, {}), entry.token_prefix)
            )
    return RecordReader(layouts)


def _squeezed_one(text: str, prefix: str) -> str:
    """The sequence of one record, as ``canonicalise`` writes it."""
    squeezed = " ".join(filter(None, text.strip().translate(_WITH_SPACES).split(" ")))
    return _TOKEN.sub(lambda token: prefix + token[0], squeezed) if prefix else squeezed


@one_thread()
def fit(training: LabelledRows, validation: LabelledRows, seed: int) -> AnomalyDetector:
    """Learn normal behaviour from the normal training rows, calibrate on validation rows (``seed`` is not needed).

    Raises:
        TrainingError: one class only among the training or the validation rows.
    """
    require_both_classes(training.labels, _FAMILY)
    rows = in_content_order(training)
    behaviour = learn_normal_behaviour(_sequences(rows.inputs[rows.labels == 0]))
    calibration = fit_calibration(behaviour.novelty(_sequences(validation.inputs)), validation.labels)
    return AnomalyDetector(behaviour, calibration)


def load(files: Mapping[str, bytes]) -> AnomalyDetector:
    """The detector in ``files``.

    Raises:
        IntegrityError: a file is missing, extra or malformed, or its parts do not fit together.
    """
    expect_files(files, {_MODEL_FILE, _TENSOR_FILE})
    model = read_model(files, _MODEL_FILE, _Model)
    shapes: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "vocabulary": ("I64", (None,)),
        "references": ("F32", (None, None)),
        "modes": ("F32", (MODES, None)),
        "centre": ("F64", (MODES, len(MEASURES))),
        "spread": ("F64", (MODES, len(MEASURES))),
    }
    for size in RUNS:
        shapes |= {f"run_hashes_{size}": ("I64", (None,)), f"run_counts_{size}": ("I64", (None,))}
    tensors = read_tensors(files, _TENSOR_FILE, shapes)
    behaviour = NormalBehaviour(
        vocabulary=tensors["vocabulary"].view(np.uint64),
        run_hashes={size: tensors[f"run_hashes_{size}"].view(np.uint64) for size in RUNS},
        run_counts={size: tensors[f"run_counts_{size}"] for size in RUNS},
        references=tensors["references"],
        modes=tensors["modes"],
        centre=tensors["centre"],
        spread=tensors["spread"],
    )
    problem = _problem(behaviour)
    if problem:
        raise IntegrityError(f"{_TENSOR_FILE}: {problem}")
    return AnomalyDetector(behaviour, model.calibration)


def _problem(behaviour: NormalBehaviour) -> str:
    width = len(behaviour.vocabulary) + 1
    if behaviour.references.shape[1] != width or behaviour.modes.shape[1] != width:
        return f"references and modes must have {width} columns, one a vocabulary token and one for unknown ones"
    if not 1 <= len(behaviour.references) <= MAXIMUM_REFERENCES:
        return f"there must be 1 to {MAXIMUM_REFERENCES} references"
    if (behaviour.spread <= 0).any():
        return "spread must be positive"
    for hashes in (behaviour.vocabulary, *behaviour.run_hashes.values()):
        if (hashes[1:] <= hashes[:-1]).any():
            return "hashes must be sorted and distinct"
    for size in RUNS:
        if len(behaviour.run_hashes[size]) != len(behaviour.run_counts[size]) or (behaviour.run_counts[size] < 1).any():
            return f"run_counts_{size} must have one positive count a hash"
    return ""


def _sequence_of(record: Mapping[str, Any]) -> str:
    require_fields(record, ("sequence",), f"inputs of family {_FAMILY}")
    return text_of(record["sequence"])


def _sequences(inputs: pd.DataFrame) -> pa.Array:
    require_columns(inputs, ["sequence"], f"inputs of family {_FAMILY}")
    return texts(inputs["sequence"])


SPEC = DetectorSpec(
    family=_FAMILY,
    title="Unusual action sequences",
    kind="sequence",
    input_columns=("sequence",),
    text_columns=(),
    canonicalise=canonicalise,
    inputs_of=inputs_of,
    record_reader=record_reader,
    fit=fit,
    load=load,
    synthesise=synthesise,
    model_form=(
        "novelty against normal sequences only: mean of standardised six-token surprise, unseen three-token runs and "
        "distance to the nearest normal token mix; calibrated on labelled validation rows"
    ),
    intended_use="Flagging logs and action traces that do not look like the normal behaviour it learned.",
    limits=(
        "Novel is not the same as harmful: new but legitimate behaviour is flagged until it is learned.",
        "Attacks made of ordinary actions in ordinary order (many in ADFA-LD) are hard to tell from normal work.",
        "A source it has not learned looks novel as a whole; scores mean something for known sources only.",
    ),
    hyperparameters={"runs": RUNS, "modes": MODES, "maximum_references": MAXIMUM_REFERENCES},
)
