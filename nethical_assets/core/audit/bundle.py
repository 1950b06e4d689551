"""Exporting everything a stranger needs to verify one run, in one folder.

What belongs here: collecting and writing the folder. What does not: the verifier that travels with it
(``bundle_verifier``, which must stand alone).
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nethical_assets.core.audit import bundle_verifier
from nethical_assets.core.audit.events import Event
from nethical_assets.core.audit.keys import VERIFIER_KEY_FILE, read_verifier_keys
from nethical_assets.core.audit.proofs import rotation_proofs
from nethical_assets.core.audit.reader import CHECKPOINT, KEYS, PAYLOADS, LogReader
from nethical_assets.core.ground.digests import digest_file, pretty_json
from nethical_assets.core.ground.errors import AuditError, SettingsError
from nethical_assets.core.ground.storage import named_errors, temporary_folder
from nethical_assets.core.tlog.checkpoint import open_checkpoint
from nethical_assets.core.tlog.merkle import inclusion_proof

BUNDLE_FORMAT = "nethical-audit-bundle/v1"
_README = """Audit bundle of run {run_id}

Verify it with Python 3.9 or later and openssl 3, on a machine without the product and without a network:

    python3 -I -S verify.py --key '{key}'

Take the key from somewhere you trust, not from this folder: without it the bundle proves only that it is consistent.
The checkpoint's signature alone, with openssl alone:

    openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in checkpoint.text -sigfile checkpoint.signature

bundle.json    the events of the run as they stand in the log, each with its inclusion proof
checkpoint     the signed size and root of the log; checkpoint.text and checkpoint.signature are its two parts
payloads/      details that the events name by digest (a payload that retention deleted is absent)
attachments/   files whose digests the events name
"""


def export_bundle(
    folder: Path, run_id: str, destination: Path, *, attachments: Mapping[str, Path] | None = None
) -> Path:
    """Write a folder from which a stranger verifies a run with the standard library and openssl alone.

    Args:
        folder: the log.
        run_id: a run whose events were finalised.
        destination: the folder to create; it must not exist. It appears complete or not at all.
        attachments: names to files (cards, manifests, models) whose digests events of the run name as subjects.

    Raises:
        SettingsError: the destination exists.
        AuditError: the run is not in the log, or no event of the run names an attachment.
        OSError: the disk is full or not writable.
    """
    log = LogReader(Path(folder))
    if os.path.lexists(destination):
        raise SettingsError(f"{destination}: exists already; name a folder that does not")
    found = list(log.find_events(run_id=run_id))
    head = log.head()
    if head is None or not found:
        raise AuditError(f"{folder}: run {run_id} is not in the log; finalise it first")
    named = {subject.digest for one in found for subject in one.event.subjects}
    for name, path in (attachments or {}).items():
        if digest_file(path) not in named:
            raise AuditError(
                f"{path}: no event of run {run_id} names its digest, attachment {name} would prove nothing"
            )
    key = read_verifier_keys(log.folder / KEYS / VERIFIER_KEY_FILE)[0]
    nodes = log.tiles.reader(head.size).node
    rotations = rotation_proofs(log)
    first = Event.parse(rotations[0]["entry"].encode()).rotation if rotations else None
    bundle: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "run_id": run_id,
        "first_key": first.old if first else str(key),
        "leaves": [
            {
                "index": one.index,
                "entry": one.event.leaf().decode(),
                "inclusion_proof": [
                    base64.b64encode(sibling).decode() for sibling in inclusion_proof(one.index, head.size, nodes)
                ],
            }
            for one in found
        ],
        "rotations": rotations,
    }
    signed = open_checkpoint(head.text.encode(), [key]).note
    signature = next(one.value for one in signed.signatures if key.made(one))
    spki = base64.b64encode(bundle_verifier.SPKI_ED25519 + key.public).decode()
    files = {
        "bundle.json": pretty_json(bundle),
        CHECKPOINT: head.text.encode(),
        "checkpoint.text": signed.text.encode(),
        "checkpoint.signature": signature,
        VERIFIER_KEY_FILE: f"{key}\n".encode(),
        "key.pem": f"-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n".encode(),
        "verify.py": Path(bundle_verifier.__file__).read_bytes(),
        "README.txt": _README.format(run_id=run_id, key=key).encode(),
    }
    for one in found:
        digest = one.event.payload_digest
        if digest is not None and digest in log.payloads:
            files[f"{PAYLOADS}/{digest.partition(':')[2]}"] = log.payloads.get(digest)
    _write(files, attachments or {}, destination)
    return destination


def _write(files: Mapping[str, bytes], attachments: Mapping[str, Path], destination: Path) -> None:
    with named_errors(destination), temporary_folder(destination.parent) as temporary:
        for name, data in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for name, source in attachments.items():
            path = (temporary / "attachments" / name).resolve()
            if not path.is_relative_to(temporary.resolve() / "attachments"):
                raise AuditError(f"attachment name {name!r} leads out of the bundle; use a plain relative name")
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
        temporary.rename(destination)
