"""The key that signs models and provenance, and the public keys that are trusted.

What belongs here: creating, finding and loading elliptic-curve keys. What does not: what is signed with them
(``dsse``), or the key of the audit log (``core.audit.keys``). Private material never enters a message.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

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
from nethical_assets.core.ground.errors import InputFileError, IntegrityError, SettingsError
from nethical_assets.core.ground.given_files import read_given
from nethical_assets.core.ground.paths import path_named_by
from nethical_assets.core.ground.storage import exclusive_lock, local_path, write_atomically

KEY_FILE_VARIABLE = "NETHICAL_MODEL_KEY_FILE"
SIGNING_KEY_FILE = "signing-key.pem"
NEXT_KEY_FILE = "next-signing-key.pem"
PUBLIC_SUFFIX = ".pub.pem"
_NAME_DIGITS = 16
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LOCK_SECONDS = 30.0

PublicKeys = Mapping[str, ec.EllipticCurvePublicKey]
"""Public keys by their id (:func:`key_id`)."""


class KeyPins(Protocol):
    """Where the fingerprints of keys are recorded that are trusted: the audit log, in the product."""

    def pinned(self) -> Sequence[str]:
        """The fingerprints (:func:`key_digest`), oldest first; the last is of the key in force."""

    def pin(self, digest: str) -> None:
        """Record the first key.

        Raises:
            SettingsError: nothing can be recorded here.
        """


class ModelKeys:
    """The keys under ``folder``: the private one (``signing-key.pem``, or the file that NETHICAL_MODEL_KEY_FILE names)
    and one ``<id>.pub.pem`` for every key that ever signed, so that signatures survive a change of the key.

    A key is trusted because ``pins`` names its fingerprint, never because its file lies there. ``created`` is the path
    of the private key when this object created it, so that the caller can say so loudly.
    """

    def __init__(self, folder: UPath | Path, pins: KeyPins, *, environment: Mapping[str, str] = os.environ) -> None:
        self.folder = folder
        self.pins = pins
        self.external = path_named_by(KEY_FILE_VARIABLE, environment)
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
        """The private key in force, its public half published beside it. Where no key is pinned yet, it is pinned
        before it signs anything, and the embedded one is created when there is none.

        Raises:
            SettingsError: the named file is missing, is no unencrypted key of a supported curve in PEM form, or is not
                the pinned key.
        """
        path = self.path
        pinned = self.pins.pinned()
        if self.external is None and not path.exists():
            if pinned and not self._is_replaced(pinned):
                raise SettingsError(
                    f"{path}: the model signing key is missing, and the audit log pins {pinned[-1]}; restore it, or "
                    "replace it: nethical models rotate-key --reason REASON"
                )
            if not pinned:
                self._create(path)
        self._complete(pinned)
        key = _read_private_key(path)
        digest = _digest_of(key)
        if not pinned:
            with self._locked():
                pinned = self.pins.pinned()
                if not pinned:
                    self.pins.pin(digest)
                    pinned = [digest]
        if digest != pinned[-1]:
            raise SettingsError(
                f"{path}: this model signing key is {digest}, the audit log pins {pinned[-1]}; restore that key, or "
                "replace it: nethical models rotate-key --reason REASON"
            )
        self._publish(key.public_key())
        return key

    def problem(self) -> str | None:
        """What is wrong with the private key that is there, in one line; None where it is sound, absent, kept elsewhere
        or not for this user to read, as for an auditor. Nothing is written."""
        pinned = self.pins.pinned()
        if self.external is not None or not pinned or not self.path.exists() or self._is_replaced(pinned):
            return None
        if not os.access(self.path, os.R_OK):
            return None
        try:
            digest = _digest_of(_read_private_key(self.path))
        except SettingsError as error:
            return str(error)
        if digest == pinned[-1]:
            return None
        return f"{self.path}: this model signing key is {digest}, the audit log pins {pinned[-1]}; restore that key"

    def missing(self) -> str | None:
        """That the pinned private key is not where this process looks for it, in one line; else None. An auditor's copy
        has none."""
        pinned = self.pins.pinned()
        if not pinned or self.path.exists() or self._is_replaced(pinned):
            return None
        return (
            f"{self.path}: the model signing key is missing, and the audit log pins {pinned[-1]}; restore it, name its "
            f"file in {KEY_FILE_VARIABLE}, or replace it: nethical models rotate-key --reason REASON"
        )

    def mend(self) -> Path | UPath | None:
        """Complete a replacement that was pinned before the process died, and write the public key in force anew where
        its file is missing or damaged: it follows from the private key, which the pins prove. The file of a public key
        that was mended, or None, also where the private key is not here.

        Raises:
            AuditError: there is a log that pins keys, and it is not what was signed.
        """
        pinned = self.pins.pinned()
        try:
            self._complete(pinned)
            key = _read_private_key(self.path) if pinned else None
        except SettingsError:
            return None
        if key is None or _digest_of(key) != pinned[-1]:
            return None
        return self._public_path(key.public_key()) if self._publish(key.public_key()) else None

    def trusted(self) -> PublicKeys:
        """The published public keys whose fingerprints are pinned; whatever else lies there counts for nothing.

        Raises:
            IntegrityError: the file of a pinned key is no public key of a supported curve.
        """
        if not self.folder.exists():
            return {}
        pinned = set(self.pins.pinned())
        # The name of a file is the beginning of the fingerprint: others' files are not even read.
        names = {f"{digest.partition(':')[2][:_NAME_DIGITS]}{PUBLIC_SUFFIX}" for digest in pinned}
        paths = sorted((path for path in self.folder.iterdir() if path.name in names), key=str)
        return {
            identifier: key for identifier, key in read_public_keys(*paths).items() if key_digest(identifier) in pinned
        }

    def replacement(self, new_key_file: Path | None = None) -> tuple[str, Path]:
        """The fingerprint and file of the key that is to replace the present one, which is created when it does not
        exist; nothing is replaced yet.

        Raises:
            SettingsError: the present key is external and no file is named, or the file holds the key in force.
        """
        if self.external is not None and new_key_file is None:
            raise SettingsError(
                f"{self.external}: this key is not managed here; name the file of the new key with --new-key-file"
            )
        pinned = self.pins.pinned()
        if not pinned:
            raise SettingsError("no model key is pinned yet, so there is none to replace; run: nethical run")
        if self._is_replaced(pinned):
            if new_key_file is None or (
                new_key_file.exists() and _digest_of(_read_private_key(new_key_file)) == pinned[-1]
            ):
                return pinned[-1], self._next
            self._complete(pinned)
        target = self._next if new_key_file is None else new_key_file.absolute()
        if not os.path.lexists(target):
            self._create(target)
        if new_key_file is not None:
            read_given(target, "name a file with an unencrypted elliptic-curve key, or one that is not there yet")
        key = _read_private_key(target)
        digest = _digest_of(key)
        if digest == pinned[-1] and (new_key_file is not None or self.external is not None):
            raise SettingsError(f"{target}: this key is in force already; name a file with another key")
        if self.external is None and target != self._next:
            # Beside the present one, whoever comes after a process that dies finds it.
            write_atomically(self._next, _private_pem(key), private=True)
            target = self._next
        return digest, target

    def take_over(self, target: Path) -> None:
        """Put the key in ``target``, which is pinned by now, into the place of the one before it."""
        key = _read_private_key(target)
        self._publish(key.public_key())
        if self.external is None:
            write_atomically(self.path, _private_pem(key), private=True)
            target.unlink(missing_ok=True)
        self.__dict__.pop("private", None)

    @property
    def _next(self) -> Path:
        """Where the key that is to replace the present one waits for its pin."""
        return self.path.with_name(NEXT_KEY_FILE).absolute()

    def _is_replaced(self, pinned: Sequence[str]) -> bool:
        """Whether the pinned key still waits to take the place of the one before it: the process died in between."""
        if self.external is not None or not pinned or not self._next.exists():
            return False
        try:
            return _digest_of(_read_private_key(self._next)) == pinned[-1]
        except SettingsError:
            return False

    def _complete(self, pinned: Sequence[str]) -> None:
        if self._is_replaced(pinned):
            self.take_over(self._next)

    def _create(self, path: Path) -> None:
        with self._locked():
            if not path.exists():
                write_atomically(path, _private_pem(ec.generate_private_key(ec.SECP256R1())), private=True)
                self.created = path

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        folder = local_path(self.folder) or self.path.parent
        with exclusive_lock(folder / ".lock", waiting_seconds=_LOCK_SECONDS, what="the model signing key"):
            yield

    def _publish(self, key: ec.EllipticCurvePublicKey) -> bool:
        """Whether the file of the key had to be written."""
        path, pem = self._public_path(key), public_pem(key)
        if path.exists() and path.read_bytes() == pem:
            return False
        write_atomically(path, pem)
        return True

    def _public_path(self, key: ec.EllipticCurvePublicKey) -> UPath | Path:
        return self.folder / f"{key_id(key)[:_NAME_DIGITS]}{PUBLIC_SUFFIX}"


def given_public_keys(path: Path) -> PublicKeys:
    """The public key in a PEM file that a person named.

    Raises:
        InputFileError: it cannot be read, or is no public key of a supported curve.
    """
    advice = "name the PEM file of a public key, such as one of models/keys"
    try:
        key = _public_key(read_given(path, advice))
    except ValueError as error:
        raise InputFileError(f"{path}: {error}; {advice}") from None
    return {key_id(key): key}


def read_public_keys(*paths: UPath | Path) -> PublicKeys:
    """The public keys in PEM files.

    Raises:
        IntegrityError: a file is missing, or is no public key of a supported curve.
    """
    found = {}
    for path in paths:
        try:
            key = _public_key(path.read_bytes())
        except OSError as error:
            raise IntegrityError(f"{path}: cannot be read ({error.strerror}); restore it from a backup") from None
        except ValueError as error:
            raise IntegrityError(f"{path}: {error}; restore it from a backup") from None
        found[key_id(key)] = key
    return found


def _public_key(data: bytes) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a public key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise ValueError(f"model signatures need an elliptic-curve key of {', '.join(_CURVES)}")
    return key


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as SubjectPublicKeyInfo in PEM form."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the key's PEM form, hexadecimal: the hint by which OpenSSF model signatures name a key."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def key_digest(identifier: str) -> str:
    """A key id as the digest by which audit events name it."""
    return f"{ALGORITHM}:{identifier}"


def _digest_of(key: ec.EllipticCurvePrivateKey) -> str:
    return key_digest(key_id(key.public_key()))


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
