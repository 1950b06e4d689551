"""What the content checks look at: texts, labels, splits and the previous snapshot of a dataset.

What belongs here: bringing rows and limits together. What does not: measuring (``core.quality``), or which checks a
dataset has and when (``checking``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nethical_assets.core.datasets.raw_rows import snapshot_frame
from nethical_assets.core.datasets.snapshots import Snapshot
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.core.quality.checks import CheckOutcome
from nethical_assets.core.quality.distribution import DriftLimits, distribution_outcome
from nethical_assets.core.quality.label_errors import find_label_errors, label_errors_outcome
from nethical_assets.core.quality.leakage import leakage_outcome, split_overlap_outcome
from nethical_assets.core.quality.near_duplicates import (
    NearDuplicates,
    group_near_duplicates,
    near_duplicates_outcome,
)
from nethical_assets.core.quality.overlap import source_overlap_outcome
from nethical_assets.core.rows.catalog import DatasetEntry
from nethical_assets.core.rows.cells import read_times
from nethical_assets.core.rows.frames import joined_column
from nethical_assets.core.rows.sources import datasets_of_groups

if TYPE_CHECKING:
    import pandas as pd

    from nethical_assets.core.detectors.base import DetectorSpec
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace

Groups = tuple["pd.Series", NearDuplicates]
"""The compared rows of a canonical dataset by ``row_id``, and which of them are nearly equal."""


def raw_content(
    workspace: Workspace, entry: DatasetEntry, frame: pd.DataFrame, previous: Snapshot | None, *, returned: bool
) -> list[CheckOutcome]:
    """Near-duplicates of a text dataset, and its distribution against the ``previous`` snapshot.

    ``returned`` says that the content is that of an earlier snapshot without a previous one: nothing has changed then.
    """
    outcomes = []
    if entry.kind == "text" and entry.files and len(frame):
        texts = joined_column(entry, frame, [file.text_column for file in entry.files])
        limit = workspace.settings.file.datasets.near_duplicate_share_max
        outcomes.append(near_duplicates_outcome(group_near_duplicates(texts.astype("str")), limit))
    if previous is not None and (compared := _distribution(workspace, entry, frame, previous)) is not None:
        outcomes.append(compared)
    elif returned:
        message = "the content is that of the first snapshot again"
        outcomes.append(CheckOutcome("distribution", "pass", message, {"rows": len(frame)}))
    return outcomes


def newest_moment(entry: DatasetEntry, frame: pd.DataFrame) -> str | None:
    """The time of the newest record (ISO 8601), or None where records have no time."""
    if entry.time_column is None or entry.time_column not in frame:
        return None
    newest = read_times(frame[entry.time_column]).max()
    return None if str(newest) == "NaT" else str(newest.isoformat())


def family_content(
    workspace: Workspace, spec: DetectorSpec, record: StageRecord, frame: pd.DataFrame, found: Groups | None
) -> list[CheckOutcome]:
    """Leakage through one column, label errors, near-duplicates and overlap of sources of a canonical dataset."""
    limits = workspace.settings.file.datasets
    inputs, labels = frame[record.facts["input_columns"]], frame["label"].to_numpy()
    errors = find_label_errors(inputs, labels, frame["group"], spec.kind)
    overlap = record.facts.get("source_overlap", [])
    names = {*record.facts["sources"], *(pair[side] for pair in overlap for side in ("first", "second"))}
    outcomes = [
        leakage_outcome(inputs, labels, limits.leakage_auc_max),
        None if errors is None else label_errors_outcome(errors, limits.label_error_share_max),
        source_overlap_outcome(overlap, len(names), limits.source_overlap_share_max),
    ]
    if found is not None:
        sources = frame["source"].to_numpy(dtype=object)
        outcomes.append(near_duplicates_outcome(found[1], limits.near_duplicate_share_max, sources))
    return [outcome for outcome in outcomes if outcome is not None]


def split_content(workspace: Workspace, spec: DetectorSpec, frame: pd.DataFrame, found: Groups | None) -> CheckOutcome:
    """What the splits of a family share; ``frame`` holds the rows of all splits, ``found`` is of the whole dataset."""
    here = None
    if found is not None:
        import numpy as np
        import pandas as pd

        row_ids, whole = found
        place = pd.Index(frame["row_id"]).get_indexer(pd.Index(row_ids))
        present = place >= 0
        order = np.argsort(place[present], kind="stable")
        here = NearDuplicates(len(frame), place[present][order], whole.group[present][order])
    limit = workspace.settings.file.datasets.near_duplicate_share_max
    datasets = datasets_of_groups(workspace.settings.catalog.for_family(spec.family))
    return split_overlap_outcome(frame, spec.text_columns, here, limit, datasets)


def _distribution(
    workspace: Workspace, entry: DatasetEntry, frame: pd.DataFrame, previous: Snapshot
) -> CheckOutcome | None:
    settings = workspace.settings.file
    limits = DriftLimits(
        threshold=settings.performance_thresholds.drift_alert_threshold,
        alpha=settings.monitoring.drift_false_alarm_rate,
        minimum_rows=settings.monitoring.drift_minimum_rows,
    )
    try:
        return distribution_outcome(snapshot_frame(workspace.snapshots, entry, previous), frame, limits)
    except IntegrityError as error:
        numbers: dict[str, Any] = {"rows": len(frame)}
        return CheckOutcome("distribution", "warn", f"the previous snapshot cannot be compared: {error}", numbers)
    except DatasetError:
        # The previous snapshot was read by another definition, or only holds what cannot be compared.
        return None
