"""Self-contained proofs that one event is in the log, checkable offline and without the log.

What belongs here: proof documents, producing and checking them. What does not: proof arithmetic (``core.tlog``),
bundles of a whole run (``bundle``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nethical_assets.core.audit.events import Event
from nethical_assets.core.audit.reader import LogReader
from nethical_assets.core.ground.digests import check_digest, digest_bytes
from nethical_assets.core.ground.documents import to_document
from nethical_assets.core.ground.errors import AuditError, InputFileError
from nethical_assets.core.ground.given_files import read_given_json
from nethical_assets.core.ground.validation_errors import describe_malformed
from nethical_assets.core.tlog.checkpoint import Checkpoint, open_checkpoint
from nethical_assets.core.tlog.merkle import ProofError, hash_leaf, inclusion_proof, verify_inclusion
from nethical_assets.core.tlog.note import NoteError, VerifierKey, decode_base64

PROOF_FORMAT = "nethical-audit-proof/v1"


@dataclass
class ProofReport:
    """What a proof proves: ``event`` is leaf ``index`` of the log ``origin`` that had ``size`` leaves and this root."""

    origin: str = ""
    index: int = -1
    size: int = 0
    root: str = ""
    signed_by: str = ""
    event: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the proof holds."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {"ok": self.ok, **to_document(self)}


def prove(folder: Path, index_or_digest: int | str) -> dict[str, Any]:
    """A document that proves one event to somebody who has only it and a verifier key.

    ``index_or_digest`` is a leaf index, or a digest; then the newest event that names it (as subject, parent or
    payload) is proven. The document holds the entry, its payload if it is kept, the inclusion proof, the checkpoint,
    the verifier key, and the key rotations that lead from older keys to it.

    Raises:
        AuditError: there is no log, no such leaf, or no event names the digest.
    """
    log = LogReader(Path(folder))
    if log.checkpoint_bytes() is None:
        raise AuditError(f"{folder}: there is no signed log here; finalise a run first")
    view = log.view()
    index = _index(log, view.size, index_or_digest)
    proof = view.inclusion_proof(index)
    event = view.event(index).event
    payload = event.payload_digest
    return {
        "format": PROOF_FORMAT,
        "index": index,
        "entry": event.leaf().decode(),
        "payload": log.payloads.get(payload).decode() if payload and payload in log.payloads else None,
        "inclusion_proof": [base64.b64encode(one).decode() for one in proof],
        "checkpoint": view.head.text,
        "verifier_key": str(view.signer),
        "rotations": rotation_proofs(log),
    }


def rotation_proofs(log: LogReader) -> list[dict[str, Any]]:
    """Every key rotation with a proof that a checkpoint signed by the old key contains it."""
    proofs = []
    for found in log.view().rotations():
        final = next(one for one in log.entries(found.index) if one.event.chunk is not None)
        size = final.index + 1
        path = inclusion_proof(found.index, size, log.tiles.reader(size).node)
        proofs.append(
            {
                "index": found.index,
                "entry": found.event.leaf().decode(),
                "inclusion_proof": [base64.b64encode(one).decode() for one in path],
                "checkpoint": log.signed_checkpoint(size),
            }
        )
    return proofs


def read_proof(path: Path) -> dict[str, Any]:
    """The proof document in a file that a person named; whether it proves anything is not looked at.

    Raises:
        InputFileError: it cannot be read, or is something else.
    """
    advice = "name a proof that was written by: nethical audit prove"
    document = read_given_json(path, advice)
    if not isinstance(document, dict) or "format" not in document:
        raise InputFileError(f"{path}: is no proof document; {advice}")
    return document


def check_proof(document: Mapping[str, Any] | str | bytes, verifier_key: VerifierKey | str) -> ProofReport:
    """Check a proof document with nothing but a trusted verifier key; defects are listed in the report.

    Raises:
        NoteError: the given key is malformed.
    """
    key = verifier_key if isinstance(verifier_key, VerifierKey) else VerifierKey.parse(verifier_key)
    report = ProofReport()
    try:
        content = json.loads(document) if isinstance(document, str | bytes) else document
        _check(content, key, report)
    except AuditError as error:
        report.problems.append(str(error))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        report.problems.append(f"malformed proof document: {describe_malformed(error)}")
    return report


def _check(document: Mapping[str, Any], key: VerifierKey, report: ProofReport) -> None:
    if document["format"] != PROOF_FORMAT:
        raise AuditError(f"malformed proof document: format {document['format']!r}, expected {PROOF_FORMAT}")
    for rotation in document["rotations"]:
        event = Event.parse(rotation["entry"].encode())
        if event.rotation is not None and event.rotation.old == str(key):
            _check_inclusion(rotation, key)
            key = VerifierKey.parse(event.rotation.new)
    checkpoint = _check_inclusion(document, key)
    event = Event.parse(document["entry"].encode())
    if document["payload"] is not None and digest_bytes(document["payload"].encode()) != event.payload_digest:
        raise AuditError("the payload in the proof is not the one that the event names")
    report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
    report.index, report.signed_by, report.event = document["index"], str(key), event.to_json()


def _check_inclusion(document: Mapping[str, Any], key: VerifierKey) -> Checkpoint:
    checkpoint = open_checkpoint(document["checkpoint"].encode(), [key]).checkpoint
    if checkpoint.origin != key.name:
        raise NoteError(f"the checkpoint is of log {checkpoint.origin}, the key is of {key.name}")
    if not isinstance(document["index"], int):
        raise ProofError("malformed proof document: the index is no integer")
    path = [decode_base64(one, "an inclusion proof") for one in document["inclusion_proof"]]
    verify_inclusion(document["index"], checkpoint.size, hash_leaf(document["entry"].encode()), path, checkpoint.root)
    return checkpoint


def _index(log: LogReader, size: int, wanted: int | str) -> int:
    if isinstance(wanted, int) or wanted.isdecimal():
        return int(wanted)
    found = [one.index for one in log.find_events(digest=check_digest(wanted))]
    if not found:
        raise AuditError(f"{log.folder}: none of the {size} events names {wanted}")
    return found[-1]
