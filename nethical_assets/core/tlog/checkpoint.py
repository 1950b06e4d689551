"""Checkpoints (C2SP tlog-checkpoint): the signed statement "this log has this size and this root".

What belongs here: the text of a checkpoint and opening a signed one. What does not: signature formats (``note``).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical_assets.core.ground.digests import digest_bytes
from nethical_assets.core.tlog.merkle import EMPTY_ROOT, HASH_BYTES
from nethical_assets.core.tlog.note import Note, NoteError, VerifierKey, decode_base64, open_note, sign_note

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """Log identity, number of leaves, and 32-byte root over them."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint in a note's text.

        Raises:
            NoteError: it is not one; extension lines are refused because no auditor could check them.
        """
        lines = text.split("\n")
        if len(lines) != 4 or not lines[0] or lines[3]:
            raise NoteError("malformed checkpoint: expected the three lines origin, size and root")
        if not _SIZE.fullmatch(lines[1]):
            raise NoteError("malformed checkpoint: the size is not a decimal number")
        root = decode_base64(lines[2], "a checkpoint's root")
        if len(root) != HASH_BYTES:
            raise NoteError(f"malformed checkpoint: the root has {len(root)} bytes, expected {HASH_BYTES}")
        if lines[1] == "0" and root != EMPTY_ROOT:
            raise NoteError("malformed checkpoint: size 0 with a root that is not the empty tree's")
        return cls(lines[0], int(lines[1]), root)

    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def digest(self) -> str:
        """The digest of the signed text; cosignatures that arrive later do not change it."""
        return digest_bytes(self.text().encode())

    def sign(self, private: Ed25519PrivateKey) -> bytes:
        """The signed note; the key's name is the origin."""
        return sign_note(self.text(), self.origin, private).encode()


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint whose signatures by trusted keys were verified."""

    checkpoint: Checkpoint
    note: Note
    signers: tuple[VerifierKey, ...]


def open_checkpoint(data: bytes, keys: Iterable[VerifierKey]) -> SignedCheckpoint:
    """The checkpoint in ``data``, signed by at least one of ``keys``.

    Raises:
        NoteError: malformed, or not signed by a trusted key.
    """
    note, signers = open_note(data, keys)
    return SignedCheckpoint(Checkpoint.parse(note.text), note, tuple(signers))
