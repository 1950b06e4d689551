from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nethical_assets.core.governance.credential_validators import entropy
from nethical_assets.core.governance.identifier_validators import card, iban, passes_luhn
from nethical_assets.core.governance.telephone_validators import phone
from nethical_assets.core.governance.validators import VALIDATORS


def _with_check_digit(body: str) -> str:
    return next(body + str(digit) for digit in range(10) if passes_luhn(body + str(digit)))


@given(st.from_regex(r"4[0-9]{14}", fullmatch=True), st.integers(1, 9), st.integers(0, 15))
def test_a_changed_digit_is_no_card(body: str, change: int, position: int) -> None:
    number = _with_check_digit(body)
    changed = number[:position] + str((int(number[position]) + change) % 10) + number[position + 1 :]
    assert card(number, "", "")
    assert not card(changed, "", "")


@given(st.from_regex(r"[0-9]{18}", fullmatch=True))
def test_iban_checksum_is_the_one_of_iso_13616(account: str) -> None:
    check = 98 - int(account + "131400") % 97  # DE is 1314, then 00
    assert iban(f"DE{check:02d}{account}", "", "")
    assert not iban(f"DE{(check % 97) + 1:02d}{account}", "", "") or (check % 97) + 1 == check


@pytest.mark.parametrize(
    ("value", "before", "after", "expected"),
    [
        ("9498777106", "", "", False),
        ("9498777106", "call me on ", "", True),
        ("9498777106", "order id ", "", False),
        ("9498777106", "phone order ", "", False),
        ("3660170548", "", "-Fax", True),
        ("+46 (0)8 928 571 38", "", "", True),
        ("+999 123 4567", "", "", False),
        ("020 7946 0958", "", "", True),
        ("2023-01-15", "call on ", "", False),
        ("0.03 0.04 0.03", "", "", False),
        ("0 0 5 0 1 0 0 0 0", "", "", False),
        ("416 60 039", "APO AA 61487\n", " office", True),
        ("555 0143", "version 2, phone ", "", True),
    ],
)
def test_phone_weighs_the_words_around_it(value: str, before: str, after: str, expected: bool) -> None:
    assert phone(value, before, after) is expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("brazilian_cpf", "529.982.247-25"),
        ("spanish_dni", "12345678Z"),
        ("italian_fiscal_code", "RSSMRA85T10A562S"),
        ("french_insee", "255081416802538"),
        ("indian_aadhaar", "2341 2341 2346"),
        ("canadian_sin", "130 692 544"),
        ("british_nhs", "943 476 5919"),
        ("swedish_personal_number", "811218-9876"),
    ],
)
def test_any_other_check_character_fails(name: str, value: str) -> None:
    others = "0123456789" if value[-1].isdigit() else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    accepted = []
    for last in others:
        try:
            if VALIDATORS[name](value[:-1] + last, "", ""):
                accepted.append(last)
        except (ValueError, IndexError):
            continue
    assert accepted == [value[-1]]


def test_entropy_has_known_values() -> None:
    assert entropy("") == 0
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2


@given(st.sampled_from(sorted(VALIDATORS)), st.text(max_size=40), st.text(max_size=40))
def test_validators_never_raise_on_what_surrounds_a_match(name: str, before: str, after: str) -> None:
    samples = {
        "italian_fiscal_code": "RSSMRA85T10A562S",
        "us_itin": "912-70-1234",
        "swedish_personal_number": "811218-9876",
        "spanish_dni": "12345678Z",
        "british_nhs": "9434765919",
        "email": "a@example.com",
        "iban": "DE89370400440532013000",
    }
    VALIDATORS[name](samples.get(name, "4111 1111 1111 1111"), before, after)
