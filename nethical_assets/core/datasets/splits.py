"""Splits: which rows train, which calibrate, which test.

What belongs here: the assignment of canonical rows to ``train``, ``validation``, ``test`` and ``evaluation``. What does
not: anything fitted on rows.

The assignment looks only at a row's own content (or its group, or its time against a fixed day), so a row never moves
when the dataset is refreshed, and a group never straddles two splits. It does not depend on the seed: a model trained
with another seed is measured on the same test rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.ground.errors import DatasetError

TRAIN, VALIDATION, TEST, EVALUATION = "train", "validation", "test", "evaluation"
SPLITS = (TRAIN, VALIDATION, TEST, EVALUATION)


def assign_splits(
    frame: pd.DataFrame,
    *,
    train_ratio: float,
    validation_ratio: float,
    evaluation_sources: Set[str] = frozenset(),
    test_from: Mapping[str, date] | None = None,
) -> pd.Series:
    """The split of every canonical row, same index as ``frame``.

    Args:
        train_ratio: share of rows that are not test rows; ``validation_ratio`` (of all rows) of them calibrate.
        evaluation_sources: sources that no model trains on; all their rows are ``evaluation``.
        test_from: source -> first day whose rows are test rows; its earlier rows train or calibrate.

    Raises:
        DatasetError: a split that training or evaluation needs lacks a class.
    """
    position = _positions(frame)
    split = pd.Series(TRAIN, index=frame.index, dtype="str")
    split[position < validation_ratio] = VALIDATION
    split[position >= train_ratio] = TEST
    for source, day in (test_from or {}).items():
        dated = (frame["source"] == source) & frame["time"].notna()
        early = position < validation_ratio / train_ratio
        late = frame["time"] >= pd.Timestamp(day, tz="UTC")
        split[dated & ~late & early] = VALIDATION
        split[dated & ~late & ~early] = TRAIN
        split[dated & late] = TEST
    split[frame["source"].isin(list(evaluation_sources))] = EVALUATION
    for name in (TRAIN, VALIDATION, TEST):
        if frame.loc[split == name, "label"].nunique() < 2:
            raise DatasetError(
                f"the {name} split has {int((split == name).sum())} rows and not both classes; "
                "more rows or groups are needed (raise --samples, or check the catalog's labels and groups)"
            )
    return split


def _positions(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """A uniform number in [0, 1) a row: from the digest of its group where it has one, else from its ``row_id``.

    The last digits of ``row_id`` count: a sample keeps the rows whose first digits are smallest (``canonical``).
    """
    alone = frame["row_id"].str.slice(-13)
    grouped = frame["group"] != ""
    keys = (frame["source"] + "\x00" + frame["group"])[grouped]
    hashed = {key: hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:13] for key in keys.unique()}
    digits = alone.where(~grouped, keys.map(hashed).reindex(frame.index)).astype("str")
    return np.array([int(text, 16) for text in digits], dtype=np.float64) / float(16**13)
