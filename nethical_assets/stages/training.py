"""The stage of models: a candidate, fitted on training rows and calibrated on validation rows.

What belongs here: fitting, packing and storing one candidate. What does not: models themselves (``core.detectors``), or
what becomes of a candidate (``releasing``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from nethical_assets.core.audit import subjects
from nethical_assets.core.audit.events import EventType
from nethical_assets.stages.shown import Shown, Table
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Plan, Result, Stage, Work, code_digest

if TYPE_CHECKING:
    import pandas as pd

    from nethical_assets.core.detectors.base import DetectorSpec
    from nethical_assets.core.models.registry import ModelManifest
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.settings import Settings
    from nethical_assets.home.workspace import Workspace

LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy")


def library_versions() -> dict[str, str]:
    """The versions of the libraries that fit models."""
    return {name: version(name) for name in LIBRARIES}


def build_model(
    spec: DetectorSpec, frame: pd.DataFrame, *, splits: str, seed: int, code: str
) -> tuple[ModelManifest, dict[str, bytes]]:
    """Fit, calibrate and pack a model on the split table ``frame``, whose digest is ``splits``; nothing is stored.

    ``code`` is the digest of the code that does it, for the manifest.

    Raises:
        TrainingError: the family cannot be trained on these rows.
    """
    from nethical_assets.core.datasets.availability import SYNTHETIC
    from nethical_assets.core.datasets.splits import TRAIN, VALIDATION
    from nethical_assets.core.detectors.artifact import choose_golden_inputs, pack
    from nethical_assets.core.ground.digests import digest_bytes
    from nethical_assets.core.models.loading import labelled_rows
    from nethical_assets.core.models.registry import ModelManifest

    training, validation = labelled_rows(spec, frame, TRAIN), labelled_rows(spec, frame, VALIDATION)
    detector = spec.fit(training, validation, seed)
    files = pack(spec, detector, choose_golden_inputs(spec, validation.inputs, seed))
    manifest = ModelManifest(
        family=spec.family,
        files={name: digest_bytes(content) for name, content in sorted(files.items())},
        training={
            "splits": splits,
            "code": code,
            "seed": seed,
            "synthetic": bool((frame["source"] == SYNTHETIC).any()),
            "train_rows": len(training.labels),
            "hyperparameters": dict(spec.hyperparameters),
        },
        input_columns=tuple(training.inputs.columns),
        libraries=library_versions(),
    )
    return manifest, files


def _train(work: Work) -> Result:
    from nethical_assets.core.datasets.splits import TRAIN, VALIDATION
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.ground.parquet import get_table

    workspace, split = work.workspace, work.of(SPLITS)
    frame = get_table(workspace.objects, split.output)
    code = code_digest(workspace, MODELS, work.subject)
    began = time.perf_counter()
    manifest, files = build_model(load_family(work.subject), frame, splits=split.output, seed=workspace.seed, code=code)
    seconds = time.perf_counter() - began
    model = workspace.registry.add(manifest, files)
    return Result(
        model,
        facts={
            "model": model,
            "files": {name: len(content) for name, content in sorted(files.items())},
            "train_rows": int((frame["split"] == TRAIN).sum()),
            "validation_rows": int((frame["split"] == VALIDATION).sum()),
            "seed": workspace.seed,
            "code": code,
            "trained_at": workspace.now().isoformat(timespec="seconds"),
            "training_seconds": round(seconds, 3),
        },
    )


def _plan(work: Work) -> Plan:
    workspace = work.workspace
    return Plan({"seed": workspace.seed, "libraries": library_versions()}, lookup=not workspace.options.force)


def _is_intact(workspace: Workspace, record: StageRecord) -> bool:
    return workspace.registry.is_intact(record.output)


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    return {
        "model": facts["model"],
        "training_rows": facts["train_rows"],
        "validation_rows": facts["validation_rows"],
        "trained_at": facts["trained_at"],
        # Records of older versions do not say it.
        **({"training_seconds": facts["training_seconds"]} if "training_seconds" in facts else {}),
        "seed": facts["seed"],
        "code": facts["code"],
        "artifact_bytes": sum(facts["files"].values()),
        "files": Table([{"file": name, "bytes": size} for name, size in facts["files"].items()]),
    }


def _description(settings: Settings, family: str) -> str:
    from nethical_assets.core.detectors.registry import family_summary

    return family_summary(family)


MODELS = Stage(
    name=subjects.MODELS,
    scope="family",
    description=_description,
    owner="team:ml-engineers",
    needs=(SPLITS,),
    known_by_object=False,
    run=_train,
    plan=_plan,
    event=EventType.MODEL_TRAINED,
    tells=lambda record: {name: record.facts[name] for name in ("code", "seed", "train_rows")},
    intact=_is_intact,
    shows=_shown,
    kinds=frozenset({"sklearn", "safetensors"}),
    of_family=True,
    in_chain=True,
)
