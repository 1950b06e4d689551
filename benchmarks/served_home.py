"""A home with promoted models for the gateway's benchmark, made without the orchestrator.

What belongs here: models of synthetic data, stored, signed and promoted through the log as the product does it, and the
records that they are asked about. What does not: a measurement.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.single_record import connections, labelled_parts, records_of
from nethical_assets.core.audit.events import EventType
from nethical_assets.core.delivery.expected import promotion_payload, promotion_subjects
from nethical_assets.core.detectors.artifact import choose_golden_inputs, pack
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.models.registry import ModelManifest, ModelPointer
from nethical_assets.home.changes import place_pointer
from nethical_assets.home.options import CycleOptions
from nethical_assets.home.settings import Settings, load_settings
from nethical_assets.home.workspace import Workspace, utc_now

FAMILIES = {"logistic": 2, "prompt_injection": 1}


@dataclass(frozen=True)
class ServedHome:
    """A home and its stored models, family -> digests, of which the first is promoted."""

    settings: Settings
    environment: Mapping[str, str]
    models: Mapping[str, list[str]]


def make_home(folder: Path) -> ServedHome:
    """A home in ``folder`` with two logistic models of connections with 42 fields, and one of prompts."""
    environment = {**os.environ, "NETHICAL_HOME": str(folder), "PYTHONWARNINGS": "ignore"}
    settings = load_settings(environment)
    workspace = Workspace(settings, CycleOptions(), f"models-{uuid.uuid4()}")
    models = {
        family: [_store(workspace, family, 7 + number) for number in range(count)] for family, count in FAMILIES.items()
    }
    _finish(workspace)
    for family, digests in models.items():
        promote(settings, family, digests[0], "1.0.0")
    return ServedHome(settings, environment, models)


def connection_records(settings: Settings, count: int) -> list[dict[str, Any]]:
    """Raw records of the logistic models: a connection has 41 fields of NSL-KDD and no label."""
    unasked = ("attack", "difficulty")
    return [
        {name: value for name, value in record.items() if name not in unasked}
        for record in connections(settings.catalog, count)
    ]


def prompts(count: int) -> list[dict[str, Any]]:
    """Raw records of the model of prompts: 74 to 235 characters, some of them encoded; none holds personal data."""
    frame = load_family("prompt_injection").synthesise(count, np.random.default_rng(11))
    return records_of(frame[["text"]])


def promote(settings: Settings, family: str, model: str, version: str) -> None:
    """Make a stored model the champion, through the log."""
    workspace = Workspace(settings, CycleOptions(), f"promote-{uuid.uuid4()}")
    decision = digest_bytes(f"{family} {model} {version}".encode())
    pointer = ModelPointer(
        family=family,
        model=model,
        version=version,
        decision=decision,
        decided_at=utc_now().isoformat(timespec="microseconds"),
        run_id=workspace.run_id,
        evaluation=digest_bytes(b"evaluation"),
        thresholds=digest_bytes(b"thresholds"),
        compared_with="",
        verdict="promoted",
        reasons=("chosen by a benchmark",),
        metrics={},
    )
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
    _finish(workspace)


def _store(workspace: Workspace, family: str, seed: int) -> str:
    spec = load_family(family)
    training, validation = labelled_parts(spec, workspace.settings.catalog, seed)
    files = pack(spec, spec.fit(training, validation, seed), choose_golden_inputs(spec, validation.inputs, seed))
    manifest = ModelManifest(
        family=family,
        files={name: digest_bytes(content) for name, content in files.items()},
        training={"seed": seed},
        input_columns=tuple(str(name) for name in validation.inputs.columns),
        libraries={},
    )
    return workspace.registry.add(manifest, files)


def _finish(workspace: Workspace) -> None:
    workspace.record_event(EventType.RUN_COMPLETED, {})
    workspace.seal()
    workspace.end()
