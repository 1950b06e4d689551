"""The raw rows of a fetched dataset, as the stages and checks read them.

What belongs here: from a snapshot to a frame with labels, and the entry by which it is understood. What does not:
    storing snapshots (``snapshots``), fetching (``refresh``), or canonical records (``canonical``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nethical_assets.core.datasets.snapshots import Snapshot, SnapshotStore
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.rows.catalog import DatasetEntry

if TYPE_CHECKING:
    import pandas as pd


def find_snapshot(snapshots: SnapshotStore, name: str, digest: str) -> Snapshot:
    """The newest snapshot of a dataset with this content.

    Raises:
        IntegrityError: it is not there any more.
    """
    for snapshot in reversed(snapshots.history(name)):
        if snapshot.digest == digest:
            return snapshot
    raise IntegrityError(f"dataset {name}: snapshot {digest} is gone; run: nethical data fetch {name} --force")


def effective_entry(entry: DatasetEntry, snapshot: Snapshot) -> DatasetEntry:
    """The entry, with the layout and the use that were found at download where the catalog leaves them open."""
    return snapshot.dataset_entry if entry.discover else entry


def snapshot_frame(snapshots: SnapshotStore, entry: DatasetEntry, snapshot: Snapshot) -> pd.DataFrame:
    """The raw rows of a fetched dataset, with their ``_label`` (-1 unusable) where it has labels."""
    from nethical_assets.core.rows.labels import labels_of

    entry = effective_entry(entry, snapshot)
    table = snapshots.load(snapshot)
    frame: pd.DataFrame = table.to_pandas()
    if any(file.label is not None for file in entry.files):
        frame["_label"] = labels_of(entry, table)
    return frame
