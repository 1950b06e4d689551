"""Validators of contact details and network addresses: e-mail, telephone, IP.

What belongs here: predicates that ``validators`` registers. What does not: checksums of identifiers, secrets, and what
the words around a number announce (``announcements``).
"""

from __future__ import annotations

import ipaddress
import re

from nethical_assets.core.governance.announcements import (
    ADDRESS_OR_VERSION,
    PHONE_OR_OTHER,
    announced,
    follows_phone_word,
    is_section_number,
)
from nethical_assets.core.governance.identifier_validators import digits_of

_VERSION_BEFORE = re.compile(r"(?i)\b(?:v|ver|version|release|build|firmware)[ .:#=]*\Z")
_PACKAGE_BEFORE = re.compile(r"[A-Za-z][-.]\Z|(?:[=<>~!]=|~>|[\^~]) ?\Z")
_VERSION_AFTER = re.compile(
    r"(?i)[-+_.]?(?:alpha|beta|rc|dev|pre|snapshot|final|release|build|post|ga|sp|patch|ubuntu|debian|deb|el)[-_.]?\d*\b"
    r"|-\d+(?![\d.])| (?:or (?:later|newer|above)|and (?:later|newer|above)|(?:was|is|got)? ?released|lts|stable)\b"
)
_HOST_BEFORE = re.compile(r"(?i)(?:ip|host|addr|address|client|server|peer|node|from|to)-\Z")
_SMALL_OCTETS = 100
_GLOBAL_PREFIX = re.compile(r"(?i)[23][0-9a-f]{3}|f[cd][0-9a-f]{2}|fe[89ab][0-9a-f]")


def ip_address(value: str, before: str, after: str) -> bool:
    """The IPv4 or IPv6 address of one host: not a network, mask, version number, loopback, unspecified or multicast.

    A port, a prefix length of a host (``/24`` behind an address whose host part is not zero), a name and a colon before
    it or any other separator beside it change nothing.
    """
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or _is_network(address, after):
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return _stands_alone_v6(value, before, after) and _is_long_enough(value)
    if (
        address.is_multicast
        or value.startswith(("255.", "0."))
        or re.search(r"[0-9A-Za-z]\.?\Z|\.\Z", before)
        or re.match(r"\.?[0-9A-Za-z]", after)
    ):
        return False
    return not _is_version(value, before, after)


def _is_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, after: str) -> bool:
    prefix = re.match(r"/(\d{1,3})(?![\d.])", after)
    if prefix is None or int(prefix[1]) >= address.max_prefixlen:
        return False
    host_bits = address.max_prefixlen - int(prefix[1])
    return int(address) & ((1 << host_bits) - 1) == 0


def _stands_alone_v6(value: str, before: str, after: str) -> bool:
    port = value.count(":") == 7 and "::" not in value and re.match(r":\d{1,5}(?![0-9A-Fa-f:])", after)
    if not port and re.match(r"[0-9A-Za-z]|:[0-9A-Fa-f:]", after):
        return False
    last = re.search(r"([0-9A-Za-z]*)([:.]?)\Z", before)
    word, sign = (last[1], last[2]) if last else ("", "")
    if sign == ".":
        return False
    return not word or (sign == ":" and re.fullmatch(r"[0-9A-Fa-f]{1,4}", word) is None)


def _is_long_enough(value: str) -> bool:
    """Whether there is enough of an address: ``a::b`` is a name in a program, ``fe80::1`` is an address.

    A short multicast address is a well-known group.
    """
    groups = [group for group in value.split(":") if group]
    if re.match(r"(?i)ff[0-9a-f]{2}:", value) and len(groups) < 8:
        return False
    return len(groups) >= 3 or "." in groups[-1] or _GLOBAL_PREFIX.fullmatch(groups[0]) is not None


def _is_version(value: str, before: str, after: str) -> bool:
    if is_section_number(before) or _VERSION_BEFORE.search(before):
        return True
    octets = [int(octet) for octet in value.split(".")]
    if max(octets) >= _SMALL_OCTETS or octets[0] == 10:
        return False
    if _VERSION_AFTER.match(after) or (_PACKAGE_BEFORE.search(before) and not _HOST_BEFORE.search(before)):
        return True
    return announced(before, ADDRESS_OR_VERSION) is False


_FILE_ENDINGS = frozenset(
    (
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "css",
        "js",
        "ts",
        "html",
        "htm",
        "php",
        "json",
        "xml",
        "txt",
        "pdf",
        "exe",
        "dll",
        "jar",
        "yml",
        "yaml",
        "csv",
    )
)
_REMOTE_PATH = re.compile(r":[\w.~/-]+\.git\b|:~?/[\w.~]")
_REMOTE_USERS = frozenset({"git", "hg", "svn"})


def email(value: str, before: str, after: str) -> bool:
    """An e-mail address: local part up to 64 and domain up to 253 characters, no empty label, no file, no SSH remote.

    Letters of any alphabet are allowed on both sides of the sign (RFC 6531), and punycode (RFC 5891).
    """
    local, _, domain = value.rpartition("@")
    labels = domain.split(".")
    top = labels[-1].lower()
    return (
        1 <= len(local) <= 64
        and len(domain) <= 253
        and ".." not in local
        and not local.endswith(".")
        and all(
            label and len(label) <= 63 and not label.startswith("-") and not label.endswith("-") for label in labels
        )
        and not re.match(r"\.?[0-9A-Za-z]", after)
        and top not in _FILE_ENDINGS
        and not (len(labels) == 2 and re.fullmatch(r"\d{1,2}x", labels[0]))
        and not (
            (local in _REMOTE_USERS and re.match(r":\S", after))
            or _REMOTE_PATH.match(after)
            or before.endswith("ssh://")
        )
    )


def international_email(value: str, before: str, after: str) -> bool:
    """An e-mail address with a letter outside ASCII on either side of the sign; the others are ``email``'s."""
    return not value.isascii() and email(value, before, after)


_EXTENSION = re.compile(
    r"(?i)[ ,;]{0,2}(?:\(?(?:extension|extn|ext|durchwahl|poste|x|#)[.:]? ?\d{1,6}\)?)\Z",
)
_MAY_HAVE_EXTENSION = re.compile(r"[A-Za-z#]")
_GLUED_BEFORE = re.compile(r"(?:[0-9][.-]|[0-9A-Za-z$%@])\Z|[$\u00a3\u20ac] ?\Z|[^0-9A-Za-z]\.\Z|\A\.\Z")
_GLUED_AFTER = re.compile(r"[0-9A-Za-z%@]|[.-]\d")
_BARE_BEFORE = re.compile(r"[0-9][,:/=]\Z")
_BARE_AFTER = re.compile(r"[,:/=]\d")
_PHONE_LABEL_AFTER = re.compile(
    r"(?i)[ \t,;:(-]{0,3}(?:office|mobile|mob|fax|home|work|cell|direct|desk|tel|phone|handy|landline)\b"
)
_DATE_OR_RANGE = re.compile(
    r"(?:19|20)\d\d[-/. ](?:0?[1-9]|1[0-2])[-/. ](?:0?[1-9]|[12]\d|3[01])(?:\D.*)?"
    r"|(?:0?[1-9]|[12]\d|3[01])(?P<sign>[-/. ])(?:0?[1-9]|[12]\d|3[01])(?P=sign)(?:19|20)?\d\d(?: \d\d?)?"
    r"|(?:0?[1-9]|1[0-2])[-/.](?:19|20)\d\d(?: \d{1,2})?"
    r"|(?:1[0-9]|20)\d\d ?[-/] ?(?:1[0-9]|20)\d\d|\d{1,9}\.\d+|\d{1,3}(?:\.\d{1,3}){3}|(?:\d{1,3} )*\d{1,3} 000"
)
_DOTTED = re.compile(r"\d{3,4}\.\d{4}")
_NORTH_AMERICAN = re.compile(r"(?:\+?1[ .-]?)?(?:\([2-9]\d\d\)[ .-]?|[2-9]\d\d[ ./-])\d{3}[ .-]\d{4}")
_NATIONAL = re.compile(r"(?:\(0\d{1,5}\)[ ./-]?|0\d{1,5}[ ./-]{1,3})\d{2,8}(?:[ ./-]\d{2,5}){0,4}|0\d{8,10}")
_BRACKETED = re.compile(r"(?:8 ?)?\(\d{2,4}\) ?\d{3,5}(?:[ -]\d{2,4}){1,2}")
_TRUNK_REGIONS = (
    *("GB", "DE", "FR", "IT", "CH", "AT", "NL", "BE", "AU", "NZ", "ZA", "IN", "JP", "SE", "FI", "IE", "PL"),
    *("IL", "TR", "KR", "TW", "UA", "RO", "HR", "RS", "BG", "SK", "SI", "PK", "PH", "ID", "MY", "TH", "VN", "EG", "NG"),
)
_BRACKETED_REGIONS = ("BR", "RU", "AR", "MX", "UA", "KZ")
_MAXIMUM_DIGITS = 15
_SHORTEST_NATIONAL = 9
_DATE_BEFORE = re.compile(r"[0-9][/:]\Z")
_TIME_AFTER = re.compile(r"[/:][0-9]")
_CODE_POINTS = re.compile(r"(?:00[0-9]{2}[ ,-]?)+")


def phone(value: str, before: str, after: str) -> bool:
    """A telephone number of 6 to 15 digits (ITU-T E.164), with or without an extension.

    International numbers must be possible ones of their country (phonenumbers); North American grouping stands on its
    own; a number with a trunk zero, or with its area in brackets, must be valid in a larger region; anything else needs
    a word such as ``phone`` or ``call`` nearer than one that announces another kind of number.
    """
    number = _EXTENSION.sub("", value) if _MAY_HAVE_EXTENSION.search(value) else value
    digits = digits_of(number)
    if not 6 <= len(digits) <= 20 or len(set(digits)) < 3:
        return False
    telling = True if _PHONE_LABEL_AFTER.match(after) else announced(before, PHONE_OR_OTHER)
    international = "+" in number or number.lstrip("(").startswith("00")
    if telling is False and not international:
        return False
    directly = telling is True and follows_phone_word(before)
    if not _is_shaped_like_phone(number, directly=directly) or _is_part_of_something(number, before, after):
        return False
    if international and (_possible_internationally(number) or "+" in number):
        return _possible_internationally(number)
    return _is_believed(number, digits, before, after, announced_as_phone=telling, directly=directly)


def _is_believed(
    number: str, digits: str, before: str, after: str, *, announced_as_phone: bool | None, directly: bool
) -> bool:
    if announced_as_phone is None:
        return _stands_for_itself(number, digits, before, after)
    return announced_as_phone and (6 if directly else 7) <= len(digits) <= _MAXIMUM_DIGITS


def _stands_for_itself(number: str, digits: str, before: str, after: str) -> bool:
    if _is_in_row_of_numbers(number, before, after):
        return False
    if _NORTH_AMERICAN.fullmatch(number) is not None:
        return True
    if len(digits) < _SHORTEST_NATIONAL or _DATE_BEFORE.search(before) or _TIME_AFTER.match(after):
        return False
    if _NATIONAL.fullmatch(number) is not None and _valid_somewhere(digits, _TRUNK_REGIONS):
        return True
    return _BRACKETED.fullmatch(number) is not None and _valid_somewhere(digits, _BRACKETED_REGIONS)


def _is_in_row_of_numbers(number: str, before: str, after: str) -> bool:
    """Whether only blanks divide the groups, and more numbers stand beside them: a row of a table."""
    blanks_only = re.fullmatch(r"[0-9 ]+", number) is not None
    return blanks_only and (re.search(r"[0-9] \Z", before) is not None or re.match(r" -?[0-9]", after) is not None)


def _is_shaped_like_phone(number: str, *, directly: bool) -> bool:
    groups = re.findall(r"\d+", number)
    return (
        2 * sum(len(group) == 1 for group in groups) <= len(groups)
        and not (number.count(".") == 1 and " " in number)
        and _CODE_POINTS.fullmatch(number) is None
        and (_DATE_OR_RANGE.fullmatch(number) is None or (directly and _DOTTED.fullmatch(number) is not None))
    )


def _is_part_of_something(number: str, before: str, after: str) -> bool:
    if _GLUED_BEFORE.search(before[-3:]) is not None or _GLUED_AFTER.match(after) is not None:
        return True
    return number.isdigit() and (_BARE_BEFORE.search(before) is not None or _BARE_AFTER.match(after) is not None)


def _possible_internationally(number: str) -> bool:
    import phonenumbers

    digits = digits_of(number.replace("(0)", ""))
    international = "+" + (digits if "+" in number else digits.removeprefix("00"))
    if len(international) > 12:
        international = re.sub(r"^\+(\d{1,3})0", r"+\1", international)
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(international, None))
    except phonenumbers.NumberParseException:
        return False


def _valid_somewhere(digits: str, regions: tuple[str, ...]) -> bool:
    import phonenumbers

    for region in regions:
        try:
            if phonenumbers.is_valid_number_for_region(phonenumbers.parse(digits, region), region):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False
