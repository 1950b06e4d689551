"""Validators of contact details and network addresses: e-mail, telephone, IP.

What belongs here: predicates that ``validators`` registers. What does not: checksums of identifiers, secrets.
"""

from __future__ import annotations

import ipaddress
import re

from nethical_assets.core.governance.identifier_validators import digits_of


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


def ip_address(value: str, before: str, after: str) -> bool:
    """The IPv4 or IPv6 address of one host: not a network, version number, loopback, unspecified or multicast."""
    if (
        re.search(r"[0-9A-Za-z_:.]\Z", before)
        or re.match(r"\.?[0-9A-Za-z_:]|/\d", after)
        or re.search(r"(?i)\b(?:v|ver|version|release|build|firmware|section|chapter)[ .:#]*\Z", before)
    ):
        return False
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if address.version == 6 and sum(map(bool, value.split(":"))) < 3:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast or value == "255.255.255.255")


_NOT_TOP_LEVEL = _words(
    "png jpg jpeg gif svg webp css js ts py html htm php json xml txt pdf exe dll so jar",
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


_PHONE_WORDS = _words(
    "phone phones telephone tel mobile mobiles mob cell cellphone fax call calls called calling callback text",
    "texted texting txt sms whatsapp dial dialed dialing ring landline hotline helpline desk office extension",
    "answering reach reachable contact contactable message messages voicemail pager registered",
)
_OTHER_NUMBER_WORDS = _words(
    "order invoice ticket id ids account acct reference ref case tracking serial model version isbn issn zip",
    "postal postcode claim policy passport license licence card visa mastercard amex iban ssn social population",
    "year years since between lat latitude longitude seed timestamp port pid error code part sku patent rfc score",
    "price cost usd eur gbp",
)
_GLUED_BEFORE = re.compile(r"[0-9][.,:/-]?\Z|[A-Za-z_$#%=@]\Z|[$#%=@\u00a3\u20ac] ?\Z")
_GLUED_AFTER = re.compile(r"[0-9A-Za-z_%@]|[.,:/-]\d")
_WORDS = re.compile(r"[A-Za-z]+")
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
    if not _is_shaped_like_phone(value, digits) or _is_part_of_something(before, after):
        return False
    if value.startswith(("+", "00")):
        return _possible_internationally("+" + digits.removeprefix("00"))
    announced = True if _PHONE_LABEL_AFTER.match(after) else _announced_as_phone(before)
    if announced is None:
        national = _NATIONAL.fullmatch(value) is not None and _valid_somewhere(digits)
        return national or _NORTH_AMERICAN.fullmatch(value) is not None
    return announced and len(digits) <= 15


def _is_shaped_like_phone(value: str, digits: str) -> bool:
    groups = re.findall(r"\d+", value)
    return (
        7 <= len(digits) <= 20
        and len(set(digits)) >= 3
        and not ("." in value and " " in value)
        and 2 * sum(len(group) == 1 for group in groups) <= len(groups)
        and _DATE_OR_RANGE.fullmatch(value) is None
    )


def _is_part_of_something(before: str, after: str) -> bool:
    return _GLUED_BEFORE.search(before[-3:]) is not None or _GLUED_AFTER.match(after) is not None


def _announced_as_phone(before: str) -> bool | None:
    """What the last telling word of ``before`` announces: a telephone number, another number, or (None) nothing."""
    for word in reversed(_WORDS.findall(before.lower())):
        if word in _PHONE_WORDS:
            return True
        if word in _OTHER_NUMBER_WORDS:
            return False
    return None


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
