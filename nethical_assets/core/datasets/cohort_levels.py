"""The levels of a declared cohort column: which row is of which, by names that are safe to show.

What belongs here: taking the column along to canonical rows, and naming its levels. What does not: comparing cohorts
(``core.evaluation``).

Whoever declares ``cohort_column`` says that its values may be named. They are still what somebody wrote: a level that
few rows have is not named, one in which screening finds anything is called by a pseudonym.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading, find_in
from nethical_assets.core.rows.catalog import DatasetEntry

LEVEL = "_cohort"
OTHER, NOT_GIVEN = "other", "not given"
MAXIMUM_LEVELS = 20
"""More levels than these are not told apart: the rarest are one, ``other``."""
MINIMUM_LEVEL_ROWS = 10
"""A level that fewer rows have is part of ``other``: it may be a name of one of them."""
_LONGEST_NAME = 40
_RECORD = "record of the source"


def numbered(entry: DatasetEntry, records: pd.DataFrame) -> pd.DataFrame:
    """The records with an index that says, where a family keeps it, that each of its rows is one of them."""
    return records if entry.cohort_column is None else records.rename_axis(index=_RECORD)


def with_levels(entry: DatasetEntry, records: pd.DataFrame, part: pd.DataFrame) -> pd.DataFrame:
    """The canonical rows ``part`` of the ``numbered`` records with the column ``LEVEL``, missing where the entry
    declares no cohorts or where a row is made of several records."""
    if entry.cohort_column is None or entry.cohort_column not in records.columns:
        return part
    if part.index.name != _RECORD or not part.index.equals(records.index):
        return part
    values = records[entry.cohort_column]
    texts = values.astype("str").str.strip().where(values.notna(), NOT_GIVEN)
    return part.rename_axis(index=None).assign(**{LEVEL: texts.where(texts != "", NOT_GIVEN).to_numpy(dtype=object)})


def safe_levels(levels: pd.Series, screener: Screener, token: Callable[[str, str], str]) -> pd.Series:
    """``levels`` of rows (missing where there is none) by names that may be shown, at most ``MAXIMUM_LEVELS``.

    Args:
        token: what stands for a value of a kind, such as ``Pseudonyms.token``.
    """
    counts = levels.dropna().value_counts()
    # Of equally many rows the first by name: the order of rows decides nothing.
    common = sorted(counts.index[counts >= MINIMUM_LEVEL_ROWS], key=lambda name: (-int(counts[name]), name))
    # What is left over needs a place among them.
    room = MAXIMUM_LEVELS if len(common) <= MAXIMUM_LEVELS and len(common) == len(counts) else MAXIMUM_LEVELS - 1
    kept = common[:room]
    found = find_in(pd.Series(kept, dtype="str"), Reading.VALUES, screener, alone=True).on_rows()
    kinds = dict(zip(found.rows.tolist(), found.names("kind").tolist(), strict=True))
    shown = {
        name: token(str(kinds.get(place, "LEVEL")).upper(), name)
        if place in kinds or len(name) > _LONGEST_NAME
        else name
        for place, name in enumerate(kept)
    }
    return levels.map(lambda name: shown.get(name, OTHER), na_action="ignore")
