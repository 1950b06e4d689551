"""Sources: from which collection a row of a dataset comes.

What belongs here: the names that a catalog entry gives its files. What does not: asking for them (``core.sources``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.file_names import choose_files

if TYPE_CHECKING:
    import pandas as pd


def source_names(entry: DatasetEntry) -> tuple[str, ...]:
    """The values of ``source`` that rows of ``entry`` may have."""
    return tuple(dict.fromkeys(file.source or entry.name for file in entry.files)) or (entry.name,)


def datasets_of_groups(entries: Iterable[DatasetEntry]) -> dict[str, str]:
    """Source -> entry, of the sources that share their groups with others of one entry."""
    grouped = [entry for entry in entries if entry.group_column is not None]
    return {source: entry.name for entry in grouped for source in source_names(entry) if source != entry.name}


def attach_sources(entry: DatasetEntry, raw: pd.DataFrame) -> pd.Series:
    """For each raw row the name of the collection it comes from, by the file it was read from."""
    files = raw["_file"].unique().tolist()
    chosen = {path: file.source for file, path in choose_files(entry, files) if path is not None}
    return raw["_file"].map({path: chosen.get(path) or entry.name for path in files})
