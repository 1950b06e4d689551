"""The prompt injection family: does a text try to override, jailbreak or trick a language model?

What belongs here: hashed word and character n-grams of a text and a calibrated linear model over them. What does not:
rules and personal data (``core.governance``), synthetic texts (``prompts``).

Words (runs of 1 and 2) and characters within words (runs of 3 to 5) are hashed into a fixed number of buckets, so no
vocabulary, and thereby no training text, is stored. Weights are sublinear counts times inverse document frequency,
fitted on training rows, each half scaled to unit length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from nethical_assets.core.detectors.artifact import FileModel, expect_files, read_model, read_tensors, write_tensors
from nethical_assets.core.detectors.base import DetectorSpec, LabelledRows
from nethical_assets.core.detectors.calibration import CalibratedDetector, Calibration, fit_calibration
from nethical_assets.core.detectors.families.prompt_injection.prompts import synthesise
from nethical_assets.core.detectors.fitting import in_content_order, one_thread, require_both_classes
from nethical_assets.core.ground.digests import pretty_json
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import read_texts
from nethical_assets.core.rows.characters import CharacterTable
from nethical_assets.core.rows.columns import FloatArray
from nethical_assets.core.rows.frames import (
    inputs_for_scoring,
    joined_column,
    normalised_text,
    require_columns,
    strings,
    texts,
    with_declared_columns,
)
from nethical_assets.core.rows.ngrams import FlatTokens, TokenHashes, characters, ngrams, ngrams_of_one, split_tokens
from nethical_assets.core.rows.one_cell import Reads, text_of
from nethical_assets.core.rows.one_record import RecordLayout, RecordReader, entry_fields, require_fields

_FAMILY = "prompt_injection"
_MODEL_FILE = "model.json"
_TENSOR_FILE = "weights.safetensors"
_WORD_RUNS = (1, 2)
_CHARACTER_RUNS = (3, 4, 5)
_WORD_BUCKETS = 1 << 17
_CHARACTER_BUCKETS = 1 << 18
_BUCKETS = _WORD_BUCKETS + _CHARACTER_BUCKETS
_HEAD_CHARACTERS = 1000
_TAIL_CHARACTERS = 500
_INVERSE_PENALTY = 10.0
_ROWS_AT_A_TIME = 2048
_SPACE = np.uint64(ord(" "))
# Letters of other scripts that look Latin, with their Latin twins; NFKC does not fold these.
_LOOKALIKES = str.maketrans(
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0455\u0458\u04bb\u0501\u0261\u03b1\u03bf\u03b5\u03b9\u03ba\u03bd\u03c1\u03c4\u03c5",
    "aceopxyisjhdgaoeiknptu",
)
_INVISIBLE, _BLANK, _SIGN = r"[\p{Cf}\p{Mn}]", r"[\s\p{Z}\x00-\x1f]", r"[^\pL\pN\s]"
_WORD = r"\S+"
_SHARES = {"digits": r"[0-9]", "capitals": r"\p{Lu}", "punctuation": r"\pP", "non_ascii": r"[^\x00-\x7f]"}
# The same for one text. \S is what RE2 means by it; Python's holds fewer characters.
_WITHOUT_INVISIBLE = CharacterTable(_INVISIBLE)
_WITH_SPACES = CharacterTable(_BLANK, " ")
_SIGNS_APART = CharacterTable(_SIGN, r" \0 ")
_WORD_OF_ONE = re.compile(r"[^\t\n\f\r ]+")
_COUNTED = {name: CharacterTable(pattern) for name, pattern in _SHARES.items()}
_FEW_TEXTS = 32
"""Up to so many texts each is read by itself: Arrow compiles its patterns at every call."""
_TOKENS = TokenHashes()
_NOTHING, _SEPARATOR = pa.scalar("", type=pa.large_string()), pa.scalar(" ", type=pa.large_string())


class _Model(FileModel):
    head_characters: int = Field(ge=1, le=1_000_000)
    tail_characters: int = Field(ge=0, le=1_000_000)
    intercept: float
    calibration: Calibration


@dataclass(frozen=True)
class _Counts:
    """How often which bucket occurs in which row: ``i`` owns ``buckets[offsets[i]:offsets[i + 1]]``, distinct."""

    offsets: npt.NDArray[np.int64]
    buckets: npt.NDArray[np.int32]
    counts: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, positions: npt.NDArray[np.int64]) -> _Counts:
        """The rows at ``positions``, in that order."""
        import scipy.sparse

        whole = scipy.sparse.csr_matrix((self.counts, self.buckets, self.offsets), shape=(len(self), _BUCKETS))
        taken = whole[positions]
        return _Counts(taken.indptr.astype(np.int64), taken.indices, taken.data)

    def pieces(self) -> Iterator[_Counts]:
        """The same rows, some at a time."""
        for at in range(0, len(self), _ROWS_AT_A_TIME):
            offsets = self.offsets[at : at + _ROWS_AT_A_TIME + 1]
            here = slice(offsets[0], offsets[-1])
            yield _Counts(offsets - offsets[0], self.buckets[here], self.counts[here])

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The row of each bucket."""
        if len(self) == 1:
            return np.zeros(len(self.buckets), dtype=np.int64)
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


class PromptInjectionDetector(CalibratedDetector):
    """Score: the log-odds of the linear model; see ``base.Detector``."""

    def __init__(self, model: _Model, idf: npt.NDArray[np.float32], coefficients: npt.NDArray[np.float32]) -> None:
        self._model = model
        self._idf = idf
        self._coefficients = coefficients

    def score(self, inputs: pd.DataFrame, features: Any = None) -> FloatArray:
        """Log-odds before calibration, shape ``(rows,)``; an empty text has the intercept's."""
        result = np.full(len(inputs), self._model.intercept)
        at = 0
        for counts in _counted(inputs) if features is None else features.pieces():
            result[at : at + len(counts)] += self._evidence(counts)
            at += len(counts)
        return result

    def _score_of_one(self, record: Mapping[str, Any]) -> float:
        return float(self._model.intercept + self._evidence(_count_one(_readable_one(_text_of(record))))[0])

    def _evidence(self, counts: _Counts) -> FloatArray:
        """What the n-grams of each row add to the log-odds."""
        weights = _weigh(counts, self._idf) * self._coefficients[counts.buckets]
        return np.asarray(np.bincount(counts.rows, weights=weights, minlength=len(counts)), dtype=np.float64)

    @property
    def calibration(self) -> Calibration:
        """The map from score to probability."""
        return self._model.calibration

    def sketch(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """Lengths (log) and shares of digits, punctuation, capitals and non-ASCII characters."""
        require_columns(inputs, ["text"], f"inputs of family {_FAMILY}")
        raw = texts(inputs["text"])
        if 0 < len(raw) <= _FEW_TEXTS:
            return pd.DataFrame([_sketch(text) for text in raw.to_pylist()])
        length = pc.utf8_length(raw).to_numpy(zero_copy_only=False).astype(np.float64)
        frame = {"log_characters": np.log1p(length)}
        frame["log_words"] = np.log1p(
            pc.count_substring_regex(raw, _WORD).to_numpy(zero_copy_only=False).astype(np.float64)
        )
        for name, pattern in _SHARES.items():
            found = pc.count_substring_regex(raw, pattern).to_numpy(zero_copy_only=False).astype(np.float64)
            frame[f"{name}_share"] = found / np.maximum(length, 1.0)
        return pd.DataFrame(frame)

    def sketch_one(self, record: Mapping[str, Any]) -> dict[str, float]:
        """The columns of ``sketch`` for one row of input columns."""
        return _sketch(_text_of(record))

    def to_files(self) -> Mapping[str, bytes]:
        """``model.json``: bounds, intercept, calibration; ``weights.safetensors``: a weight and an IDF a bucket."""
        tensors = {"idf": self._idf, "coefficients": self._coefficients}
        return {_MODEL_FILE: pretty_json(self._model.model_dump()), _TENSOR_FILE: write_tensors(tensors)}


def canonicalise(entry: DatasetEntry, raw: pd.DataFrame) -> pd.DataFrame:
    """The text of each record, unchanged, in ``text``; a row a record, empty where a cell is no text
    (``cells.read_texts``).

    Raises:
        DatasetError: the declared text column is missing.
    """
    declared = [file.text_column for file in entry.files]
    column = joined_column(entry, raw, declared).rename(declared[0] if len(set(declared)) == 1 else "text")
    text = strings(texts(read_texts(column)), raw.index)
    frame = pd.DataFrame({"text": text, "identity": normalised_text(text)})
    return with_declared_columns(entry, raw, frame)


def inputs_of(frame: pd.DataFrame, entries: tuple[DatasetEntry, ...]) -> pd.DataFrame:
    """The column ``text`` for batch scoring, a row a record, row order preserved.

    Raises:
        DatasetError: neither ``text`` nor the text column of a known entry; one line with the expected ones.
    """
    if "text" in frame.columns:
        frame = frame.assign(text=strings(texts(read_texts(frame["text"])), frame.index))
    return inputs_for_scoring(
        frame,
        entries,
        family=_FAMILY,
        canonical=("text",),
        layout=lambda entry: (
            [
                next((file.text_column for file in entry.files if file.text_column in frame.columns), None)
                or str(entry.files[0].text_column)
            ]
            if entry.files
            else []
        ),
        canonicalise=canonicalise,
    )


def record_reader(entries: tuple[DatasetEntry, ...]) -> RecordReader:
    """Reads one record of any layout that ``inputs_of`` reads."""

    def layout(name: str, column: str, others: Mapping[str, Reads]) -> RecordLayout:
        return RecordLayout(
            name, (column,), {**others, column: Reads.TEXT}, lambda record: {"text": text_of(record[column])}
        )

    layouts = [layout("", "text", {})]
    for entry in entries:
        declared = dict.fromkeys(file.text_column for file in entry.files if file.text_column is not None)
        layouts += [
            layout(entry.name, column, entry_fields(entry, dict.fromkeys(declared, Reads.TEXT))) for column in declared
        ]
    return RecordReader(layouts)


@one_thread()
def fit(training: LabelledRows, validation: LabelledRows, seed: int) -> PromptInjectionDetector:
    """Fit IDF and the linear model on training rows, the calibration on validation rows (``seed`` is not needed).

    Raises:
        TrainingError: one class only among the training or the validation rows.
    """
    import scipy.sparse
    from sklearn.linear_model import LogisticRegression

    require_both_classes(training.labels, _FAMILY)
    rows = in_content_order(training)
    counts = featurise(rows.inputs) if rows.features is None else rows.features
    frequency = np.bincount(counts.buckets, minlength=_BUCKETS)
    idf = (np.log((1.0 + len(counts)) / (1.0 + frequency)) + 1.0).astype(np.float32)
    weights = np.concatenate([_weigh(piece, idf).astype(np.float32) for piece in counts.pieces()])
    design = scipy.sparse.csr_matrix((weights, counts.buckets, counts.offsets), shape=(len(counts), _BUCKETS))
    model = LogisticRegression(C=_INVERSE_PENALTY, tol=1e-3, max_iter=200).fit(design, rows.labels)
    plain = PromptInjectionDetector(
        _Model(
            head_characters=_HEAD_CHARACTERS,
            tail_characters=_TAIL_CHARACTERS,
            intercept=float(model.intercept_[0]),
            calibration=Calibration(method="sigmoid", rows=1, positives=1, slope=1.0),
        ),
        idf,
        model.coef_[0].astype(np.float32),
    )
    calibration = fit_calibration(plain.score(validation.inputs, validation.features), validation.labels)
    return PromptInjectionDetector(
        plain._model.model_copy(update={"calibration": calibration}), plain._idf, plain._coefficients
    )


def featurise(inputs: pd.DataFrame) -> _Counts:
    """The hashed n-grams of every text."""
    pieces = list(_counted(inputs))
    ends = np.cumsum([0, *(len(piece.buckets) for piece in pieces)])
    offsets = [piece.offsets[:-1] + end for piece, end in zip(pieces, ends, strict=False)]
    return _Counts(
        np.concatenate([*offsets, ends[-1:]]).astype(np.int64),
        np.concatenate([np.zeros(0, dtype=np.int32), *(piece.buckets for piece in pieces)]),
        np.concatenate([np.zeros(0, dtype=np.float32), *(piece.counts for piece in pieces)]),
    )


def load(files: Mapping[str, bytes]) -> PromptInjectionDetector:
    """The detector in ``files``.

    Raises:
        IntegrityError: a file is missing, extra or malformed.
    """
    expect_files(files, {_MODEL_FILE, _TENSOR_FILE})
    model = read_model(files, _MODEL_FILE, _Model)
    tensors = read_tensors(files, _TENSOR_FILE, {"idf": ("F32", (_BUCKETS,)), "coefficients": ("F32", (_BUCKETS,))})
    return PromptInjectionDetector(model, tensors["idf"], tensors["coefficients"])


def _readable(raw: pa.Array) -> pa.Array:
    """Folded texts: head and tail of long ones, NFKC, lower case, look-alike letters as Latin, nothing invisible."""
    longest = _HEAD_CHARACTERS + _TAIL_CHARACTERS
    tail = pc.utf8_slice_codeunits(raw, -_TAIL_CHARACTERS)
    bounded = pc.binary_join_element_wise(pc.utf8_slice_codeunits(raw, 0, _HEAD_CHARACTERS), tail, _SEPARATOR)
    raw = pc.if_else(pc.greater(pc.utf8_length(raw), longest), bounded, raw)
    folded = pc.utf8_lower(pc.utf8_normalize(raw, form="NFKC"))
    foreign = pc.invert(pc.string_is_ascii(folded))
    if pc.any(foreign).as_py():
        visible = pc.replace_substring_regex(pc.utf8_normalize(folded, form="NFKD"), f"{_INVISIBLE}+", "")
        latin = [text.translate(_LOOKALIKES) for text in visible.filter(foreign).to_pylist()]
        folded = pc.replace_with_mask(folded, foreign, pa.array(latin, type=folded.type))
    spaced = pc.replace_substring_regex(folded, f"{_BLANK}+", " ")
    return pc.utf8_trim_whitespace(spaced)


def _readable_one(text: str) -> str:
    """As ``_readable`` of one text."""
    if len(text) > _HEAD_CHARACTERS + _TAIL_CHARACTERS:
        text = f"{text[:_HEAD_CHARACTERS]} {text[-_TAIL_CHARACTERS:]}"
    folded = text.lower() if text.isascii() else _folded_one(text)
    return " ".join(filter(None, folded.translate(_WITH_SPACES).split(" "))).strip()


def _folded_one(text: str) -> str:
    # Through Arrow: Python has other tables of Unicode, and lowers a sigma by its place in the word.
    folded = pc.utf8_lower(pc.utf8_normalize(pa.scalar(text, pa.large_string()), form="NFKC"))
    if folded.as_py().isascii():
        return str(folded.as_py())
    decomposed: str = pc.utf8_normalize(folded, form="NFKD").as_py()
    return decomposed.translate(_WITHOUT_INVISIBLE).translate(_LOOKALIKES)


def _counted(inputs: pd.DataFrame) -> Iterator[_Counts]:
    require_columns(inputs, ["text"], f"inputs of family {_FAMILY}")
    raw = texts(inputs["text"])
    if len(raw) <= _FEW_TEXTS:
        yield from (_count_one(_readable_one(text)) for text in raw.to_pylist())
        return
    readable = _readable(raw)
    for at in range(0, len(readable), _ROWS_AT_A_TIME):
        yield _count(readable.slice(at, _ROWS_AT_A_TIME))


def _count(readable: pa.Array) -> _Counts:
    words = split_tokens(pc.replace_substring_regex(readable, f"({_SIGN})", r" \1 "))
    hashed = [(part.rows, part.hashes % np.uint64(_WORD_BUCKETS)) for part in (ngrams(words, n) for n in _WORD_RUNS)]
    padded = characters(pc.binary_join_element_wise(_NOTHING, readable, _NOTHING, _SEPARATOR))
    for size in _CHARACTER_RUNS:
        rows, hashes = _within_words(padded, size)
        hashed.append((rows, hashes % np.uint64(_CHARACTER_BUCKETS) + np.uint64(_WORD_BUCKETS)))
    # Keys of 32 bits hold _ROWS_AT_A_TIME rows, and sort in half the time.
    keys = np.concatenate([(rows * _BUCKETS + buckets.astype(np.int64)).astype(np.int32) for rows, buckets in hashed])
    unique, counts = np.unique(keys, return_counts=True)
    offsets = np.searchsorted(unique, np.arange(len(readable) + 1, dtype=np.int32) * np.int32(_BUCKETS))
    return _Counts(offsets, (unique % _BUCKETS).astype(np.int32), counts.astype(np.float32))


def _count_one(readable: str) -> _Counts:
    """As ``_count`` of one text."""
    words = ngrams_of_one(_TOKENS.of(readable.translate(_SIGNS_APART).split()), _WORD_RUNS)
    points = np.frombuffer(f" {readable} ".encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    spaces = _spaces_before(points)
    runs = []
    for size, hashes in zip(_CHARACTER_RUNS, ngrams_of_one(points, _CHARACTER_RUNS), strict=True):
        runs.append(hashes[spaces[size - 1 : size - 1 + len(hashes)] == spaces[1 : 1 + len(hashes)]])
    word_buckets = np.concatenate(words) % np.uint64(_WORD_BUCKETS)
    character_buckets = np.concatenate(runs) % np.uint64(_CHARACTER_BUCKETS) + np.uint64(_WORD_BUCKETS)
    buckets = np.concatenate([word_buckets, character_buckets]).astype(np.int32)
    buckets.sort()
    # As np.unique, which takes as long again for what it allows beside.
    last = np.flatnonzero(buckets[1:] != buckets[:-1])
    ends = np.append(last + 1, len(buckets)) if len(buckets) else last
    counts = np.diff(ends, prepend=0).astype(np.float32)
    return _Counts(np.array([0, len(ends)]), buckets[ends - 1], counts)


def _spaces_before(points: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """How many of the characters before each place are spaces."""
    return np.concatenate([[0], np.cumsum(points == _SPACE)])


def _text_of(record: Mapping[str, Any]) -> str:
    require_fields(record, ("text",), f"inputs of family {_FAMILY}")
    return text_of(record["text"])


def _sketch(text: str) -> dict[str, float]:
    length = float(len(text))
    sketch = {
        "log_characters": float(np.log1p(length)),
        "log_words": float(np.log1p(float(len(_WORD_OF_ONE.findall(text))))),
    }
    for name, table in _COUNTED.items():
        sketch[f"{name}_share"] = table.count(text) / max(length, 1.0)
    return sketch


def _within_words(points: FlatTokens, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Runs of characters that have a space at their ends at most."""
    runs = ngrams(points, size)
    spaces = _spaces_before(points.hashes)
    inside = spaces[runs.starts + size - 1] == spaces[runs.starts + 1]
    return runs.rows[inside], runs.hashes[inside]


def _weigh(counts: _Counts, idf: npt.NDArray[np.float32]) -> FloatArray:
    """Sublinear count times IDF, words and characters each scaled to unit length in every row."""
    weights = (1.0 + np.log(counts.counts.astype(np.float64))) * idf[counts.buckets]
    half = 2 * counts.rows + (counts.buckets >= _WORD_BUCKETS)
    norms = np.sqrt(np.bincount(half, weights=weights**2))
    return np.asarray(weights / np.maximum(norms, 1e-12)[half], dtype=np.float64)


SPEC = DetectorSpec(
    family=_FAMILY,
    title="Prompt injection and jailbreak texts",
    kind="text",
    input_columns=("text",),
    text_columns=("text",),
    canonicalise=canonicalise,
    inputs_of=inputs_of,
    record_reader=record_reader,
    fit=fit,
    featurise=featurise,
    load=load,
    synthesise=synthesise,
    model_form=(
        "L2-penalised logistic regression over hashed word and character n-grams (sublinear counts times IDF), "
        "calibrated on validation rows"
    ),
    intended_use="Screening prompts and documents on their way into a language model, together with rules and review.",
    limits=(
        "Learned from public English collections: other languages and new attack styles are weaker, see the "
        "leave-one-source-out figures.",
        "Benign texts that talk about attacks (security courses, bug reports) are flagged more often than others.",
        "Of texts longer than 1500 characters only the first 1000 and the last 500 are read.",
    ),
    hyperparameters={
        "word_runs": _WORD_RUNS,
        "character_runs": _CHARACTER_RUNS,
        "word_buckets": _WORD_BUCKETS,
        "character_buckets": _CHARACTER_BUCKETS,
        "head_characters": _HEAD_CHARACTERS,
        "tail_characters": _TAIL_CHARACTERS,
        "inverse_penalty": _INVERSE_PENALTY,
    },
)
