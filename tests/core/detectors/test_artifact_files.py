"""Reading artifact files defensively: what is not exactly a small, finite, expected file is refused."""

from __future__ import annotations

import struct

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save

from nethical_assets.core.detectors.artifact import (
    FileModel,
    choose_golden_inputs,
    expect_files,
    pack,
    read_model,
    read_tensors,
    unpack,
    write_tensors,
)
from nethical_assets.core.detectors.base import LabelledRows
from nethical_assets.core.detectors.registry import load_family
from nethical_assets.core.ground.errors import DatasetError, IntegrityError

EXPECTED = {"a": ("F64", (2,)), "b": ("I32", (None, 2))}
TENSORS = {"a": np.array([1.0, 2.0]), "b": np.array([[1, 2]], dtype=np.int32)}


class Thing(FileModel):
    size: int
    share: float
    names: tuple[str, ...] = ()


def test_tensors_round_trip_in_the_same_bytes() -> None:
    data = write_tensors(TENSORS)
    assert data == write_tensors(dict(reversed(TENSORS.items())))
    read = read_tensors({"t": data}, "t", EXPECTED)
    np.testing.assert_array_equal(read["a"], TENSORS["a"])
    np.testing.assert_array_equal(read["b"], TENSORS["b"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 1 << 30) + b"{}",
        struct.pack("<Q", 3) + b"{}}" + b"0" * 8,
        save({"a": TENSORS["a"]}),
        save({**TENSORS, "c": TENSORS["a"]}),
        save({**TENSORS, "a": np.array([1.0, np.nan])}),
        save({**TENSORS, "a": np.array([1.0, np.inf])}),
        save({**TENSORS, "a": np.array([1.0, 2.0, 3.0])}),
        save({**TENSORS, "a": np.array([1.0, 2.0], dtype=np.float32)}),
        save({**TENSORS, "b": np.array([1, 2], dtype=np.int32)}),
        save(TENSORS)[:-1],
        save(TENSORS) + b"tail",
    ],
)
def test_other_tensors_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^t: ") as caught:
        read_tensors({"t": data}, "t", EXPECTED)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"size": 1}',
        b'{"size": 1, "share": NaN}',
        b'{"size": 1, "share": Infinity}',
        b'{"size": 1, "share": 1e999}',
        b'{"size": "1", "share": 0.5}',
        b'{"size": 1.5, "share": 0.5}',
        b'{"size": 1, "share": 0.5, "extra": 2}',
        b'{"size": 1, "share": 0.5, "names": "ab"}',
        b'{"size": 1, "share": 0.5} trailing',
        b"null",
    ],
)
def test_other_json_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^m\.json: ") as caught:
        read_model({"m.json": data}, "m.json", Thing)
    assert "\n" not in str(caught.value)


def test_json_is_read_exactly() -> None:
    read = read_model({"m.json": b'{"size": 1, "share": 0.1, "names": ["x"]}'}, "m.json", Thing)
    assert read == Thing(size=1, share=0.1, names=("x",))


def test_the_set_of_files_is_exact() -> None:
    expect_files({"a": b"", "b": b""}, {"a", "b"})
    with pytest.raises(IntegrityError, match=r"^b: missing"):
        expect_files({"a": b""}, {"a", "b"})
    with pytest.raises(IntegrityError, match=r"^z: not part"):
        expect_files({"a": b"", "z": b""}, {"a"})


@pytest.fixture(scope="module")
def packed() -> dict[str, bytes]:
    spec = load_family("heuristic")
    frame = spec.synthesise(800, np.random.default_rng(1))
    inputs, labels = frame.drop(columns="label"), frame["label"].to_numpy()
    rows = LabelledRows(inputs, labels)
    return pack(spec, spec.fit(rows, rows, 1), choose_golden_inputs(spec, inputs, 1))


def test_oversized_files_are_refused_before_they_are_read(packed: dict[str, bytes]) -> None:
    spec = load_family("heuristic")
    with pytest.raises(IntegrityError, match=r"score_table\.json: 9000000 bytes"):
        unpack(spec, {**packed, "score_table.json": b" " * 9_000_000})
    with pytest.raises(IntegrityError, match=r"\d+ files"):
        unpack(spec, {**packed, **{f"{i}.json": b"{}" for i in range(20)}})


def test_golden_inputs_do_not_depend_on_row_order_and_hold_no_peoples_text() -> None:
    spec = load_family("heuristic")
    inputs = spec.synthesise(300, np.random.default_rng(1)).drop(columns="label")
    first = choose_golden_inputs(spec, inputs, 1)
    again = choose_golden_inputs(spec, inputs.sample(frac=1, random_state=1), 1)
    pd.testing.assert_frame_equal(first, again)
    texts = choose_golden_inputs(load_family("prompt_injection"), pd.DataFrame({"text": ["call me: 555 0100"]}), 1)
    assert len(texts) == 16 and not texts["text"].str.contains("555").any()


def test_nothing_to_compare_with_is_refused() -> None:
    spec = load_family("heuristic")
    frame = spec.synthesise(200, np.random.default_rng(1))
    rows = LabelledRows(frame.drop(columns="label"), frame["label"].to_numpy())
    with pytest.raises(DatasetError, match="at least one golden"):
        pack(spec, spec.fit(rows, rows, 1), rows.inputs.iloc[:0])
