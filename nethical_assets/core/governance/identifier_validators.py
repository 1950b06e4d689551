"""Validators of payment data and national identifiers: checksums, ranges, lengths.

What belongs here: predicates that ``validators`` registers. What does not: contact details, secrets.
"""

from __future__ import annotations

import re

from nethical_assets.core.governance.announcements import CARD_OR_OTHER, announced, is_called_otherwise


def digits_of(value: str) -> str:
    """The ASCII digits of ``value``, in order."""
    return re.sub(r"[^0-9]", "", value)


def passes_luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1 annex B."""
    total = 0
    for position, character in enumerate(reversed(digits)):
        number = int(character)
        if position % 2:
            number = number * 2 - 9 if number > 4 else number * 2
        total += number
    return total % 10 == 0


_CARD_ISSUERS: tuple[tuple[str, frozenset[int]], ...] = (
    (r"4", frozenset({13, 16, 19})),
    (r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720", frozenset({16})),
    (r"3[47]", frozenset({15})),
    (r"30[0-5]|3095|36|3[89]", frozenset({14, 15, 16, 17, 18, 19})),
    (r"6011|64[4-9]|65|622(?:12[6-9]|1[3-9]|[2-8]|9[01]|92[0-5])", frozenset({16, 17, 18, 19})),
    (r"35", frozenset({16, 17, 18, 19})),
    (r"2131|1800", frozenset({15})),
    (r"62|81", frozenset({16, 17, 18, 19})),
    (r"50[123]8|5020|5893|6304|67(?:59|6[1-3])", frozenset(range(12, 20))),
    (r"5[678]|639|67", frozenset(range(16, 20))),
    (r"220[0-4]", frozenset({16, 17, 18, 19})),
)
_EXPIRY = r"(?:(?:0[1-9]|1[0-2])[0-9]{2}|20[0-9]{2})"
_EXPIRY_AFTER = re.compile(r"[ ,;|\t]{1,2}(?:0[1-9]|1[0-2])/(?:20)?[2-4][0-9](?![0-9/])")
_LAST_CARD = re.compile(r"((?:[0-9]{4}[ -]{1,2}){3}[0-9]{4}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{5}|[0-9]{14,16})[ -]{1,2}\Z")
_NEXT_CARD = re.compile(
    r"[ -]{1,2}((?:[0-9]{4}[ -]{1,2}){3}[0-9]{4}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{5}|[0-9]{14,16})(?![ -]?[0-9])"
)
_CARD_GROUPS = re.compile(
    r"\d{4}([ -]{1,2})\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -]{1,2})\d{6}\2\d{4,5}|\d{12,19}"
)


def card(value: str, before: str, after: str) -> bool:
    """A payment card number: issuer prefix with its lengths, Luhn, and the usual grouping if it is grouped at all.

    Where the text calls it a card, any prefix of the banking and travel industries and any grouping will do (ISO/IEC
    7812); where it calls it something else, an order or a device, none will, but where the number is grouped and other
    words stand between. An expiry date, a security code or another card behind it is not part of it.
    """
    digits = digits_of(value)
    if not 12 <= len(digits) <= 19 or len(set(digits)) == 1 or not passes_luhn(digits):
        return False
    telling = announced(before, CARD_OR_OTHER)
    if _is_part_of_number(value, before, after, called_card=telling is True) or _ends_with_security_code(value, digits):
        return False
    if telling or (telling is None and _EXPIRY_AFTER.match(after)):
        return digits[0] in "023456" or _has_issuer(digits)
    if telling is False and (value.isdigit() or is_called_otherwise(before, CARD_OR_OTHER)):
        return False
    grouped_alone = _CARD_GROUPS.fullmatch(value) and not _is_part_of_longer_groups(value, before, after)
    return bool(grouped_alone) and _has_issuer(digits)


def _has_issuer(digits: str) -> bool:
    return any(len(digits) in lengths and re.match(prefix, digits) is not None for prefix, lengths in _CARD_ISSUERS)


def _is_usual_card(groups: str) -> bool:
    digits = digits_of(groups)
    return _CARD_GROUPS.fullmatch(groups) is not None and passes_luhn(digits) and _has_issuer(digits)


def _ends_with_security_code(value: str, digits: str) -> bool:
    """Whether ``value`` is a card of the usual length and a code of three or four digits that pass by chance.

    Cards of 19 digits in five groups are UnionPay's.
    """
    with_code = re.fullmatch(r"(.*[0-9])[ -]{1,2}[0-9]{3,4}", value)
    if with_code is None or digits.startswith("62") or len(digits_of(with_code[1])) not in (14, 15, 16):
        return False
    return _is_usual_card(with_code[1])


def _is_part_of_number(value: str, before: str, after: str, *, called_card: bool) -> bool:
    if re.search(r"[0-9][.-]?\Z|[A-Za-z+]\Z|(?<![0-9A-Za-z.])\.\Z", before):
        return True
    if re.search(r"[A-Za-z][.-]\Z", before) and not (
        called_card or re.search(r"(?i)\b(?:no|nr|num|mc|cc|cb|kk)[.-]\Z", before)
    ):
        return True
    if re.match(r"\.0(?![0-9.])", after) and value.isdigit():
        return False
    if re.match(r"[.-]?[0-9A-Za-z]", after) and not _is_word_behind(after, called_card=called_card):
        return True
    return value.isdigit() and _is_decimal_fraction(before, after)


def _is_word_behind(after: str, *, called_card: bool) -> bool:
    """Whether a sign and one whole word follow: the next sentence or a remark, no rest of an identifier or a file."""
    word = re.match(r"([.-])([A-Za-z])[A-Za-z]*(?![0-9A-Za-z]|[.-][0-9A-Za-z])", after)
    return word is not None and (called_card or word[1] == "-" or word[2].isupper())


def _is_decimal_fraction(before: str, after: str) -> bool:
    """Whether the digits follow the decimal comma of a number below one; between the commas of a row they do not."""
    return re.search(r"(?<![0-9,])[-+]?0,\Z", before) is not None and not re.match(r",", after)


def _is_part_of_longer_groups(value: str, before: str, after: str) -> bool:
    separator = re.search(r"[ -]", value)
    if separator is None:
        return False
    sign = separator[0]
    before_alone = rf"(?:\A|[^0-9{sign}]|[^0-9]{sign}){_EXPIRY}{sign}\Z"
    last = _LAST_CARD.search(before)
    following = _NEXT_CARD.match(after)
    if (last is not None and _is_usual_card(last[1])) or (following is not None and _is_usual_card(following[1])):
        return False
    if re.match(r"3[47]", value) and re.match(rf"{sign}[0-9]{{4}}(?!{sign}?[0-9])", after):
        after = ""
    return (
        re.search(rf"[0-9]{{4}}{sign}\Z", before) is not None and re.search(before_alone, before) is None
    ) or re.match(rf"{sign}(?!{_EXPIRY}(?:{sign}[0-9]{{3}})?(?!{sign}?[0-9]))[0-9]{{4,}}", after) is not None


_IBAN_LENGTHS = dict(
    item.split(":")
    for item in [
        "AD:24",
        "AE:23",
        "AL:28",
        "AT:20",
        "AZ:28",
        "BA:20",
        "BE:16",
        "BG:22",
        "BH:22",
        "BI:27",
        "BR:29",
        "BY:28",
        "CH:21",
        "CR:22",
        "CY:28",
        "CZ:24",
        "DE:22",
        "DJ:27",
        "DK:18",
        "DO:28",
        "EE:20",
        "EG:29",
        "ES:24",
        "FI:18",
        "FK:18",
        "FO:18",
        "FR:27",
        "GB:22",
        "GE:22",
        "GI:23",
        "GL:18",
        "GR:27",
        "GT:28",
        "HN:28",
        "HR:21",
        "HU:28",
        "IE:22",
        "IL:23",
        "IQ:23",
        "IS:26",
        "IT:27",
        "JO:30",
        "KW:30",
        "KZ:20",
        "LB:28",
        "LC:32",
        "LI:21",
        "LT:20",
        "LU:20",
        "LV:21",
        "LY:25",
        "MC:27",
        "MD:24",
        "ME:22",
        "MK:19",
        "MN:20",
        "MR:27",
        "MT:31",
        "MU:30",
        "NI:28",
        "NL:18",
        "NO:15",
        "OM:23",
        "PK:24",
        "PL:28",
        "PS:29",
        "PT:25",
        "QA:29",
        "RO:24",
        "RS:22",
        "RU:33",
        "SA:24",
        "SC:31",
        "SD:18",
        "SE:24",
        "SI:19",
        "SK:24",
        "SM:27",
        "SO:23",
        "ST:25",
        "SV:28",
        "TL:23",
        "TN:24",
        "TR:26",
        "UA:29",
        "VA:22",
        "VG:24",
        "XK:20",
        "YE:30",
    ]
)


def iban(value: str, before: str, after: str) -> bool:
    """An international bank account number (ISO 13616): country, its length, and remainder 1 modulo 97."""
    compact = re.sub(r"[^0-9A-Za-z]", "", value).upper()
    if str(len(compact)) != _IBAN_LENGTHS.get(compact[:2]):
        return False
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in rearranged)) % 97 == 1


def us_ssn(value: str, before: str, after: str) -> bool:
    """A United States social security number: area not 000, 666 or 9xx, group not 00, serial not 0000."""
    digits = digits_of(value)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if value.isdigit() and re.match(r"\.0(?![0-9.])", after):
        after = ""
    if (
        re.search(r"[0-9][-.]?\Z|[A-Za-z]\Z", before)
        or re.match(r"[-.]?[0-9]|[A-Za-z]", after)
        or len(set(digits)) == 1
    ):
        return False
    return len(digits) == 9 and area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def us_itin(value: str, before: str, after: str) -> bool:
    """A United States taxpayer number: 9xx and a group of 50-65, 70-88, 90-92 or 94-99."""
    group = int(digits_of(value)[3:5])
    return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99


def _weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))


def brazilian_cpf(value: str, before: str, after: str) -> bool:
    """A Brazilian CPF: two check digits modulo 11."""
    digits = digits_of(value)
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    checks = (_weighted(digits[:length], tuple(range(length + 1, 1, -1))) * 10 % 11 % 10 for length in (9, 10))
    return digits[9:] == "".join(map(str, checks))


def spanish_dni(value: str, before: str, after: str) -> bool:
    """A Spanish DNI or NIE: check letter modulo 23."""
    compact = re.sub(r"[ -]", "", value).upper()
    number = compact[:-1].translate(str.maketrans("XYZ", "012"))
    return number.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == compact[-1]


_FISCAL_ODD_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_FISCAL_ODD_LETTERS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def _fiscal_odd(character: str) -> int:
    return _FISCAL_ODD_DIGITS[int(character)] if character.isdigit() else _FISCAL_ODD_LETTERS[ord(character) - 65]


def italian_fiscal_code(value: str, before: str, after: str) -> bool:
    """An Italian codice fiscale: check letter over odd and even positions."""
    code = value.upper()
    total = sum(_fiscal_odd(character) for character in code[:15:2])
    total += sum(int(character) if character.isdigit() else ord(character) - 65 for character in code[1:15:2])
    return chr(65 + total % 26) == code[15]


def french_insee(value: str, before: str, after: str) -> bool:
    """A French social security number: key 97 minus the remainder modulo 97 (Corsica's 2A and 2B counted)."""
    compact = re.sub(r" ", "", value).upper().replace("2A", "19", 1).replace("2B", "18", 1)
    return len(compact) == 15 and compact.isdigit() and 97 - int(compact[:13]) % 97 == int(compact[13:])


_VERHOEFF_PRODUCT = tuple(
    tuple((a + b) % 5 if a < 5 and b < 5 else (a + b) % 5 + 5 if a < 5 else (a - b) % 5 + 5 if b < 5 else (a - b) % 5
          for b in range(10))
    for a in range(10)
)  # fmt: skip
_VERHOEFF_SHIFT = "1576283094"


def indian_aadhaar(value: str, before: str, after: str) -> bool:
    """An Indian Aadhaar number: does not start with 0 or 1, Verhoeff check digit."""
    digits = digits_of(value)
    if len(digits) != 12 or digits[0] in "01" or re.search(r"\d[ -]?\Z", before) or re.match(r"[ -]?\d", after):
        return False
    check = 0
    for position, character in enumerate(reversed(digits)):
        number = int(character)
        for _ in range(position % 8):
            number = int(_VERHOEFF_SHIFT[number])
        check = _VERHOEFF_PRODUCT[check][number]
    return check == 0


def canadian_sin(value: str, before: str, after: str) -> bool:
    """A Canadian social insurance number: nine digits with Luhn, not starting with 0 or 8."""
    digits = digits_of(value)
    return len(digits) == 9 and digits[0] not in "08" and passes_luhn(digits)


def british_nhs(value: str, before: str, after: str) -> bool:
    """A British NHS number: ten digits, check digit modulo 11."""
    digits = digits_of(value)
    return len(digits) == 10 and (11 - _weighted(digits[:9], tuple(range(10, 1, -1))) % 11) % 11 == int(digits[9])


def swedish_personal_number(value: str, before: str, after: str) -> bool:
    """A Swedish personnummer: date of birth and Luhn over the last ten digits."""
    digits = digits_of(value)[-10:]
    return 1 <= int(digits[2:4]) <= 12 and 1 <= int(digits[4:6]) <= 31 and passes_luhn(digits)
