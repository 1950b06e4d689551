"""What a batch of predictions looked like, as whole numbers on a reference's edges: windows add up without their rows.

What belongs here: counting, adding, and the bytes that are kept beside a sealed batch. What does not: the reference
(``reference``), comparing with it (``monitors``), or where the bytes are kept (``home``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.probability_grid import decision_edge
from nethical_assets.core.drift.reference import PROBABILITY, Reference, prediction_columns
from nethical_assets.core.drift.reliability import Reliability, fixed_point_sums
from nethical_assets.core.ground.digests import canonical_json, digest_bytes
from nethical_assets.core.ground.errors import DatasetError, IntegrityError

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MAGIC = b"nethical-sketch 1\n"
_SUMS = "probability_sums"
_LABELLED = ("labelled_rows", "labelled_positives", "labelled_probability_sums")
_WIDTHS = (1, 2, 4, 8)
_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Sketch:
    """Counts of scored rows on the edges of one reference.

    Attributes:
        reference: digest of the reference. Only sketches of one reference can be added or compared.
        columns: counts of every column of the reference, missing values last. The probability is counted in the cells
            of ``Reference.grid``, shape (cells + 1,), the others in the reference's own bins, shape (bins + 1,).
        probability_sums: of the probabilities in each reliability bin, in multiples of 2^-30, shape (bins,).
        labelled: the rows whose labels are known.
    """

    reference: str
    columns: Mapping[str, IntArray]
    probability_sums: IntArray
    labelled: Reliability

    @classmethod
    def of(
        cls,
        reference: Reference,
        probabilities: FloatArray,
        scores: FloatArray | None,
        frame: pd.DataFrame,
        labels: FloatArray | npt.NDArray[np.int8] | None = None,
    ) -> Sketch:
        """The sketch of a batch.

        Args:
            probabilities, scores, labels: shape (rows,); labels are 0, 1 or NaN where unknown. Scores may be None where
                the reference has none.
            frame: the numeric sketch columns (``Detector.sketch``), one row a prediction.

        Raises:
            DatasetError: the columns are not those of the reference, lengths differ, or a label is neither 0 nor 1.
        """
        columns = prediction_columns(scores, probabilities, frame)
        expected = {column.name for column in reference.columns}
        if odd := sorted(expected ^ columns.keys()):
            side = "the reference has it, the batch has not" if odd[0] in expected else "the reference has no such one"
            raise DatasetError(f"column {odd[0]!r} of a batch: {side}; a sketch is of the reference's own model")
        values, grid = columns[PROBABILITY], reference.grid
        cells, sums = np.zeros(grid.size, dtype=np.int64), np.zeros(len(grid.bins) + 1, dtype=np.int64)
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            part = part[~np.isnan(part)]
            found = grid.cells(part)
            cells += np.bincount(found, minlength=grid.size)
            sums += grid.sums_between(fixed_point_sums(found, part, grid.size), grid.bins)
        counts = {
            column.name: column.histogram(columns[column.name])
            for column in reference.columns
            if column.name != PROBABILITY
        }
        counts[PROBABILITY] = np.append(cells, len(values) - cells.sum())
        nothing = Reliability.none(reference.decision_threshold)
        labelled = nothing if labels is None else Reliability.of(values, labels, reference.decision_threshold)
        return cls(reference.digest, counts, sums, labelled)

    @classmethod
    def empty(cls, reference: Reference) -> Sketch:
        """The sketch of no rows: added to another one it changes nothing."""
        grid = reference.grid
        counts = {
            column.name: np.zeros(len(column.counts) + 1, dtype=np.int64)
            for column in reference.columns
            if column.name != PROBABILITY
        }
        counts[PROBABILITY] = np.zeros(grid.size + 1, dtype=np.int64)
        sums = np.zeros(len(grid.bins) + 1, dtype=np.int64)
        return cls(reference.digest, counts, sums, Reliability.none(reference.decision_threshold))

    def with_labels(self, labelled: Reliability) -> Sketch:
        """The same rows, of which these are known by now, as when feedback comes later."""
        return replace(self, labelled=labelled)

    @property
    def rows(self) -> int:
        """Scored rows."""
        return int(self.columns[PROBABILITY].sum())

    @property
    def digest(self) -> str:
        """The digest of ``to_bytes``."""
        return digest_bytes(self.to_bytes())

    def __add__(self, other: Sketch) -> Sketch:
        if self.reference != other.reference:
            raise DatasetError(
                f"sketches of two references cannot be added: {self.reference} and {other.reference}; "
                "a window has predictions of one model"
            )
        return Sketch(
            self.reference,
            {name: counts + other.columns[name] for name, counts in self.columns.items()},
            self.probability_sums + other.probability_sums,
            self.labelled + other.labelled,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def histogram(self, reference: Reference, name: str) -> IntArray:
        """The counts of a column in the reference's own bins, missing values last."""
        counts = self.columns[name]
        return counts if name != PROBABILITY else probability_histogram(reference, counts)

    def reliability_rows(self, reference: Reference) -> IntArray:
        """Scored rows, labelled or not, of each reliability bin: shape (reliability bins,)."""
        return reliability_rows(reference, self.columns[PROBABILITY])

    def positives(self, reference: Reference) -> int:
        """Rows called positive."""
        return int(positives(reference, self.columns[PROBABILITY]))

    def to_bytes(self) -> bytes:
        """The sketch as bytes, the same for equal sketches: a line that names the form, a line of canonical JSON that
        names the arrays, and their little-endian numbers, each array as narrow as its largest number allows."""
        arrays = {name: self.columns[name] for name in sorted(self.columns)}
        labelled = (self.labelled.rows, self.labelled.positives, self.labelled.probability_sums)
        further = dict(zip((_SUMS, *_LABELLED), (self.probability_sums, *map(_whole, labelled)), strict=True))
        parts: list[bytes] = []
        named: list[tuple[str, int, int]] = []
        for name, numbers in (*arrays.items(), *further.items()):
            largest = int(numbers.max(initial=0))
            width = next(width for width in _WIDTHS if largest < 1 << (8 * width - (width == _WIDTHS[-1])))
            named.append((name, len(numbers), width))
            parts.append(numbers.astype(f"<u{width}").tobytes())
        return b"".join((_MAGIC, _header_line(tuple(named), len(arrays), self.reference), b"\n", *parts))

    @classmethod
    def from_bytes(cls, data: bytes, reference: Reference, where: str = "sketch") -> Sketch:
        """The inverse of ``to_bytes``.

        Raises:
            IntegrityError: the bytes are no sketch of this reference; the line starts with ``where``.
        """
        try:
            arrays = _arrays(data, reference)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            said = str(error) if type(error) is ValueError else "damaged"
            raise IntegrityError(f"{where}: {said}; count the batch beside it again") from None
        rows, positives, sums = (tuple(arrays.pop(name).tolist()) for name in _LABELLED)
        return cls(reference.digest, arrays, arrays.pop(_SUMS), Reliability(rows, positives, sums))


def probability_histogram(reference: Reference, counts: IntArray) -> IntArray:
    """The probability's counts in the reference's own bins, missing values last: shape (..., bins + 1).

    Args:
        counts: of the probability in sketches (``Sketch.columns``), shape (..., cells + 1).
    """
    column = reference.column(PROBABILITY)
    edges = np.array(column.edges if column else (), dtype=np.float64)
    return np.concatenate([reference.grid.sums_between(counts[..., :-1], edges), counts[..., -1:]], axis=-1)


def reliability_rows(reference: Reference, counts: IntArray) -> IntArray:
    """The rows of each reliability bin by the same counts: shape (..., reliability bins)."""
    return reference.grid.sums_between(counts[..., :-1], reference.grid.bins)


def positives(reference: Reference, counts: IntArray) -> IntArray:
    """The rows called positive by the same counts: shape (...)."""
    edge = np.array([decision_edge(reference.decision_threshold)])
    return reference.grid.sums_between(counts[..., :-1], edge)[..., 1]


def added(reference: Reference, sketches: Iterable[Sketch]) -> Sketch:
    """The sum of sketches of ``reference``, in any order.

    Raises:
        DatasetError: one is of another reference.
    """
    return reduce(Sketch.__add__, sketches, Sketch.empty(reference))


@lru_cache(maxsize=256)
def _header_line(arrays: tuple[tuple[str, int, int], ...], columns: int, reference: str) -> bytes:
    """The line that names the arrays. A week of sketches has few different ones, each written slowly."""
    return canonical_json({"arrays": [list(one) for one in arrays], "columns": columns, "reference": reference})


@lru_cache(maxsize=256)
def _header(line: bytes) -> Any:
    """What such a line says, not to be changed; ValueError where it is not the line that this version writes."""
    header = json.loads(line)
    if canonical_json(header) != line:
        raise ValueError("not the bytes that this version writes")
    return header


def _arrays(data: bytes, reference: Reference) -> dict[str, IntArray]:
    """Name -> numbers of a sketch's bytes; ValueError with what is wrong."""
    if not data.startswith(_MAGIC):
        raise ValueError("not a sketch of this version")
    line, _, rest = data[len(_MAGIC) :].partition(b"\n")
    header = _header(line)
    if header["reference"] != reference.digest:
        raise ValueError(f"a sketch of reference {str(header['reference'])[:80]}, not of {reference.digest}")
    grid = reference.grid
    columns = {
        column.name: (grid.size if column.name == PROBABILITY else len(column.counts)) + 1
        for column in sorted(reference.columns, key=lambda column: column.name)
    }
    bins = len(grid.bins) + 1
    lengths = [*columns.items(), *((name, bins) for name in (_SUMS, *_LABELLED))]
    if [(name, length) for name, length, _ in header["arrays"]] != lengths or header["columns"] != len(columns):
        raise ValueError("its arrays are not those of the reference")
    arrays: dict[str, IntArray] = {}
    position = 0
    for name, length, width in header["arrays"]:
        if width not in _WIDTHS:
            raise ValueError("a number of bytes that no array has")
        piece = rest[position : position + length * width]
        if len(piece) != length * width:
            raise ValueError("cut off")
        numbers = np.frombuffer(piece, dtype=f"<u{width}").astype(np.int64)
        if width == _WIDTHS[-1] and (numbers < 0).any():
            raise ValueError("a number that is too large")
        arrays[name], position = numbers, position + length * width
    if position != len(rest):
        raise ValueError("bytes after its end")
    _check_sums(arrays, columns)
    return arrays


def _check_sums(arrays: Mapping[str, IntArray], columns: Iterable[str]) -> None:
    """ValueError where the counts of one sketch contradict each other."""
    rows = {int(arrays[name].sum()) for name in columns}
    labelled, positives, _ = (arrays[name] for name in _LABELLED)
    if len(rows) > 1 or (positives > labelled).any() or int(labelled.sum()) > max(rows):
        raise ValueError("its counts contradict each other")


def _whole(numbers: tuple[int, ...]) -> IntArray:
    return np.array(numbers, dtype=np.int64)
