"""The model stages: training and evaluation.

What belongs here: each stage as one function of a workspace. What does not: formulas or models (``core``), or what
becomes of a model (``releases``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nethical_assets.core.datasets.canonical import SYNTHETIC
from nethical_assets.core.datasets.splits import EVALUATION, TEST, TRAIN, VALIDATION
from nethical_assets.core.detectors.artifact import choose_golden_inputs, pack, unpack
from nethical_assets.core.detectors.base import Detector, DetectorSpec, LabelledRows
from nethical_assets.core.detectors.registry import family_code_digest, load_family
from nethical_assets.core.evaluation.cross_source import leave_one_source_out
from nethical_assets.core.evaluation.metrics import Evaluation
from nethical_assets.core.evaluation.metrics import evaluate as measure
from nethical_assets.core.governance import screen_frame
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.models.registry import ModelManifest, ModelRegistry
from nethical_assets.home.progress import stage
from nethical_assets.home.records import StageOutput, StageRecord, code_digest, get_table, put_table
from nethical_assets.home.workspace import Workspace
from nethical_assets.operations.lineage import Origin, attest

if TYPE_CHECKING:
    import pandas as pd

LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy")


def train(workspace: Workspace, family: str, split: StageRecord) -> StageRecord:
    """The candidate: fitted on training rows, calibrated on validation rows, packed and stored."""
    spec = load_family(family)
    code = family_code_digest(family)
    libraries = library_versions()

    def compute() -> StageOutput:
        frame = get_table(workspace.objects, split.objects["frame"])
        manifest, files = build_model(spec, frame, splits=split.objects["frame"], seed=workspace.seed)
        facts = {
            "model": workspace.registry.add(manifest, files),
            "files": {name: len(content) for name, content in sorted(files.items())},
            "train_rows": int((frame["split"] == TRAIN).sum()),
            "validation_rows": int((frame["split"] == VALIDATION).sum()),
            "seed": workspace.seed,
            "code": code,
        }
        return StageOutput({}, facts)

    def run(*, force: bool) -> StageRecord:
        return workspace.cache.run(
            "models",
            family,
            inputs={"splits": split.objects["frame"]},
            parameters={"seed": workspace.seed, "libraries": libraries},
            code=code,
            compute=compute,
            force=force,
        )

    with stage("models", family):
        record = run(force=workspace.options.force)
        if record.reused and not is_intact(workspace.registry, record.facts["model"]):
            record = run(force=True)
        if not record.reused:
            workspace.record_event(
                "model_trained",
                {f"models/{family}": record.facts["model"]},
                parents=[split.objects["frame"]],
                payload={"code": code, "seed": workspace.seed, "train_rows": record.facts["train_rows"]},
            )
        attest(
            workspace,
            record,
            record.facts["model"],
            origins=[Origin("splits", family, split.objects["frame"])],
            materials={"code": code},
            parameters={"seed": workspace.seed, "libraries": libraries},
        )
        return record


def library_versions() -> dict[str, str]:
    """The versions of the libraries that fit models."""
    return {name: version(name) for name in LIBRARIES}


def build_model(
    spec: DetectorSpec, frame: pd.DataFrame, *, splits: str, seed: int
) -> tuple[ModelManifest, dict[str, bytes]]:
    """Fit, calibrate and pack a model on the split table ``frame``, whose digest is ``splits``; nothing is stored."""
    training, validation = labelled_rows(spec, frame, TRAIN), labelled_rows(spec, frame, VALIDATION)
    detector = spec.fit(training, validation, seed)
    files = pack(spec, detector, choose_golden_inputs(spec, validation.inputs, seed))
    manifest = ModelManifest(
        family=spec.family,
        files={name: digest_bytes(content) for name, content in sorted(files.items())},
        training={
            "splits": splits,
            "code": family_code_digest(spec.family),
            "seed": seed,
            "synthetic": bool((frame["source"] == SYNTHETIC).any()),
            "train_rows": len(training.labels),
            "hyperparameters": dict(spec.hyperparameters),
        },
        input_columns=tuple(training.inputs.columns),
        libraries=library_versions(),
    )
    return manifest, files


def evaluate(workspace: Workspace, family: str, split: StageRecord, model: StageRecord) -> StageRecord:
    """The candidate on the test split, on evaluation-only sources, and across sources."""
    settings = workspace.settings.file
    spec = load_family(family)
    measured = {
        "ece_bins": settings.performance_thresholds.ece_bins,
        "bootstrap_samples": settings.training.bootstrap_samples,
        "seed": settings.training.seed,
    }

    def compute() -> StageOutput:
        frame = get_table(workspace.objects, split.objects["frame"])
        detector = load_detector(workspace, model.facts["model"], spec)
        test = frame[frame["split"] == TEST].reset_index(drop=True)
        predictions = predict(detector, spec, test)
        evaluation = measure(
            predictions["label"].to_numpy(),
            predictions["probability"].to_numpy(),
            predictions["score"].to_numpy(),
            sources=predictions["source"].to_numpy(dtype=object),
            **measured,
        )
        across, notes = leave_one_source_out(spec, frame[frame["split"] != EVALUATION], workspace.seed, measured)
        only_measured = frame[frame["split"] == EVALUATION].reset_index(drop=True)
        held_out = _held_out(detector, spec, only_measured, measured)
        findings = screen_frame(test, spec.text_columns, workspace.screener).summary()["by_kind"]
        # matplotlib keeps a cache of fonts, by default in the user's home, where nothing of ours belongs.
        os.environ.setdefault("MPLCONFIGDIR", str(workspace.home / "cache" / "matplotlib"))
        pictures = _draw(evaluation)
        objects = {
            "predictions": put_table(workspace.objects, predictions),
            "evaluation": workspace.objects.put(pretty_json(evaluation.to_json())),
            **{name: workspace.objects.put(png) for name, png in pictures.items()},
        }
        facts = {
            "evaluation": evaluation.to_json(),
            "across_sources": across,
            "held_out_sources": held_out,
            "prediction_findings": findings,
            "notes": notes,
        }
        return StageOutput(objects, facts)

    with stage("evaluations", family):
        record = workspace.cache.run(
            "evaluations",
            family,
            inputs={"splits": split.objects["frame"], "model": model.facts["model"]},
            parameters={**measured, "ruleset": workspace.screener.ruleset.digest},
            code=code_digest("evaluation", "governance"),
            compute=compute,
        )
        if not record.reused:
            workspace.record_event(
                "model_evaluated",
                {f"evaluations/{family}": record.objects["evaluation"]},
                parents=[model.facts["model"], split.objects["frame"]],
                payload={row["metric"]: row["value"] for row in metric_rows(record)},
            )
        attest(
            workspace,
            record,
            record.objects["evaluation"],
            origins=[
                Origin("models", family, model.facts["model"]),
                Origin("splits", family, split.objects["frame"]),
            ],
            materials={
                "code": code_digest("evaluation", "governance"),
                "ruleset": workspace.screener.ruleset.digest,
            },
            parameters=measured,
        )
        return record


def labelled_rows(spec: DetectorSpec, frame: pd.DataFrame, split: str) -> LabelledRows:
    """The rows of one split as a family's ``fit`` takes them."""
    rows = frame[frame["split"] == split].reset_index(drop=True)
    return LabelledRows(rows[input_columns(spec, frame)], rows["label"].to_numpy())


def input_columns(spec: DetectorSpec, frame: pd.DataFrame) -> list[str]:
    """The input columns of a canonical frame."""
    from nethical_assets.core.detectors.base import COMMON_COLUMNS

    return list(spec.input_columns) or [name for name in frame.columns if name not in (*COMMON_COLUMNS, "split")]


def load_detector(workspace: Workspace, model: str, spec: DetectorSpec) -> Detector:
    """The stored model ``model``, every byte verified before it is used.

    Raises:
        IntegrityError: it is not what was stored.
    """
    _, files = workspace.registry.load(model)
    return unpack(spec, files)


def is_intact(registry: ModelRegistry, model: str) -> bool:
    """Whether the files of a stored model are there and match its digest."""
    try:
        registry.load(model)
    except IntegrityError:
        return False
    return True


def predict(
    detector: Detector, spec: DetectorSpec, rows: pd.DataFrame, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Label, source, score and probability of canonical rows; nothing else of them.

    ``columns`` are what the detector reads, where it was trained on other rows than these.
    """
    inputs = rows[input_columns(spec, rows) if columns is None else list(columns)]
    kept = rows[["row_id", "label", "source"]]
    return kept.assign(score=detector.score(inputs), probability=detector.probability(inputs))


def metric_rows(record: StageRecord) -> list[dict[str, Any]]:
    """Metric, value and 95 % interval of an evaluation, one row a metric."""
    metrics: Mapping[str, Mapping[str, Any]] = record.facts["evaluation"]["metrics"]
    return [
        {"metric": name, "value": m["value"], "low": m["low"], "high": m["high"], "reason": m["reason"]}
        for name, m in metrics.items()
    ]


def source_rows(record: StageRecord) -> list[dict[str, Any]]:
    """Accuracy, ROC AUC and ECE for every source: as tested, left out of training, or never trained on."""
    facts = record.facts
    kinds = (
        ("test rows", facts["evaluation"]["sources"]),
        ("left out of training", facts["across_sources"]),
        ("never trained on", facts["held_out_sources"]),
    )
    return [
        {
            "source": source["source"],
            "measured_on": kind,
            "rows": source["rows"],
            "positives": source["positives"],
            **{name: source["metrics"][name]["value"] for name in ("accuracy", "f1", "roc_auc", "ece")},
        }
        for kind, sources in kinds
        for source in sources
    ]


def evaluation_pictures(workspace: Workspace, record: StageRecord) -> dict[str, bytes]:
    """The stored PNGs: ``reliability`` and ``confusion``."""
    return {name: workspace.objects.get(record.objects[name]) for name in ("reliability", "confusion")}


def _held_out(
    detector: Detector, spec: DetectorSpec, rows: pd.DataFrame, measured: Mapping[str, int]
) -> list[dict[str, Any]]:
    if rows.empty:
        return []
    found = predict(detector, spec, rows)
    evaluation = measure(
        found["label"].to_numpy(),
        found["probability"].to_numpy(),
        found["score"].to_numpy(),
        sources=found["source"].to_numpy(dtype=object),
        **measured,
    )
    return [source.to_json() for source in evaluation.sources]


def _draw(evaluation: Evaluation) -> dict[str, bytes]:
    from nethical_assets.core.evaluation.plots import confusion_png, reliability_png

    return {"reliability": reliability_png(evaluation), "confusion": confusion_png(evaluation)}
