"""Homes with promoted models, made without the orchestrator in a second or two.

What belongs here: models fitted on synthetic data, stored, signed and promoted through the log as the product does it.
What does not: fixtures.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.expected import promotion_payload, promotion_subjects
from nethical_assets.core.detectors.artifact import choose_golden_inputs, pack
from nethical_assets.core.detectors.base import LabelledRows
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.drift.segments import read_segment
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.home.changes import place_pointer
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.stores import segment_folder
from nethical_assets.home.workspace import Workspace
from tests.core.models.conftest import manifest_of, pointer_of
from tests.orchestration import environment_of

ROWS = {"logistic": 600, "prompt_injection": 400, "heuristic": 600}
SIGNALS = {
    "violation_count": 0.9,
    "severity_max": 0.8,
    "recency_score": 0.2,
    "frequency_score": 0.4,
    "context_risk": 0.5,
}
"""A raw record that the logistic model of these homes reads."""


def fit(family: str, seed: int) -> dict[str, bytes]:
    """The artifact of a small model; another one for another seed."""
    spec = load_family(family)
    frame = spec.synthesise(ROWS[family], np.random.default_rng(seed))
    columns = [name for name in frame.columns if name != "label"]
    half = len(frame) // 2
    training, validation = (
        LabelledRows(part[columns].reset_index(drop=True), part["label"].to_numpy(dtype=np.int8))
        for part in (frame.iloc[:half], frame.iloc[half:])
    )
    detector = spec.fit(training, validation, seed)
    return pack(spec, detector, choose_golden_inputs(spec, validation.inputs, seed))


def add_model(workspace: Workspace, family: str, seed: int) -> str:
    """Fit and store a model; its digest."""
    files = fit(family, seed)
    return workspace.registry.add(manifest_of(files, family, training={"seed": seed}), files)


def promote(settings: Settings, family: str, model: str, version: str) -> None:
    """Make a stored model the champion, through the log."""
    workspace = Workspace(settings, CycleOptions(), f"promote-{uuid.uuid4()}")
    decision = digest_bytes(f"{family} {model} {version}".encode())
    pointer = pointer_of(model, family=family, version=version, decision=decision, run_id=workspace.run_id)
    before = workspace.registry.champion(family)
    if before is not None and before.model != model:
        workspace.act(
            EventType.MODEL_ARCHIVED,
            {f"models/{family}": before.model},
            place_pointer(replace(before, replaced_at=pointer.decided_at), "archived"),
            parents=[decision],
        )
    workspace.act(
        EventType.MODEL_PROMOTED,
        promotion_subjects(pointer),
        place_pointer(pointer, "current"),
        parents=[decision],
        payload=promotion_payload(pointer),
    )
    workspace.record_event(EventType.RUN_COMPLETED, {})
    workspace.seal()
    workspace.end()


@dataclass(frozen=True)
class ServedHome:
    """A home and the models that are stored in it: family -> digests, the first one promoted."""

    settings: Settings
    environment: dict[str, str]
    models: dict[str, list[str]]

    def promote(self, family: str, number: int, version: str) -> str:
        """Promote a stored model; its digest."""
        model = self.models[family][number]
        promote(self.settings, family, model, version)
        return model

    def pointer(self, family: str) -> Path:
        """Where the champion's pointer is."""
        return self.settings.home / "models" / "current" / f"{family}.json"

    def logged(self) -> list[Any]:
        """Every row of the segments."""
        return [row for path in sorted(segment_folder(self.settings.home).glob("*.*")) for row in read_segment(path)]


def build(folder: Path, families: dict[str, int], **changes: Any) -> dict[str, list[str]]:
    """A home below ``folder`` with so many models of each family, the first promoted; their digests."""
    settings = load_settings(environment_of(folder, **changes))
    workspace = Workspace(settings, CycleOptions(), "models")
    models = {
        family: [add_model(workspace, family, seed) for seed in range(count)] for family, count in families.items()
    }
    workspace.record_event(EventType.RUN_COMPLETED, {})
    workspace.seal()
    workspace.end()
    for family, digests in models.items():
        promote(settings, family, digests[0], "1.0.0")
    return models


def text_records(count: int, seed: int = 3) -> list[dict[str, str]]:
    """Texts that the prompt injection family reads."""
    frame: pd.DataFrame = load_family("prompt_injection").synthesise(count, np.random.default_rng(seed))
    return [{"text": text} for text in frame["text"].tolist()]


def signal_records(count: int, seed: int = 3) -> list[dict[str, float]]:
    """Records that the logistic model reads."""
    frame: pd.DataFrame = load_family("logistic").synthesise(count, np.random.default_rng(seed))
    return [{str(name): value for name, value in row.items()} for row in frame[list(SIGNALS)].to_dict("records")]
