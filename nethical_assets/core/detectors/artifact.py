"""The artifact format: a fitted detector as a set of small files without executable content, and its verified loading.

What belongs here: reading and writing the JSON and safetensors files of any family defensively, the manifest that ties
them together, and golden predictions. What does not: which parameters a family has (``families``), or where files are
kept and signed (``core.delivery``).

A packed artifact has the family's own files, ``golden.json`` (a few inputs with the score and probability they had
when the model was fitted) and ``manifest.json`` (format, family, digest and size of every other file). Loading checks,
in this order: sizes, the exact set of files, digests, structure, finite parameters, and that the golden inputs still
score the same. It never unpickles and never decompresses.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nethical_assets.core.detectors.base import Detector, DetectorSpec
from nethical_assets.core.ground.digests import digest_bytes, pretty_json
from nethical_assets.core.ground.errors import DatasetError, IntegrityError
from nethical_assets.core.ground.validation_errors import describe_validation_error

MANIFEST = "manifest.json"
GOLDEN = "golden.json"
FORMAT = "nethical-detector-1"
GOLDEN_ROWS = 16
SCORE_TOLERANCE = 1e-6
_MAXIMUM_JSON_BYTES = 8 << 20
_MAXIMUM_TENSOR_BYTES = 256 << 20
_MAXIMUM_HEADER_BYTES = 64 << 10
_MAXIMUM_FILES = 16
_DTYPES = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "I32": np.dtype("<i4")}

Tensor = npt.NDArray[Any]
_Model = TypeVar("_Model", bound=BaseModel)


class FileModel(BaseModel):
    """What the JSON files of artifacts are declared with: exact types, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _File(FileModel):
    digest: str
    bytes: int = Field(ge=0)


class _Manifest(FileModel):
    format: str
    family: str
    files: dict[str, _File] = Field(max_length=_MAXIMUM_FILES)


class _Column(FileModel):
    name: str
    kind: str = Field(pattern="^(number|text)$")
    values: list[float | int | str | None] = Field(max_length=1000)


class _Golden(FileModel):
    columns: list[_Column] = Field(max_length=10_000)
    score: list[float] = Field(min_length=1, max_length=1000)
    probability: list[float] = Field(min_length=1, max_length=1000)


def pack(spec: DetectorSpec, detector: Detector, golden_inputs: pd.DataFrame) -> dict[str, bytes]:
    """The artifact of ``detector``: file name -> bytes, the same bytes for the same detector and golden inputs.

    Args:
        golden_inputs: at least one row of the family's input columns; stored in the clear, so never personal text
            (``choose_golden_inputs`` picks suitable ones).

    Raises:
        DatasetError: no golden inputs, or not the family's columns.
        IntegrityError: the detector does not survive its own round trip.
    """
    if golden_inputs.empty:
        raise DatasetError(f"family {spec.family}: an artifact needs at least one golden input row, got none")
    files = dict(detector.to_files())
    files[GOLDEN] = pretty_json(_golden(detector, golden_inputs))
    described = {name: {"digest": digest_bytes(data), "bytes": len(data)} for name, data in sorted(files.items())}
    files[MANIFEST] = pretty_json({"format": FORMAT, "family": spec.family, "files": described})
    unpack(spec, files)
    return files


def unpack(spec: DetectorSpec, files: Mapping[str, bytes]) -> Detector:
    """The detector in ``files``, verified.

    Raises:
        IntegrityError: anything is missing, added, changed, oversized, malformed, not finite, of another family, or
            scores its golden inputs differently; one line that names the file.
    """
    if len(files) > _MAXIMUM_FILES + 1:
        raise IntegrityError(f"artifact of {spec.family}: {len(files)} files, at most {_MAXIMUM_FILES + 1} are allowed")
    for name, data in files.items():
        limit = _MAXIMUM_JSON_BYTES if name.endswith(".json") else _MAXIMUM_TENSOR_BYTES
        if len(data) > limit:
            raise IntegrityError(f"{name}: {len(data)} bytes, at most {limit} are allowed")
    manifest = read_model(files, MANIFEST, _Manifest)
    if files[MANIFEST] != pretty_json(manifest.model_dump()):
        raise IntegrityError(f"{MANIFEST}: not in the form it is written in; restore it from a backup")
    if manifest.format != FORMAT:
        raise IntegrityError(f"{MANIFEST}: format {manifest.format!r} is unknown; this version reads {FORMAT!r}")
    if manifest.family != spec.family:
        raise IntegrityError(f"{MANIFEST}: is of family {manifest.family!r}, expected {spec.family!r}")
    expect_files(files, {*manifest.files, MANIFEST})
    for name, described in manifest.files.items():
        if len(files[name]) != described.bytes or digest_bytes(files[name]) != described.digest:
            raise IntegrityError(f"{name}: bytes do not match {MANIFEST}; restore it from a backup")
    golden = read_model(files, GOLDEN, _Golden)
    own = {name: data for name, data in files.items() if name not in (MANIFEST, GOLDEN)}
    detector = spec.load(own)
    _check_golden(detector, golden)
    return detector


def choose_golden_inputs(spec: DetectorSpec, inputs: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Up to GOLDEN_ROWS input rows to store with a model.

    Families with text get synthetic rows, because what people wrote does not belong into a model file; the others
    get real rows of screened records, chosen by content so that the choice does not depend on row order.
    """
    if spec.text_columns:
        return spec.synthesise(GOLDEN_ROWS, np.random.default_rng(seed))[list(spec.input_columns)]
    keys = pd.util.hash_pandas_object(inputs, index=False, categorize=False).to_numpy()
    return inputs.iloc[np.argsort(keys, kind="stable")[:GOLDEN_ROWS]].reset_index(drop=True)


def expect_files(files: Mapping[str, bytes], expected: set[str]) -> None:
    """Check that ``files`` has exactly the ``expected`` names.

    Raises:
        IntegrityError: one is missing or extra; the message names it.
    """
    for name in sorted(expected - set(files)):
        raise IntegrityError(f"{name}: missing from the artifact; restore it from a backup")
    for name in sorted(set(files) - expected):
        raise IntegrityError(f"{name}: not part of the artifact, which consists of {', '.join(sorted(expected))}")


def read_model(files: Mapping[str, bytes], name: str, model: type[_Model]) -> _Model:
    """The JSON file ``name`` as a ``model``.

    Raises:
        IntegrityError: missing, not JSON, not finite, or not of that form.
    """
    if name not in files:
        raise IntegrityError(f"{name}: missing from the artifact; restore it from a backup")
    try:
        return model.model_validate_json(files[name])
    except ValidationError as error:
        raise IntegrityError(f"{name}: {describe_validation_error(error, None)}") from None


def write_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """``tensors`` (F64, F32, I64, I32) as safetensors bytes; tensors in order of name, no metadata."""
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}))


def read_tensors(
    files: Mapping[str, bytes], name: str, expected: Mapping[str, tuple[str, tuple[int | None, ...]]]
) -> dict[str, Tensor]:
    """The tensors of the safetensors file ``name``.

    Args:
        expected: tensor name -> (dtype, shape), None for a dimension of any length.

    Raises:
        IntegrityError: missing, malformed, other tensors, dtypes or shapes than expected, or not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = files.get(name)
    if data is None:
        raise IntegrityError(f"{name}: missing from the artifact; restore it from a backup")
    header = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else -1
    if not 0 < header <= min(_MAXIMUM_HEADER_BYTES, len(data) - 8):
        raise IntegrityError(
            f"{name}: not a safetensors file, or its header is not within {_MAXIMUM_HEADER_BYTES} bytes"
        )
    try:
        tensors = dict(load(data))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{name}: not readable as safetensors: {error}") from None
    if set(tensors) != set(expected):
        raise IntegrityError(f"{name}: has tensors {sorted(tensors)}, expected {sorted(expected)}")
    for key, (dtype, shape) in expected.items():
        tensor = tensors[key]
        fits = len(shape) == tensor.ndim and all(
            want in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
        )
        if tensor.dtype != _DTYPES[dtype] or not fits:
            raise IntegrityError(f"{name}: tensor {key} is {tensor.dtype} {tensor.shape}, expected {dtype} {shape}")
        if not np.isfinite(tensor).all():
            raise IntegrityError(f"{name}: tensor {key} has values that are not finite")
    return tensors


def _golden(detector: Detector, inputs: pd.DataFrame) -> dict[str, Any]:
    columns = []
    for name in inputs.columns:
        numeric = pd.api.types.is_numeric_dtype(inputs[name].dtype)
        kept = inputs[name].astype("object").where(inputs[name].notna(), None)
        values = [value if value is None or not numeric else float(value) for value in kept]
        columns.append({"name": str(name), "kind": "number" if numeric else "text", "values": values})
    found = detector.predict(inputs)
    return {"columns": columns, "score": found.score.tolist(), "probability": found.probability.tolist()}


def _check_golden(detector: Detector, golden: _Golden) -> None:
    rows = len(golden.score)
    if len(golden.probability) != rows or any(len(column.values) != rows for column in golden.columns):
        raise IntegrityError(f"{GOLDEN}: columns, score and probability have different lengths")
    inputs = pd.DataFrame(
        {c.name: pd.Series(c.values, dtype="float64" if c.kind == "number" else "str") for c in golden.columns}
    )
    try:
        found = detector.predict(inputs)
    except DatasetError as error:
        raise IntegrityError(f"{GOLDEN}: does not fit the model: {error}") from None
    for what, now, then in (
        ("score", found.score, golden.score),
        ("probability", found.probability, golden.probability),
    ):
        if not np.allclose(now, then, rtol=SCORE_TOLERANCE, atol=SCORE_TOLERANCE):
            worst = float(np.max(np.abs(now - np.array(then))))
            raise IntegrityError(f"{GOLDEN}: the model's {what} differs from the stored one by up to {worst:.3g}")
