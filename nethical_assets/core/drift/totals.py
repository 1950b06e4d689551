"""The counts of consecutive sub-windows side by side, as the tests of a window need them.

What belongs here: taking them out of sketches. What does not: what follows from them (``traffic_noise``, ``window``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nethical_assets.core.drift.reference import PROBABILITY, Reference
from nethical_assets.core.drift.reliability import Reliability
from nethical_assets.core.drift.sketches import Sketch, positives, probability_histogram, reliability_rows
from nethical_assets.core.ground.errors import DatasetError

IntArray = npt.NDArray[np.int64]

_CHUNK = 128
"""So many sub-windows' cells are copied side by side at once: 4 MB."""


@dataclass(frozen=True, eq=False)
class Totals:
    """Counts of B sub-windows in their order.

    Attributes:
        rows, positives: scored rows and those called positive, shape (B,).
        columns: counts of each column in the reference's own bins, missing values last, shape (B, bins + 1).
        bin_rows, bin_sums: rows and sums of probabilities (multiples of 2^-30) of reliability bins, shape (B, bins).
        labelled_rows, labelled_positives, labelled_sums: the same of the rows whose labels are known.
        probability_cells: counts of all sub-windows together in the cells of ``Reference.grid``, shape (cells,).
    """

    rows: IntArray
    positives: IntArray
    columns: Mapping[str, IntArray]
    bin_rows: IntArray
    bin_sums: IntArray
    labelled_rows: IntArray
    labelled_positives: IntArray
    labelled_sums: IntArray
    probability_cells: IntArray

    @classmethod
    def of(cls, reference: Reference, sketches: Sequence[Sketch]) -> Totals:
        """The totals of sketches of the reference.

        Raises:
            DatasetError: a sketch is of another reference.
        """
        for sketch in sketches:
            if sketch.reference != reference.digest:
                raise DatasetError(
                    f"a sketch of reference {sketch.reference} cannot be compared with {reference.digest}; a window "
                    "has predictions of one model"
                )
        sketches = sketches or (Sketch.empty(reference),)
        parts = [_OfProbability.of(reference, sketches[at : at + _CHUNK]) for at in range(0, len(sketches), _CHUNK)]
        return cls(
            rows=np.concatenate([part.rows for part in parts]),
            positives=np.concatenate([part.positives for part in parts]),
            columns={
                column.name: np.concatenate([part.histograms for part in parts])
                if column.name == PROBABILITY
                else np.stack([sketch.columns[column.name] for sketch in sketches])
                for column in reference.columns
            },
            bin_rows=np.concatenate([part.bin_rows for part in parts]),
            bin_sums=np.stack([sketch.probability_sums for sketch in sketches]),
            labelled_rows=np.array([sketch.labelled.rows for sketch in sketches], dtype=np.int64),
            labelled_positives=np.array([sketch.labelled.positives for sketch in sketches], dtype=np.int64),
            labelled_sums=np.array([sketch.labelled.probability_sums for sketch in sketches], dtype=np.int64),
            probability_cells=np.sum([part.cells for part in parts], axis=0),
        )

    @property
    def labelled(self) -> Reliability:
        """The labelled rows of all sub-windows together."""
        return Reliability(
            *(
                tuple(counts.sum(axis=0).tolist())
                for counts in (self.labelled_rows, self.labelled_positives, self.labelled_sums)
            )
        )


@dataclass(frozen=True, eq=False)
class _OfProbability:
    """What the cells of some sub-windows' probabilities add up to; ``cells`` of all of them together."""

    rows: IntArray
    positives: IntArray
    histograms: IntArray
    bin_rows: IntArray
    cells: IntArray

    @classmethod
    def of(cls, reference: Reference, sketches: Sequence[Sketch]) -> _OfProbability:
        counts = np.stack([sketch.columns[PROBABILITY] for sketch in sketches])
        return cls(
            rows=counts.sum(axis=1),
            positives=positives(reference, counts),
            histograms=probability_histogram(reference, counts),
            bin_rows=reliability_rows(reference, counts),
            cells=counts[:, :-1].sum(axis=0),
        )
