"""The stage of evaluations: a candidate on test rows it never saw, on evaluation-only sources, and across sources.

What belongs here: what is measured on which rows. What does not: formulas (``core.evaluation``), or deciding
    (``releasing``)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nethical_assets.core.audit.events import EventType
from nethical_assets.stages.shown import Bullets, Picture, Shown, Table
from nethical_assets.stages.splitting import SPLITS
from nethical_assets.stages.stage import Plan, Result, Stage, Work
from nethical_assets.stages.training import MODELS

if TYPE_CHECKING:
    import pandas as pd

    from nethical_assets.core.detectors.base import DetectorSpec
    from nethical_assets.core.evaluation.metrics import Evaluation
    from nethical_assets.core.governance.predictions import OutputScreening
    from nethical_assets.home.records import StageRecord
    from nethical_assets.home.workspace import Workspace


def _measured(workspace: Workspace) -> dict[str, int]:
    settings = workspace.settings.file
    return {
        "ece_bins": settings.performance_thresholds.ece_bins,
        "bootstrap_samples": settings.training.bootstrap_samples,
        "seed": settings.training.seed,
    }


def _plan(work: Work) -> Plan:
    workspace = work.workspace
    parameters = {**_measured(workspace), "refit_seed": workspace.seed}
    return Plan(parameters, {"ruleset": workspace.ruleset.digest})


def _evaluate(work: Work) -> Result:
    import numpy as np

    from nethical_assets.core.datasets.splits import EVALUATION, TEST
    from nethical_assets.core.detectors.registry import load_family
    from nethical_assets.core.evaluation.cross_source import leave_one_source_out
    from nethical_assets.core.ground.digests import pretty_json
    from nethical_assets.core.ground.parquet import get_table, put_table
    from nethical_assets.core.models.loading import input_columns, load_detector, predict

    workspace, objects = work.workspace, work.workspace.objects
    spec, measured = load_family(work.subject), _measured(workspace)
    frame = get_table(objects, work.of(SPLITS).output)
    detector = load_detector(workspace.registry, work.of(MODELS).output, spec)
    known = frame[frame["split"] != EVALUATION]
    features = None if spec.featurise is None else spec.featurise(known[input_columns(spec, known)])
    tested = np.flatnonzero(known["split"] == TEST)
    test = known.iloc[tested].reset_index(drop=True)
    predictions = predict(detector, spec, test, features=None if features is None else features.take(tested))
    evaluation = _measure(predictions, test, measured)
    across, notes = leave_one_source_out(spec, known, workspace.seed, measured, features=features)
    only_measured = frame[frame["split"] == EVALUATION].reset_index(drop=True)
    measured_only = None if only_measured.empty else predict(detector, spec, only_measured)
    outputs = _screen(predictions, test, spec, workspace)
    others = None if measured_only is None else _screen(measured_only, only_measured, spec, workspace)
    # matplotlib keeps a cache of fonts, by default in the user's home, where nothing of ours belongs.
    os.environ.setdefault("MPLCONFIGDIR", str(workspace.home / "cache" / "matplotlib"))
    stored = objects.put(pretty_json(evaluation.to_json()))
    return Result(
        stored,
        {
            "predictions": put_table(objects, predictions),
            "evaluation": stored,
            **{name: objects.put(png) for name, png in _draw(evaluation).items()},
        },
        {
            "evaluation": evaluation.to_json(),
            "across_sources": across,
            "held_out_sources": _held_out(measured_only, only_measured, measured),
            "predictions_screened": outputs.rows + (0 if others is None else others.rows),
            "prediction_findings": dict(
                sorted((Counter(outputs.by_kind) + Counter({} if others is None else others.by_kind)).items())
            ),
            "notes": notes,
        },
    )


def _measure(predictions: pd.DataFrame, rows: pd.DataFrame, measured: Mapping[str, int]) -> Evaluation:
    from nethical_assets.core.evaluation.metrics import evaluate

    return evaluate(
        predictions["label"].to_numpy(),
        predictions["probability"].to_numpy(),
        predictions["score"].to_numpy(),
        sources=predictions["source"].to_numpy(dtype=object),
        groups=rows["group"].to_numpy(dtype=object),
        **measured,
    )


def _held_out(
    predictions: pd.DataFrame | None, rows: pd.DataFrame, measured: Mapping[str, int]
) -> list[dict[str, Any]]:
    from nethical_assets.core.ground.documents import to_document

    if predictions is None:
        return []
    return [to_document(source) for source in _measure(predictions, rows, measured).sources]


def _screen(predictions: pd.DataFrame, rows: pd.DataFrame, spec: DetectorSpec, workspace: Workspace) -> OutputScreening:
    """What is in predictions, as scoring would write them, and in what is kept beside them; the identity of a row is a
    digest that this platform made."""
    from nethical_assets.core.governance.predictions import screen_outputs
    from nethical_assets.core.models.loading import DECISION_THRESHOLD

    called = (predictions["probability"] >= DECISION_THRESHOLD).astype("int8")
    inputs = rows[spec.text_columns[0]] if spec.text_columns else None
    return screen_outputs(predictions.drop(columns="row_id").assign(label=called), workspace.screener, inputs)


def _draw(evaluation: Evaluation) -> dict[str, bytes]:
    from nethical_assets.core.evaluation.plots import confusion_png, reliability_png

    return {"reliability": reliability_png(evaluation), "confusion": confusion_png(evaluation)}


def metric_rows(record: StageRecord) -> list[dict[str, Any]]:
    """Metric, value and 95 % interval of an evaluation, one row a metric."""
    metrics: Mapping[str, Mapping[str, Any]] = record.facts["evaluation"]["metrics"]
    return [
        {"metric": name, "value": m["value"], "low": m["low"], "high": m["high"], "reason": m["reason"]}
        for name, m in metrics.items()
    ]


def source_rows(record: StageRecord) -> list[dict[str, Any]]:
    """Accuracy, F1, ROC AUC and ECE for every source: as tested, left out of training, or never trained on."""
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


def _shown(workspace: Workspace, record: StageRecord) -> Mapping[str, Shown]:
    facts = record.facts
    numbers = {row["metric"]: float(row["value"]) for row in metric_rows(record) if row["value"] is not None}
    pictures = {name: workspace.objects.get(record.objects[name]) for name in ("reliability", "confusion")}
    return {
        **numbers,
        "test_rows": facts["evaluation"]["rows"],
        "metrics": Table(metric_rows(record)),
        "reliability_diagram": Picture("Reliability diagram", pictures["reliability"]),
        "confusion_matrix": Picture("Confusion matrix", pictures["confusion"]),
        "by_source": Table(source_rows(record)),
        "predictions_screened": facts["predictions_screened"],
        "prediction_findings": Table(
            [{"kind": kind, "findings": count} for kind, count in facts["prediction_findings"].items()]
        ),
        "notes": Bullets(facts["notes"]),
    }


EVALUATIONS = Stage(
    name="evaluations",
    scope="family",
    description="Metrics with 95 % intervals on the test split, a reliability diagram and a confusion matrix; for "
    "several sources also leave-one-source-out, which says what to expect of data from elsewhere.",
    owner="team:ml-engineers",
    needs=(SPLITS, MODELS),
    run=_evaluate,
    plan=_plan,
    event=EventType.MODEL_EVALUATED,
    tells=lambda record: {
        **{row["metric"]: row["value"] for row in metric_rows(record)},
        "predictions_screened": record.facts["predictions_screened"],
        "prediction_findings": record.facts["prediction_findings"],
    },
    shows=_shown,
    sums_up=lambda record: {"metrics": record.facts["evaluation"]["metrics"]},
    kinds=frozenset({"sklearn"}),
    of_family=True,
    in_chain=True,
)
