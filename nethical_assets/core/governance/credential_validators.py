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


_WHOLE_PLACEHOLDER = re.compile(
    r"(?i)(?:none|null|nil|undefined|true|false|yes|no|empty|unset|default|secret|password|passwd|pass|token|string|str"
    r"|[x*.#?_-]+|(?:[x*#?]{3,}[-_.]?)+|todo|tbd|n/a|test|testing|changeit|admin)"
)
_REFERENCE = re.compile(
    r"\$\{[^}]*\}?.*|\$\(.*|\$[A-Z_][A-Z0-9_]*|\$[a-z_]*(?:pass|pwd|secret|token|key|var|env)[a-z0-9_]*|%[A-Z][A-Z0-9_]*%"
    r"|%\([a-zA-Z_]\w*\)s|%[sdr]|\{\{.*|\{[A-Za-z_.]*\}?|<[^>]*>?|\[[^\]]*\]?"
    r"|(?:os|sys|process|self|this|args|config|conf|settings|env|options|params|request|req|getenv|System|Environment|ENV)"
    r"(?:\.|\[|\().*"
    r"|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*\(.*|[A-Za-z_]+(?:\.[A-Za-z_]+)+"
)
_WORD = re.compile(r"[^\W_]+")
_PLACEHOLDER_WORDS = frozenset(
    (
        "your",
        "yours",
        "example",
        "sample",
        "dummy",
        "placeholder",
        "redacted",
        "changeme",
        "change",
        "insert",
        "enter",
        "here",
        "goes",
        "replace",
        "fake",
        "removed",
        "masked",
        "hidden",
        "omitted",
    )
)
_WEAK_WORDS = frozenset(
    (
        "my",
        "the",
        "some",
        "test",
        "env",
        "none",
        "null",
        "true",
        "false",
        "config",
        "a",
        "an",
        "secret",
        "password",
        "passwd",
        "pass",
        "token",
        "key",
        "value",
        "todo",
    )
)


def is_placeholder(value: str) -> bool:
    """Whether ``value`` stands for a secret instead of being one.

    A placeholder is a whole value (``changeme``, ``${TOKEN}``, ``self.password``) or holds a word such as ``your``
    between signs; a secret may begin with the letters of one.
    """
    if _WHOLE_PLACEHOLDER.fullmatch(value) or _REFERENCE.fullmatch(value):
        return True
    words = [word.lower() for word in _WORD.findall(value)]
    if not words or _PLACEHOLDER_WORDS.intersection(words):
        return True
    return bool(_WEAK_WORDS.intersection(words)) and all(word.isalpha() for word in words)


def generic_secret(value: str, before: str, after: str) -> bool:
    """A value assigned to something called key, token or secret: at least 3 bits a character, letters and digits."""
    if is_placeholder(value) or not re.search(r"[0-9]", value) or not re.search(r"[A-Za-z]", value):
        return False
    return entropy(value) >= 3.0


_NOT_A_PASSWORD = re.compile(
    r"(?i)nopassw(?:or)?d[\"']?\s*[:=]\s*[\"'`]?\Z|(?:passw(?:or)?d|pwd|passphrase|passcode)[-_.]?(?:file|path|dir|url|uri|link"
    r"|length|len|min|max|policy|reset|field|type|strength|expir\w*|age|prompt|label|hint|required|enabled|attempts?|regex"
    r"|pattern|encoder|manager|authentication|less|column|name|count|rotation|changed|updated|last|created|date|days|timeout"
    r"|algorithm|encryption|provider|store|validator)\w*[\"']?\s*(?:[:=]|=>)\s*[\"'`]?\Z"
)


def password(value: str, before: str, after: str) -> bool:
    """A stated password: not a placeholder, and with a digit or a sign besides letters."""
    stripped = value.rstrip(".,;:!?\"')")
    return (
        len(stripped) >= 6
        and not is_placeholder(stripped)
        and re.search(r"[A-Za-z]", stripped) is not None
        and re.search(r"[^A-Za-z\s]", stripped) is not None
        and _NOT_A_PASSWORD.search(before) is None
        and entropy(stripped) >= 2.0
    )


def url_password(value: str, before: str, after: str) -> bool:
    """The password part of a URL, unless it is a placeholder."""
    return not is_placeholder(value) and entropy(value) >= 1.5


def high_entropy(value: str, before: str, after: str) -> bool:
    """A key of a known format: at least 3 bits a character, so no row of x or 0."""
    return entropy(value) >= 3.0


_KEY_RUN = re.compile(r"[A-Za-z0-9]+")
_SHORTEST_KEY_RUN = 16


def provider_key(value: str, before: str, after: str) -> bool:
    """A key with a provider's prefix: a random run of letters and digits follows, not words joined by hyphens."""
    longest = max(_KEY_RUN.findall(value), key=len)
    return (
        len(longest) >= _SHORTEST_KEY_RUN
        and re.search(r"[0-9]", longest) is not None
        and re.search(r"[A-Za-z]", longest) is not None
        and entropy(longest) >= 3.0
    )


def slack_token(value: str, before: str, after: str) -> bool:
    """A Slack token or webhook: digits in it, at least 3 bits a character."""
    return re.search(r"[0-9]", value) is not None and entropy(value) >= 3.0


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
