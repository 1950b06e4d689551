"""Digests and canonical serialisation: the names by which everything stored is known.

What belongs here: SHA-256 digests and RFC 8785 canonical JSON. What does not: Merkle trees (``core.tlog``), digests of
code (``code``) or where bytes are kept (``storage``).
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import rfc8785

from nethical_assets.core.ground.errors import IntegrityError

ALGORITHM = "sha256"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


def digest_bytes(data: bytes) -> str:
    """The name of ``data``: ``sha256:`` and 64 lower-case hexadecimal digits."""
    return f"{ALGORITHM}:{hashlib.sha256(data).hexdigest()}"


def digest_file(path: Path) -> str:
    """The digest of a file's bytes, read in pieces of 1 MiB."""
    state = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_CHUNK_BYTES):
            state.update(piece)
    return f"{ALGORITHM}:{state.hexdigest()}"


def canonical_json(value: Any) -> bytes:
    """``value`` in the JSON Canonicalization Scheme (RFC 8785): one byte string for one value."""
    return rfc8785.dumps(value)


def digest_json(value: Any) -> str:
    """The digest of ``value``'s canonical JSON."""
    return digest_bytes(canonical_json(value))


def check_digest(digest: str) -> str:
    """``digest`` itself when it is well formed.

    Raises:
        IntegrityError: it is not ``sha256:`` and 64 hexadecimal digits (so it cannot escape a store's folder).
    """
    if not _DIGEST.fullmatch(digest):
        raise IntegrityError(f"malformed digest {digest!r}: expected sha256: and 64 lower-case hexadecimal digits")
    return digest


def pretty_json(value: Any) -> bytes:
    """``value`` as indented JSON for people, keys sorted, ending in a newline; refuses NaN and infinity."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
