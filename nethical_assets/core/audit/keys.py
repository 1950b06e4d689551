"""The signing key of the log, and the public verifier key beside it.

What belongs here: creating, finding, loading and replacing keys. What does not: signing (``core.tlog``), recording a
rotation in the log (``rotation``). Private material never enters a message, a log record or an exception.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.ground.errors import AuditError, InputFileError
from nethical_assets.core.ground.given_files import read_given
from nethical_assets.core.ground.paths import path_named_by
from nethical_assets.core.ground.storage import write_atomically
from nethical_assets.core.tlog.note import NoteError, VerifierKey
from nethical_assets.core.tlog.tiles import make_durable_folder

KEY_FILE_VARIABLE = "NETHICAL_AUDIT_KEY_FILE"
ORIGIN_PREFIX = "nethical.local/audit/"
SIGNING_KEY_FILE = "signing-key.pem"
NEXT_KEY_FILE = "next-signing-key.pem"
VERIFIER_KEY_FILE = "verifier.vkey"


class SigningKeys:
    """Where the private key of one log is: a given file, NETHICAL_AUDIT_KEY_FILE, or one created on first use.

    ``created`` is the path of the key when this object created it, so that the caller can say so loudly; else None.
    """

    def __init__(
        self, folder: Path, *, key_file: Path | None = None, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.folder = folder
        self.external = key_file or path_named_by(KEY_FILE_VARIABLE, environment)
        self.created: Path | None = None

    @property
    def path(self) -> Path:
        """The file of the private key."""
        return self.external or self.folder / SIGNING_KEY_FILE

    def load(self) -> Ed25519PrivateKey:
        """The private key; the embedded one is created when there is none and no log was signed yet.

        Raises:
            AuditError: the log's own file is missing, or is no unencrypted Ed25519 key in PEM form.
            InputFileError: so is the file that was named.
        """
        if self.external is None and not self.path.exists():
            if (self.folder / VERIFIER_KEY_FILE).exists():
                raise AuditError(f"{self.path}: the key that signs this log is missing; restore it from a backup")
            write_private_key(self.path, Ed25519PrivateKey.generate())
            self.created = self.path
        return read_private_key(self.path) if self.external is None else given_private_key(self.path)

    def missing(self) -> str | None:
        """That the private key is not where this process looks for it although a log was signed, in one line; else
        None. An auditor's copy has none."""
        if self.path.exists() or not (self.folder / VERIFIER_KEY_FILE).exists():
            return None
        return (
            f"{self.path}: the key that signs this log is missing, nothing can be recorded without it; restore it from "
            f"a backup, or name its file in {KEY_FILE_VARIABLE}"
        )

    def replace(self, private: Ed25519PrivateKey) -> None:
        """Put ``private`` in the place of the current key, whose file is overwritten."""
        write_private_key(self.path, private)


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 private key in a PEM file.

    Raises:
        AuditError: it cannot be read, or is something else.
    """
    try:
        return _private_key(path.read_bytes())
    except OSError as error:
        raise AuditError(f"{path}: cannot read the audit signing key ({error.strerror})") from None
    except ValueError as error:
        raise AuditError(f"{path}: {error}; restore it from a backup") from None


def given_private_key(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 private key in a PEM file that a person named.

    Raises:
        InputFileError: it cannot be read, or is something else.
    """
    advice = "name a file with an unencrypted Ed25519 private key, as nethical audit keys new makes one"
    try:
        return _private_key(read_given(path, advice))
    except ValueError as error:
        raise InputFileError(f"{path}: {error}; {advice}") from None


def _private_key(data: bytes) -> Ed25519PrivateKey:
    try:
        private = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        raise ValueError("not an unencrypted private key in PEM form") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError("an audit signing key must be an Ed25519 key")
    return private


def write_private_key(path: Path, private: Ed25519PrivateKey) -> None:
    """Write a private key as PKCS #8 PEM, readable by its owner only (mode 0600), atomically."""
    make_durable_folder(path.parent)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomically(path, pem, private=True)


def default_origin(private: Ed25519PrivateKey) -> str:
    """The identity of a new log: it does not change when the key is rotated later."""
    return origin_of(private.public_key().public_bytes_raw())


def origin_of(public: bytes) -> str:
    """The identity of a log whose first key has these 32 bytes."""
    return ORIGIN_PREFIX + digest_bytes(public).partition(":")[2][:16]


def fingerprint(key: VerifierKey) -> str:
    """The digest by which events pin a verifier key: that of its vkey line."""
    return digest_bytes(str(key).encode())


def write_verifier_key(folder: Path, key: VerifierKey) -> None:
    """Put the public key where auditors find it: one vkey line in ``verifier.vkey``."""
    path, line = folder / VERIFIER_KEY_FILE, f"{key}\n".encode()
    if not path.exists() or path.read_bytes() != line:
        make_durable_folder(folder)
        write_atomically(path, line)


def read_verifier_keys(path: Path) -> list[VerifierKey]:
    """The verifier keys in a file of vkey lines.

    Raises:
        AuditError: the file is missing, empty or malformed.
    """
    try:
        content = path.read_bytes().decode()
    except FileNotFoundError:
        raise AuditError(f"{path}: missing verifier key file; give the key you trust with --key") from None
    except (OSError, UnicodeDecodeError):
        raise AuditError(f"{path}: the verifier key file cannot be read as text") from None
    if not content.endswith("\n"):
        raise AuditError(f"{path}: the verifier key file does not end in a newline; it was cut short or changed")
    try:
        return [VerifierKey.parse(line) for line in content[:-1].split("\n")]
    except NoteError as error:
        raise AuditError(f"{path}: {error}") from None


def check_private_key_file(path: Path, keys: Iterable[VerifierKey]) -> str | None:
    """What is wrong with a private key file beside the log, if anything; no private material is in the answer.

    Raises:
        FileNotFoundError, PermissionError: it is not there, or not for this user to read (an auditor's case).
    """
    data = path.read_bytes()
    try:
        private = read_private_key(path)
    except AuditError:
        return "changed on disk, it is no Ed25519 private key any more"
    if private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) != data:
        return "changed on disk, it is not in the form it was written in"
    if private.public_key().public_bytes_raw() not in {key.public for key in keys}:
        return "changed on disk, it does not belong to the verifier key"
    if os.name == "posix" and path.stat().st_mode & 0o077:
        return "other users can read it; set its mode to 0600"
    return None
