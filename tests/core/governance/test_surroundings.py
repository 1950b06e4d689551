"""What stands beside a value, and how its label is spelled, decides nothing: every kind in every surrounding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.governance.rules import load_ruleset
from nethical_assets.core.governance.screener import Screener

ROOT = Path(__file__).resolve().parents[3]
FIELD = ROOT.parent / "shared" / "field"
SCREENER = Screener(load_ruleset(ROOT / "config" / "screening"))
HIDDEN = {
    *("HIDDEN_TAGS", "ZERO_WIDTH", "BIDI_OVERRIDE", "CONTROL_CHARACTERS", "HIDDEN_MARKUP", "MIXED_SCRIPT"),
    *("PACKED_PAYLOAD", "INSTRUCTION_OVERRIDE", "ENCODED_INSTRUCTION"),
}

VALUES = {
    "EMAIL": "anna.berg@example.org",
    "PHONE": "212-555-0143",
    "CREDIT_CARD": "4111111111111111",
    "IBAN": "DE89370400440532013000",
    "SSN": "536-22-8726",
    "IP_ADDRESS": "93.184.216.34",
    "MAC_ADDRESS": "00:1B:44:11:3A:B7",
    "NATIONAL_ID": "529.982.247-25",
    "AWS_KEY": "AKIA" + "IOSFODNN7EXAMPLE",
    "GOOGLE_KEY": "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "GITHUB_TOKEN": "ghp_" + "0123456789abcdefghijABCDEFGHIJ3mpbCX",
    "STRIPE_KEY": "sk_" + "test_4eC39HqLyjWDarjtT1zdp7dc",
    "JSON_WEB_TOKEN": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
}
BEFORE = (
    "",
    "a\\n",
    "a\\t",
    "id 5, ",
    "An order came. Use ",
    "x:",
    "x=",
    "x = ",
    "x_",
    "7,",
    "x,",
    "x/",
    "(",
    "[",
    "<",
    '"',
    "'",
    "|",
    ";",
    "\t",
    "x: ",
)
AFTER = (
    "",
    "\\n",
    ":x",
    "=x",
    ",x",
    ",7",
    "/x",
    ")",
    "]",
    ">",
    '"',
    "'",
    "|",
    ";x",
    "\n",
    ". And",
    ", and",
    " 12",
    " word",
)
_JOINED = {("EMAIL", "x_"), ("JSON_WEB_TOKEN", "/x"), ("GOOGLE_KEY", "/x")}


def found(text: str) -> list[tuple[str, str]]:
    return [(record["kind"], text[record["start"] : record["end"]]) for record in SCREENER.screen([text]).to_records()]


@pytest.mark.parametrize("kind", VALUES)
def test_no_sign_beside_a_value_hides_it(kind: str) -> None:
    value = VALUES[kind]
    texts = [
        (before, after, f"{before}{value}{after}")
        for before in BEFORE
        for after in AFTER
        if (kind, before) not in _JOINED
    ]
    records = SCREENER.screen([text for _, _, text in texts]).to_records()
    kinds: dict[int, list[tuple[str, str]]] = {}
    for record in records:
        span = texts[record["row"]][2][record["start"] : record["end"]]
        kinds.setdefault(record["row"], []).append((record["kind"], span))
    hidden = [
        text
        for row, (_, _, text) in enumerate(texts)
        if not any(name == kind and value in span and len(span) <= len(value) + 3 for name, span in kinds.get(row, []))
    ]
    assert hidden == []


LABELLED = {
    "SSN": (("ssn",), ("social", "security", "number"), "536228726"),
    "DATE_OF_BIRTH": (("dob",), ("date", "of", "birth"), "1984-03-12"),
    "PASSPORT": (("passport", "number"), ("passport", "no"), "C01234567"),
    "PASSWORD": (("db", "password"), ("password", "prod"), "Tr0ub4dor&3x"),
    "SECRET": (("api", "key"), ("client", "secret"), "aB3dE5fG7hI9jK1lM3nO5p"),
    "PHONE": (("phone", "number"), ("mobile",), "2125550143"),
}


def _spellings(words: tuple[str, ...]) -> list[str]:
    camel = words[0] + "".join(word.capitalize() for word in words[1:])
    return ["_".join(words), "_".join(words).upper(), "-".join(words), camel, "".join(map(str.capitalize, words))]


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize("prefix", ["", "customer_", "CUSTOMER_"])
def test_a_label_may_be_spelled_as_programs_do(kind: str, prefix: str) -> None:
    *labels, value = LABELLED[kind]
    missed = []
    for words in labels:
        for label in _spellings(words):
            if prefix and label[:1].isupper() != prefix.isupper():
                continue
            forms = (f"{prefix}{label}={value}", f"{prefix}{label}: {value}", json.dumps({prefix + label: value}))
            escaped = json.dumps(json.dumps({prefix + label: value}))
            missed += [text for text in (*forms, escaped) if not any(k == kind and value in s for k, s in found(text))]
    assert missed == []


@pytest.mark.parametrize(
    ("kind", "value", "rest"),
    [
        ("CREDIT_CARD", "4111111111111111", " 12/27"),
        ("CREDIT_CARD", "4111111111111111", " 123"),
        ("CREDIT_CARD", "4111 1111 1111 1111", " 12/27 123"),
        ("CREDIT_CARD", "4111-1111-1111-1111", " 12 27"),
        ("CREDIT_CARD", "3782 822463 10005", " 04/29"),
        ("IBAN", "BE68 5390 0754 7034", " bank"),
        ("IBAN", "BE68539007547034", " BIC KREDBEBB"),
        ("IBAN", "AT61 1904 3002 3457 3201", " 2024 rent"),
        ("PHONE", "212-555-0143", " 2 times"),
        ("PHONE", "(212) 555-0143", " 24/7"),
        ("IP_ADDRESS", "2001:db8:85a3:1:2:8a2e:370:7334", ":443"),
        ("IP_ADDRESS", "93.184.216.34", ":57424"),
        ("IP_ADDRESS", "93.184.216.34", "/24"),
        ("EMAIL", "anna@example.org", ":secret"),
    ],
)
def test_what_follows_is_no_part_of_a_value(kind: str, value: str, rest: str) -> None:
    assert (kind, value) in found(f"of {value}{rest}")


def test_a_private_key_ends_where_it_says() -> None:
    armour = "-----BEGIN RSA PRIV" + "ATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIV" + "ATE KEY-----"
    assert found(f"{armour}\nmail anna@example.org") == [("PRIVATE_KEY", armour), ("EMAIL", "anna@example.org")]


@pytest.mark.parametrize(
    "text",
    [
        "order 4111111111111111",
        "IMEI: 4111111111111111",
        "0,4111111111111111",
        "pi is 4.111111111111111",
        "1 0 4 212 555 0143 0 0 1",
        "20/03/2023 17:37",
        "0049 0020 0068 0061 0076",
        "upgrade from 1.2.3.4 to 1.2.3.5 or later",
        "python 3.11.4.1 released",
        "see section 4.3.2.1",
        "deploy@host.example.org:/srv/www",
        "sk-learn-extra-package-for-clustering",
        "password_min_length: 12-or-more",
        "password=${DB_PASSWORD}",
        "secret = os.environ['APP_SECRET_2']",
        "token: <your token 1 here>",
    ],
)
def test_what_only_looks_like_a_value_is_none(text: str) -> None:
    assert found(text) == []


_SIGNS = st.text("0123456789 -./()+,:x", min_size=1, max_size=60)


@given(_SIGNS)
def test_spans_of_numbers_lie_in_the_text_and_hold_digits(text: str) -> None:
    for record in SCREENER.screen([text]).to_records():
        assert 0 <= record["start"] < record["end"] <= len(text)
        assert any(sign.isdigit() for sign in text[record["start"] : record["end"]])


def _cases() -> list[tuple[str, dict[str, object]]]:
    paths = sorted(FIELD.glob("*/input.jsonl"))
    return [(path.parent.name, json.loads(line)) for path in paths for line in path.read_text().splitlines()]


@pytest.mark.skipif(not FIELD.is_dir(), reason="needs ../shared/field: inputs from public bug reports")
def test_inputs_from_public_bug_reports_are_read_rightly() -> None:
    wrong = []
    cases = _cases()
    for name, case in cases:
        text, expected = str(case["text"]), case["expect"]
        seen = found(text)
        right = (
            all(
                any((kind == k or (kind == "HIDDEN_TAGS" and k in HIDDEN)) and part in span for k, span in seen)
                for kind, part in expected  # type: ignore[attr-defined]
            )
            if expected
            else not seen
        )
        if not right:
            wrong.append((name, text))
    assert len(cases) >= 82
    assert wrong == []
