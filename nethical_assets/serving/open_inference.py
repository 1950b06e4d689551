"""The Open Inference protocol, version 2 (REST), as a second form of the same scoring.

What belongs here: its requests, answers and model metadata. What does not: scoring (``gateway``). Source: Open
Inference Protocol, "predict protocol - version 2", of KServe. Errors have the gateway's one shape.

Every input is a column: a tensor of shape ``[n]`` or ``[n, 1]``, named like a field of the record. Strings are BYTES.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pandas as pd

from nethical_assets.serving.endpoints import Call, Reply
from nethical_assets.serving.payloads import JSON, frame_of_columns, media_type
from nethical_assets.serving.refusals import invalid

if TYPE_CHECKING:
    from nethical_assets.core.rows.catalog import DatasetEntry
    from nethical_assets.serving.gateway import Gateway, ScoredMany

_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_FLOATS = frozenset({"FP16", "FP32", "FP64"})
_TYPES = (*sorted(_INTEGERS), *sorted(_FLOATS), "BOOL", "BYTES")
_encode = msgspec.json.Encoder().encode


class InferInput(msgspec.Struct, frozen=True):
    """One column of the records."""

    name: str
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=0)]], msgspec.Meta(min_length=1, max_length=2)]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct, frozen=True):
    """Columns of equal length; ``id`` is given back. ``outputs`` and ``parameters`` change nothing here."""

    inputs: Annotated[list[InferInput], msgspec.Meta(min_length=1)]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[dict[str, Any]] = []


class InferOutput(msgspec.Struct, frozen=True):
    """One column of the answer."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any]


class InferAnswer(msgspec.Struct, frozen=True):
    """``model_version`` is the semantic version, ``parameters.model`` the digest."""

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, str]
    outputs: list[InferOutput]


class TensorMetadata(msgspec.Struct, frozen=True):
    """A column by name and type; -1 stands for any number of records."""

    name: str
    datatype: str
    shape: list[int]


class MetadataAnswer(msgspec.Struct, frozen=True):
    """What a family's model reads and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


async def infer(gateway: Gateway, call: Call) -> Reply:
    """``POST /v2/models/{family}/infer``."""
    admitted = gateway.admit(call)
    media_type(call.header(b"content-type"), (JSON,))
    body = await call.body()
    admitted = admitted.with_body(body)
    request: InferRequest = await gateway.decoded(call, body, InferRequest)
    read = partial(_frame, request, gateway.serving.batch_records_max)
    return Reply(await gateway.score_many(call, admitted, read, partial(_written, request.id)))


async def metadata(gateway: Gateway, call: Call) -> Reply:
    """``GET /v2/models/{family}``."""
    served = gateway.admit(call).served
    entries = gateway.settings.catalog.for_family(served.family)
    columns = input_types(served.spec.input_columns, entries, is_text=served.spec.kind != "records")
    answer = MetadataAnswer(
        served.family,
        [served.version],
        "nethical",
        [TensorMetadata(name, kind, [-1]) for name, kind in columns.items()],
        [TensorMetadata(name, kind, [-1]) for name, kind in _OUTPUTS.items()],
    )
    return Reply(_encode(answer))


_OUTPUTS = {"request_id": "BYTES", "label": "INT64", "probability": "FP64", "score": "FP64"}


def input_types(columns: tuple[str, ...], entries: tuple[DatasetEntry, ...], *, is_text: bool) -> dict[str, str]:
    """The type of every column that a family reads: its own, or those that the catalog declares for it."""
    if columns:
        return dict.fromkeys(columns, "BYTES" if is_text else "FP64")
    numeric = {name: "FP64" for entry in entries for name in entry.numeric_columns}
    return numeric | {name: "BYTES" for entry in entries for name in entry.categorical_columns}


def _frame(request: InferRequest, records_max: int) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {}
    for number, tensor in enumerate(request.inputs):
        field = f"inputs[{number}]"
        if tensor.name in columns:
            raise invalid(f"{field}.name", "two inputs have the same name")
        if len(tensor.shape) == 2 and tensor.shape[1] != 1:
            raise invalid(f"{field}.shape", "[n] or [n, 1] is needed")
        if tensor.datatype not in _TYPES:
            raise invalid(f"{field}.datatype", f"allowed are {', '.join(_TYPES)}")
        cells = _flat(tensor.data)
        if len(cells) != tensor.shape[0]:
            raise invalid(f"{field}.data", f"has {len(cells)} values, its shape says {tensor.shape[0]}")
        wanted = _kinds(tensor.datatype)
        if strange := {type(cell) for cell in cells} - wanted:
            raise invalid(f"{field}.data", f"a value is no {tensor.datatype} ({min(one.__name__ for one in strange)})")
        columns[tensor.name] = cells
    return frame_of_columns(columns, records_max)


def _flat(data: list[Any]) -> list[Any]:
    """``[[a], [b]]`` as ``[a, b]``: the protocol allows both for a shape of ``[n, 1]``."""
    if data and all(isinstance(cell, list) and len(cell) == 1 for cell in data):
        return [cell[0] for cell in data]
    return data


def _kinds(datatype: str) -> set[type]:
    if datatype in _INTEGERS:
        return {int}
    if datatype in _FLOATS:
        return {int, float}
    return {bool} if datatype == "BOOL" else {str}


def _written(identity: str, many: ScoredMany) -> bytes:
    frame = many.predictions
    names = ["incident", *_OUTPUTS] if "incident" in frame.columns else [*_OUTPUTS]
    outputs = []
    for name in names:
        cells = many.request_ids if name == "request_id" else frame[name].tolist()
        kind = _OUTPUTS.get(name, "BYTES")
        outputs.append(InferOutput(name, kind, [len(frame)], [str(c) for c in cells] if kind == "BYTES" else cells))
    served = many.served
    return _encode(InferAnswer(served.family, served.version, identity, {"model": served.digest}, outputs))
