"""Labels of logged requests: which to look for first, and taking those that were found.

What belongs here: the home's logs, champion and files put together. What does not: the order of the queue, or what is a
label (``core.drift``), or keeping labels (``home.inference``).
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.ground.digests import digest_file
from nethical_assets.core.ground.errors import DatasetError, NoChampionError
from nethical_assets.home.inference import InferenceStore
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, parse_duration
from nethical_assets.home.workspace import Workspace

if TYPE_CHECKING:
    from nethical_assets.core.reading.tables import TextLayout

_PERIOD = re.compile(r"[1-9][0-9]{0,4}[hdw]")


def queue_labels(
    settings: Settings, family: str, *, rows: int, since: str | None = None, output: Path | None = None
) -> dict[str, Any]:
    """The requests that the champion of ``family`` answered and that should be labelled first; at most ``rows``.

    Args:
        since: a time (ISO 8601, UTC unless it says otherwise) or how long ago, such as ``36h`` or ``7d``; by default
            the trailing window of the drift reports.
        output: also written to this file (.csv, .jsonl or .parquet), with an empty column ``label`` to be filled.

    Raises:
        NoChampionError: no model of the family was promoted yet.
        DatasetError: ``since`` is no time, or the output cannot be written.
        IntegrityError: a batch was changed on disk.
    """
    from nethical_assets.core.drift.feedback import unknown_feedback
    from nethical_assets.core.drift.label_queue import label_queue
    from nethical_assets.core.drift.reference import Reference
    from nethical_assets.core.reading.tables import check_output, write_records

    if output is not None:
        check_output(output)
    workspace = Workspace(settings, CycleOptions(), "label-queue")
    champion = workspace.evidence.champion(family)
    if champion is None:
        raise NoChampionError(f"family {family} has no promoted model yet; run: nethical run --families {family}")
    start = _since(workspace, since)
    log, feedback = workspace.inference_log, workspace.feedback_log
    queue = label_queue(
        log,
        feedback,
        family,
        Reference.from_json(json.loads(workspace.objects.get(champion.reference))),
        champion.model,
        start,
        rows=rows,
    )
    if output is not None:
        import pandas as pd

        names = ("request_id", "at", "probability", "predicted", "why", "alike")
        listed = [{name: getattr(row, name) for name in names} for row in queue.rows]
        frame = pd.DataFrame(listed, columns=list(names))
        write_records(frame.assign(label=pd.Series([None] * len(frame), dtype="Int8")), output)
    return {
        "family": family,
        "version": champion.version,
        "model": champion.model,
        "since": start.isoformat(),
        **queue.to_json(),
        "unknown_labels": unknown_feedback(log, feedback, start),
        "output": None if output is None else str(output),
    }


def take_labels(
    settings: Settings, file: Path, *, label_column: str, layout: TextLayout | None = None
) -> dict[str, Any]:
    """Have the log know the labels in ``file``: a column ``request_id``, and ``label_column`` with 0, 1 or nothing.

    All of a file is taken or nothing. A file that was taken before is not taken again.

    Raises:
        DatasetError: the file cannot be read, or is no table of labels; nothing was taken.
        IntegrityError: a batch was changed on disk.
    """
    from nethical_assets.core.drift.given_labels import given_labels
    from nethical_assets.core.reading.tables import (
        TextLayout,
        every_row,
        layout_of,
        reading_of,
        unchanged,
        with_layout,
    )

    reading = reading_of(file)
    with unchanged(file):
        batches = every_row(file, with_layout(layout_of(file), layout or TextLayout()), reading)
        labels = given_labels(batches, str(file), label_column)
        source = digest_file(file)
    workspace = Workspace(settings, CycleOptions(), f"feedback-{uuid.uuid4()}")
    workspace.acts.settle()
    store = InferenceStore(workspace)
    # What was answered up to now can be labelled too.
    store.seal()
    taken = store.take_labels(labels, source)
    workspace.finish_errand()
    return {
        "file": str(file),
        "source": source,
        "labels": taken.labels,
        "blank": labels.blank,
        "repeated": labels.repeated,
        "unknown": taken.unknown,
        "changed": taken.changed,
        "taken_before": None if taken.taken_before is None else taken.taken_before.isoformat(),
        "notes": list(reading.tally.notes),
    }


def _since(workspace: Workspace, text: str | None) -> datetime:
    if text is None:
        return workspace.now() - timedelta(hours=workspace.settings.file.monitoring.drift_window_hours)
    try:
        if _PERIOD.fullmatch(text):
            return workspace.now() - parse_duration(text)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise DatasetError(
            "--since is no time: give one such as 2027-01-31T12:00Z, or how long ago, such as 36h or 7d"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
