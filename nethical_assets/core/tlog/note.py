"""Signed notes (C2SP signed-note v1): text, and signature lines by named keys.

What belongs here: the note format, verifier keys ("vkeys"), Ed25519 signatures, and the verification of witness
cosignatures (C2SP tlog-cosignature: Ed25519, and ML-DSA-44 where the installed ``cryptography`` has it). What does not:
what the text says (``checkpoint``), where keys are kept, producing cosignatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from nethical_assets.core.ground.errors import AuditError

ED25519 = 0x01
COSIGNATURE_ED25519 = 0x04
COSIGNATURE_ML_DSA_44 = 0x06
PUBLIC_KEY_BYTES = {ED25519: 32, COSIGNATURE_ED25519: 32, COSIGNATURE_ML_DSA_44: 1312}
MAXIMUM_NOTE_BYTES = 1 << 20
_SIGNATURE_PREFIX = "\u2014 "
_KEY_ID_BYTES = 4
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")


class NoteError(AuditError):
    """A signed note or a verifier key is malformed, or no trusted key signed the note."""


@dataclass(frozen=True)
class Signature:
    """One signature line: key name, 4-byte key id, and what follows the id."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"{_SIGNATURE_PREFIX}{self.name} {_encode(self.key_id + self.value)}\n"


@dataclass(frozen=True)
class Note:
    """Text ending in a newline, and its signature lines (not yet verified)."""

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """The note in ``data``.

        Raises:
            NoteError: the bytes are not a signed note in its one canonical form.
        """
        if len(data) > MAXIMUM_NOTE_BYTES:
            raise NoteError(f"malformed note: {len(data)} bytes, at most {MAXIMUM_NOTE_BYTES} are allowed")
        try:
            content = data.decode()
        except UnicodeDecodeError:
            raise NoteError("malformed note: it is not UTF-8") from None
        if _CONTROL.search(content):
            raise NoteError("malformed note: it holds a control character")
        head, separator, tail = content.rpartition("\n\n")
        if not separator or not head:
            raise NoteError("malformed note: no blank line separates the text from the signatures")
        if not tail.endswith("\n"):
            raise NoteError("malformed note: the last signature line has no newline")
        return cls(head + "\n", parse_signatures(tail))

    def encode(self) -> bytes:
        """The bytes of the note."""
        return (self.text + "\n" + "".join(signature.line() for signature in self.signatures)).encode()


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """The signatures in newline-terminated signature lines.

    Raises:
        NoteError: a line is not a signature line in its one canonical form.
    """
    return tuple(_parse_signature(line) for line in lines.removesuffix("\n").split("\n"))


def _parse_signature(line: str) -> Signature:
    name, separator, encoded = line.removeprefix(_SIGNATURE_PREFIX).partition(" ")
    if not line.startswith(_SIGNATURE_PREFIX) or not separator or not _is_key_name(name):
        raise NoteError("malformed note: a signature line is not an em dash, a key name and base64")
    blob = decode_base64(encoded, "a signature line")
    if len(blob) <= _KEY_ID_BYTES:
        raise NoteError("malformed note: a signature line holds no signature")
    return Signature(name, blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])


@dataclass(frozen=True)
class VerifierKey:
    """A public key with the name it signs under; ``str()`` is its vkey line."""

    name: str
    algorithm: int
    public: bytes

    @classmethod
    def parse(cls, line: str) -> VerifierKey:
        """The key in a vkey line ``<name>+<key id>+<base64 of algorithm byte and public key>``.

        Raises:
            NoteError: the line is malformed, its key id does not match, or the algorithm is unknown.
        """
        name, first, rest = line.partition("+")
        key_id, second, encoded = rest.partition("+")
        if not (first and second and _is_key_name(name)):
            raise NoteError("malformed verifier key: expected <name>+<8 hexadecimal digits>+<base64>")
        blob = decode_base64(encoded, "a verifier key")
        key = cls(name, blob[0] if blob else 0, blob[1:])
        expected = PUBLIC_KEY_BYTES.get(key.algorithm)
        if expected is None:
            raise NoteError(f"verifier key {name}: algorithm {key.algorithm} is not known; allowed: 1, 4 and 6")
        if len(key.public) != expected:
            raise NoteError(f"verifier key {name}: the public key has {len(key.public)} bytes, expected {expected}")
        if key.key_id.hex() != key_id:
            raise NoteError(f"verifier key {name}: its key id {key_id} does not match the key ({key.key_id.hex()})")
        return key

    @classmethod
    def of(cls, name: str, private: Ed25519PrivateKey, algorithm: int = ED25519) -> VerifierKey:
        """The verifier key of an Ed25519 private key."""
        return cls(name, algorithm, private.public_key().public_bytes_raw())

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256 over name, newline, algorithm byte and public key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public).digest()[
            :_KEY_ID_BYTES
        ]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_encode(bytes([self.algorithm]) + self.public)}"

    def made(self, signature: Signature) -> bool:
        """Whether the signature line claims to be by this key (name and key id)."""
        return signature.name == self.name and signature.key_id == self.key_id

    def verify(self, text: str, signature: bytes) -> None:
        """Check ``signature`` (a signature line's bytes after the key id) over a note's ``text``.

        Raises:
            NoteError: it is not a signature of the text by this key.
        """
        try:
            if self.algorithm == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
            elif self.algorithm == COSIGNATURE_ED25519:
                message = cosignature_message(text, cosignature_time(signature))
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
            else:
                _verify_ml_dsa_44(self, text, signature)
        except InvalidSignature:
            raise NoteError(f"signature by {self.name} ({self.key_id.hex()}) does not match the text") from None


def sign_note(text: str, name: str, private: Ed25519PrivateKey) -> Note:
    """``text`` signed with an Ed25519 key under ``name``."""
    key = VerifierKey.of(name, private)
    return Note(text, (Signature(name, key.key_id, private.sign(text.encode())),))


def open_note(data: bytes, keys: Iterable[VerifierKey]) -> tuple[Note, list[VerifierKey]]:
    """The note in ``data`` and those of ``keys`` that signed it; lines by other keys are ignored, as the format says.

    Raises:
        NoteError: malformed, a signature by one of ``keys`` is wrong, or none of them signed.
    """
    note = Note.parse(data)
    trusted = list(keys)
    signers = []
    for signature in note.signatures:
        for key in trusted:
            if key.made(signature):
                key.verify(note.text, signature.value)
                signers.append(key)
    if not signers:
        names = ", ".join(sorted({f"{key.name}+{key.key_id.hex()}" for key in trusted})) or "(none)"
        found = ", ".join(f"{signature.name}+{signature.key_id.hex()}" for signature in note.signatures)
        raise NoteError(f"wrong key: signed by {found}, trusted are {names}")
    return note, signers


def cosignature_time(signature: bytes) -> int:
    """The POSIX time in a timestamped cosignature.

    Raises:
        NoteError: it is too short to hold one.
    """
    if len(signature) <= 8:
        raise NoteError("malformed note: a cosignature holds no timestamp")
    return int(struct.unpack(">Q", signature[:8])[0])


def cosignature_message(text: str, timestamp: int) -> bytes:
    """What an Ed25519 witness signs about a checkpoint's text (C2SP tlog-cosignature)."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _verify_ml_dsa_44(key: VerifierKey, text: str, signature: bytes) -> None:
    try:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
    except ImportError:
        raise NoteError(f"verifier key {key.name}: ML-DSA-44 needs a newer 'cryptography' package") from None
    timestamp = cosignature_time(signature)
    try:
        origin, size, root = text.split("\n")[:3]
        end = int(size)
    except ValueError:
        raise NoteError(f"cosignature by {key.name}: the text is not a checkpoint") from None
    name, log = key.name.encode(), origin.encode()
    message = b"".join(
        [
            b"subtree/v1\n\x00",
            bytes([len(name)]) + name,
            struct.pack(">Q", timestamp),
            bytes([len(log)]) + log,
            struct.pack(">QQ", 0, end),
            decode_base64(root, "a checkpoint's root"),
        ]
    )
    MLDSA44PublicKey.from_public_bytes(key.public).verify(signature[8:], message)


def decode_base64(text: str, where: str) -> bytes:
    """Standard base64 in its one canonical form.

    Raises:
        NoteError: other characters, wrong padding, or bits set that no byte uses; the message names ``where``.
    """
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        blob = None
    if blob is None or _encode(blob) != text:
        raise NoteError(f"malformed base64 in {where}")
    return blob


def _encode(blob: bytes) -> str:
    return base64.b64encode(blob).decode()


def _is_key_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(character.isspace() for character in name)
