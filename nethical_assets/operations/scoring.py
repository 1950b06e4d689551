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
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings
from nethical_assets.home.workspace import Workspace, utc_now
from nethical_assets.stages.sealing import finish_errand

if TYPE_CHECKING:
    from nethical_assets.core.reading.tables import TextLayout

DECISION_THRESHOLD = 0.5


def score_file(
    settings: Settings, family: str, file: Path, output: Path, layout: TextLayout | None = None
) -> dict[str, Any]:
    """Score the records of ``file`` with the champion of ``family`` and write one prediction a record to ``output``.

    ``layout`` says the file's delimiter and encoding, where its name or the catalog does not.

    Only scores and numeric sketches of the inputs enter the inference log, never the records; a file that is scored
    again enters it once.

    Raises:
        NoChampionError: no model of the family was promoted yet.
        DatasetError: the file cannot be read, or has not the columns of the family.
        IntegrityError: the model is not what was stored, or the log has no promotion of it.
    """
    from nethical_assets.core.models.loading import load_detector
    from nethical_assets.core.reading.tables import TextLayout, check_output, read_records, write_records

    check_output(output)
    entries = settings.catalog.for_family(family)
    # First: what is wrong with the file is the same with and without a model.
    records = read_records(file, entries, layout or TextLayout())
    workspace = Workspace(settings, CycleOptions(), f"score-{uuid.uuid4()}")
    workspace.acts.settle()
    champion = workspace.evidence.champion(family)
    if champion is None:
        raise NoChampionError(f"family {family} has no promoted model yet; run: nethical run --families {family}")
    spec = load_family(family)
    inputs = spec.inputs_of(records, entries)
    detector = load_detector(workspace.registry, champion.model, spec)
    found = detector.predict(inputs)
    probability, scores = found.probability, found.score
    keys = inputs[[name for name in inputs.columns if name not in spec.input_columns]] if spec.input_columns else None
    predictions = inputs[[]] if keys is None else keys
    predictions = predictions.assign(
        label=(probability >= DECISION_THRESHOLD).astype("int8"), probability=probability, score=scores
    )
    if len(predictions):
        workspace.inference_log.append(
            family,
            champion.model,
            probabilities=probability,
            scores=scores,
            sketch=detector.sketch(inputs),
            # Scoring a file again is a retry, unless another decision made the model champion in between.
            occasion=f"{digest_file(file)} {champion.decision}",
            when=utc_now(),
            record=lambda name, digest: workspace.record_batch(name, digest, champion.model),
        )
    finish_errand(workspace)
    # Last: whoever has scores can be sure that the log and the drift reports know of them.
    write_records(predictions, output)
    return {
        "family": family,
        "version": champion.version,
        "model_digest": champion.model,
        "rows": len(predictions),
        "positives": int(predictions["label"].sum()),
        "output": str(output),
    }
