"""Which logged requests a person should label first: those that would teach a next model most.

What belongs here: how much the label of a row is worth, and the order. What does not: labels that came (``feedback``),
or where the rows are kept (``inference_log``).

A row is worth labelling when the model is **uncertain** of it, or when it is **novel**:

- uncertainty is how near its probability is to the decision threshold, 1 at it and 0 at the ends of [0, 1]: uncertainty
  sampling (Lewis and Gale, A sequential algorithm for training text classifiers, 1994);
- novelty is the histogram-based outlier score of its sketch (Goldstein and Dengel, HBOS, 2012): the bits by which its
  values surprise whoever knows the reference's histograms, over those of the reference's own rows on average, in
  standard deviations z of these: 1 - 2^-z, and 0 where it surprises less. A value in a bin where the reference has no
  row, an unseen level for example, counts as seen once. Values beyond the range of a continuous column are in its outer
  bin and no surprise: a histogram does not tell them from the outermost tenth.

Its worth is the root mean square of both: one of them alone is enough to be near the top, a row with both is above it
(for both uses: Settles, Active learning literature survey, 2009, sections 2 and 5). Rows that say the same are not
asked for twice (diversity: Brinker 2003): of rows with equal sketch and probability one is listed, with how many there
are; and where rows are in the same bins of all columns, the n-th best of them has the n-th part of its worth. A row
that is equal to one with a label counts as the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nethical_assets.core.drift.feedback import CLOCKS_DIFFER, FeedbackLog
from nethical_assets.core.drift.inference_log import AT, REQUEST_ID, InferenceLog, LoggedPart
from nethical_assets.core.drift.reference import PROBABILITY, SCORE, ColumnSketch, Reference
from nethical_assets.core.ground.documents import to_document

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ROWS_AT_ONCE = 1 << 19
_LEAST_POOL = 10_000
_POOL_A_ROW = 20
_TELLING = 0.5
"""From here on, uncertainty and novelty are given as a reason."""
_KEY, _CELL, _WORTH, _PLACE = "key", "cell", "worth", "place"
_UNCERTAINTY, _NOVELTY, _COLUMN, _SHARE, _ALIKE = "uncertainty", "novelty", "column", "share", "alike"


@dataclass(frozen=True)
class QueuedRow:
    """A logged request that nobody labelled yet.

    Attributes:
        at: when it was answered, ISO 8601 in UTC.
        predicted: what the model decided, 0 or 1.
        uncertainty, novelty: in [0, 1]; ``worth`` is what both come to, before rows alike are counted.
        alike: further rows without a label that have the same sketch and probability.
        why: in words.
    """

    request_id: str
    at: str
    probability: float
    predicted: int
    uncertainty: float
    novelty: float
    worth: float
    alike: int
    why: str


@dataclass(frozen=True)
class LabelQueue:
    """The rows to label first, best first, and what is known of the window they are from.

    ``labelled`` and ``conflicting`` count its rows that have a label, and those that were given different ones.
    """

    rows: tuple[QueuedRow, ...]
    window_rows: int
    labelled: int
    conflicting: int

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return to_document(self)


def label_queue(
    log: InferenceLog,
    feedback: FeedbackLog,
    family: str,
    reference: Reference,
    model: str,
    since: datetime,
    until: datetime | None = None,
    *,
    rows: int,
) -> LabelQueue:
    """Which rows of ``model``, scored at or after ``since`` and before ``until``, to label first; at most ``rows``.

    The order is the same whatever batches the rows are in. A window of any size takes the memory of half a million
    rows, without their sketches, and of the labels' distinct rows.

    Args:
        reference: of the model.

    Raises:
        DatasetError, IntegrityError: as ``InferenceLog.parts``.
    """
    import pandas as pd

    kept = max(_LEAST_POOL, _POOL_A_ROW * rows)
    surprise = _Surprise(reference)
    pool = pd.DataFrame()
    known: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
    seen = labelled = conflicting = 0
    for frame in _groups(log.parts(family, since, model, until), surprise):
        ids = pa.array(frame[REQUEST_ID].tolist(), pa.string())
        labels, differing = feedback.labels_of(ids, since - CLOCKS_DIFFER)
        has_label = np.asarray(labels.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
        seen, labelled, conflicting = seen + len(frame), labelled + int(has_label.sum()), conflicting + differing
        known = np.union1d(known, frame.loc[has_label, _KEY].to_numpy(dtype=np.uint64))
        pool = _pooled(pool, frame[~has_label], kept)
    return LabelQueue(tuple(_chosen(pool, known, reference, rows)), seen, labelled, conflicting)


class _Surprise:
    """How many bits the values of each column of a reference's sketch surprise by."""

    def __init__(self, reference: Reference) -> None:
        self._threshold = reference.decision_threshold
        self._probability = reference.column(PROBABILITY) or ColumnSketch.of(PROBABILITY, np.empty(0))
        self.columns = [column for column in reference.columns if column.name not in (SCORE, PROBABILITY)]

    def describe(self, part: LoggedPart) -> pd.DataFrame:
        """The rows of a part that have a request id, without their sketches."""
        import pandas as pd

        table = part.rows.filter(part.rows[REQUEST_ID].is_valid())
        sketch = LoggedPart(part.name, part.model, table).sketch()
        probability = table[PROBABILITY].to_numpy().astype(np.float64)
        values = {PROBABILITY: probability, **{name: sketch[name].to_numpy() for name in sketch.column_names}}
        bins = {PROBABILITY: self._probability.bins(probability)}
        bits, expected, spread = np.zeros(len(table)), 0.0, 0.0
        largest, column, share = (
            np.full(len(table), -np.inf),
            np.zeros(len(table), dtype=np.int64),
            np.zeros(len(table)),
        )
        for number, one in enumerate(self.columns):
            if one.name not in values:
                continue
            bins[one.name] = one.bins(values[one.name].astype(np.float64))
            counts = one.own_histogram()
            surprise, shares = _bits(counts), counts / max(one.rows, 1)
            mean = float(shares @ surprise)
            expected, spread = expected + mean, spread + float(shares @ (surprise - mean) ** 2)
            found = surprise[bins[one.name]]
            bits += found
            more = found - mean > largest
            largest[more], column[more] = (found - mean)[more], number
            share[more] = shares[bins[one.name]][more]
        uncertainty = _uncertainty(probability, self._threshold)
        novelty = 1.0 - 2.0 ** -np.maximum(0.0, (bits - expected) / max(1.0, np.sqrt(spread)))
        return pd.DataFrame(
            {
                REQUEST_ID: table[REQUEST_ID].to_pandas(),
                AT: table[AT].cast(pa.int64()).to_numpy(),
                PROBABILITY: probability,
                _UNCERTAINTY: uncertainty,
                _NOVELTY: novelty,
                _WORTH: np.sqrt((uncertainty**2 + novelty**2) / 2.0),
                _COLUMN: column,
                _SHARE: share,
                _KEY: pd.util.hash_pandas_object(pd.DataFrame(values), index=False).to_numpy(),
                _CELL: pd.util.hash_pandas_object(pd.DataFrame(bins), index=False).to_numpy(),
                _ALIKE: np.ones(len(table), dtype=np.int64),
            }
        )


def _bits(counts: IntArray) -> FloatArray:
    """The surprise at each bin of a histogram, every bin seen once more than it was."""
    return np.asarray(-np.log2((counts + 1.0) / (counts.sum() + len(counts))))


def _uncertainty(probability: FloatArray, threshold: float) -> FloatArray:
    room = np.where(probability >= threshold, 1.0 - threshold, threshold)
    distance = np.abs(probability - threshold) / np.where(room > 0.0, room, 1.0)
    return np.asarray(np.clip(np.nan_to_num(1.0 - distance, nan=1.0), 0.0, 1.0))


def _groups(parts: Iterator[LoggedPart], surprise: _Surprise) -> Iterator[pd.DataFrame]:
    import pandas as pd

    waiting: list[pd.DataFrame] = []
    for part in parts:
        if REQUEST_ID in part.rows.column_names:
            waiting.append(surprise.describe(part))
        if sum(map(len, waiting)) >= _ROWS_AT_ONCE:
            yield pd.concat(waiting, ignore_index=True)
            waiting = []
    if waiting:
        yield pd.concat(waiting, ignore_index=True)


def _pooled(pool: pd.DataFrame, found: pd.DataFrame, kept: int) -> pd.DataFrame:
    """The most worthy of both, one row for all that are equal. Equal rows have equal worth, and what is left out once
    never comes back, so that what is counted of a row that stays is complete."""
    import pandas as pd

    rows = pd.concat([pool, found], ignore_index=True).sort_values([_KEY, AT, REQUEST_ID], kind="stable")
    rows[_ALIKE] = rows.groupby(_KEY)[_ALIKE].transform("sum")
    first = rows.drop_duplicates(_KEY)
    return first.sort_values([_WORTH, _KEY], ascending=[False, True], kind="stable").head(kept)


def _chosen(pool: pd.DataFrame, known: npt.NDArray[np.uint64], reference: Reference, rows: int) -> Iterator[QueuedRow]:
    if pool.empty:
        return
    order = [AT, REQUEST_ID]
    ranked = pool.sort_values([_WORTH, *order], ascending=[False, True, True], kind="stable")
    before = ranked.groupby(_CELL).cumcount() + np.isin(ranked[_KEY].to_numpy(dtype=np.uint64), known)
    ranked[_PLACE] = ranked[_WORTH] / (1.0 + before)
    chosen = ranked.sort_values([_PLACE, *order], ascending=[False, True, True], kind="stable").head(rows)
    columns = _Surprise(reference).columns
    for row in chosen.to_dict("records"):
        yield QueuedRow(
            request_id=str(row[REQUEST_ID]),
            at=_iso(int(row[AT])),
            probability=float(row[PROBABILITY]),
            predicted=int(row[PROBABILITY] >= reference.decision_threshold),
            uncertainty=float(row[_UNCERTAINTY]),
            novelty=float(row[_NOVELTY]),
            worth=float(row[_WORTH]),
            alike=int(row[_ALIKE]) - 1,
            why=_why(row, columns, reference.decision_threshold),
        )


def _why(row: dict[Any, Any], columns: list[ColumnSketch], threshold: float) -> str:
    reasons = []
    if row[_UNCERTAINTY] >= _TELLING:
        reasons.append(f"probability {row[PROBABILITY]:.3f} is near the decision at {threshold:g}")
    if row[_NOVELTY] >= _TELLING:
        name, share = columns[int(row[_COLUMN])].name, row[_SHARE]
        reasons.append(
            f"the reference has {share:.2%} of its rows where this one is in {name}"
            if share
            else f"the reference never had such a value of {name}"
        )
    return "; ".join(reasons) or "no row that is left is less certain or more unusual"


def _iso(at_ns: int) -> str:
    return f"{np.datetime64(at_ns // 1000, 'us')}+00:00"
