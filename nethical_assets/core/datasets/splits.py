"""Splits: which rows train, which calibrate, which test, and which take no part.

What belongs here: the assignment of canonical rows to ``train``, ``validation``, ``test``, ``evaluation`` and
``left_out``. What does not: anything fitted on rows.

Three things never are in two of train, validation and test: a row, a group, and an input (rows of equal input values,
whatever their identity). A group, or a row without one, is assigned by its own content (a digest, or its first day
against a fixed day). Groups that share an input are not joined: in sources where most groups share one (GUIDE, seen by
the correlation family), joining would make one unit of nearly all rows, and a group would move whenever a refresh
brings a row that links it with another. Instead such an input has one home among the splits of its groups, by its own
digest, and its rows elsewhere are left out. So a refresh may take a row into its split or leave it out, but never moves
one between training and test. Nothing depends on the seed: a model trained with another seed is measured on the same
test rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from nethical_assets.core.ground.errors import DatasetError
from nethical_assets.core.rows.columns import COMMON_COLUMNS
from nethical_assets.core.rows.frames import normalised_text

TRAIN, VALIDATION, TEST, EVALUATION, LEFT_OUT = "train", "validation", "test", "evaluation", "left_out"
SPLITS = (TRAIN, VALIDATION, TEST, EVALUATION, LEFT_OUT)
_FITTED_AND_TESTED = (VALIDATION, TRAIN, TEST)
_DIGITS = 13


def assign_splits(
    frame: pd.DataFrame,
    *,
    train_ratio: float,
    validation_ratio: float,
    evaluation_sources: Set[str] = frozenset(),
    test_from: Mapping[str, date] | None = None,
    datasets: Mapping[str, str] | None = None,
) -> pd.Series:
    """The split of every canonical row, same index as ``frame``.

    Args:
        frame: canonical rows; every column that is not one of COMMON_COLUMNS is an input.
        train_ratio: share of rows that are not test rows; ``validation_ratio`` (of all rows) of them calibrate.
        evaluation_sources: sources that no model trains on; all their rows are ``evaluation``.
        test_from: source -> first day whose rows are test rows; its earlier rows train or calibrate. A group that
            begins on that day or later is tested, and so are, by their digest, some that began before, with the rows
            from that day on. The other rows of these, and later rows of groups that train, are left out.
        datasets: source -> the dataset that it is a part of; groups of one name in sources of one dataset are one. A
            source that is not named is a dataset of its own.

    Raises:
        DatasetError: a split that training or evaluation needs lacks a class.
    """
    keys = input_keys(frame)
    owners = _owners(frame, datasets)
    units = group_keys(frame, datasets).fillna(keys)
    position = _positions(units)
    split = pd.Series(TRAIN, index=frame.index, dtype="str")
    split[position < validation_ratio] = VALIDATION
    split[position >= train_ratio] = TEST
    days = {(datasets or {}).get(source, source): day for source, day in (test_from or {}).items()}
    for owner, day in days.items():
        since = pd.Timestamp(day, tz="UTC")
        time = frame["time"].where(owners == owner)
        begun = time.groupby(units.where(frame["group"] != "", frame["row_id"])).transform("min")
        dated, late = begun.notna(), time >= since
        reserved = (frame["group"] != "") & (position >= train_ratio)
        split[dated] = np.where(position < validation_ratio / train_ratio, VALIDATION, TRAIN)[dated]
        split[dated & reserved & (begun < since)] = LEFT_OUT
        split[late] = np.where(reserved | (begun >= since), TEST, LEFT_OUT)[late]
        split[dated & ~late & (begun >= since)] = TEST
    split[frame["source"].isin(list(evaluation_sources))] = EVALUATION
    shares = (validation_ratio, train_ratio - validation_ratio, 1.0 - train_ratio)
    split[_away_from_home(split, keys, shares)] = LEFT_OUT
    for name in (TRAIN, VALIDATION, TEST):
        if frame.loc[split == name, "label"].nunique() < 2:
            raise DatasetError(
                f"the {name} split has {int((split == name).sum())} rows and not both classes; "
                "more rows, groups or different inputs are needed (raise --samples, or check the catalog's labels and "
                "groups)"
            )
    return split


def input_keys(frame: pd.DataFrame) -> pd.Series:
    """For every row a hexadecimal digest of its inputs: equal where a model could not tell two rows apart.

    Numbers count by value, whatever their type, and texts after normalisation. Without input columns it is ``row_id``.
    """
    inputs = sorted(name for name in frame.columns if name not in (*COMMON_COLUMNS, "split"))
    if not inputs:
        return frame["row_id"].astype("str")
    parts: list[Sequence[bytes]] = []
    for name in inputs:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column.dtype):
            # Adding zero makes one of both zeros; a missing number has several bit patterns.
            numbers = column.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0
            numbers[np.isnan(numbers)] = np.nan
            parts.append([number.tobytes() for number in numbers])
        else:
            parts.append([text.encode("utf-8", "replace") for text in normalised_text(column.astype("str")).fillna("")])
    digests = [hashlib.sha256(_joined(values)).hexdigest() for values in zip(*parts, strict=True)]
    return pd.Series(digests, index=frame.index, dtype="str")


def group_keys(frame: pd.DataFrame, datasets: Mapping[str, str] | None = None) -> pd.Series:
    """For every row the name of its group among those of all ``datasets`` (as in ``assign_splits``); missing where it
    has none."""
    return (_owners(frame, datasets) + "\x00" + frame["group"]).where(frame["group"] != "")


def _owners(frame: pd.DataFrame, datasets: Mapping[str, str] | None) -> pd.Series:
    """For every row the dataset that its group is one of."""
    known = datasets or {}
    return frame["source"].astype("str").map(lambda source: known.get(source, source)).astype("str")


def _joined(values: Sequence[bytes]) -> bytes:
    return b"".join(len(value).to_bytes(8, "big") + value for value in values)


def _positions(keys: pd.Series) -> npt.NDArray[np.float64]:
    """A uniform number in [0, 1) a row, from the digest of its key."""
    codes, distinct = pd.factorize(keys)
    hashed = [hashlib.sha256(str(key).encode("utf-8", "replace")).hexdigest()[:_DIGITS] for key in distinct]
    numbers = np.array([int(text, 16) for text in hashed], dtype=np.float64) / float(16**_DIGITS)
    return np.asarray(numbers[codes], dtype=np.float64)


def _away_from_home(split: pd.Series, keys: pd.Series, shares: Sequence[float]) -> npt.NDArray[np.bool_]:
    """The rows whose input is in several of validation, train and test, and that are not in the one it belongs to.

    The digest of an input chooses its home among those splits, in proportion to ``shares`` (validation, train, test).
    """
    place = pd.Index(_FITTED_AND_TESTED).get_indexer(pd.Index(split))
    taking_part = np.flatnonzero(place >= 0)
    codes, distinct = pd.factorize(keys.iloc[taking_part])
    present = np.zeros((len(distinct), len(_FITTED_AND_TESTED)))
    present[codes, place[taking_part]] = 1.0
    weights = np.cumsum(present * np.asarray(shares), axis=1)
    chosen = _positions(pd.Series(distinct).astype("str") + "\x00home")[:, None] * weights[:, -1:]
    home = (chosen >= weights).sum(axis=1)
    away = np.zeros(len(split), dtype=bool)
    away[taking_part] = home[codes] != place[taking_part]
    return away
