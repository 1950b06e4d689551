"""Pseudonyms: what stands in the place of personal data where it only says which rows belong together.

What belongs here: the secret of a home and the token of a value. What does not: finding values (``values``), or which
columns get pseudonyms (``records``).

A group of rows is known by an identifier, which may be an e-mail address. Were every address ``[EMAIL]``, all groups
would be one; a digest of the address could be undone by trying addresses. The token is an HMAC-SHA-256 (RFC 2104) with
a secret of this home: the same value has the same token in every cycle, and without the secret nobody can try.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from pathlib import Path

import pandas as pd

from nethical_assets.core.ground.errors import IntegrityError
from nethical_assets.core.ground.storage import exclusive_lock, write_atomically
from nethical_assets.core.rows.columns import MASKED_VALUE

_KEY_BYTES = 32
_PRIVATE, _OTHERS = 0o600, 0o077
_TOKEN_CHARACTERS = 12
"""48 bits: among a million values of one kind the chance that any two share a token is below 0.2 %."""


class Pseudonyms:
    """Tokens by the secret in ``path``, which is created when the first value needs one.

    Beside it stands which secret it was (``.id``: an HMAC of the secret over fixed bytes, from which nobody can find
    it). So a secret that was lost, or is another home's, is never taken for one: groups that are known by personal data
    would be divided anew, and rows of tests would train.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._identity = self._path.with_name(f"{self._path.name}.id")
        self._key: bytes | None = None

    def token(self, kind: str, found: str) -> str:
        """``[KIND 1a2b3c4d5e6f]``, the same for the same value (surrounding spaces and case aside).

        Raises:
            IntegrityError: the secret is damaged, lost, another one than before, or cannot be read.
        """
        if self._key is None:
            self._key = self._read()
        return _token(self._key, kind, found)

    def _read(self) -> bytes:
        key, identity = self._stored()
        if key is None or identity is None:
            key, identity = self._completed()
        if len(key) != _KEY_BYTES:
            raise IntegrityError(f"{self._path}: not a secret of {_KEY_BYTES} bytes; {self._advice}")
        if not hmac.compare_digest(identity, _identity(key)):
            raise IntegrityError(f"{self._path}: another secret than the one that was used here before; {self._advice}")
        if self._path.stat().st_mode & _OTHERS:
            # Copied back, for example: who can read it can try whose the pseudonyms are.
            with contextlib.suppress(OSError):
                self._path.chmod(_PRIVATE)
        return key

    @property
    def _advice(self) -> str:
        return (
            f"restore it from a backup, or remove it and {self._identity.name}: groups known by personal data are then "
            "divided anew"
        )

    def _stored(self) -> tuple[bytes | None, bytes | None]:
        try:
            key, identity = (path.read_bytes() if path.exists() else None for path in (self._path, self._identity))
        except OSError as error:
            raise IntegrityError(
                f"{self._path}: cannot be read ({error.strerror}); correct its permissions and run again"
            ) from None
        return key, identity

    def _completed(self) -> tuple[bytes, bytes]:
        """Create the secret, or its identity where it has none; of several processes that do so at once, the first
        one's is everybody's. A process that dies between the two used no secret yet."""
        lock = self._path.with_name(f"{self._path.name}.lock")
        with exclusive_lock(lock, waiting_seconds=60, what="the secret of pseudonyms"):
            key, identity = self._stored()
            if key is None and identity is not None:
                raise IntegrityError(f"{self._path}: missing, and it was used here before; {self._advice}")
            if key is None:
                key = secrets.token_bytes(_KEY_BYTES)
                write_atomically(self._path, key, private=True)
            if identity is None and len(key) == _KEY_BYTES:
                write_atomically(self._identity, _identity(key))
            return key, _identity(key) if identity is None else identity


class PassingPseudonyms:
    """Tokens of one call: two values differ as long as it lasts, and whose they were can be said again."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._found: dict[str, str] = {}

    def token(self, kind: str, found: str) -> str:
        """``[KIND 1a2b3c4d5e6f]``, the same for the same value (surrounding spaces and case aside) in this call."""
        token = _token(self._key, kind, found)
        self._found.setdefault(token, found)
        return token

    def restored(self, values: pd.Series) -> pd.Series:
        """``values`` with what was found in the place of each token, in its first spelling."""
        if not self._found:
            return values
        return values.astype("str").str.replace(
            MASKED_VALUE, lambda match: self._found.get(match[0], match[0]), regex=True
        )


def _token(key: bytes, kind: str, found: str) -> str:
    digest = hmac.new(key, f"{kind}\x00{found.strip().casefold()}".encode("utf-8", "replace"), hashlib.sha256)
    return f"[{kind} {digest.hexdigest()[:_TOKEN_CHARACTERS]}]"


def _identity(key: bytes) -> bytes:
    return hmac.new(key, b"the secret of pseudonyms", hashlib.sha256).hexdigest().encode()
