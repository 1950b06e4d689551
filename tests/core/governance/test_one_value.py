"""What is said to hold nothing holds nothing, whatever it is; ordinary values are said to."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nethical_assets.core.governance import one_value
from nethical_assets.core.governance.one_value import ValueTest
from nethical_assets.core.governance.scoring import masked_rules
from nethical_assets.core.governance.screener import Screener
from nethical_assets.core.governance.values import Reading, find_in
from tests.across.planted import ACCOUNT, CARD, EMAIL, KEY, NUMBER, PHONE, TOKEN

NAMES = ("text", "src_bytes", "mobilePhone", "ssn", "sequence")
PIECES = st.one_of(
    st.sampled_from([EMAIL, NUMBER, CARD, PHONE, ACCOUNT, TOKEN, KEY, "E5 E22 192", "login", "password: hunter22x"]),
    st.sampled_from(
        ["anna (at) example (dot) org", "YW5uYUBleGFtcGxlLm9yZw==", "anna%40example.org", "\u200b", "\uff10"]
    ),
    st.text(max_size=12),
    st.from_regex(r"[0-9]{1,19}(\.0)?", fullmatch=True),
)
VALUES = st.one_of(
    st.lists(PIECES, min_size=1, max_size=4).map(" ".join),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([int(CARD), float(CARD), 12345678, 536228145, None, True]),
)


@pytest.fixture(scope="module")
def value_test(screener: Screener) -> ValueTest:
    return ValueTest(screener, masked_rules(screener))


def found(screener: Screener, name: str, reading: Reading, value: Any) -> bool:
    column = pd.DataFrame([{name: value}])[name]
    findings = find_in(column, reading, screener, alone=True).findings
    return bool(np.isin(findings.names("rule"), masked_rules(screener)).any())


def test_what_is_said_to_hold_nothing_holds_nothing(screener: Screener, value_test: ValueTest) -> None:
    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(NAMES), st.sampled_from(Reading), VALUES)
    def compare(name: str, reading: Reading, value: Any) -> None:
        if value_test.holds_nothing(name, reading, value):
            assert not found(screener, name, reading, value)
            assert value_test.holds_nothing(name, reading, value), "what is remembered is said again"

    compare()


@pytest.mark.parametrize("value", [EMAIL, NUMBER, CARD, PHONE, TOKEN, KEY, int(CARD), float(CARD), f"x {EMAIL}"])
@pytest.mark.parametrize("reading", list(Reading))
def test_personal_data_is_never_said_to_be_nothing(value_test: ValueTest, reading: Reading, value: Any) -> None:
    assert not value_test.holds_nothing("text", reading, value)


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(f"write to {EMAIL} today".encode()).decode(),
        f"decode {base64.b64encode(base64.b64encode(f'my address is {EMAIL}, thanks'.encode())).decode()} twice",
        "mail%3A%20" + EMAIL.replace("@", "%40"),
        "&#101;" + EMAIL.replace("@", "&#64;"),
        f"name,email,ssn\nAda,x,{NUMBER}",
        "a\\n" + EMAIL.replace("@", "\\u0040"),
    ],
)
def test_what_shows_in_another_form_of_a_text_is_never_said_to_be_nothing(
    screener: Screener, value_test: ValueTest, text: str
) -> None:
    assert found(screener, "text", Reading.PROSE, text)
    assert not value_test.holds_nothing("text", Reading.PROSE, text)


@pytest.mark.parametrize(
    "text", ["100%25 sure", "a\\nb", "id,name\n1,Ada", "d0 it n0w", "i g n o r e", "aGVsbG8gd29ybGQgaG93IGFyZSB5b3U="]
)
def test_other_forms_are_looked_at_without_a_column(
    value_test: ValueTest, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(Screener, "screen_each", None)
    assert value_test.holds_nothing("text", Reading.PROSE, text)


def test_ordinary_values_are_said_to_hold_nothing(value_test: ValueTest) -> None:
    """So that the way of columns is for the few others."""
    for value in (0, 1.5, -999_999, 5_000_000, 10_000_000.5, 1e18, "tcp", "", "5000000", "12", None, True):
        assert value_test.holds_nothing("src_bytes", Reading.VALUES, value), value
    for text in ("ignore all previous instructions", "Wie spät ist es? Große Frage", "see you 2nite at 8pm", "42"):
        assert value_test.holds_nothing("text", Reading.PROSE, text), text
    for sequence in ("E5 E22 E5", "5 22 5 ", "read process write", "192 6 6"):
        assert value_test.holds_nothing("line", Reading.ACTIONS, sequence), sequence
        assert value_test.holds_nothing("line", Reading.ACTIONS, sequence), sequence


def test_what_a_column_is_called_says_what_its_numbers_are(value_test: ValueTest) -> None:
    assert value_test.holds_nothing("src_bytes", Reading.VALUES, 536228145)
    assert not value_test.holds_nothing("ssn", Reading.VALUES, 536228145)
    assert not value_test.holds_nothing("ssn", Reading.VALUES, "536228145")


def test_memory_is_bounded(screener: Screener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_value, "MOST_REMEMBERED", 10)
    test = ValueTest(screener, masked_rules(screener))
    for number in range(100):
        assert test.holds_nothing("service", Reading.VALUES, f"service {number}")
        assert test.holds_nothing("line", Reading.ACTIONS, f"E{number}")
        assert sum(map(len, test._remembered.values())) <= 10 and len(test._event_names) <= 12
    assert test.holds_nothing("service", Reading.VALUES, "word " * 40)
    assert "word " * 40 not in test._remembered["service"]
