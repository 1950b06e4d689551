"""Digests: known answers of SHA-256 and RFC 8785, and refusal of malformed names."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.ground.digests import (
    canonical_json,
    check_digest,
    digest_bytes,
    digest_file,
    digest_json,
    pretty_json,
)
from nethical_assets.core.ground.errors import IntegrityError

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

# RFC 8785, sections 3.2.2 and 3.2.3 and appendix B.
EXAMPLE = (
    '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
    '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}'
)
EXPECTED = (
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
    '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
)
NUMBERS = [
    (0.0, "0"),
    (-0.0, "0"),
    (5e-324, "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (9007199254740992.0, "9007199254740992"),
    (295147905179352830000.0, "295147905179352830000"),
    (9.999999999999997e22, "9.999999999999997e+22"),
    (1e23, "1e+23"),
    (0.000001, "0.000001"),
    (333333333.33333325, "333333333.33333325"),
    (1424953923781206.2, "1424953923781206.2"),
]

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def test_known_digests() -> None:
    assert digest_bytes(b"") == EMPTY
    assert digest_bytes(b"abc") == ABC


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    path = tmp_path / "data"
    path.write_bytes(data)
    assert digest_file(path) == digest_bytes(data)


def test_canonical_json_of_the_rfc_example() -> None:
    assert canonical_json(json.loads(EXAMPLE)).decode() == EXPECTED


@pytest.mark.parametrize(("number", "text"), NUMBERS)
def test_canonical_numbers_of_the_rfc(number: float, text: str) -> None:
    assert canonical_json(number).decode() == text


def test_keys_are_sorted_by_utf_16_code_units() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    written = json.loads(canonical_json(dict.fromkeys(keys, 0)), object_pairs_hook=lambda pairs: [k for k, _ in pairs])
    assert written == ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53 + 1, "\ud800"], ids=str)
def test_values_without_one_spelling_are_refused(value: object) -> None:
    with pytest.raises(ValueError):
        canonical_json(value)


@settings(max_examples=60)
@given(JSON_VALUES)
def test_canonical_json_is_a_fixed_point_that_keeps_the_value(value: object) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


@settings(max_examples=40)
@given(st.dictionaries(st.text("abc", max_size=3), st.integers(0, 9), min_size=2))
def test_the_order_of_keys_does_not_change_the_digest(value: dict[str, int]) -> None:
    assert digest_json(dict(reversed(value.items()))) == digest_json(value)


def test_pretty_json_is_for_people_and_refuses_nan() -> None:
    assert pretty_json({"b": "é", "a": [1]}) == '{\n  "a": [\n    1\n  ],\n  "b": "é"\n}\n'.encode()
    with pytest.raises(ValueError):
        pretty_json({"a": math.nan})


@pytest.mark.parametrize(
    "name",
    ["", "sha256:", ABC[:-1], ABC + "0", ABC.upper(), ABC.removeprefix("sha256:"), "md5:" + ABC[7:], ABC + "\n",
     "sha256:" + "../" * 21 + "x", "sha256:" + "\u0660" * 64],
)  # fmt: skip
def test_malformed_digests_are_refused(name: str) -> None:
    with pytest.raises(IntegrityError, match="malformed digest"):
        check_digest(name)


def test_a_well_formed_digest_is_returned() -> None:
    assert check_digest(ABC) == ABC
