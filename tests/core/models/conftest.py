"""A registry, and models to put into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.models.registry import ModelManifest, ModelPointer, ModelRegistry


def manifest_of(files: dict[str, bytes], family: str = "logistic", **changes: Any) -> ModelManifest:
    values: dict[str, Any] = {
        "family": family,
        "files": {name: digest_bytes(content) for name, content in files.items()},
        "training": {"code": "c1", "seed": 42},
        "input_columns": ("a", "b"),
        "libraries": {"numpy": "2.4"},
    }
    return ModelManifest(**{**values, **changes})


def pointer_of(model: str, **changes: Any) -> ModelPointer:
    values: dict[str, Any] = {
        "family": "logistic",
        "model": model,
        "version": "1.0.0",
        "decision": digest_bytes(b"decision"),
        "decided_at": "2026-11-01T00:00:00.000000+00:00",
        "run_id": "run-1",
        "evaluation": digest_bytes(b"evaluation"),
        "thresholds": digest_bytes(b"thresholds"),
        "compared_with": "",
        "verdict": "promoted",
        "reasons": ("good enough",),
        "metrics": {"accuracy": 0.9, "roc_auc": None},
    }
    return ModelPointer(**{**values, **changes})


def promote(registry: ModelRegistry, pointer: ModelPointer) -> None:
    """What the acts of a promotion do: the champion that is replaced is archived first, then the new one placed."""
    replaced = registry.champion(pointer.family)
    if replaced is not None and replaced.model != pointer.model:
        registry.set_archived(replace(replaced, replaced_at=pointer.decided_at))
    registry.set_champion(pointer)


def files_of(number: int) -> dict[str, bytes]:
    return {"model.json": f"model {number}".encode(), "weights.safetensors": bytes([number]) * 100}


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


@pytest.fixture
def add(registry: ModelRegistry) -> Callable[..., str]:
    """Store model ``number`` and return its digest."""

    def add_model(number: int) -> str:
        return registry.add(manifest_of(files_of(number)), files_of(number))

    return add_model
