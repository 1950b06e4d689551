"""Keys, a signed registry, and a forest model in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from nethical_assets.core.detectors.artifact import choose_golden_inputs, pack
from nethical_assets.core.detectors.base import DetectorSpec, LabelledRows
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.models.registry import ModelManifest, ModelRegistry
from nethical_assets.core.signing.keys import ModelKeys
from nethical_assets.core.signing.signatures import ModelSignatures
from tests.pins import GivenPins

FOREST_FAMILY = "correlation"


def manifest_of(files: Mapping[str, bytes]) -> ModelManifest:
    return ModelManifest(
        family=FOREST_FAMILY,
        files={name: digest_bytes(content) for name, content in files.items()},
        training={"splits": digest_bytes(b"splits"), "code": digest_bytes(b"code"), "seed": 7, "synthetic": True},
        input_columns=("a",),
        libraries={"numpy": "2.4.0"},
    )


@pytest.fixture
def keys(tmp_path: Path) -> ModelKeys:
    return ModelKeys(tmp_path / "models" / "keys", GivenPins(), environment={})


@pytest.fixture
def registry(tmp_path: Path, keys: ModelKeys) -> ModelRegistry:
    models = tmp_path / "models"
    return ModelRegistry(models, signatures=ModelSignatures(models / "signatures", keys))


@pytest.fixture(scope="session")
def spec() -> DetectorSpec:
    return load_family(FOREST_FAMILY)


@pytest.fixture(scope="session")
def forest_files(spec: DetectorSpec) -> dict[str, bytes]:
    """The artifact of a small forest model."""
    frame = spec.synthesise(400, np.random.default_rng(3))
    rows = LabelledRows(frame[list(spec.input_columns)], frame["label"].to_numpy().astype("int8"))
    return pack(spec, spec.fit(rows, rows, 3), choose_golden_inputs(spec, rows.inputs, 3))


@pytest.fixture
def model(registry: ModelRegistry, forest_files: dict[str, bytes]) -> str:
    """The digest of the forest model in the registry."""
    return registry.add(manifest_of(forest_files), forest_files)
