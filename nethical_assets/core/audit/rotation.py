"""Replacing the signing key of a log, attested by the old key.

What belongs here: the rotation as an event and its order of steps. What does not: key files (``keys``), which key a
verifier demands where (``verify``).
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nethical_assets.core.audit.events import EventType, Rotation
from nethical_assets.core.audit.keys import (
    NEXT_KEY_FILE,
    SigningKeys,
    given_private_key,
    read_private_key,
    write_private_key,
)
from nethical_assets.core.audit.log import AuditLog
from nethical_assets.core.ground.errors import AuditError
from nethical_assets.core.tlog.note import VerifierKey


def rotate_key(log: AuditLog, *, actor: str, new_key_file: Path | None = None) -> VerifierKey:
    """Replace the signing key; return the new verifier key, which auditors should be given.

    The log gets a chunk with a ``key_rotated`` event, signed by the old key, then one with a heartbeat, signed by the
    new key; from then on only the new key signs. ``new_key_file`` is created when it does not exist. The embedded key
    is replaced in its file (the old one is gone), with a copy of ``new_key_file`` where one is given. A key from a path
    or the environment stays where it is: give ``new_key_file`` and name that file from then on. After a crash, calling
    it again (or any later finalisation) completes the rotation.

    Raises:
        AuditError: nothing was ever signed, the key is external and no ``new_key_file`` was given, or it is the same.
        InputFileError: ``new_key_file`` is there and is no such key.
    """
    head = log.head()
    if head is None:
        raise AuditError(f"{log.folder}: nothing was signed yet, so there is no key to rotate; finalise a run first")
    if log.keys.external is not None and new_key_file is None:
        raise AuditError(f"{log.keys.path}: this key is not managed here; name the file of the new key as well")
    origin = head.checkpoint.origin
    target = new_key_file or log.keys.folder / NEXT_KEY_FILE
    if not os.path.lexists(target):
        write_private_key(target, Ed25519PrivateKey.generate())
    following = read_private_key(target) if new_key_file is None else given_private_key(new_key_file)
    old, new = VerifierKey.of(origin, log.keys.load()), VerifierKey.of(origin, following)
    if old == new:
        raise AuditError(f"{target}: this is the key that signs already; name a file with another key")
    if log.keys.external is None and new_key_file is not None:
        _put_beside(log.keys.folder / NEXT_KEY_FILE, following)
    # Lines that the old key signed would not count any more once the new one is in force.
    log.seal_pending()
    run_id = f"key-rotation-{new.key_id.hex()}"
    recorder = log.recorder(run_id)
    if recorder.prefix_root()[0] == 0:
        recorder.append(EventType.KEY_ROTATED, actor=actor, rotation=Rotation(str(old), str(new)))
    log.finalize_run(run_id)
    keys = SigningKeys(log.keys.folder, key_file=target, environment={}) if log.keys.external else log.keys
    AuditLog(log.folder, keys, clock=log.clock).heartbeat(f"{run_id}-confirmed", actor=actor)
    return new


def _put_beside(path: Path, following: Ed25519PrivateKey) -> None:
    """Have the new key beside the present one, where whoever comes after a process that dies finds it.

    Raises:
        AuditError: another one waits there already.
    """
    if path.exists() and read_private_key(path).public_key() != following.public_key():
        raise AuditError(f"{path}: a rotation to this key has begun; complete it first: nethical audit keys rotate")
    write_private_key(path, following)
