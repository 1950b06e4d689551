"""Validators of e-mail and network addresses.

What belongs here: predicates that ``validators`` registers. What does not: telephone numbers
(``telephone_validators``), checksums of identifiers, secrets, and what the words around a number announce
(``announcements``).
"""

from __future__ import annotations

import ipaddress
import re

from nethical_assets.core.governance.announcements import ADDRESS_OR_VERSION, announced, is_section_number

_VERSION_BEFORE = re.compile(
    r"(?i)\b(?:v|ver|vers|version|versione|versie|versao|release|build|firmware|fassung|wersja|rev|revision|oid)"
    r"[ .:#=]*\Z"
    r"|\b(?:upgrad(?:e|ed|ing|es)|updat(?:e|ed|ing|es)|downgrad(?:e|ed|ing)|aktualisier\w+|aggiorna\w+|actuali\w+|aktualizac\w+"
    r"|atualiza\w+|mise a jour|migrat(?:e|ed|ing))(?: [a-z]+)? (?:to|auf|zu|vers|alla|al|a|do|para|naar|till) \Z"
    r"|object[ _-]?identifier[\s(\"':=]*\Z"
    r"|\b(?:chrome|chromium|crios|headlesschrome|firefox|safari|edge?|edga|opr|opera|electron|yabrowser|vivaldi)/\Z"
)
_PACKAGE_BEFORE = re.compile(
    r"[A-Za-z][-.]\Z|(?:[=<>~!]=|~>|[\^~]) ?\Z|[A-Za-z0-9\],] ?[<>] ?\Z|(?:\A|[\s(;,\"'\[])[A-Za-z][A-Za-z0-9.+-]*/\Z"
    r"|[A-Za-z]_\Z"
)
_TAG_BEFORE = re.compile(r"<[^<>]*>\Z|\A[^<]*>\Z")
_NAME_BEFORE = re.compile(r"(?:\A|[^A-Za-z])([A-Z][A-Za-z]+) ?\Z")
_VERSION_AFTER = re.compile(
    r"(?i)[-+_.]?(?:alpha|beta|rc|dev|pre|snapshot|final|release|build|post|ga|sp|patch|ubuntu|debian|deb|el)[-_.]?\d*\b"
    r"|[-_.](?:amd64|x86|x64|i[36]86|arm|aarch64|noarch|all|any|win|linux|mac|darwin|src|bin|py|cp\d|tar|tgz|zip|rpm|whl"
    r"|jar|exe|msi|dmg|apk|gem|alpine|slim|jammy|focal|bullseye|bookworm|jre|jdk)"
    r"|-\d+(?![\d.])| (?:is |are |was )?(?:installed|available|out)\b"
    r"| (?:(?:or|and) (?:later|newer|above)|(?:was|is|got)? ?released|lts|stable)\b"
)
_HOST_BEFORE = re.compile(
    r"(?i)(?:ip|ips|ipv4|host|hosts|hostname|addr|addrs|address|client|server|peer|node|from|to|by|src|dst|source|remote|no|nr"
    r"|login|gateway|dns|ping|port)[-._/<> ]{1,2}\Z"
)
_LABEL_CHARACTERS = 24
_SMALL_OCTETS = 100
_SMALL_VERSION_OCTETS = 32
_INTERNET_ARC = "1.3.6.1"
"""iso.org.dod.internet, with which the object identifiers of networks begin (RFC 1155)."""
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
        or re.search(r"[0-9]\.?\Z|[A-Za-z]\Z|(?<![A-Za-z.])\.\Z|[-._/@][A-Za-z0-9]+\.\Z", before)
        or re.match(r"[0-9A-Za-z]|\.[0-9a-z]", after)
    ):
        return False
    return not _is_version(value, before, after)


def _is_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, after: str) -> bool:
    prefix = re.match(r"/(\d{1,3})(?!\.?\d)", after)
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
        return word.isalpha() and value.count(":") > 2 and any(character.isdigit() for character in value)
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
    end = before[-_LABEL_CHARACTERS:]
    if is_section_number(end) or _VERSION_BEFORE.search(end):
        return True
    octets = [int(octet) for octet in value.split(".")]
    if max(octets) >= _SMALL_OCTETS or octets[0] == 10:
        return False
    if _VERSION_AFTER.match(after):
        return True
    is_host = _HOST_BEFORE.search(before) is not None
    if not is_host and _PACKAGE_BEFORE.search(before) and not _TAG_BEFORE.search(before):
        return True
    telling = announced(before, ADDRESS_OR_VERSION)
    if telling is not None:
        return not telling
    named = max(octets) < _SMALL_VERSION_OCTETS and not is_host and _NAME_BEFORE.search(before) is not None
    return value == _INTERNET_ARC or named


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

    Letters of any alphabet are allowed on both sides of the sign (RFC 6531), punycode (RFC 5891), and the sign as
    quoted-printable writes it (``=40``, RFC 2045).
    """
    local, _, domain = re.sub(r"=40(?=[A-Za-z0-9-]+\.)", "@", value).rpartition("@")
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
