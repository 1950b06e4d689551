"""Pseudonyms: what stands in the place of personal data where it only says which rows belong together.

What belongs here: the secret of a home and the token of a value. What does not: finding values (``values``), or which
columns get pseudonyms (``records``).

A group of rows is known by an identifier, which may be an e-mail address. Were every address ``[EMAIL]``, all groups
would be one; a digest of the address could be undone by trying addresses. The token is an HMAC-SHA-256 (RFC 2104) with
a secret of this home: the same value has the same token in every cycle, and without the secret nobody can try.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import exclusive_lock, write_atomically

_KEY_BYTES = 32
_TOKEN_CHARACTERS = 12
"""48 bits: among a million values of one kind the chance that any two share a token is below 0.2 %."""


class Pseudonyms:
    """Tokens by the secret in ``path``, which is created when the first value needs one."""

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._key: bytes | None = None

    def token(self, kind: str, found: str) -> str:
        """``[KIND 1a2b3c4d5e6f]``, the same for the same value (surrounding spaces and case aside).

        Raises:
            IntegrityError: the secret is damaged.
        """
        if self._key is None:
            self._key = self._read()
        digest = hmac.new(self._key, f"{kind}\x00{found.strip().casefold()}".encode("utf-8", "replace"), hashlib.sha256)
        return f"[{kind} {digest.hexdigest()[:_TOKEN_CHARACTERS]}]"

    def _read(self) -> bytes:
        if not self._path.exists():
            self._create()
        key = self._path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise IntegrityError(
                f"{self._path}: not a secret of {_KEY_BYTES} bytes; restore it from a backup, or remove it: groups "
                "known by personal data are then divided anew"
            )
        return key

    def _create(self) -> None:
        """Create the secret; of several processes that do so at once, the first one's is everybody's."""
        lock = self._path.with_name(f"{self._path.name}.lock")
        with exclusive_lock(lock, waiting_seconds=60, what="the secret of pseudonyms"):
            if not self._path.exists():
                write_atomically(self._path, secrets.token_bytes(_KEY_BYTES), private=True)
