"""What a matched value must pass before it counts: checksums, number ranges, formats, entropy, nearby words.

What belongs here: predicates over one matched value and the text around it, named in rule files. What does not:
patterns (the rule files) and matching (``screener``).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping

CONTEXT_CHARACTERS = 64
"""How many code points before and after a match a validator is given."""

Validator = Callable[[str, str, str], bool]
"""``(value, before, after) -> bool``: whether ``value``, found between ``before`` and ``after``, is what it looks like."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


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
    (r"35(?:2[89]|[3-8])", frozenset({16, 17, 18, 19})),
    (r"2131|1800", frozenset({15})),
    (r"62|81", frozenset({16, 17, 18, 19})),
    (r"50[123]8|5020|5893|6304|67(?:59|6[1-3])", frozenset(range(12, 20))),
    (r"220[0-4]", frozenset({16, 17, 18, 19})),
)
_CARD_PREFIX = re.compile("|".join(f"(?P<issuer{number}>{prefix})" for number, (prefix, _) in enumerate(_CARD_ISSUERS)))
_CARD_GROUPS = re.compile(r"\d{4}([ -])\d{4}\1\d{4}\1\d{1,4}(?:\1\d{1,3})?|\d{4}([ -])\d{6}\2\d{4,5}|\d{12,19}")
_PART_OF_NUMBER_BEFORE = re.compile(r"\d[.,:/-]?$|[.,][ ]?\d*$|[-/_]$")
_PART_OF_NUMBER_AFTER = re.compile(r"[.,:/]?\d|[-_/][A-Za-z0-9]")


def card(value: str, before: str, after: str) -> bool:
    """A payment card number: issuer prefix with its lengths, Luhn, and the usual grouping if it is grouped at all."""
    if not _CARD_GROUPS.fullmatch(value) or re.search(r"[0-9.][.,-]?$", before) or re.match(r"[.,-]?\d", after):
        return False
    digits = digits_of(value)
    issuer = _CARD_PREFIX.match(digits)
    if issuer is None or not passes_luhn(digits):
        return False
    return any(len(digits) in lengths and re.match(prefix, digits) is not None for prefix, lengths in _CARD_ISSUERS)


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
    compact = re.sub(r"[ -]", "", value).upper()
    if str(len(compact)) != _IBAN_LENGTHS.get(compact[:2]):
        return False
    rearranged = compact[4:] + compact[:4]
    return int("".join(str(int(character, 36)) for character in rearranged)) % 97 == 1


def us_ssn(value: str, before: str, after: str) -> bool:
    """A United States social security number: area not 000, 666 or 9xx, group not 00, serial not 0000."""
    digits = digits_of(value)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if re.search(r"[0-9][-.]?$", before) or re.match(r"[-.]?[0-9]", after) or len(set(digits)) == 1:
        return False
    return len(digits) == 9 and area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def us_itin(value: str, before: str, after: str) -> bool:
    """A United States taxpayer number: 9xx and a group of 50-65, 70-88, 90-92 or 94-99."""
    group = int(digits_of(value)[3:5])
    return 50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99


def ip_address(value: str, before: str, after: str) -> bool:
    """An IPv4 or IPv6 address of one host, not a version number, and not loopback, unspecified or multicast."""
    if re.search(r"[0-9A-Za-z_:.]$", before) or re.match(r"\.?[0-9A-Za-z_:]", after):
        return False
    if re.search(r"(?i)\b(?:v|ver|version|release|build|firmware|section|chapter)[ .:#]*$", before):
        return False
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if address.version == 6 and sum(map(bool, value.split(":"))) < 3:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or value == "255.255.255.255")


_NOT_TOP_LEVEL = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "css",
        "js",
        "ts",
        "py",
        "html",
        "htm",
        "php",
        "json",
        "xml",
        "txt",
        "pdf",
        "exe",
        "dll",
        "so",
        "jar",
    ]
)


def email(value: str, before: str, after: str) -> bool:
    """An e-mail address: local part up to 64 and domain up to 253 characters, no empty label, no file extension."""
    local, _, domain = value.rpartition("@")
    labels = domain.split(".")
    return (
        1 <= len(local) <= 64
        and len(domain) <= 253
        and ".." not in local
        and not local.endswith(".")
        and all(
            label and len(label) <= 63 and not label.startswith("-") and not label.endswith("-") for label in labels
        )
        and labels[-1].lower() not in _NOT_TOP_LEVEL
    )


_PHONE_WORD = (
    r"phones?|telephones?|tel|mobiles?|mob|cell(?:phone)?s?|fax|call(?:s|ed|ing|back)?|text(?:s|ed|ing)?|txt|sms|whatsapp"
    r"|dial(?:ed|ing)?|ring|landline|hotline|helpline|desk|office|extension|answering|reach(?:able)?|contact(?:able)?"
    r"|messages?|voicemail|pager|registered"
)
_OTHER_NUMBER_WORD = (
    r"order|invoice|ticket|ids?|account|acct|reference|ref|case|tracking|serial|model|version|isbn|issn|zip|postal|postcode"
    r"|claim|policy|passport|licen[cs]e|card|visa|mastercard|amex|iban|ssn|social|population|year|years|since|between"
    r"|lat|latitude|longitude|seed|timestamp|port|pid|error|code|part|sku|patent|rfc|bible|score|price|cost|usd|eur|gbp"
)
_CUE = re.compile(rf"(?i)\b(?:(?P<phone>{_PHONE_WORD})|(?P<other>{_OTHER_NUMBER_WORD}))\b")
_PHONE_LABEL_AFTER = re.compile(r"(?i)[ \t,;:(-]{0,3}(?:office|mobile|mob|fax|home|work|cell|direct|desk|tel|phone)\b")
_DATE_OR_RANGE = re.compile(
    r"(?:19|20)\d\d[-/. ](?:0?[1-9]|1[0-2])[-/. ](?:0?[1-9]|[12]\d|3[01])(?:\D.*)?"
    r"|(?:0?[1-9]|[12]\d|3[01])[-/. ](?:0?[1-9]|[12]\d|3[01])[-/. ](?:19|20)?\d\d"
    r"|(?:1[0-9]|20)\d\d ?[-/] ?(?:1[0-9]|20)\d\d|\d{1,9}\.\d+|\d{1,3}(?:\.\d{1,3}){3}|(?:\d{1,3} )*\d{1,3} 000"
)
_NORTH_AMERICAN = re.compile(r"(?:\+?1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}(?:[ x].*)?")
_NATIONAL = re.compile(r"\(?0\d{1,4}\)?(?:[ ./-]\d{2,5}){1,4}|0\d{9,10}")
_TRUNK_REGIONS = ("GB", "DE", "FR", "IT", "CH", "AT", "NL", "BE", "AU", "NZ", "ZA", "IN", "JP", "SE", "FI", "IE", "PL")


def phone(value: str, before: str, after: str) -> bool:
    """A telephone number of 7 to 15 digits (ITU-T E.164).

    International numbers must be possible ones of their country (phonenumbers); North American grouping stands on its
    own; a number with a trunk zero must be valid in a larger region; anything else needs a word such as ``phone`` or
    ``call`` nearer than one that announces another kind of number.
    """
    digits = digits_of(value)
    if not 7 <= len(digits) <= 20 or len(set(digits)) < 3 or _DATE_OR_RANGE.fullmatch(value):
        return False
    if re.search(r"[0-9A-Za-z_$#%=@][.,:/-]?$|[$#%=@\u00a3\u20ac] ?$", before) and not re.search(r"[A-Za-z]:$", before):
        return False
    if re.match(r"[0-9A-Za-z_%@]|[.,:/-]\d", after):
        return False
    if value.startswith("+") or digits.startswith("00"):
        return _possible_internationally("+" + digits.removeprefix("00"))
    cues = list(_CUE.finditer(before))
    nearest = cues[-1].lastgroup if cues else None
    if _PHONE_LABEL_AFTER.match(after) or nearest == "phone":
        return len(digits) <= 15
    if nearest == "other" or len(digits) > 15:
        return False
    if _NORTH_AMERICAN.fullmatch(value):
        return True
    return _NATIONAL.fullmatch(value) is not None and _valid_somewhere(digits)


def _possible_internationally(number: str) -> bool:
    import phonenumbers

    number = re.sub(r"^\+(\d{1,3})0", r"+\1", number) if len(number) > 12 else number
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(number, None))
    except phonenumbers.NumberParseException:
        return False


def _valid_somewhere(digits: str) -> bool:
    import phonenumbers

    for region in _TRUNK_REGIONS:
        try:
            if phonenumbers.is_valid_number_for_region(phonenumbers.parse(digits, region), region):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


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


_FISCAL_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        [
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            2,
            4,
            18,
            20,
            11,
            3,
            6,
            8,
            12,
            14,
            16,
            10,
        ]
        + [22, 25, 24, 23],
        strict=True,
    )
)


def italian_fiscal_code(value: str, before: str, after: str) -> bool:
    """An Italian codice fiscale: check letter over odd and even positions."""
    code = value.upper()
    total = sum(_FISCAL_ODD[character] for character in code[:15:2])
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
    if len(digits) != 12 or digits[0] in "01" or re.search(r"\d[ -]?$", before) or re.match(r"[ -]?\d", after):
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


def entropy(value: str) -> float:
    """The Shannon entropy of the characters of ``value`` in bits per character (0 for an empty text)."""
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())


_PLACEHOLDER = re.compile(
    r"(?i)(?:your|my|the|some|insert|enter|example|sample|dummy|placeholder|redacted|changeme|none|null|true|false|xxx"
    r"|test|todo|os\.|process\.|env|config|getenv|self\.|args\.|\*{3}|<|\{|\$|\[|%)"
)


def generic_secret(value: str, before: str, after: str) -> bool:
    """A value assigned to something called key, token or secret: at least 3 bits a character, letters and digits."""
    if _PLACEHOLDER.match(value) or not re.search(r"[0-9]", value) or not re.search(r"[A-Za-z]", value):
        return False
    return entropy(value) >= 3.0


def password(value: str, before: str, after: str) -> bool:
    """A stated password: not a placeholder, and with a digit or a sign besides letters."""
    stripped = value.rstrip(".,;:!?\"')")
    return (
        len(stripped) >= 6
        and _PLACEHOLDER.match(stripped) is None
        and re.search(r"[A-Za-z]", stripped) is not None
        and re.search(r"[^A-Za-z]", stripped) is not None
        and entropy(stripped) >= 2.0
    )


def url_password(value: str, before: str, after: str) -> bool:
    """The password part of a URL, unless it is a placeholder."""
    return _PLACEHOLDER.match(value) is None and entropy(value) >= 1.5


def high_entropy(value: str, before: str, after: str) -> bool:
    """A key of a known format: at least 3 bits a character, so no row of x or 0."""
    return entropy(value) >= 3.0


def base62_crc32(value: str, before: str, after: str) -> bool:
    """A GitHub or npm token: its last six characters are the CRC-32 of the random part in base 62."""
    random_part, check = value.partition("_")[2][:-6], value[-6:]
    number = zlib.crc32(random_part.encode())
    encoded = ""
    while number:
        number, remainder = divmod(number, 62)
        encoded = _BASE62[remainder] + encoded
    return encoded.rjust(6, "0") == check


def json_web_token(value: str, before: str, after: str) -> bool:
    """A JSON Web Token (RFC 7519): the header is a JSON object that names an algorithm."""
    header = value.partition(".")[0]
    try:
        parsed = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(parsed, dict) and "alg" in parsed


def not_emoji_flag(value: str, before: str, after: str) -> bool:
    """Unicode tag characters that do not spell a regional flag (they follow U+1F3F4 there)."""
    return re.search("\U0001f3f4[\U000e0020-\U000e007f]*$", before) is None


VALIDATORS: Mapping[str, Validator] = {
    function.__name__: function
    for function in (
        card,
        iban,
        us_ssn,
        us_itin,
        ip_address,
        email,
        phone,
        brazilian_cpf,
        spanish_dni,
        italian_fiscal_code,
        french_insee,
        indian_aadhaar,
        canadian_sin,
        british_nhs,
        swedish_personal_number,
        generic_secret,
        password,
        url_password,
        high_entropy,
        base62_crc32,
        json_web_token,
        not_emoji_flag,
    )
}
"""The validators a rule file may name."""
