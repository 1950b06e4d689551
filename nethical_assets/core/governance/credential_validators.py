"""Validators of keys and tokens: entropy, shapes of providers, checksums.

What belongs here: predicates on values that have a shape of their own. What does not: stated passwords
(``password_validators``), what a placeholder is (``placeholders``), personal data.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from collections import Counter

from nethical_assets.core.governance.placeholders import holds_known_word, is_placeholder

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def entropy(value: str) -> float:
    """The Shannon entropy of the characters of ``value`` in bits per character (0 for an empty text)."""
    counts = Counter(value)
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())


_QUOTES = ("'", '"', "`")
_PLAINLY_GIVEN = re.compile(
    r"(?i)[=:>|,\u2192\u21d2](?:\*\*)?\s*(?:\$\{\w+:?[-=])?(?:[a-z@]{0,2}[\"'`\\]+)?\*{0,2}\Z|(?:\A|\s)--?[\w-]*\s[\"'`]?\Z"
    r"|authorization[\"'\\]*\s*[:=,]\s*[\"'`\\]*[\w-]+\s+\Z"
)
_HEADER = re.compile(r"(?i)authorization[\"'\\]*\s*[:=,]\s*[\"'`\\]*\Z")
_INSIDE = re.compile(r"[A-Za-z0-9+/=_.~-]")


def generic_secret(value: str, before: str, after: str) -> bool:
    """A value assigned to something called key, token or secret: at least 3 bits a character, letters and digits.

    Where only a blank stands between the name and the value it must look random.
    """
    if not re.search(r"[0-9]", value) or not re.search(r"[A-Za-z]", value) or entropy(value) < 3.0:
        return False
    if _INSIDE.match(after) or is_placeholder(value, after, quoted=before.endswith(_QUOTES)):
        return False
    if _PLAINLY_GIVEN.search(before) is not None and not _HEADER.search(before):
        return True
    return _is_random(value) and not holds_known_word(value)


def url_password(value: str, before: str, after: str) -> bool:
    """The password part of a URL, unless it is a placeholder."""
    return not is_placeholder(value, after, quoted=True) and entropy(value) >= 1.5


def high_entropy(value: str, before: str, after: str) -> bool:
    """A key of a known format: at least 3 bits a character, so no row of x or 0."""
    return entropy(value) >= 3.0


_KEY_RUN = re.compile(r"[A-Za-z0-9]+")
_SHORTEST_KEY_RUN = 16
_LEAST_CHANGES = 5
_LEAST_OF_A_CLASS = 2
_CHANGE = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[a-z0-9])|(?<=[0-9])(?=[A-Za-z])")


def class_changes(value: str) -> int:
    """How often small letters, capitals and digits follow each other directly in ``value``."""
    return len(_CHANGE.findall(value))


def _is_random(value: str) -> bool:
    """Whether letters and digits are mixed as chance does, not as words, names and versions joined by signs are."""
    if not re.search(r"[0-9]", value) or not re.search(r"[A-Za-z]", value):
        return False
    longest = max(_KEY_RUN.findall(value), key=len)
    mixed = re.search(r"[0-9]", longest) is not None and re.search(r"[A-Za-z]", longest) is not None
    if len(longest) >= _SHORTEST_KEY_RUN and mixed:
        return entropy(longest) >= 3.0
    return entropy(value) >= 3.0 and class_changes(value) >= max(_LEAST_CHANGES, len(value) // 4)


_PROVIDER_PREFIX = re.compile(r"\A(?:sk-[a-z]{2,8}-|sk-|gl[a-z]{2,6}-)")


def provider_key(value: str, before: str, after: str) -> bool:
    """A key with a provider's prefix: something random follows, not words joined by hyphens.

    GitLab's are short, so that a few have no digit, or hardly any.
    """
    key = _PROVIDER_PREFIX.sub("", value)
    return _is_random(key) or (value.startswith("gl") and _mixes_cases(key))


def provider_token(value: str, before: str, after: str) -> bool:
    """A token of fixed length: digits or letters of both cases, at least 3 bits a character."""
    return entropy(value) >= 3.0 and (re.search(r"[0-9]", value) is not None or _mixes_cases(value))


def _mixes_cases(value: str) -> bool:
    """Whether ``value`` holds capitals among small letters or digits, at least two of each, and is no placeholder."""
    small, capital, digits = (len(re.findall(letters, value)) for letters in ("[a-z]", "[A-Z]", "[0-9]"))
    mixed = capital >= _LEAST_OF_A_CLASS and max(small, digits) >= _LEAST_OF_A_CLASS
    return mixed and entropy(value) >= 3.0 and not is_placeholder(value, quoted=True)


def aws_access_key_id(value: str, before: str, after: str) -> bool:
    """An AWS key identifier: at least 3 bits a character; one that begins like the word ASIA has a digit."""
    return entropy(value) >= 3.0 and (not value.startswith("ASIA") or re.search(r"[0-9]", value) is not None)


_SLACK_NUMBER = re.compile(r"-[0-9]{6}|/[TB][A-Z0-9]{6}|\.xox[bp]-")


def slack_token(value: str, before: str, after: str) -> bool:
    """A Slack token or webhook: the number of a workspace, or something random; at least 3 bits a character."""
    return entropy(value) >= 3.0 and (_SLACK_NUMBER.search(value) is not None or _is_random(value))


def kaggle_key(value: str, before: str, after: str) -> bool:
    """A Kaggle API key: 32 hexadecimal digits beside the word kaggle or a user name, at least 3 bits a character."""
    told = re.search(r"(?i)kaggle|username", before) or re.match(r"[\"'\\]*\s*,\s*[\"'\\]*username", after)
    return entropy(value) >= 3.0 and (told is not None or value.startswith("KGAT_"))


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
    """A JSON Web Token (RFC 7519): the header is a JSON object that names an algorithm. GitHub's may have a prefix."""
    header = re.sub(r"\Aghs_[A-Za-z0-9]+_", "", value.partition(".")[0])
    try:
        parsed = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    return isinstance(parsed, dict) and "alg" in parsed
