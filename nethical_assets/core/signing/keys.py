"""The key that signs models and provenance, and the public keys that are trusted.

What belongs here: creating, finding and loading elliptic-curve keys. What does not: what is signed with them
(``dsse``), or the key of the audit log (``core.audit.keys``). Private material never enters a message.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from upath import UPath

from nethical_assets.core.ground.digests import ALGORITHM
from nethical_assets.core.ground.errors import IntegrityError, SettingsError
from nethical_assets.core.ground.storage import exclusive_lock, local_path, write_atomically

KEY_FILE_VARIABLE = "NETHICAL_MODEL_KEY_FILE"
SIGNING_KEY_FILE = "signing-key.pem"
PUBLIC_SUFFIX = ".pub.pem"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LOCK_SECONDS = 30.0

PublicKeys = Mapping[str, ec.EllipticCurvePublicKey]
"""Public keys by their id (:func:`key_id`)."""


class ModelKeys:
    """The keys under ``folder``: the private one (``signing-key.pem``, or the file that NETHICAL_MODEL_KEY_FILE names)
    and one ``<id>.pub.pem`` for every key that is trusted, so that signatures survive a change of the key.

    ``created`` is the path of the private key when this object created it, so that the caller can say so loudly.
    """

    def __init__(self, folder: UPath | Path, *, environment: Mapping[str, str] = os.environ) -> None:
        self.folder = folder
        named = environment.get(KEY_FILE_VARIABLE)
        self.external = Path(named) if named else None
        self.created: Path | None = None

    @property
    def path(self) -> Path:
        """The file of the private key.

        Raises:
            SettingsError: the folder is on another file system, where a private key does not belong.
        """
        folder = local_path(self.folder)
        if self.external is not None:
            return self.external
        if folder is None:
            raise SettingsError(
                f"models are stored at {self.folder}: name the signing key's file in {KEY_FILE_VARIABLE}"
            )
        return folder / SIGNING_KEY_FILE

    @functools.cached_property
    def private(self) -> ec.EllipticCurvePrivateKey:
        """The private key, its public half published beside it; the embedded one is created when there is none.

        Raises:
            SettingsError: the named file is missing, or is no unencrypted key of a supported curve in PEM form.
        """
        path = self.path
        if self.external is None and not path.exists():
            with exclusive_lock(path.parent / ".lock", waiting_seconds=_LOCK_SECONDS, what="the model signing key"):
                if not path.exists():
                    # Temporary files are made with mode 0600, which the rename keeps.
                    write_atomically(path, _private_pem(ec.generate_private_key(ec.SECP256R1())))
                    self.created = path
        key = _read_private_key(path)
        public = self.folder / f"{key_id(key.public_key())[:16]}{PUBLIC_SUFFIX}"
        if not public.exists():
            write_atomically(public, public_pem(key.public_key()))
        return key

    def trusted(self) -> PublicKeys:
        """Every published public key.

        Raises:
            IntegrityError: a file is no public key of a supported curve.
        """
        if not self.folder.exists():
            return {}
        paths = sorted((path for path in self.folder.iterdir() if path.name.endswith(PUBLIC_SUFFIX)), key=str)
        return read_public_keys(*paths)


def read_public_keys(*paths: UPath | Path) -> PublicKeys:
    """The public keys in PEM files.

    Raises:
        IntegrityError: a file is missing, or is no public key of a supported curve.
    """
    found = {}
    for path in paths:
        try:
            key = load_pem_public_key(path.read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm):
            raise IntegrityError(f"{path}: not a public key in PEM form; restore it from a backup") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
            raise IntegrityError(f"{path}: model signatures need an elliptic-curve key of {', '.join(_CURVES)}")
        found[key_id(key)] = key
    return found


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo in PEM form."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's PEM form, hexadecimal: the hint by which OpenSSF model signatures name a key."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def key_digest(identifier: str) -> str:
    """A key id as the digest by which audit events name it."""
    return f"{ALGORITHM}:{identifier}"


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"{path}: cannot read the model signing key ({error.strerror})") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{path}: not an unencrypted private key in PEM form; restore it from a backup") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise SettingsError(f"{path}: the model signing key must be an elliptic-curve key of {', '.join(_CURVES)}")
    return key
