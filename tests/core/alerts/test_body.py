from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.alerts.body import DETAILS_LIMIT, VALUE_LIMIT, render_body, render_recurrence, sanitise


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("login with password=hunter2 now", "hunter2"),
        ('{"api_key": "abc123xyz"}', "abc123xyz"),
        ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
        ("AWS_TOKEN=AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("found AKIAIOSFODNN7EXAMPLE in row 3", "AKIAIOSFODNN7EXAMPLE"),
        ("ghp_0123456789abcdefghij0123456789abcdef", "0123456789abcdefghij"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "eyJzdWIiOiIxIn0"),
        ("clone https://ada:s3cret@example.org/x", "s3cret"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow cut off", "MIIEow"),
        ("mail ada.lovelace+x@example.co.uk today", "lovelace"),
        ("ssn 078-05-1120", "078-05-1120"),
        ("card 4111 1111 1111 1111", "1111"),
        ("call +44 20 7946 0958", "7946"),
        ("from 203.0.113.7", "203.0.113.7"),
        ("mail a\u200bda@exam\u200bple.org", "ple.org"),
    ],
)
def test_secrets_and_personal_data_are_replaced_by_their_kind(value, secret):
    shown = sanitise(value)
    assert secret not in shown.replace("\u200b", "") and "[" in shown


@pytest.mark.parametrize(
    "value",
    [
        "models/prompt_injection",
        "missing_values",
        "25192 rows, 31.4 % missing",
        "2026-03-01 12:00:00 UTC",
        "worse by +0.0213",
    ],
)
def test_ordinary_values_stay_as_they_are(value):
    assert sanitise(value) == value


def test_digests_stay_readable():
    digest = "sha256:" + "0123456789abcdef" * 4
    assert sanitise(digest) == digest


def test_injections_are_neutralised():
    shown = sanitise(
        "<img src=x onerror=alert(1)> [click](javascript:x) | **bold** `code` @admin fixes #12 https://e.vil"
    )
    for forbidden in ("<", ">", "@admin", "#12", "://", "[click](", " | ", " **bold"):
        assert forbidden not in shown
    assert "\\[click\\](javascript:x)" in shown and "&lt;img" in shown
    assert sanitise("a\nb\r\n\x00\x1b[31mc\u2028d\u202ee") == "a b \\[31mc de"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=600))
def test_anything_becomes_one_bounded_inert_line(value):
    shown = sanitise(value)
    assert len(shown) <= 6 * VALUE_LIMIT and "\n" not in shown
    assert not re.search(r"[<>]|@\w|://", shown)
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*|\[\]~]", shown)
    assert all(unicodedata.category(c)[0] != "C" or c == "\u200b" for c in shown)
    shown.encode()


def test_long_hostile_values_are_quick():
    for value in ("a" * 10**6, "a@" * 10**5, "token: " * 10**5, "1-" * 10**5, "//a:" * 10**5, "-----BEGIN " * 10**4):
        started = time.process_time()
        assert len(sanitise(value)) <= 6 * VALUE_LIMIT
        assert time.process_time() - started < 1.0


def test_body_holds_what_a_reader_needs_and_no_foreign_markdown(alert):
    hostile = "</td><script>x</script>|x|\n# heading @team"
    text = render_body(alert(summary=hostile, details={hostile: hostile, "share": 0.123456789, "none": None}))
    assert "**raw/nslkdd**, missing_values" in text and "| share | 0.123457 |" in text and "What to do:" in text
    assert "First seen 2026-03-01 12:00:00 UTC, occurrence run 1." in text
    assert f"<!-- nethical-fingerprint: {alert().fingerprint} -->" in text
    assert "<script" not in text and "@team" not in text and "\n# heading" not in text
    assert "<script" not in render_recurrence(alert(summary=hostile))


def test_many_details_are_bounded(alert):
    text = render_body(alert(details={f"name {n}": "x" * 10_000 for n in range(1000)}))
    assert f"| … | {1000 - DETAILS_LIMIT} more |" in text and len(text) < 20_000
