"""What somebody who can write the models' folder may try: each refused, with its own line."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from nethical_assets.core.detectors import artifact
from nethical_assets.core.detectors.artifact import unpack
from nethical_assets.core.detectors.base import DetectorSpec
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.models.registry import MANIFEST, MAXIMUM_FILE_BYTES, ModelRegistry
from nethical_assets.core.signing.keys import ModelKeys
from nethical_assets.core.signing.signatures import ModelSignatures
from tests.pins import GivenPins

from .conftest import manifest_of
from .test_signatures import folder_of, signature_of


class _Payload:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def forest_file(files: dict[str, bytes]) -> str:
    (name,) = [name for name, data in files.items() if name.endswith(".safetensors") and "roots" in load_tensors(data)]
    return name


def patched(files: dict[str, bytes], change: Callable[[dict[str, np.ndarray]], None]) -> dict[str, bytes]:
    """The artifact with a changed forest, its inner manifest rewritten so that every digest in it fits."""
    name = forest_file(files)
    tensors = {key: value.copy() for key, value in load_tensors(files[name]).items()}
    change(tensors)
    return consistent({**files, name: save_tensors(tensors)})


def consistent(files: dict[str, bytes]) -> dict[str, bytes]:
    inner = json.loads(files[artifact.MANIFEST])
    inner["files"] = {
        name: {"digest": digest_bytes(data), "bytes": len(data)}
        for name, data in sorted(files.items())
        if name != artifact.MANIFEST
    }
    return {**files, artifact.MANIFEST: pretty_json(inner)}


def swap_a_leaf(tensors: dict[str, np.ndarray]) -> None:
    leaves = np.flatnonzero(tensors["left"] == np.arange(len(tensors["left"])))
    tensors["value"][leaves] = 1.0 - tensors["value"][leaves]


def make_a_cycle(tensors: dict[str, np.ndarray]) -> None:
    inner = np.flatnonzero(tensors["left"] != np.arange(len(tensors["left"])))
    tensors["left"][inner[-1]] = 0


def ask_for_another_feature(tensors: dict[str, np.ndarray]) -> None:
    tensors["feature"][0] = 10_000


def leave_the_range(tensors: dict[str, np.ndarray]) -> None:
    tensors["value"][0] = 7.0


def refused(registry: ModelRegistry, model: str) -> str:
    with pytest.raises(IntegrityError) as caught:
        registry.load(model)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_patched_tree_does_not_match_its_digest(
    registry: ModelRegistry, model: str, forest_files: dict[str, bytes]
) -> None:
    name = forest_file(forest_files)
    (folder_of(registry, model) / name).write_bytes(patched(forest_files, swap_a_leaf)[name])
    assert f"{name}: bytes do not match their digest" in refused(registry, model)


def test_a_patched_model_with_a_manifest_of_its_own_has_no_signature(
    registry: ModelRegistry, model: str, forest_files: dict[str, bytes]
) -> None:
    changed = patched(forest_files, swap_a_leaf)
    forged = ModelRegistry(registry.base).add(manifest_of(changed), changed)
    assert "has no signature" in refused(registry, forged)


def test_the_signature_of_another_model_is_refused(
    registry: ModelRegistry, model: str, forest_files: dict[str, bytes]
) -> None:
    changed = patched(forest_files, swap_a_leaf)
    forged = ModelRegistry(registry.base).add(manifest_of(changed), changed)
    shutil.copy(signature_of(registry, model), signature_of(registry, forged))
    assert "is the signature of another model" in refused(registry, forged)


def test_a_signature_by_a_stranger_is_refused(
    registry: ModelRegistry, model: str, forest_files: dict[str, bytes], tmp_path: Path
) -> None:
    assert registry.signatures is not None
    stranger = ModelKeys(tmp_path / "stranger", GivenPins(), environment={})
    path = signature_of(registry, model)
    path.unlink()
    files = {**forest_files, MANIFEST: manifest_of(forest_files).to_bytes()}
    ModelSignatures(registry.signatures.base, stranger).sign(model, files)
    assert "which is not trusted" in refused(registry, model)


def test_a_swapped_signature_value_does_not_verify(
    registry: ModelRegistry, model: str, forest_files: dict[str, bytes]
) -> None:
    changed = patched(forest_files, swap_a_leaf)
    other = registry.add(manifest_of(changed), changed)
    mine, theirs = (json.loads(signature_of(registry, one).read_bytes()) for one in (model, other))
    mine["dsseEnvelope"]["signatures"] = theirs["dsseEnvelope"]["signatures"]
    signature_of(registry, model).write_text(json.dumps(mine))
    assert "the signature does not verify" in refused(registry, model)


def test_a_swapped_manifest_is_refused(registry: ModelRegistry, model: str, forest_files: dict[str, bytes]) -> None:
    changed = patched(forest_files, swap_a_leaf)
    other = registry.add(manifest_of(changed), changed)
    shutil.copy(folder_of(registry, other) / MANIFEST, folder_of(registry, model) / MANIFEST)
    assert "does not match the model digest" in refused(registry, model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap_a_leaf, "score"),
        (make_a_cycle, "a node's children lie outside its tree or before it"),
        (ask_for_another_feature, "asks for a feature that does not exist"),
        (leave_the_range, "value is not in"),
    ],
)
def test_even_a_signed_patched_tree_is_not_loaded(
    registry: ModelRegistry,
    spec: DetectorSpec,
    forest_files: dict[str, bytes],
    change: Callable[[dict[str, np.ndarray]], None],
    message: str,
) -> None:
    """An insider with the key can sign anything; structure and golden predictions are checked all the same."""
    changed = patched(forest_files, change)
    _, files = registry.load(registry.add(manifest_of(changed), changed))
    with pytest.raises(IntegrityError, match=message):
        unpack(spec, files)


def test_an_extra_file_is_refused(registry: ModelRegistry, model: str) -> None:
    (folder_of(registry, model) / "notes.txt").write_text("hello")
    assert "files differ from the manifest: notes.txt" in refused(registry, model)


def test_a_pickle_in_the_folder_is_refused(registry: ModelRegistry, model: str) -> None:
    (folder_of(registry, model) / "model.pkl").write_bytes(pickle.dumps(_Payload()))
    assert "files differ from the manifest: model.pkl" in refused(registry, model)
    assert not Path("executed").exists()


def test_a_pickle_in_the_manifest_is_refused(registry: ModelRegistry, forest_files: dict[str, bytes]) -> None:
    files = {**forest_files, "model.pkl": pickle.dumps(_Payload())}
    with pytest.raises(IntegrityError, match=r"'model.pkl' is refused: allowed are .*, and never a pickle"):
        registry.add(manifest_of(files), files)
    manifest = manifest_of(files).to_bytes()
    folder = folder_of(registry, digest_bytes(manifest))
    folder.mkdir(parents=True)
    for name, content in {**files, MANIFEST: manifest}.items():
        (folder / name).write_bytes(content)
    assert "'model.pkl' is refused" in refused(registry, digest_bytes(manifest))


def test_a_pickle_under_an_allowed_name_is_no_artifact(
    registry: ModelRegistry, spec: DetectorSpec, forest_files: dict[str, bytes]
) -> None:
    name = forest_file(forest_files)
    changed = consistent({**forest_files, name: pickle.dumps(_Payload())})
    _, files = registry.load(registry.add(manifest_of(changed), changed))
    with pytest.raises(IntegrityError, match="not a safetensors file"):
        unpack(spec, files)
    assert not Path("executed").exists()


def test_a_symbolic_link_is_refused(registry: ModelRegistry, model: str, forest_files: dict[str, bytes]) -> None:
    path = folder_of(registry, model) / forest_file(forest_files)
    path.rename(path.parent.parent / "elsewhere")
    path.symlink_to(path.parent.parent / "elsewhere")
    assert "is a symbolic link" in refused(registry, model)


def test_a_signature_that_is_a_symbolic_link_is_refused(registry: ModelRegistry, model: str, tmp_path: Path) -> None:
    path = signature_of(registry, model)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link, which a signature never is" in refused(registry, model)


def test_an_enormous_file_is_not_even_read(registry: ModelRegistry, model: str, forest_files: dict[str, bytes]) -> None:
    os.truncate(folder_of(registry, model) / forest_file(forest_files), MAXIMUM_FILE_BYTES + 1)
    assert f"larger than {MAXIMUM_FILE_BYTES} bytes" in refused(registry, model)


def test_an_enormous_signature_is_not_even_read(registry: ModelRegistry, model: str) -> None:
    os.truncate(signature_of(registry, model), 1 << 33)
    assert "at most 4194304 are allowed" in refused(registry, model)


def test_a_decompression_bomb_is_never_unpacked(
    registry: ModelRegistry, spec: DetectorSpec, forest_files: dict[str, bytes]
) -> None:
    name = forest_file(forest_files)
    bomb = gzip.compress(b"\0" * (64 << 20))
    changed = consistent({**forest_files, name: bomb})
    _, files = registry.load(registry.add(manifest_of(changed), changed))
    with pytest.raises(IntegrityError, match="not a safetensors file, or its header is not within"):
        unpack(spec, files)


def test_a_header_that_claims_an_enormous_tensor_is_refused(
    registry: ModelRegistry, spec: DetectorSpec, forest_files: dict[str, bytes]
) -> None:
    name = forest_file(forest_files)
    header = json.dumps({"value": {"dtype": "F64", "shape": [1 << 60], "data_offsets": [0, 1 << 63]}}).encode()
    changed = consistent({**forest_files, name: struct.pack("<Q", len(header)) + header})
    _, files = registry.load(registry.add(manifest_of(changed), changed))
    with pytest.raises(IntegrityError, match="not readable as safetensors"):
        unpack(spec, files)


def test_a_manifest_nested_without_end_is_refused(registry: ModelRegistry) -> None:
    data = b"[" * 200_000
    folder = folder_of(registry, digest_bytes(data))
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(data)
    assert "not a model manifest" in refused(registry, digest_bytes(data))
