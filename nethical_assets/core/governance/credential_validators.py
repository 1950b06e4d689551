"""Validators of secrets: entropy, placeholders, checksums of tokens.

What belongs here: predicates that ``validators`` registers. What does not: personal data.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from collections import Counter

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


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
