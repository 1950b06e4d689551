from __future__ import annotations

import base64
import gzip
import html
import json
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.governance.decoding import MAXIMUM_DECODED_CHARACTERS, decoded_parts, unescaped

SECRET = "the hidden message"


@pytest.mark.parametrize(
    "encoded",
    [
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.encode().hex(),
        "0x" + SECRET.encode().hex(" "),
        base64.b64encode(base64.b64encode(SECRET.encode())).decode(),
    ],
)
def test_encoded_parts_are_read_with_their_place(encoded: str) -> None:
    text = f"look: {encoded} !"
    parts = decoded_parts(text)
    assert any(SECRET in part.decoded for part in parts)
    assert all(text[part.start : part.end].strip() and part.start >= 6 for part in parts)


def test_decoding_stops_at_its_limits_and_says_so() -> None:
    nested = SECRET
    for _ in range(6):
        nested = base64.b64encode(nested.encode()).decode()
    parts = decoded_parts(nested)
    assert any(part.limited for part in parts)
    assert all(SECRET not in part.decoded for part in parts)
    huge = base64.b64encode(b"text " * 4_000_000).decode()
    started = time.perf_counter()
    parts = decoded_parts(huge)
    assert any(part.limited for part in parts)
    assert sum(len(part.decoded) for part in parts) <= MAXIMUM_DECODED_CHARACTERS
    assert time.perf_counter() - started < 10
    many = " ".join(base64.b64encode(f"part number {number}".encode()).decode() for number in range(500))
    assert decoded_parts(many)[-1].limited


def test_compressed_content_is_not_unpacked() -> None:
    bomb = base64.b64encode(gzip.compress(bytes(50_000_000))).decode()
    assert decoded_parts(bomb) == []


@given(st.text(max_size=200))
def test_nothing_raises(text: str) -> None:
    decoded_parts(text)
    unescaped(text)


ADDRESS = "anna.berg@example.org"


@pytest.mark.parametrize(
    "escaped",
    [
        "anna.berg%40example.org",
        "anna.berg%40example%2eorg",
        "anna.berg%2540example.org",
        "anna.berg&#64;example.org",
        "anna.berg&#64example.org",
        "anna.berg&#x40;example.org",
        "anna.berg&commat;example&period;org",
        "anna.berg&amp;#64;example.org",
        "anna.berg\\u0040example.org",
        "anna.berg\\\\u0040example.org",
        "anna.berg\\x40example.org",
        "anna.berg\\u{40}example.org",
        "anna.berg\\U00000040example.org",
        "anna.berg%EF%BC%A0example.org",
        "".join(f"%{byte:02X}" for byte in ADDRESS.encode()),
        "".join(f"\\x{byte:02x}" for byte in ADDRESS.encode()),
        "".join(f"\\u{byte:04x}" for byte in ADDRESS.encode()),
        "".join(f"&#{byte};" for byte in ADDRESS.encode()),
    ],
)
def test_any_number_of_escapes_is_read_with_its_place(escaped: str) -> None:
    text = f"to: {escaped} !"
    read = unescaped(text)
    assert read is not None
    assert read.text == f"to: {ADDRESS} !"
    start = read.text.index(ADDRESS)
    assert read.original_span(start, start + len(ADDRESS)) == (4, 4 + len(escaped))
    assert not read.limited


@pytest.mark.parametrize("text", ["100% sure & done", "50%zz", "a\\b", "R&D; x", "%e4%f6 in Latin-1", "C:\\users"])
def test_what_stands_for_no_character_stays(text: str) -> None:
    assert unescaped(text) is None


def test_escapes_of_escapes_deeper_than_they_are_read_are_said() -> None:
    escaped = "@"
    for _ in range(6):
        escaped = urllib.parse.quote(escaped, safe="")
    read = unescaped(f"anna{escaped}example.org")
    assert read is not None
    assert read.limited


@given(st.text(max_size=60), st.sampled_from([html.escape, urllib.parse.quote, json.dumps]))
def test_spans_of_read_escapes_lead_back_into_the_text(text: str, escape) -> None:
    escaped = escape(text.encode("utf-8", "replace").decode())
    read = unescaped(escaped)
    if read is None or not read.text:
        return
    start, end = read.original_span(0, len(read.text))
    assert 0 <= start < end <= len(escaped)
