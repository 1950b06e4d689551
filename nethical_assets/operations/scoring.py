"""Batch scoring with the current model, and its entry in the inference log.

What belongs here: from a file of raw records to a file of predictions. What does not: file formats
(``core.reading.tables``) or what a record means to a family (``core.detectors``).
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.ground.digests import digest_file
from nethical_assets.core.ground.errors import NoChampionError
from nethical_assets.home.inference import InferenceStore
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa
    from upath import UPath

    from nethical_assets.core.reading.tables import TextLayout

_ROUTE = "score"
"""By which way the rows of a file were asked."""
_ID_COLUMN = "request_id"
"""In what is written: by which labels of a row can be given later."""


def score_file(
    settings: Settings, family: str, file: Path, output: Path, layout: TextLayout | None = None
) -> dict[str, Any]:
    """Score the records of ``file`` with the champion of ``family`` and write one prediction a record to ``output``.

    ``layout`` says the file's delimiter and encoding, where its name or the catalog does not.

    Records are masked before the model reads them, as those that it was trained on were. Only scores and numeric
    sketches of the inputs enter the inference log, never the records; a file that is scored again enters it once. What
    is written is screened as predictions of the evaluation are; the counts of that, of what was masked, and of cells of
    the wrong type, are in the answer and in the batch's event.

    Raises:
        NoChampionError: no model of the family was promoted yet.
        DatasetError: the file cannot be read, has not the columns of the family, or too many cells of a column are of
            the wrong type.
        IntegrityError: the model is not what was stored, or the log has no promotion of it.
    """
    from nethical_assets.core.governance.predictions import screen_outputs
    from nethical_assets.core.governance.scoring import score_records
    from nethical_assets.core.models.loading import load_detector
    from nethical_assets.core.reading.tables import (
        TextLayout,
        check_output,
        read_records,
        reading_of,
        unchanged,
        write_records,
    )

    check_output(output, file)
    entries = settings.catalog.for_family(family)
    # First: what is wrong with the file is the same with and without a model.
    spec = load_family(family)
    declared = {one.text_column for entry in entries for one in entry.files if one.text_column}
    reading = reading_of(file, objects=frozenset({*spec.text_columns, *declared} if spec.text_columns else ()))
    with unchanged(file):
        records = read_records(file, entries, layout or TextLayout(), reading)
        source = digest_file(file)
    workspace = Workspace(settings, CycleOptions(), f"score-{uuid.uuid4()}")
    workspace.acts.settle()
    champion = workspace.evidence.champion(family)
    if champion is None:
        raise NoChampionError(f"family {family} has no promoted model yet; run: nethical run --families {family}")
    detector = load_detector(workspace.registry, champion.model, spec)
    scored = score_records(
        detector,
        spec,
        records,
        entries,
        workspace.screener,
        wrong_share_max=settings.file.datasets.wrong_type_share_max,
        what=str(file),
    )
    predictions = scored.predictions
    outputs = screen_outputs(predictions, workspace.screener, scored.texts)
    ids = _request_ids(family, source, champion.decision, len(predictions))
    told = {
        "rows": len(predictions),
        "input_findings": dict(scored.masked),
        "prediction_findings": dict(outputs.by_kind),
        "wrong_cells": scored.cells.to_json(),
    }
    notes = list(reading.tally.notes)
    if len(predictions):
        written = workspace.inference_log.append(
            family,
            champion.model,
            probabilities=scored.prediction.probability,
            scores=scored.prediction.score,
            sketch=detector.sketch(scored.inputs),
            # Scoring a file again is a retry, unless another decision made the model champion in between.
            occasion=f"{source} {champion.decision}",
            when=utc_now(),
            record=lambda name, digest: workspace.record_batch(name, digest, champion.model, told),
            requests=_requests(ids, predictions),
        )
        ids, said = _logged_ids(workspace, family, written, ids)
        notes += said
    InferenceStore(workspace).seal()
    workspace.finish_errand()
    # Last: whoever has scores can be sure that the log and the drift reports know of them.
    predictions.insert(0, _ID_COLUMN, ids)
    write_records(predictions, output)
    return {
        "family": family,
        "version": champion.version,
        "model_digest": champion.model,
        **told,
        "positives": int(predictions["label"].sum()),
        "output": str(output),
        "notes": notes,
    }


def _request_ids(family: str, source: str, decision: str, rows: int) -> list[str]:
    """The id of each row of a file: the family, as of every request, the digest of the file, the beginning of that of
    the decision by which the model is champion, and the number of the row from 0."""
    named = f"{family}-{source.partition(':')[2]}-{decision.partition(':')[2][:16]}"
    return [f"{named}-{row}" for row in range(rows)]


def _logged_ids(
    workspace: Workspace, family: str, batch: UPath | None, ids: list[str]
) -> tuple[list[str], Sequence[str]]:
    """The ids that the log has the rows by, and what is to be said of them: a file that an older version logged is not
    logged again, and labels are of the ids that it was given then."""
    from nethical_assets.core.drift.inference_log import REQUEST_ID

    if batch is None:
        return ids, ()
    found, data = workspace.inference_log.stored(f"{family}/{batch.name}")
    parts = workspace.inference_log.parts_of(family, found, data, columns=[REQUEST_ID])
    logged = [
        one for part in parts if REQUEST_ID in part.rows.column_names for one in part.rows[REQUEST_ID].to_pylist()
    ]
    if len(logged) == len(ids):
        return logged, ()
    return ids, ("an older version logged this file, and its rows count once, as it had them: no labels can be given",)


def _requests(ids: list[str], predictions: pd.DataFrame) -> pa.Table:
    """What the inference log says of each row of a file beside its prediction.

    Without a time of its own: rows of a file that is scored again have to be the same bytes.
    """
    import pyarrow as pa

    from nethical_assets.core.drift.inference_log import LABEL, REQUEST_ID, ROUTE

    return pa.table(
        {
            REQUEST_ID: ids,
            LABEL: predictions["label"].to_numpy(),
            ROUTE: pa.array([_ROUTE]).take(pa.array([0] * len(predictions))),
        }
    )
